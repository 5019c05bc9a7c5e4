//! Starting, changing and ending consumers.

use std::sync::Arc;

use super::programs::Candidate;
use super::rebuild::cancelled;
use super::roster::Running;
use super::status::{ConsumerKind, ConsumerStatus, PluginStatus, ReloadOutcome};
use super::{Bus, ConsumerError};
use crate::config::{ConsumerConfig, PluginConfig, ProgramConfig, Start, check_name};
use crate::delivery::{Native, Setup, stored_status};
use crate::effects::Authority;
use crate::handler::{Handler, Program};
use crate::ids::ConsumerId;
use crate::limits::{HANDLER_DEADLINE, UNSUBSCRIBE_WAIT};
use crate::log::{AdminError, ConsumerRow, LaneCounts, Position, ReadError};

impl Bus {
    /// Starts a consumer that a Rust handler runs. Its deliveries begin before this returns.
    ///
    /// A new consumer starts where its configuration says; one that was there before goes on where it stood, whichever
    /// process or program had it then. An attempt that takes longer than 5 minutes fails as a time-out at its next
    /// await.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::config::{ConsumerConfig, TopicConfig};
    /// use tidegate::{ConsumerError, handler_fn};
    ///
    /// bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// let count = |_: &tidegate::Delivery, context: &mut tidegate::Context| {
    ///     let before = context.get(b"orders")?.map_or(0, |bytes| bytes[0]);
    ///     context.set(b"orders", &[before + 1])?;
    ///     Ok(())
    /// };
    /// bus.subscribe("counter", ConsumerConfig::new(["orders"]), handler_fn(count)).await?;
    ///
    /// let twice = bus.subscribe("counter", ConsumerConfig::new(["orders"]), handler_fn(count)).await;
    /// assert!(matches!(twice, Err(ConsumerError::Running(_))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The consumer doesn't run then.
    pub async fn subscribe(
        &self,
        name: &str,
        config: ConsumerConfig,
        handler: impl Handler,
    ) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        self.check_new(name, &config)?;
        self.check_no_aggregate(name)?;
        let clock = Arc::clone(self.inner.log.clock());
        let program = Arc::new(Native::new(handler, HANDLER_DEADLINE, clock));
        let row = self.register(name, &config).await?;
        self.inner
            .log
            .accept_program(name, program.version().clone(), row.state_version.unwrap_or(0))
            .await?;
        self.start(name, config, None, program, Authority::Native).await?;
        self.end_generations(name).await
    }

    /// Starts a consumer that a plugin runs. Its deliveries begin before this returns.
    ///
    /// The version that was accepted before runs again, from the data directory, whatever the component's file holds
    /// now; if that is something else, it is then taken as a candidate, as by [`reload`](Self::reload). A candidate that
    /// is refused there is no error of this call: see [`PluginStatus::refused`].
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// use tidegate::ConsumerError;
    /// use tidegate::config::{ConsumerConfig, Grants, PluginConfig, TopicConfig};
    ///
    /// bus.create_topic("quakes", TopicConfig::new(8)).await?;
    /// let plugin = PluginConfig::new("big_quakes.wasm").grants(Grants::nothing().state());
    /// match bus.subscribe_plugin("big-quakes", ConsumerConfig::new(["quakes"]), plugin).await {
    ///     Ok(()) => println!("it runs"),
    ///     Err(ConsumerError::File { path, source, .. }) => println!("{}: {source}", path.display()),
    ///     Err(ConsumerError::Load { source, .. }) => println!("refused: {source}"),
    ///     Err(other) => return Err(other.into()),
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The consumer doesn't run then.
    pub async fn subscribe_plugin(
        &self,
        name: &str,
        config: ConsumerConfig,
        plugin: PluginConfig,
    ) -> Result<(), ConsumerError> {
        self.subscribe_program(name, config, plugin.into()).await
    }

    /// Starts a consumer that runs what a configuration says, see [`subscribe_plugin`](Self::subscribe_plugin).
    pub(crate) async fn subscribe_program(
        &self,
        name: &str,
        config: ConsumerConfig,
        program: ProgramConfig,
    ) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        self.check_new(name, &config)?;
        program.validate()?;
        self.check_aggregate(name, &config, &program)?;
        let accepted = match program.plugin() {
            Some(plugin) => self.accepted_candidate(name, plugin).await?,
            None => None,
        };
        let from_file = accepted.is_none();
        let candidate = match accepted {
            Some(accepted) => accepted,
            None => self.candidate(name, &program).await?,
        };
        self.register(name, &config).await?;
        self.accept(name, &candidate).await?;
        let Candidate { program: running, authority, .. } = candidate;
        self.start(name, config.clone(), Some(program.clone()), running, authority).await?;
        if !from_file {
            let outcome = self.switch(name, &program).await;
            self.note_outcome(name, &outcome);
        }
        match program.plugin() {
            Some(plugin) => self.resume_generations(name, &config, plugin).await,
            None => self.end_generations(name).await,
        }
    }

    /// Ends a consumer in this process and marks it as detached: progress, state and dead letters stay until it is
    /// forgotten, and for 7 days it holds retention back as if it ran. One that doesn't run is marked alike.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// # let handler = tidegate::handler_fn(|_, _| Ok(()));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// bus.unsubscribe("billing").await?;
    /// assert_eq!(bus.consumers()?[0].kind, tidegate::ConsumerKind::Detached);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log refuses.
    pub async fn unsubscribe(&self, name: &str) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        self.call_off(name, cancelled("the projection was unsubscribed")).await?;
        if let Some(running) = self.inner.roster.take(name) {
            self.stop(running).await;
        }
        self.inner.log.detach(name).await?;
        Ok(())
    }

    /// Gives a plugin's consumer another configuration: other topics or settings, another component, other grants or
    /// limits. The component's file is read again. Its lanes end in good order, each after its current delivery, and
    /// begin anew. Where nothing differs, nothing is done.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::ConsumerError> {
    /// use std::time::Duration;
    /// use tidegate::config::{ConsumerConfig, PluginConfig, RetryPolicy};
    ///
    /// let slower = RetryPolicy::default().backoff(Duration::from_secs(1), Duration::from_secs(60));
    /// let config = ConsumerConfig::new(["quakes"]).retry(slower);
    /// bus.reconfigure_plugin("big-quakes", config, PluginConfig::new("big_quakes.wasm")).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The consumer goes on as before then; where the storage fails between the end of its lanes and their
    /// new begin, it has ended, and [`subscribe_plugin`](Self::subscribe_plugin) starts it.
    pub async fn reconfigure_plugin(
        &self,
        name: &str,
        config: ConsumerConfig,
        plugin: PluginConfig,
    ) -> Result<(), ConsumerError> {
        self.reconfigure_program(name, config, plugin.into()).await
    }

    /// Gives a configured consumer another configuration, see [`reconfigure_plugin`](Self::reconfigure_plugin). It may
    /// be run by something of another kind from then on.
    pub(crate) async fn reconfigure_program(
        &self,
        name: &str,
        config: ConsumerConfig,
        program: ProgramConfig,
    ) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        config.validate()?;
        program.validate()?;
        let running_program = self.running_program(name)?;
        let running_config = self.inner.roster.with(name, |running| running.config.clone());
        if running_config.as_ref() == Some(&config) && running_program == program {
            return Ok(());
        }
        self.check_aggregate(name, &config, &program)?;
        // What is wrong with the candidate shows before the running version is stopped.
        let candidate = self.candidate(name, &program).await?;
        self.inner.log.check_registration(name, &config.topics)?;
        self.accept(name, &candidate).await?;
        self.call_off(name, cancelled("the projection got another configuration")).await?;
        if running_config.is_some_and(|before| before.paused) && !config.paused {
            self.inner.log.set_paused(name, false).await?;
        }
        if let Some(running) = self.inner.roster.take(name) {
            self.stop(running).await;
        }
        let Candidate { program: running, authority, .. } = candidate;
        self.start(name, config, Some(program), running, authority).await
    }

    /// Takes what a plugin's file holds now as a candidate: it is compiled and checked beside the running version, and
    /// takes over between two deliveries, lane by lane. None is lost, made twice or out of order, and attempts go on
    /// counting. A configured relay reads its secrets and certificates anew.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::ConsumerError> {
    /// use tidegate::ReloadOutcome;
    ///
    /// match bus.reload("big-quakes").await? {
    ///     ReloadOutcome::Switched { from, to } => println!("{} took over from {}", to.version, from.version),
    ///     ReloadOutcome::Unchanged { version } => println!("{} runs already", version.version),
    ///     _ => {}
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The candidate is refused then, and the running version goes on.
    pub async fn reload(&self, name: &str) -> Result<ReloadOutcome, ConsumerError> {
        let turn = self.turn().await?;
        let program = self.running_program(name)?;
        let outcome = self.switch(name, &program).await;
        self.note_outcome(name, &outcome);
        let switched = self.inner.roster.with(name, |running| running.consumer.switched());
        // Others need not wait for the lanes.
        drop(turn);
        if let (Ok(_), Some(switched)) = (&outcome, switched) {
            switched.await;
        }
        outcome
    }

    /// Ends when a consumer is done with every event of its topics that is durable now: its effects are durable, or the
    /// event is a dead letter. Events that are parked behind a dead letter don't count. It waits for as long as that
    /// takes: for ever if the consumer is paused.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::{Event, handler_fn};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(()))).await?;
    /// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// bus.caught_up("billing").await?;
    /// assert_eq!(bus.consumers()?[0].counts.handled, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It isn't running.
    pub async fn caught_up(&self, name: &str) -> Result<(), ConsumerError> {
        self.outside_transaction()?;
        let look = || {
            let look = |running: &mut Running| (running.consumer.id(), running.consumer.caught_up());
            self.inner.roster.with(name, look).ok_or_else(|| ConsumerError::NotRunning(name.to_owned()))
        };
        let (mut waited_for, mut caught_up) = look()?;
        while !caught_up.await {
            // Another generation may have its name by now.
            let (id, of_it) = look()?;
            if id == waited_for {
                return Err(ConsumerError::NotRunning(name.to_owned()));
            }
            (waited_for, caught_up) = (id, of_it);
        }
        Ok(())
    }

    /// Stops a consumer's deliveries until [`resume`](Self::resume), over restarts too. It comes to the end of its
    /// current delivery first.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// # let handler = tidegate::handler_fn(|_, _| Ok(()));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// bus.pause("billing").await?;
    /// assert!(bus.consumers()?[0].paused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log refuses.
    pub async fn pause(&self, name: &str) -> Result<(), ConsumerError> {
        self.set_paused(name, true).await
    }

    /// Lets a consumer go on that was paused.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// # let handler = tidegate::handler_fn(|_, _| Ok(()));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// bus.pause("billing").await?;
    /// bus.resume("billing").await?;
    /// assert!(!bus.consumers()?[0].paused);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log refuses.
    pub async fn resume(&self, name: &str) -> Result<(), ConsumerError> {
        self.set_paused(name, false).await
    }

    /// Moves a consumer to another place: in all of its topics or in one, on all partitions or on one. It may run
    /// meanwhile: it goes on from there after its current delivery. Events that it holds there are let go of; they are
    /// delivered again if they lie behind the new place. Redriven ones stay.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// # let handler = tidegate::handler_fn(|_, _| Ok(()));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// use tidegate::Position;
    ///
    /// bus.seek("billing", None, None, Position::Earliest).await?; // all of its topics, from the beginning
    /// bus.seek("billing", Some("orders"), Some(2), Position::Latest).await?; // one partition: nothing that is there
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer, topic or partition, or the log refuses.
    pub async fn seek(
        &self,
        name: &str,
        topic: Option<&str>,
        partition: Option<u32>,
        to: Position,
    ) -> Result<(), ConsumerError> {
        Ok(self.inner.log.seek(name, topic, partition, to).await?)
    }

    /// Removes a consumer with all that it has: progress, held events, state and dead letters. A consumer of the same
    /// name starts anew.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// # let handler = tidegate::handler_fn(|_, _| Ok(()));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// bus.unsubscribe("billing").await?;
    /// bus.forget("billing").await?;
    /// assert!(bus.consumers()?.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// It is running, there is no such consumer, or the log refuses.
    pub async fn forget(&self, name: &str) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        if self.is_running(name) {
            return Err(ConsumerError::StillRunning(name.to_owned()));
        }
        // First: without the consumer, nobody could ask for them to be forgotten.
        self.forget_generations(name).await?;
        self.inner.log.forget(name).await?;
        let of_consumers = self.inner.log.generations().into_values().map(|row| row.program.hash);
        let kept = self.accepted_upcaster_hashes();
        let kept = kept.map(|of_upcasters| of_consumers.chain(of_upcasters).collect::<Vec<_>>());
        if let Err(error) = kept.and_then(|kept| self.inner.components.retain(&kept)) {
            tracing::warn!(%error, "components that nobody needs any more could not be removed");
        }
        Ok(())
    }

    /// All consumers that the bus knows, by name.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # bus.create_topic("orders", TopicConfig::new(4)).await?;
    /// # let handler = tidegate::handler_fn(|_, _| Ok(()));
    /// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler).await?;
    /// for consumer in bus.consumers()? {
    ///     println!("{}: {} to come, {} held", consumer.name, consumer.lag_events, consumer.held);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn consumers(&self) -> Result<Vec<ConsumerStatus>, ReadError> {
        let rows = self.inner.log.consumers();
        let status = |(id, row)| match self.status(id, row) {
            // It was forgotten since.
            Err(ReadError::UnknownConsumer(_)) => None,
            status => Some(status),
        };
        let mut consumers = rows.into_iter().filter_map(status).collect::<Result<Vec<_>, _>>()?;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(consumers)
    }

    /// The plugins that run, by their consumer.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// for plugin in bus.plugins() {
    ///     println!("{}: {} {}", plugin.consumer, plugin.version.name, plugin.version.version);
    ///     if let Some(why) = plugin.refused {
    ///         println!("its file was refused: {why}");
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn plugins(&self) -> Vec<PluginStatus> {
        let rows = self.inner.log.consumers().into_values();
        let mut plugins: Vec<_> = rows
            .filter_map(|row| {
                let (program, refused) = self
                    .inner
                    .roster
                    .with(&row.name, |running| (running.program.clone(), running.refused.clone()))?;
                Some(PluginStatus {
                    consumer: row.name.to_string(),
                    file: program?.plugin()?.component.clone(),
                    version: row.program,
                    reloads: row.reloads,
                    refused,
                })
            })
            .collect();
        plugins.sort_by(|a, b| a.consumer.cmp(&b.consumer));
        plugins
    }

    /// The consumers that run what a configuration says, with that.
    #[cfg(feature = "server")]
    pub(crate) fn consumer_configs(
        &self,
    ) -> std::collections::BTreeMap<String, (ConsumerConfig, ProgramConfig)> {
        self.inner.roster.configs()
    }

    /// Ends a consumer's lanes, on the bus's own threads: what was begun is done whatever becomes of the caller.
    pub(super) async fn stop(&self, running: Running) {
        let stop = async move { running.consumer.stop(UNSUBSCRIBE_WAIT).await };
        // A runtime that is gone has ended the lanes as well.
        drop(self.inner.handle.spawn(stop).await);
    }

    /// Waits for its turn to change the consumers.
    pub(super) async fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, AdminError> {
        self.outside_transaction()?;
        Ok(self.inner.roster.change().await)
    }

    /// Refuses a call from within a transaction's closure, where waiting for others would be waiting for itself.
    pub(super) fn outside_transaction(&self) -> Result<(), AdminError> {
        if self.inner.log.is_in_closure() { Err(AdminError::InTransaction) } else { Ok(()) }
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), ConsumerError> {
        let _turn = self.turn().await?;
        self.inner.log.set_paused(name, paused).await?;
        let tell = |running: &mut Running| {
            if paused { running.consumer.pause() } else { running.consumer.resume() }
        };
        // One that isn't running finds it in the log when it starts.
        self.inner.roster.with(name, tell).unwrap_or(());
        Ok(())
    }

    pub(super) fn check_new(&self, name: &str, config: &ConsumerConfig) -> Result<(), ConsumerError> {
        check_name(name)?;
        config.validate()?;
        if self.is_running(name) {
            return Err(ConsumerError::Running(name.to_owned()));
        }
        Ok(())
    }

    fn is_running(&self, name: &str) -> bool {
        self.inner.roster.with(name, |_| ()).is_some()
    }

    /// What runs a consumer, as its configuration says.
    pub(super) fn running_program(&self, name: &str) -> Result<ProgramConfig, ConsumerError> {
        match self.inner.roster.with(name, |running| running.program.clone()) {
            Some(Some(program)) => Ok(program),
            Some(None) => Err(ConsumerError::Native(name.to_owned())),
            None => Err(ConsumerError::NotRunning(name.to_owned())),
        }
    }

    /// Keeps why a candidate was refused, for people to see.
    pub(super) fn note_outcome(&self, name: &str, outcome: &Result<ReloadOutcome, ConsumerError>) {
        let refused = outcome.as_ref().err().map(ToString::to_string);
        self.inner.roster.with(name, |running| running.refused = refused).unwrap_or(());
    }

    /// Registers the consumer, which checks its topics.
    pub(super) async fn register(
        &self,
        name: &str,
        config: &ConsumerConfig,
    ) -> Result<ConsumerRow, ConsumerError> {
        let start = match config.start {
            Start::Earliest => Position::Earliest,
            Start::Latest => Position::Latest,
            Start::Time(time) => Position::Time(time),
        };
        let (_, row) = self.inner.log.register(name, &config.topics, start).await?;
        if config.paused && !row.paused {
            self.inner.log.set_paused(name, true).await?;
        }
        Ok(row)
    }

    pub(super) async fn start(
        &self,
        name: &str,
        config: ConsumerConfig,
        configured: Option<ProgramConfig>,
        program: Arc<dyn Program>,
        authority: Authority,
    ) -> Result<(), ConsumerError> {
        self.register(name, &config).await?;
        let Some((id, row)) = self.inner.log.consumer(name) else {
            return Err(AdminError::UnknownConsumer(name.to_owned()).into());
        };
        let consumer = self.inner.lanes.start(Setup {
            id,
            name: Arc::clone(&row.name),
            topics: row.topics.clone(),
            partitions: row.partitions,
            config: config.clone(),
            authority: Arc::new(authority),
            program,
            lifts: self.inner.upcasters.lifts(),
            paused: row.paused,
        });
        match self.inner.roster.insert(name, Running::new(consumer, config, configured)) {
            Ok(()) => Ok(()),
            Err(too_late) => {
                self.stop(*too_late).await;
                Err(AdminError::Closed.into())
            }
        }
    }

    pub(super) fn status(&self, id: ConsumerId, row: ConsumerRow) -> Result<ConsumerStatus, ReadError> {
        let log = &self.inner.log;
        let look = |running: &mut Running| {
            let target = running.program.as_ref().and_then(ProgramConfig::target);
            (kind(running.program.as_ref()), target, running.consumer.look(), running.refused.clone())
        };
        let (kind, target, lanes, refused) = match self.inner.roster.with(&row.name, look) {
            // Read without the roster's lock, which a disk that hangs would keep from everybody.
            Some((kind, target, lanes, refused)) => (kind, target, lanes.status(), refused),
            None => (ConsumerKind::Detached, None, stored_status(log, id, &row)?, None),
        };
        let topics =
            row.topics.iter().filter_map(|topic| log.topic_name(*topic)).map(|name| name.to_string());
        let counts = lanes.iter().fold(LaneCounts::default(), |sum, lane| LaneCounts {
            handled: sum.handled + lane.counts.handled,
            retries: sum.retries + lane.counts.retries,
            dead_letters: sum.dead_letters + lane.counts.dead_letters,
        });
        Ok(ConsumerStatus {
            name: row.name.to_string(),
            kind,
            target,
            topics: topics.collect(),
            paused: row.paused,
            detached: row.detached,
            reloads: row.reloads,
            lag_events: lanes.iter().map(|lane| lane.lag_events).sum(),
            lag: lanes.iter().map(|lane| lane.lag).max().unwrap_or_default(),
            held: lanes.iter().map(|lane| lane.held as u64).sum(),
            dead_letters: log.dead_letter_count(id)?,
            counts,
            lanes,
            refused,
            version: row.program,
        })
    }
}

fn kind(program: Option<&ProgramConfig>) -> ConsumerKind {
    match program {
        None => ConsumerKind::Native,
        Some(ProgramConfig::Plugin(_)) => ConsumerKind::Plugin,
        Some(ProgramConfig::Http(_)) => ConsumerKind::Http,
        Some(ProgramConfig::Nats(_)) => ConsumerKind::Nats,
    }
}
