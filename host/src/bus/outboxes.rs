//! Outboxes whose relays run on the bus.

use std::sync::Arc;

use super::Bus;
use crate::config::{OutboxConfig, check_name};
use crate::limits::OUTBOX_STEP_MAX;
use crate::outbox::{
    Crash, FailedRow, FailedRows, OutboxError, OutboxStatus, OutboxStep, Running, Setup, adopt, failed_rows,
    inspect, retry,
};

impl Bus {
    /// Publishes from an outbox: a table in the application's own `SQLite` or `PostgreSQL` database, see
    /// [`outbox`](crate::outbox). Each committed row becomes an event once, in the order of the commits.
    ///
    /// It runs until [`stop_outbox`](Self::stop_outbox) or [`shutdown`](Self::shutdown). That the database can't be reached
    /// is no error here: it is tried again and again, and [`outboxes`](Self::outboxes) says so.
    ///
    /// # Errors
    ///
    /// See [`OutboxError`]: a setting is wrong, or an outbox of this name is running. Nothing was started then.
    ///
    /// ```
    /// use tidegate::config::{OutboxConfig, OutboxDatabase, TopicConfig};
    /// use tidegate::outbox::create_tables;
    /// use tidegate::{Bus, Position};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # let directory = directory.path().join("events");
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// let bus = Bus::open(directory)?.blocking();
    /// bus.create_topic("orders", TopicConfig::new(4))?;
    /// bus.bus().start_outbox("shop", OutboxConfig::sqlite(database, "/shop"))?;
    ///
    /// // Elsewhere, the application:
    /// //   INSERT INTO orders …;
    /// //   INSERT INTO tidegate_outbox (topic, type, subject, data) VALUES ('orders', 'OrderPlaced.v1', 'customer-4', '{}');
    /// //   COMMIT;
    /// bus.outbox_caught_up("shop")?;
    /// let status = bus.outboxes().remove(0);
    /// assert_eq!(status.backlog.map(|backlog| backlog.waiting), Some(0));
    /// bus.shutdown(std::time::Duration::from_secs(5));
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start_outbox(&self, name: &str, config: OutboxConfig) -> Result<(), OutboxError> {
        self.start_relay(name, config, None)
    }

    /// As [`start_outbox`](Self::start_outbox), with a relay that ends after a step, as in a crash, where `crashes` says
    /// so: for tests.
    ///
    /// # Errors
    ///
    /// The same.
    #[doc(hidden)]
    pub fn start_outbox_that_crashes(
        &self,
        name: &str,
        config: OutboxConfig,
        crashes: impl Fn(OutboxStep) -> bool + Send + Sync + 'static,
    ) -> Result<(), OutboxError> {
        self.start_relay(name, config, Some(Crash(Arc::new(crashes))))
    }

    fn start_relay(&self, name: &str, config: OutboxConfig, crash: Option<Crash>) -> Result<(), OutboxError> {
        check_name(name)?;
        config.validate()?;
        self.inner.outboxes.start(name, || {
            Running::start(Setup {
                name: name.to_owned(),
                config,
                log: Arc::clone(&self.inner.log),
                event_bytes_max: self.config().event_bytes_max,
                runtime: self.inner.handle.clone(),
                crash,
            })
        })
    }

