//! Starting, changing and ending consumers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::components::read_bounded;
use super::roster::Running;
use super::status::{ConsumerKind, ConsumerStatus, PluginStatus, ReloadOutcome};
use super::{Bus, ConsumerError};
use crate::config::{ConsumerConfig, PluginConfig, Start, check_name};
use crate::delivery::{Native, Setup, stored_status};
use crate::effects::Authority;
use crate::handler::{Handler, Program};
use crate::ids::ConsumerId;
use crate::limits::{HANDLER_DEADLINE, UNSUBSCRIBE_WAIT};
use crate::log::{AdminError, ConsumerRow, LaneCounts, Position, ReadError};
use crate::plugin::{LoadError, LoadOptions, Plugin, component_hash};

impl Bus {
    /// Starts a consumer that a Rust handler runs. Its deliveries begin before this returns.
    ///
    /// A new consumer starts where its configuration says; one that was there before goes on where it stood, whichever
    /// process or program had it then. An attempt that takes longer than 5 minutes fails as a time-out at its next
    /// await.
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
        let _turn = self.inner.roster.change().await;
        self.check_new(name, &config)?;
        let clock = Arc::clone(self.inner.log.clock());
        let version = handler.version();
        let program = Arc::new(Native::new(handler, version, HANDLER_DEADLINE, clock));
        let row = self.register(name, &config).await?;
        self.inner
            .log
            .accept_program(name, program.version().clone(), row.state_version.unwrap_or(0))
            .await?;
        self.start(name, config, None, program, Authority::Native).await
    }

    /// Starts a consumer that a plugin runs. Its deliveries begin before this returns.
    ///
    /// The version that was accepted before runs again, from the data directory, whatever the component's file holds
    /// now; if that is something else, it is then taken as a candidate, as by [`reload`](Self::reload). A candidate that
    /// is refused there is no error of this call: see [`PluginStatus::refused`].
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
        let _turn = self.inner.roster.change().await;
        self.check_new(name, &config)?;
        plugin.validate()?;
        let accepted = match self.inner.log.consumer(name) {
            Some((_, row)) if !row.program.hash.is_empty() => self.accepted(name, &row)?,
            _ => None,
        };
        let from_file = accepted.is_none();
        let (path, bytes) = match accepted {
            Some(accepted) => accepted,
            None => (plugin.component.clone(), read_component(name, &plugin.component)?),
        };
        let program = self.load(name, &path, Arc::clone(&bytes), &plugin).await?;
        self.check_state_version(name, &path, &program)?;
        self.register(name, &config).await?;
        self.accept(name, &program, &bytes).await?;
        let authority = Authority::Granted(plugin.grants.clone());
        self.start(name, config, Some(plugin.clone()), program, authority).await?;
        if !from_file {
            let outcome = self.switch_to_file(name, &plugin).await;
            self.note_outcome(name, &outcome);
        }
        Ok(())
    }

    /// Ends a consumer in this process and marks it as detached: progress, state and dead letters stay until it is
    /// forgotten, and for 7 days it holds retention back as if it ran. One that doesn't run is marked alike.
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log refuses.
    pub async fn unsubscribe(&self, name: &str) -> Result<(), ConsumerError> {
        let _turn = self.inner.roster.change().await;
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
    /// # Errors
    ///
    /// See [`ConsumerError`]. The consumer goes on as before then.
    pub async fn reconfigure_plugin(
        &self,
        name: &str,
        config: ConsumerConfig,
        plugin: PluginConfig,
    ) -> Result<(), ConsumerError> {
        let _turn = self.inner.roster.change().await;
        config.validate()?;
        plugin.validate()?;
        let running_plugin = self.running_plugin(name)?;
        let running_config = self.inner.roster.with(name, |running| running.config.clone());
        if running_config.as_ref() == Some(&config) && running_plugin == plugin {
            return Ok(());
        }
        // What is wrong with the candidate shows before the running version is stopped.
        let bytes = read_component(name, &plugin.component)?;
        let program = self.load(name, &plugin.component, Arc::clone(&bytes), &plugin).await?;
        self.check_state_version(name, &plugin.component, &program)?;
        self.inner.log.check_registration(name, &config.topics)?;
        self.accept(name, &program, &bytes).await?;
        if let Some(running) = self.inner.roster.take(name) {
            self.stop(running).await;
        }
        if running_config.is_some_and(|before| before.paused) && !config.paused {
            self.inner.log.set_paused(name, false).await?;
        }
        let authority = Authority::Granted(plugin.grants.clone());
        self.start(name, config, Some(plugin), program, authority).await
    }

    /// Takes what a plugin's file holds now as a candidate: it is compiled and checked beside the running version, and
    /// takes over between two deliveries, lane by lane. None is lost, made twice or out of order, and attempts go on
    /// counting.
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The candidate is refused then, and the running version goes on.
    pub async fn reload(&self, name: &str) -> Result<ReloadOutcome, ConsumerError> {
        let turn = self.inner.roster.change().await;
        let plugin = self.running_plugin(name)?;
        let outcome = self.switch_to_file(name, &plugin).await;
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
    /// # Errors
    ///
    /// It isn't running.
    pub async fn caught_up(&self, name: &str) -> Result<(), ConsumerError> {
        let caught_up = self.inner.roster.with(name, |running| running.consumer.caught_up());
        let not_running = || ConsumerError::NotRunning(name.to_owned());
        if caught_up.ok_or_else(not_running)?.await { Ok(()) } else { Err(not_running()) }
    }

    /// Stops a consumer's deliveries until [`resume`](Self::resume), over restarts too. It comes to the end of its
    /// current delivery first.
    ///
    /// # Errors
    ///
    /// There is no such consumer, or the log refuses.
    pub async fn pause(&self, name: &str) -> Result<(), ConsumerError> {
        self.set_paused(name, true).await
    }

    /// Lets a consumer go on that was paused.
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
    /// # Errors
    ///
    /// It is running, there is no such consumer, or the log refuses.
    pub async fn forget(&self, name: &str) -> Result<(), ConsumerError> {
        let _turn = self.inner.roster.change().await;
        if self.is_running(name) {
            return Err(ConsumerError::StillRunning(name.to_owned()));
        }
        self.inner.log.forget(name).await?;
        let kept: Vec<_> = self.inner.log.consumers().into_values().map(|row| row.program.hash).collect();
        if let Err(error) = self.inner.components.retain(&kept) {
            tracing::warn!(%error, "components that nobody needs any more could not be removed");
        }
        Ok(())
    }

    /// All consumers that the bus knows, by name.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn consumers(&self) -> Result<Vec<ConsumerStatus>, ReadError> {
        let rows = self.inner.log.consumers();
        let mut consumers =
            rows.into_iter().map(|(id, row)| self.status(id, row)).collect::<Result<Vec<_>, _>>()?;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(consumers)
    }

    /// The plugins that run, by their consumer.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        let rows = self.inner.log.consumers().into_values();
        let mut plugins: Vec<_> = rows
            .filter_map(|row| {
                let (plugin, refused) = self
                    .inner
                    .roster
                    .with(&row.name, |running| (running.plugin.clone(), running.refused.clone()))?;
                Some(PluginStatus {
                    consumer: row.name.to_string(),
                    file: plugin?.component,
                    version: row.program,
                    reloads: row.reloads,
                    refused,
                })
            })
            .collect();
        plugins.sort_by(|a, b| a.consumer.cmp(&b.consumer));
        plugins
    }

    /// What the plugins that run are configured by, by their consumer.
    #[cfg(feature = "server")]
    pub(crate) fn plugin_configs(
        &self,
    ) -> std::collections::BTreeMap<String, (ConsumerConfig, PluginConfig)> {
        self.inner.roster.plugin_configs()
    }

    /// Ends a consumer's lanes, on the bus's own threads: what was begun is done whatever becomes of the caller.
    async fn stop(&self, running: Running) {
        let stop = async move { running.consumer.stop(UNSUBSCRIBE_WAIT).await };
        // A runtime that is gone has ended the lanes as well.
        drop(self.inner.handle.spawn(stop).await);
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), ConsumerError> {
        let _turn = self.inner.roster.change().await;
        self.inner.log.set_paused(name, paused).await?;
        let tell = |running: &mut Running| {
            if paused { running.consumer.pause() } else { running.consumer.resume() }
        };
        // One that isn't running finds it in the log when it starts.
        self.inner.roster.with(name, tell).unwrap_or(());
        Ok(())
    }

    fn check_new(&self, name: &str, config: &ConsumerConfig) -> Result<(), ConsumerError> {
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

    /// What a running consumer's plugin is run by.
    fn running_plugin(&self, name: &str) -> Result<PluginConfig, ConsumerError> {
        match self.inner.roster.with(name, |running| running.plugin.clone()) {
            Some(Some(plugin)) => Ok(plugin),
            Some(None) => Err(ConsumerError::Native(name.to_owned())),
            None => Err(ConsumerError::NotRunning(name.to_owned())),
        }
    }

    /// Keeps why a candidate was refused, for people to see.
    fn note_outcome(&self, name: &str, outcome: &Result<ReloadOutcome, ConsumerError>) {
        let refused = outcome.as_ref().err().map(ToString::to_string);
        self.inner.roster.with(name, |running| running.refused = refused).unwrap_or(());
    }

    /// Registers the consumer, which checks its topics.
    async fn register(&self, name: &str, config: &ConsumerConfig) -> Result<ConsumerRow, ConsumerError> {
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

    async fn start(
        &self,
        name: &str,
        config: ConsumerConfig,
        plugin: Option<PluginConfig>,
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
            paused: row.paused,
        });
        let running = Running { consumer, config, plugin, refused: None };
        match self.inner.roster.insert(name, running) {
            Ok(()) => Ok(()),
            Err(too_late) => {
                self.stop(*too_late).await;
                Err(AdminError::Closed.into())
            }
        }
    }

    /// The accepted component, where it is kept.
    fn accepted(&self, name: &str, row: &ConsumerRow) -> Result<Option<Component>, ConsumerError> {
        let components = &self.inner.components;
        let path = components.path(&row.program.hash);
        let failed = |source| ConsumerError::File {
            consumer: name.to_owned(),
            path: path.clone(),
            source: Arc::new(source),
        };
        let bytes = components.get(&row.program.hash).map_err(failed)?;
        Ok(match bytes {
            Some(bytes) if component_hash(&bytes) == row.program.hash => Some((path.clone(), bytes)),
            Some(_) => {
                tracing::error!(path = %path.display(), "the accepted component is damaged; the plugin's file is taken");
                components.remove(&row.program.hash).map_err(failed)?;
                None
            }
            None => None,
        })
    }

    async fn load(
        &self,
        name: &str,
        path: &Path,
        bytes: Arc<[u8]>,
        plugin: &PluginConfig,
    ) -> Result<Arc<Plugin>, ConsumerError> {
        let options = LoadOptions {
            consumer: name.into(),
            grants: plugin.grants.clone(),
            limits: plugin.limits,
            settings: plugin.settings.as_str().into(),
        };
        // Loading needs the bus's own runtime, wherever this is called.
        let plugins = self.inner.plugins.clone();
        let loaded = self.inner.handle.spawn(async move { plugins.load(bytes, options).await }).await;
        let loaded = loaded.unwrap_or(Err(LoadError::ShuttingDown));
        loaded.map_err(|source| ConsumerError::Load {
            consumer: name.to_owned(),
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Refuses a plugin whose state has another layout than what is stored.
    fn check_state_version(&self, name: &str, path: &Path, plugin: &Plugin) -> Result<(), ConsumerError> {
        let stored = self.inner.log.consumer(name).and_then(|(_, row)| row.state_version);
        match stored {
            Some(stored) if stored != plugin.state_version() => Err(ConsumerError::StateVersion {
                consumer: name.to_owned(),
                path: path.to_owned(),
                found: plugin.state_version(),
                stored,
            }),
            _ => Ok(()),
        }
    }

    /// Keeps a component and makes it the consumer's accepted version.
    async fn accept(&self, name: &str, plugin: &Plugin, bytes: &[u8]) -> Result<(), ConsumerError> {
        let version = plugin.version().clone();
        let components = &self.inner.components;
        components.put(&version.hash, bytes).map_err(|source| ConsumerError::File {
            consumer: name.to_owned(),
            path: components.path(&version.hash),
            source: Arc::new(source),
        })?;
        self.inner.log.accept_program(name, version, plugin.state_version()).await?;
        Ok(())
    }

    /// Has a consumer go over to what its plugin's file holds. Lanes go over after their delivery, which may take as long
    /// as a delivery may.
    async fn switch_to_file(
        &self,
        name: &str,
        plugin: &PluginConfig,
    ) -> Result<ReloadOutcome, ConsumerError> {
        let path = &plugin.component;
        let bytes = read_component(name, path)?;
        let from = self.inner.roster.with(name, |running| running.consumer.version()).unwrap_or_default();
        if component_hash(&bytes) == from.hash {
            return Ok(ReloadOutcome::Unchanged { version: from });
        }
        let candidate = self.load(name, path, Arc::clone(&bytes), plugin).await?;
        self.check_state_version(name, path, &candidate)?;
        self.accept(name, &candidate, &bytes).await?;
        let to = candidate.version().clone();
        self.inner.roster.with(name, |running| running.consumer.switch(candidate)).unwrap_or(());
        Ok(ReloadOutcome::Switched { from, to })
    }

    fn status(&self, id: ConsumerId, row: ConsumerRow) -> Result<ConsumerStatus, ReadError> {
        let log = &self.inner.log;
        let look = |running: &mut Running| {
            let kind = if running.plugin.is_some() { ConsumerKind::Plugin } else { ConsumerKind::Native };
            (kind, running.consumer.status(), running.refused.clone())
        };
        let (kind, lanes, refused) = match self.inner.roster.with(&row.name, look) {
            Some(running) => running,
            None => (ConsumerKind::Detached, stored_status(log, id, &row)?, None),
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

/// A component's file with its content.
type Component = (PathBuf, Arc<[u8]>);

fn read_component(consumer: &str, path: &Path) -> Result<Arc<[u8]>, ConsumerError> {
    read_bounded(path).map_err(|source| ConsumerError::File {
        consumer: consumer.to_owned(),
        path: path.to_owned(),
        source: Arc::new(source),
    })
}
