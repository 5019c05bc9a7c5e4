//! The consumers that run in this process.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{ConsumerConfig, PluginConfig};
use crate::delivery::Consumer;

/// See the module.
#[derive(Default)]
pub(super) struct Roster {
    running: Mutex<BTreeMap<String, Arc<Running>>>,
    /// Held by whoever starts, changes or ends a consumer: one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// A consumer that runs.
pub(super) struct Running {
    pub consumer: Consumer,
    pub config: ConsumerConfig,
    /// What a plugin is run by; `None` for a native handler.
    pub plugin: Option<PluginConfig>,
    /// Why the last candidate was refused, until one is accepted.
    pub refused: Mutex<Option<String>>,
}

impl Running {
    pub fn new(consumer: Consumer, config: ConsumerConfig, plugin: Option<PluginConfig>) -> Self {
        Self { consumer, config, plugin, refused: Mutex::default() }
    }

    pub fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_refused(&self, reason: Option<String>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

impl Roster {
    /// Waits for its turn to change the roster.
    pub async fn change(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    pub fn get(&self, name: &str) -> Option<Arc<Running>> {
        self.running().get(name).cloned()
    }

    pub fn insert(&self, name: &str, running: Running) {
        self.running().insert(name.to_owned(), Arc::new(running));
    }

    pub fn remove(&self, name: &str) -> Option<Arc<Running>> {
        self.running().remove(name)
    }

    /// The configurations of those that plugins run.
    #[cfg(feature = "server")]
    pub fn plugin_configs(&self) -> BTreeMap<String, (ConsumerConfig, PluginConfig)> {
        let running = self.running();
        let plugins = running.iter().filter_map(|(name, running)| {
            Some((name.clone(), (running.config.clone(), running.plugin.clone()?)))
        });
        plugins.collect()
    }

    /// Takes out all of them.
    pub fn clear(&self) -> BTreeMap<String, Arc<Running>> {
        std::mem::take(&mut *self.running())
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
