//! What runs consumers, made of its configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::components::read_bounded;
use super::status::ReloadOutcome;
use super::{Bus, ConsumerError};
use crate::aggregate::STATE_VERSION;
use crate::config::{Grants, HttpRelayConfig, NatsRelayConfig, PluginConfig, ProgramConfig};
use crate::effects::Authority;
use crate::handler::Program;
use crate::log::ConsumerRow;
use crate::plugin::{LoadError, LoadOptions, Plugin, Runtime, component_hash};
use crate::relay::RelayError;

/// A program that fits its consumer, and is not accepted yet.
pub(super) struct Candidate {
    pub program: Arc<dyn Program>,
    pub authority: Authority,
    /// What is kept of a plugin.
    component: Option<Component>,
}

/// A plugin's component.
struct Component {
    bytes: Arc<[u8]>,
    state_version: u32,
}

impl Candidate {
    fn of_plugin(plugin: Arc<Plugin>, bytes: Arc<[u8]>, config: &PluginConfig) -> Self {
        Self {
            component: Some(Component { bytes, state_version: plugin.state_version() }),
            program: plugin,
            authority: Authority::Granted(config.grants.clone()),
        }
    }

    /// The layout of a plugin's state.
    pub fn state_version(&self) -> Option<u32> {
        self.component.as_ref().map(|component| component.state_version)
    }
}

impl Bus {
    /// Makes what a configuration says, and checks it as far as it can be without running it.
    pub(super) async fn candidate(
        &self,
        name: &str,
        config: &ProgramConfig,
    ) -> Result<Candidate, ConsumerError> {
        match config {
            ProgramConfig::Plugin(plugin) => {
                let bytes = read_component(name, &plugin.component)?;
                self.plugin_candidate(name, &plugin.component, bytes, plugin).await
            }
            ProgramConfig::Http(relay) => relay_candidate(name, self.http_relay(relay)),
            ProgramConfig::Nats(relay) => relay_candidate(name, self.nats_relay(relay)),
        }
    }

    /// The plugin's version that was accepted last, where it is kept.
    pub(super) async fn accepted_candidate(
        &self,
        name: &str,
        plugin: &PluginConfig,
    ) -> Result<Option<Candidate>, ConsumerError> {
        let row = self.inner.log.consumer(name).map(|(_, row)| row);
        let Some(row) = row.filter(|row| !row.program.hash.is_empty()) else {
            return Ok(None);
        };
        match self.accepted(name, &row)? {
            Some((path, bytes)) => self.plugin_candidate(name, &path, bytes, plugin).await.map(Some),
            None => Ok(None),
        }
    }

    async fn plugin_candidate(
        &self,
        name: &str,
        path: &Path,
        bytes: Arc<[u8]>,
        config: &PluginConfig,
    ) -> Result<Candidate, ConsumerError> {
        let plugin = self.load(name, path, Arc::clone(&bytes), config).await?;
        if let Some(aggregate) = &config.aggregate {
            let component = Some(Component { bytes, state_version: STATE_VERSION });
            let program = self.aggregate_program(plugin, aggregate.clone());
            // What the host does for it.
            let grants = config.grants.clone().publish(&aggregate.stream).state();
            let grants = aggregate.rejections.iter().fold(grants, Grants::publish);
            return Ok(Candidate { component, program, authority: Authority::Granted(grants) });
        }
        self.check_state_version(name, path, &plugin)?;
        Ok(Candidate::of_plugin(plugin, bytes, config))
    }

    /// What a plugin's file holds now, to make a state anew: in whatever layout.
    pub(super) async fn rebuild_candidate(
        &self,
        name: &str,
        config: &PluginConfig,
    ) -> Result<Candidate, ConsumerError> {
        let bytes = read_component(name, &config.component)?;
        let plugin = self.load(name, &config.component, Arc::clone(&bytes), config).await?;
        Ok(Candidate::of_plugin(plugin, bytes, config))
    }

    /// The version that a row says, where it is kept.
    pub(super) async fn kept_candidate(
        &self,
        name: &str,
        row: &ConsumerRow,
        config: &PluginConfig,
    ) -> Result<Option<Candidate>, ConsumerError> {
        let Some((path, bytes)) = self.accepted(name, row)? else { return Ok(None) };
        let plugin = self.load(name, &path, Arc::clone(&bytes), config).await?;
        Ok(Some(Candidate::of_plugin(plugin, bytes, config)))
    }

    /// Keeps a candidate's component: it is on the disk when this returns.
    pub(super) fn keep(&self, name: &str, candidate: &Candidate) -> Result<(), ConsumerError> {
        let Some(component) = &candidate.component else { return Ok(()) };
        let (components, hash) = (&self.inner.components, &candidate.program.version().hash);
        components.put(hash, &component.bytes).map_err(|source| ConsumerError::File {
            consumer: name.to_owned(),
            path: components.path(hash),
            source: Arc::new(source),
        })
    }

