//! The runtime of one bus.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};

use super::bindings::Plugins;
use super::cache::{Cache, component_hash};
use super::engine::engine;
use super::exports::{Find, Linked};
use super::host::Host;
use super::load::{LoadError, LoadOptions, UpcasterOptions};
use super::program::{Launch, Plugin};
use super::ticker::Ticker;
use super::upcaster::UpcasterPlugin;
use super::{contract, structure, wasi, worker};
use crate::clock::Clock;
use crate::limits::PLUGIN_INSTANCES_MAX;

/// What a runtime is made with.
#[derive(Clone)]
pub(crate) struct RuntimeOptions {
    /// The folder of compiled components, of this user's alone; made where there is none. Without one, each load
    /// compiles.
    pub cache: Option<PathBuf>,
    /// The bus's clock: it measures the rate of log lines.
    pub clock: Arc<dyn Clock>,
}

/// Why there is no runtime.
///
/// ```
/// use tidegate::{BusError, RuntimeError};
///
/// fn needs_address_space(error: &BusError) -> bool {
///     matches!(error, BusError::Plugins(RuntimeError::Engine(_)))
/// }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The engine can't be set up.
    #[error(
        "the WebAssembly engine can't be set up: {0:#}; it reserves address space for its instances, which `ulimit -v` \
         may forbid"
    )]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The folder of compiled components can't be used.
    #[error("the folder of compiled plugins, {}, can't be used: {source}", folder.display())]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The thread that cuts execution into slices can't be started.
    #[error("the thread that bounds how long plugins run can't be started: {0}")]
    Ticker(#[source] io::Error),
}

/// Loads and runs the plugins of one bus.
///
/// Nothing in it is global: each bus has its own, and its pool, its ticker and its compiled code end with the last
/// plugin loaded by it.
#[derive(Clone)]
pub(crate) struct Runtime(pub(super) Arc<Shared>);

/// What a runtime's plugins share.
pub(super) struct Shared {
    pub engine: Engine,
    pub ticker: Ticker,
    pub clock: Arc<dyn Clock>,
    /// Room in the pool, counted in memories: who finds none waits.
    pub room: Arc<Semaphore>,
    linker: Linker<Host>,
    cache: Option<Cache>,
}

impl Runtime {
    /// Sets up a runtime.
    ///
    /// # Errors
    ///
    /// See [`RuntimeError`].
    pub(crate) fn new(options: RuntimeOptions) -> Result<Self, RuntimeError> {
        let engine = engine().map_err(|error| RuntimeError::Engine(error.into()))?;
        let linker = linker(&engine).map_err(|error| RuntimeError::Engine(error.into()))?;
        let cache = options.cache.as_deref().map(open_cache).transpose()?;
        let ticker = Ticker::start(&engine).map_err(RuntimeError::Ticker)?;
        let room = Arc::new(Semaphore::new(PLUGIN_INSTANCES_MAX as usize));
        Ok(Self(Arc::new(Shared { engine, ticker, clock: options.clock, room, linker, cache })))
    }

    /// Loads a component and checks all that can be checked before its first delivery. Compiling runs on a thread for
    /// blocking work.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub(crate) async fn load(
        &self,
        bytes: Arc<[u8]>,
        options: LoadOptions,
    ) -> Result<Arc<Plugin>, LoadError> {
        let (launch, hash) = self.launch(bytes, options).await?;
        Ok(Arc::new(Plugin::describe(launch, hash).await?))
    }

    /// Loads the component of an upcaster and checks all that can be checked before it lifts an event.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub(crate) async fn load_upcaster(
        &self,
        bytes: Arc<[u8]>,
        options: UpcasterOptions,
    ) -> Result<Arc<UpcasterPlugin>, LoadError> {
        let (launch, hash) = self.launch(bytes, options.into()).await?;
        Ok(Arc::new(UpcasterPlugin::describe(launch, hash).await?))
    }

    async fn launch<E: Find>(
        &self,
        bytes: Arc<[u8]>,
        options: LoadOptions,
    ) -> Result<(Launch<E>, String), LoadError> {
        let shared = Arc::clone(&self.0);
        let compiled = tokio::task::spawn_blocking(move || shared.compile(&bytes)).await;
        let (component, hash) = compiled.map_err(|ended| {
            if ended.is_panic() {
                LoadError::Compile("the compiler gave up on it".into())
            } else {
                LoadError::ShuttingDown
            }
        })??;
        let role = contract::check(&self.0.engine, &component, E::role(&options))?;
        let memories = component.resources_required().map_or(1, |required| required.num_memories.max(1));
        let linked = self.0.linker.instantiate_pre(&component);
        let linked = linked.and_then(|instance| Linked::new(instance, role));
        let component = linked.map_err(|error| LoadError::Contract(error.into()))?;
        Ok((Launch { shared: Arc::clone(&self.0), component, options, memories }, hash))
    }
}

impl Shared {
    /// The component and its hash, compiled or from the cache.
    fn compile(&self, bytes: &[u8]) -> Result<(Component, String), LoadError> {
        structure::check(bytes)?;
        let hash = component_hash(bytes);
        if let Some(component) = self.cache.as_ref().and_then(|cache| cache.get(&self.engine, &hash)) {
            return Ok((component, hash));
        }
        let component =
            Component::from_binary(&self.engine, bytes).map_err(|error| LoadError::Compile(error.into()))?;
        if let Some(cache) = &self.cache {
            cache.put(&self.engine, &hash, &component);
        }
        Ok((component, hash))
    }
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    Plugins::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)?;
    worker::add_to_linker(&mut linker)?;
    wasi::add_to_linker(&mut linker)?;
    Ok(linker)
}

fn open_cache(folder: &Path) -> Result<Cache, RuntimeError> {
    Cache::open(folder).map_err(|source| RuntimeError::Cache { folder: folder.to_owned(), source })
}
