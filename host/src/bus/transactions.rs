//! The application's own tables and the log together.

use super::{Bus, KeyReader, Snapshot};
use crate::event::Event;
use crate::log::{APPLICATION, PublishError, Published, ReadError, Transaction, TransactionError};

impl Bus {
    /// Runs a closure on the application's own tables and on events of any topics, and makes all of it durable in one
    /// commit: both or neither. When this returns `Ok`, it is on the disk.
    ///
    /// The closure is the only one that writes while it runs, so what it reads is true until it is committed. It runs on
    /// the committer's thread, and everybody who publishes waits for it meanwhile: it reads, decides and writes, and does
    /// nothing slow. Each commit takes one transaction and whatever is published beside it.
    ///
    /// If the returned future is dropped, the transaction takes place or not; either way whole.
    ///
    /// # Errors
    ///
    /// See [`TransactionError`]. Where the closure returns an error, panics, or takes longer than 5 seconds, nothing of it
    /// is there and the bus goes on; with `InDoubt` all of it may be there.
    ///
    /// ```
    /// use tidegate::config::TopicConfig;
    /// use tidegate::redb::TableDefinition;
    /// use tidegate::{Bus, Event, TransactionError};
    ///
    /// const ORDERS: TableDefinition<&str, &str> = TableDefinition::new("orders");
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let bus = Bus::open(directory.path())?;
    /// bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// let placed = Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?;
    /// bus.transaction(|transaction| {
    ///     transaction.open_table(ORDERS)?.insert("order-17", "1 teapot")?;
    ///     transaction.publish("orders", placed)?;
    ///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    /// }).await?;
    ///
    /// // What fails leaves nothing behind.
    /// let refused = bus.transaction(|transaction| {
    ///     transaction.open_table(ORDERS).map_err(|error| error.to_string())?
    ///         .insert("order-18", "1000 teapots").map_err(|error| error.to_string())?;
    ///     Err::<(), _>("out of stock".to_owned())
    /// }).await;
    /// assert!(matches!(refused, Err(TransactionError::Refused(why)) if why == "out of stock"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn transaction<T, E, F>(&self, work: F) -> Result<T, TransactionError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.log.transact(APPLICATION, work).await
    }

    /// The application's own tables and the log as they are now, both at one moment.
    ///
    /// While a snapshot lives, the file keeps what was changed since: drop it soon. After 10 minutes it gives nothing more.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
    /// # let bus = bus.bus();
    /// let snapshot = bus.snapshot()?;
    /// assert_eq!(snapshot.next_offset("orders", 0)?, 0);
    /// assert!(snapshot.tables()?.is_empty(), "no transaction has made one");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn snapshot(&self) -> Result<Snapshot, ReadError> {
        Ok(Snapshot::new(self.inner.log.snapshot(APPLICATION)?, &self.inner.log))
    }

    /// Publishes events of one key in one commit, on condition that the last event of the key has this number, 0 where
    /// there is to be none. The topic [numbers its events](crate::config::TopicConfig::sequence).
    ///
    /// Events that the topic knows by source and id meet any condition: a call that is made again after `InDoubt` is
    /// answered with the first one's places.
    ///
    /// # Errors
    ///
    /// [`VersionConflict`](PublishError::VersionConflict) with the actual number if somebody was faster; nothing is
    /// appended then. And as [`publish_all`](Self::publish_all).
    ///
    /// ```
    /// use tidegate::config::TopicConfig;
    /// use tidegate::{Bus, Event, PublishError};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = Bus::open(directory.path())?.blocking();
    /// bus.create_topic("accounts", TopicConfig::new(4).sequence(true))?;
    /// let opened = Event::new("e1", "/bank", "AccountOpened.v1").subject("account-9").build()?;
    /// let published = bus.publish_expecting("accounts", 0, vec![opened])?;
    /// assert_eq!(published[0].sequence, Some(1));
    ///
    /// let stale = Event::new("e2", "/bank", "Withdrawn.v1").subject("account-9").build()?;
    /// let refused = bus.publish_expecting("accounts", 0, vec![stale]);
    /// assert!(matches!(refused, Err(PublishError::VersionConflict { actual: 1, .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub async fn publish_expecting(
        &self,
        topic: &str,
        expected: u64,
        events: Vec<Event>,
    ) -> Result<Vec<Published>, PublishError> {
        self.inner.log.append_expecting(topic, expected, events).await
    }

    /// The number of the last event of a key that is durable, 0 where there is none. The topic
    /// [numbers its events](crate::config::TopicConfig::sequence). Retention doesn't take it back.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?.blocking();
    /// # use tidegate::Event;
    /// # bus.create_topic("accounts", tidegate::config::TopicConfig::new(4).sequence(true))?;
    /// # let opened = Event::new("e1", "/bank", "AccountOpened.v1").subject("account-9").build()?;
    /// # bus.publish("accounts", opened)?;
    /// assert_eq!(bus.bus().version("accounts", "account-9")?, 1);
    /// assert_eq!(bus.bus().version("accounts", "account-3")?, 0, "nothing has happened to it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such topic, it doesn't number its events, or the log can't be read.
    pub fn version(&self, topic: &str, key: &str) -> Result<u64, ReadError> {
        self.inner.log.version(topic, key)
    }

    /// Reads the events of one key in their order, from the one behind number `after` on, without reading the others. The
    /// topic [numbers its events](crate::config::TopicConfig::sequence).
    ///
    /// # Errors
    ///
    /// There is no such topic, it doesn't number its events, or the log can't be read.
    ///
    /// ```
    /// # use tidegate::config::TopicConfig;
    /// # use tidegate::{Bus, Event};
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = Bus::open(directory.path())?;
    /// # bus.blocking().create_topic("accounts", TopicConfig::new(4).sequence(true))?;
    /// # for (id, account) in [("e1", "account-9"), ("e2", "account-3"), ("e3", "account-9")] {
    /// #     bus.blocking().publish("accounts", Event::new(id, "/bank", "T").subject(account).build()?)?;
    /// # }
    /// let mut events = bus.read_key("accounts", "account-9", 0)?;
    /// while let Some(record) = events.try_next()? {
    ///     println!("{:?}: {}", record.event.sequence(), record.event.id());
    /// }
    /// # assert_eq!(bus.read_key("accounts", "account-9", 1)?.try_next()?.unwrap().event.id(), "e3");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_key(&self, topic: &str, key: &str, after: u64) -> Result<KeyReader, ReadError> {
        let partition = self.inner.log.partition_of(topic, key)?;
        let (log, name, key) = (self.inner.log.clone(), topic.to_owned(), key.to_owned());
        let fetch = move |after| log.key_events(&name, &key, after);
        Ok(KeyReader::new(topic, partition, after, Box::new(fetch)))
    }
}