    /// Makes a candidate the consumer's accepted version, and keeps its component.
    pub(super) async fn accept(&self, name: &str, candidate: &Candidate) -> Result<(), ConsumerError> {
        let version = candidate.program.version().clone();
        self.keep(name, candidate)?;
        let state_version = match candidate.state_version() {
            Some(state_version) => state_version,
            // One without state leaves that of a plugin before it as it is.
            None => self.inner.log.consumer(name).and_then(|(_, row)| row.state_version).unwrap_or(0),
        };
        self.inner.log.accept_program(name, version, state_version).await?;
        Ok(())
    }

    /// Has a consumer go over to what its configuration makes now: a plugin's file may hold another component, a relay's
    /// secrets may be others. Lanes go over after their delivery, which may take as long as a delivery may.
    pub(super) async fn switch(
        &self,
        name: &str,
        config: &ProgramConfig,
    ) -> Result<ReloadOutcome, ConsumerError> {
        let from = self.inner.roster.with(name, |running| running.consumer.version()).unwrap_or_default();
        let candidate = match config {
            ProgramConfig::Plugin(plugin) => {
                let bytes = read_component(name, &plugin.component)?;
                if component_hash(&bytes) == from.hash {
                    return Ok(ReloadOutcome::Unchanged { version: from });
                }
                self.plugin_candidate(name, &plugin.component, bytes, plugin).await?
            }
            ProgramConfig::Http(_) | ProgramConfig::Nats(_) => self.candidate(name, config).await?,
        };
        self.accept(name, &candidate).await?;
        let to = candidate.program.version().clone();
        let go_over = |running: &mut super::roster::Running| running.consumer.switch(candidate.program);
        self.inner.roster.with(name, go_over).unwrap_or(());
        Ok(ReloadOutcome::Switched { from, to })
    }

    #[cfg(feature = "relay-http")]
    fn http_relay(&self, config: &HttpRelayConfig) -> Result<Arc<dyn Program>, RelayError> {
        let clock = Arc::clone(self.inner.log.clock());
        let relay = crate::relay::HttpRelay::new(config.clone())?.clock(Arc::clone(&clock));
        Ok(Arc::new(crate::delivery::Native::new(relay, crate::limits::HANDLER_DEADLINE, clock)))
    }

    #[cfg(not(feature = "relay-http"))]
    #[expect(clippy::unused_self, reason = "called like the one that needs the clock")]
    fn http_relay(&self, _config: &HttpRelayConfig) -> Result<Arc<dyn Program>, RelayError> {
        Err(RelayError::NotBuilt { kind: "HTTP", feature: "relay-http" })
    }

    #[cfg(feature = "relay-nats")]
    fn nats_relay(&self, config: &NatsRelayConfig) -> Result<Arc<dyn Program>, RelayError> {
        let clock = Arc::clone(self.inner.log.clock());
        let relay = crate::relay::NatsRelay::new(config.clone())?.clock(Arc::clone(&clock));
        Ok(Arc::new(crate::delivery::Native::new(relay, crate::limits::HANDLER_DEADLINE, clock)))
    }

    #[cfg(not(feature = "relay-nats"))]
    #[expect(clippy::unused_self, reason = "called like the one that needs the clock")]
    fn nats_relay(&self, _config: &NatsRelayConfig) -> Result<Arc<dyn Program>, RelayError> {
        Err(RelayError::NotBuilt { kind: "NATS", feature: "relay-nats" })
    }

    /// The accepted component, where it is kept.
    fn accepted(&self, name: &str, row: &ConsumerRow) -> Result<Option<Kept>, ConsumerError> {
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
            is_aggregate: plugin.aggregate.is_some(),
        };
        let loaded = self.loading(|plugins: Runtime| async move { plugins.load(bytes, options).await }).await;
        loaded.map_err(|source| ConsumerError::Load {
            consumer: name.to_owned(),
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Loads something on the bus's own threads, which loading needs, wherever this is called.
    pub(super) async fn loading<T, F>(&self, load: impl FnOnce(Runtime) -> F) -> Result<T, LoadError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, LoadError>> + Send + 'static,
    {
        let plugins = self.inner.plugins.clone().ok_or(LoadError::ShuttingDown)?;
        self.inner.handle.spawn(load(plugins)).await.unwrap_or(Err(LoadError::ShuttingDown))
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
                is_projection: plugin.answering().is_some(),
            }),
            _ => Ok(()),
        }
    }
}

/// A relay has nothing to keep, and may do nothing to the bus.
fn relay_candidate(
    name: &str,
    relay: Result<Arc<dyn Program>, RelayError>,
) -> Result<Candidate, ConsumerError> {
    let failed = |source| ConsumerError::Relay { consumer: name.to_owned(), source };
    Ok(Candidate {
        program: relay.map_err(failed)?,
        authority: Authority::Granted(Grants::nothing()),
        component: None,
    })
}

/// A component's file with its content.
type Kept = (PathBuf, Arc<[u8]>);

fn read_component(consumer: &str, path: &Path) -> Result<Arc<[u8]>, ConsumerError> {
    read_bounded(path).map_err(|source| ConsumerError::File {
        consumer: consumer.to_owned(),
        path: path.to_owned(),
        source: Arc::new(source),
    })
}