    /// Ends an outbox's relay, after its step. What is in the table waits for the next one.
    ///
    /// # Errors
    ///
    /// It isn't running.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// bus.start_outbox("shop", config)?;
    /// bus.stop_outbox("shop").await?;
    /// assert!(bus.outboxes().await.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn stop_outbox(&self, name: &str) -> Result<(), OutboxError> {
        let running = self.inner.outboxes.claim_stop(name)?;
        // On the bus's own threads: what was begun is done whatever becomes of the caller.
        let (inner, name) = (Arc::clone(&self.inner), name.to_owned());
        let stop = async move {
            let clock = inner.log.clock();
            running.stop(clock.sleep_until(clock.now().after(OUTBOX_STEP_MAX))).await;
            inner.outboxes.remove(&name);
        };
        drop(self.inner.handle.spawn(stop).await);
        Ok(())
    }

    /// The outboxes that run in this process, by name. It asks each database what waits there, and takes as long as they do.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// bus.start_outbox("shop", config)?;
    /// for outbox in bus.outboxes().await {
    ///     println!("{}: {:?} {:?}", outbox.name, outbox.state, outbox.backlog);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn outboxes(&self) -> Vec<OutboxStatus> {
        let statuses: Vec<_> = self
            .inner
            .outboxes
            .all()
            .into_values()
            .map(|running| self.inner.handle.spawn(async move { running.status().await }))
            .collect();
        let mut found = Vec::with_capacity(statuses.len());
        for status in statuses {
            // A runtime that is gone has no outboxes any more.
            found.extend(status.await);
        }
        found
    }

    /// Ends when an outbox's relay has published every row that is committed now, or set it aside. It waits for as long as
    /// that takes: for ever if the database doesn't come back.
    ///
    /// # Errors
    ///
    /// It isn't running, or has ended meanwhile.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// bus.start_outbox("shop", config)?;
    /// bus.outbox_caught_up("shop").await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn outbox_caught_up(&self, name: &str) -> Result<(), OutboxError> {
        let running = self.inner.outboxes.get(name)?;
        if running.caught_up().await { Ok(()) } else { Err(OutboxError::NotRunning(name.to_owned())) }
    }

    /// Has an outbox's relay look at once: for a program that has just committed a row and doesn't want to wait for the
    /// next look.
    ///
    /// # Errors
    ///
    /// It isn't running.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// bus.start_outbox("shop", config)?;
    /// // … COMMIT
    /// bus.wake_outbox("shop")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wake_outbox(&self, name: &str) -> Result<(), OutboxError> {
        self.inner.outboxes.get(name).map(|running| running.wake())
    }

    /// The first rows of a running outbox that were set aside, at most so many and at most 1000. See
    /// [`failed_rows`] for one that isn't running.
    ///
    /// # Errors
    ///
    /// It isn't running, or the database can't be used.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// bus.start_outbox("shop", config)?;
    /// for row in bus.outbox_failed_rows("shop", 100).await? {
    ///     println!("{}: {}", row.position, row.failed);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn outbox_failed_rows(&self, name: &str, rows_max: u32) -> Result<Vec<FailedRow>, OutboxError> {
        let database = self.inner.outboxes.get(name)?.config().database.clone();
        self.off_the_threads(move || failed_rows(&database, rows_max)).await
    }

    /// Puts rows of a running outbox that were set aside back to work: they are published behind all that is committed by
    /// now. Returns how many. See [`retry`] for one that isn't running.
    ///
    /// # Errors
    ///
    /// It isn't running, or the database can't be used.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// use tidegate::outbox::FailedRows;
    ///
    /// bus.start_outbox("shop", config)?;
    /// let retried = bus.retry_outbox("shop", FailedRows::All).await?;
    /// assert_eq!(retried, 0, "none had failed");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn retry_outbox(&self, name: &str, which: FailedRows) -> Result<u64, OutboxError> {
        let running = self.inner.outboxes.get(name)?;
        let database = running.config().database.clone();
        let retried = self.off_the_threads(move || retry(&database, which)).await?;
        running.wake();
        Ok(retried)
    }

    /// An outbox as it is while its relay isn't running here: its backlog, and why it would not be published from.
    ///
    /// # Errors
    ///
    /// A setting is wrong, or the log can't be read. That the database can't be used is told in the status.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let outbox = bus.inspect_outbox("shop", &config).await?;
    /// assert_eq!(outbox.backlog.map(|backlog| backlog.waiting), Some(0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn inspect_outbox(
        &self,
        name: &str,
        config: &OutboxConfig,
    ) -> Result<OutboxStatus, OutboxError> {
        check_name(name)?;
        config.validate()?;
        let (log, name, config) = (Arc::clone(&self.inner.log), name.to_owned(), config.clone());
        self.on_the_threads(async move { inspect(&log, &name, &config).await }).await
    }

    /// Publishes from an outbox as it is from now on, whatever this bus or another one did with it: rows that it has marked
    /// count as published, and all others don't. For when an outbox is refused because its database was exchanged, or one
    /// of the two was put back to an earlier state. Rows that were published and whose mark was lost are published again;
    /// their topic drops them if its deduplication window still knows them.
    ///
    /// # Errors
    ///
    /// See [`OutboxError`]. It may be called again.
    ///
    /// ```
    /// # #[cfg(feature = "outbox-sqlite")] {
    /// # use tidegate::config::{OutboxConfig, OutboxDatabase};
    /// # let directory = tempfile::tempdir()?;
    /// # let database = directory.path().join("shop.db");
    /// # tidegate::outbox::create_tables(&OutboxDatabase::Sqlite(database.clone()))?;
    /// # let config = OutboxConfig::sqlite(database, "/shop");
    /// # let bus = tidegate::Bus::open(directory.path().join("events"))?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// bus.adopt_outbox("shop", &config).await?;
    /// bus.start_outbox("shop", config)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn adopt_outbox(&self, name: &str, config: &OutboxConfig) -> Result<(), OutboxError> {
        check_name(name)?;
        config.validate()?;
        let (log, of, config) = (Arc::clone(&self.inner.log), name.to_owned(), config.clone());
        self.on_the_threads(async move { adopt(&log, &of, &config).await }).await?;
        // One that runs and was refused looks again.
        self.wake_outbox(name).or_else(|error| match error {
            OutboxError::NotRunning(_) => Ok(()),
            other => Err(other),
        })
    }

    /// As [`adopt_outbox`](Self::adopt_outbox), of one that runs.
    ///
    /// # Errors
    ///
    /// It isn't running, or as the other.
    #[cfg(feature = "server")]
    pub(crate) async fn adopt_running_outbox(&self, name: &str) -> Result<(), OutboxError> {
        let config = self.inner.outboxes.get(name)?.config().clone();
        self.adopt_outbox(name, &config).await
    }

    /// The configurations of those that run.
    #[cfg(feature = "server")]
    pub(crate) fn outbox_configs(&self) -> std::collections::BTreeMap<String, OutboxConfig> {
        let running = self.inner.outboxes.all().into_iter();
        running.map(|(name, running)| (name, running.config().clone())).collect()
    }

    /// Runs what needs the bus's runtime.
    async fn on_the_threads<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, OutboxError>> + Send + 'static,
    ) -> Result<T, OutboxError> {
        self.inner.handle.spawn(work).await.unwrap_or_else(|_| Err(ended()))
    }

    /// Runs what blocks.
    async fn off_the_threads<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, OutboxError> + Send + 'static,
    ) -> Result<T, OutboxError> {
        self.inner.handle.spawn_blocking(work).await.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> OutboxError {
    OutboxError::Read(crate::log::ReadError::Closed)
}
