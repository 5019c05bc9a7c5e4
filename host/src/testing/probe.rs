//! What fuzzing reaches: bytes as the bus reads them from its disk, from its socket and from a plugin's file.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::SystemClock;
use crate::config::{Grants, PluginLimits};
use crate::handler::{Program, ProgramVersion};
pub use crate::log::probe::{
    FORMAT, batch, batch_of, journal_records, record, record_of, rows, sample_rows, seal_batch, seal_record,
    seal_row,
};
use crate::plugin::{LoadError, LoadOptions, Runtime, RuntimeOptions};
#[cfg(feature = "server")]
pub use crate::server::probe::{answers, requests};

/// The version of the contract that plugins are held to.
#[must_use]
pub fn contract_version() -> &'static str {
    crate::plugin::CONTRACT.trim_start_matches('@')
}

/// Loads components as a bus does, without a bus.
pub struct Loader {
    threads: tokio::runtime::Runtime,
    runtime: Runtime,
}

impl Loader {
    /// A loader that keeps nothing of what it compiles.
    ///
    /// # Errors
    ///
    /// The threads or the WebAssembly engine can't be set up.
    pub fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let runtime = Runtime::new(RuntimeOptions { cache: None, clock: Arc::new(SystemClock::new()) })?;
        Ok(Self { threads, runtime })
    }

    /// Loads a component that may publish to `alerts` and keep state, and that has this long to describe itself.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub fn load(&self, component: &[u8], deadline: Duration) -> Result<ProgramVersion, LoadError> {
        let options = LoadOptions {
            consumer: "fuzz".into(),
            grants: Grants::nothing().publish("alerts").state(),
            limits: PluginLimits::default().deadline(deadline),
            settings: "{}".into(),
            is_aggregate: false,
        };
        let loaded = self.threads.block_on(self.runtime.load(component.into(), options));
        loaded.map(|plugin| plugin.version().clone())
    }
}
