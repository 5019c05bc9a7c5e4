//! A loaded plugin, and how its instances start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use wasmtime::Store;
use wasmtime::component::ResourceTable;

use super::bindings::{Consumer, ConsumerPre};
use super::deadline::Deadline;
use super::description::Description;
use super::host::Host;
use super::instance::{PluginInstance, call};
use super::limiter::Limiter;
use super::line::LaneLog;
use super::load::{LoadError, LoadOptions};
use super::runtime::Shared;
use super::wasi::GuestClock;
use crate::clock::{BoxFuture, Timestamp};
use crate::handler::{Failure, Instance, LaneName, Program, ProgramVersion};
use crate::limits::{GUEST_CALL_BYTES_MAX, WASI_RESOURCES_MAX};

/// One version of a plugin, loaded and checked, with what one consumer grants it.
pub(crate) struct Plugin {
    launch: Launch,
    version: ProgramVersion,
    description: Description,
    /// Kept for the plugin's life: see [`LaneLog`].
    logs: Mutex<HashMap<u32, Arc<LaneLog>>>,
}

/// All that it takes to start an instance.
pub(super) struct Launch {
    pub shared: Arc<Shared>,
    pub component: ConsumerPre<Host>,
    pub options: LoadOptions,
    /// How many slots of the pool's memories an instance takes.
    pub memories: u32,
}

impl Plugin {
    /// Starts the component once and has it describe itself.
    pub(super) async fn describe(launch: Launch, hash: String) -> Result<Self, LoadError> {
        let lane = LaneName { consumer: Arc::clone(&launch.options.consumer), partition: 0 };
        let log = launch.log(lane);
        let mut instance = launch.start(log).await.map_err(LoadError::Describe)?;
        let described = instance.describe().await.map_err(LoadError::Describe)?;
        drop(instance);
        let description = Description::check(described, &launch.options)?;
        let version =
            ProgramVersion { name: description.name.clone(), version: description.version.clone(), hash };
        Ok(Self { launch, version, description, logs: Mutex::default() })
    }

    /// The version of its state's layout.
    pub(crate) fn state_version(&self) -> u32 {
        self.description.state_version
    }

    fn log(&self, lane: &LaneName) -> Arc<LaneLog> {
        let mut logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(logs.entry(lane.partition).or_insert_with(|| self.launch.log(lane.clone())))
    }
}

impl Program for Plugin {
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn instantiate<'a>(&'a self, lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Instance>, Failure>> {
        Box::pin(async move {
            let instance = self.launch.start(self.log(lane)).await?;
            Ok(Box::new(instance) as Box<dyn Instance>)
        })
    }
}

impl Launch {
    fn log(&self, lane: LaneName) -> Arc<LaneLog> {
        Arc::new(LaneLog::new(lane, self.options.grants.log, Arc::clone(&self.shared.clock)))
    }

    /// Starts an instance, once the pool has room for it. What its component runs when it starts is under the limits
    /// and the deadline of a delivery.
    async fn start(&self, log: Arc<LaneLog>) -> Result<PluginInstance, Failure> {
        let permit = Arc::clone(&self.shared.room).acquire_many_owned(self.memories).await;
        let permit = permit.map_err(|_| Failure::transient("shutdown", "the plugin runtime has ended"))?;
        let mut store = self.store(log);
        let consumer: Consumer =
            call(&mut store, Timestamp(0), self.options.limits.deadline, async |store| {
                self.component.instantiate_async(store).await
            })
            .await?;
        Ok(PluginInstance::new(store, consumer, self.options.limits.deadline, permit))
    }

    fn store(&self, log: Arc<LaneLog>) -> Store<Host> {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(WASI_RESOURCES_MAX);
        let pulse = self.shared.ticker.pulse().clone();
        let host = Host {
            context: None,
            consumer: Arc::clone(&self.options.consumer),
            settings: Arc::clone(&self.options.settings),
            log,
            deadline: Deadline::new(pulse),
            limiter: Limiter::new(self.options.limits.memory_bytes),
            clock: GuestClock::default(),
            unavailable: None,
            draws_at_start: 0,
            wasi: None,
            resources,
        };
        let mut store = Store::new(&self.shared.engine, host);
        store.limiter(|host| &mut host.limiter);
        store.set_hostcall_fuel(GUEST_CALL_BYTES_MAX);
        store.epoch_deadline_callback(|mut store| Ok(store.data_mut().deadline.end_slice()));
        store
    }
}
