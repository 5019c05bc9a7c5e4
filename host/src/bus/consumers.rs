//! Starting, changing and ending consumers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::components::read_bounded;
use super::roster::Running;
use super::status::{ConsumerKind, ConsumerStatus, PluginStatus, ReloadOutcome};
use super::{Bus, ConsumerError};
use crate::config::{ConsumerConfig, PluginConfig, Start, check_name};
use crate::delivery::{Consumer, ConsumerSetup, Native};
use crate::effects::Authority;
use crate::handler::{Handler, Program};
use crate::limits::{HANDLER_DEADLINE, UNSUBSCRIBE_WAIT};
use crate::log::{AdminError, ConsumerRow, LaneCounts, Position};
use crate::plugin::{LoadOptions, Plugin};

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
        let program = Arc::new(Native::new(handler, clock, HANDLER_DEADLINE));
        let row = self.register(name, &config).await?;
        self.inner.log.accept_program(name, program.version().clone(), row.state_version.unwrap_or(0)).await?;
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
        if !from_file && let Some(running) = self.inner.roster.get(name) {
            match self.switch_to_file(name, &running, &plugin).await {
                Ok(_) => {}
                Err(error) => running.set_refused(Some(error.to_string())),
            }
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
        if let Some(running) = self.inner.roster.get(name) {
            running.consumer.stop(UNSUBSCRIBE_WAIT).await;
            self.inner.roster.remove(name);
        }
        self.inner.log.detach(name).await?;
        Ok(())
    }

    /// Gives a plugin's consumer another configuration: a changed component, grants, limits or settings between two
    /// deliveries, anything else by ending its lanes in good order and starting them anew.
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
        let turn = self.inner.roster.change().await;
        config.validate()?;
        plugin.validate()?;
        let running = self.running(name)?;
        if running.plugin.is_none() {
            return Err(ConsumerError::Native(name.to_owned()));
        }
        if running.config == config && running.plugin.as_ref() == Some(&plugin) {
            return Ok(());
        }
        // What is wrong with the candidate shows before the running version is stopped.
        let bytes = read_component(name, &plugin.component)?;
        let program = self.load(name, &plugin.component, Arc::clone(&bytes), &plugin).await?;
        self.check_state_version(name, &plugin.component, &program)?;
        self.check_topics(name, &config).await?;
        running.consumer.stop(UNSUBSCRIBE_WAIT).await;
        self.inner.roster.remove(name);
        self.accept(name, &program, &bytes).await?;
        let authority = Authority::Granted(plugin.grants.clone());
        let started = self.start(name, config, Some(plugin), program, authority).await;
        drop(turn);
        started
    }

    /// Takes what a plugin's file holds now as a candidate: it is compiled and checked beside the running version, and
    /// takes over between two deliveries, lane by lane. None is lost, made twice or out of order, and attempts go on
    /// counting.
    ///
    /// # Errors
    ///
    /// See [`ConsumerError`]. The candidate is refused then, and the running version goes on.
    pub async fn reload(&self, name: &str) -> Result<ReloadOutcome, ConsumerError> {
        let _turn = self.inner.roster.change().await;
        let running = self.running(name)?;
        let Some(plugin) = running.plugin.clone() else {
            return Err(ConsumerError::Native(name.to_owned()));
        };
        let outcome = self.switch_to_file(name, &running, &plugin).await;
        running.set_refused(outcome.as_ref().err().map(ToString::to_string));
        outcome
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
        if self.inner.roster.get(name).is_some() {
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
    pub fn consumers(&self) -> Result<Vec<ConsumerStatus>, crate::log::ReadError> {
        let rows = self.inner.log.consumers();
        let mut consumers = rows.into_iter().map(|(id, row)| self.status(id, row)).collect::<Result<Vec<_>, _>>()?;
        consumers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(consumers)
    }

    /// The plugins that run, by their consumer.
    pub fn plugins(&self) -> Vec<PluginStatus> {
        let rows = self.inner.log.consumers().into_values();
        let mut plugins: Vec<_> = rows
            .filter_map(|row| {
                let running = self.inner.roster.get(&row.name)?;
                let plugin = running.plugin.as_ref()?;
                Some(PluginStatus {
                    consumer: row.name.to_string(),
                    file: plugin.component.clone(),
                    refused: running.refused(),
                    version: row.program,
                    reloads: row.reloads,
                })
            })
            .collect();
        plugins.sort_by(|a, b| a.consumer.cmp(&b.consumer));
        plugins
    }

    /// What the plugins that run are configured by, by their consumer.
    #[cfg(feature = "server")]
    pub(crate) fn plugin_configs(&self) -> std::collections::BTreeMap<String, (ConsumerConfig, PluginConfig)> {
        self.inner.roster.plugin_configs()
    }

    pub(super) async fn stop_consumers(&self, deadline: Duration) -> Vec<String> {
        let _turn = self.inner.roster.change().await;
        let running = self.inner.roster.clear();
        let stops: Vec<_> = running
            .into_iter()
            .map(|(name, running)| {
                let stop = async move { (name, running.consumer.stop(deadline).await) };
                self.inner.handle.spawn(stop)
            })
            .collect();
        let mut cut_off = Vec::new();
        for stop in stops {
            if let Ok((name, false)) = stop.await {
                cut_off.push(name);
            }
        }
        cut_off
    }

    async fn set_paused(&self, name: &str, paused: bool) -> Result<(), ConsumerError> {
        let _turn = self.inner.roster.change().await;
        self.inner.log.set_paused(name, paused).await?;
        if let Some(running) = self.inner.roster.get(name) {
            running.consumer.set_paused(paused);
        }
        Ok(())
    }

    fn check_new(&self, name: &str, config: &ConsumerConfig) -> Result<(), ConsumerError> {
        check_name(name)?;
        config.validate()?;
        if self.inner.roster.get(name).is_some() {
            return Err(ConsumerError::Running(name.to_owned()));
        }
        Ok(())
    }

    fn running(&self, name: &str) -> Result<Arc<Running>, ConsumerError> {
        self.inner.roster.get(name).ok_or_else(|| ConsumerError::NotRunning(name.to_owned()))
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
        let consumer = Consumer::start(
            &self.inner.handle,
            ConsumerSetup {
                log: Arc::clone(&self.inner.log),
                id,
                name: Arc::clone(&row.name),
                topics: row.topics.clone(),
                partitions: row.partitions,
                config: config.clone(),
                authority,
                program,
                paused: row.paused,
            },
        );
        self.inner.roster.insert(name, Running::new(consumer, config, plugin));
        Ok(())
    }

    /// The accepted component, where it is kept.
    fn accepted(
        &self,
        name: &str,
        row: &ConsumerRow,
    ) -> Result<Option<(std::path::PathBuf, Arc<[u8]>)>, ConsumerError> {
        let components = &self.inner.components;
        let path = components.path(&row.program.hash);
        let bytes = components.get(&row.program.hash).map_err(|source| ConsumerError::File {
            consumer: name.to_owned(),
            path: path.clone(),
            source: Arc::new(source),
        })?;
        Ok(bytes.map(|bytes| (path, bytes)))
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
            limits: plugin.limits.clone(),
            settings: plugin.settings.as_str().into(),
        };
        // Loading needs the bus's own runtime, wherever this is called.
        let plugins = self.inner.plugins.clone();
        let loaded = self.inner.handle.spawn(async move { plugins.load(bytes, options).await }).await;
        let loaded = loaded.unwrap_or(Err(crate::plugin::LoadError::ShuttingDown));
        loaded.map_err(|source| ConsumerError::Load { consumer: name.to_owned(), path: path.to_owned(), source })
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

    /// Refuses topics that don't exist or don't pair up, before anything is stopped for them.
    async fn check_topics(&self, name: &str, config: &ConsumerConfig) -> Result<(), ConsumerError> {
        self.register(name, config).await.map(drop)
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

    async fn switch_to_file(
        &self,
        name: &str,
        running: &Running,
        plugin: &PluginConfig,
    ) -> Result<ReloadOutcome, ConsumerError> {
        let path = &plugin.component;
        let bytes = read_component(name, path)?;
        let from = running.consumer.version();
        if crate::plugin::component_hash(&bytes) == from.hash {
            return Ok(ReloadOutcome::Unchanged { version: from });
        }
        let candidate = self.load(name, path, Arc::clone(&bytes), plugin).await?;
        self.check_state_version(name, path, &candidate)?;
        self.accept(name, &candidate, &bytes).await?;
        let to = candidate.version().clone();
        running.consumer.switch(candidate);
        Ok(ReloadOutcome::Switched { from, to })
    }

    fn status(
        &self,
        id: crate::ids::ConsumerId,
        row: ConsumerRow,
    ) -> Result<ConsumerStatus, crate::log::ReadError> {
        let log = &self.inner.log;
        let running = self.inner.roster.get(&row.name);
        let lanes = match &running {
            Some(running) => running.consumer.status(),
            None => crate::delivery::stored_status(log, id, &row)?,
        };
        let topics = row.topics.iter().filter_map(|topic| log.topic_name(*topic)).map(|name| name.to_string());
        let counts = lanes.iter().fold(LaneCounts::default(), |sum, lane| LaneCounts {
            handled: sum.handled + lane.counts.handled,
            retries: sum.retries + lane.counts.retries,
            dead_letters: sum.dead_letters + lane.counts.dead_letters,
        });
        Ok(ConsumerStatus {
            name: row.name.to_string(),
            kind: match &running {
                Some(running) if running.plugin.is_some() => ConsumerKind::Plugin,
                Some(_) => ConsumerKind::Native,
                None => ConsumerKind::Detached,
            },
            topics: topics.collect(),
            paused: row.paused,
            detached: row.detached,
            reloads: row.reloads,
            lag_events: lanes.iter().map(|lane| lane.lag_events).sum(),
            lag_seconds: lanes.iter().map(|lane| lane.lag_seconds).fold(0.0, f64::max),
            held: lanes.iter().map(|lane| lane.held as u64).sum(),
            dead_letters: log.dead_letter_count(id)?,
            counts,
            lanes,
            refused: running.and_then(|running| running.refused()),
            version: row.program,
        })
    }
}

fn read_component(consumer: &str, path: &Path) -> Result<Arc<[u8]>, ConsumerError> {
    read_bounded(path).map_err(|source| ConsumerError::File {
        consumer: consumer.to_owned(),
        path: path.to_owned(),
        source: Arc::new(source),
    })
}

