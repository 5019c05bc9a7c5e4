//! A loaded plugin, and how its instances start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;
use wasmtime::component::{self, ResourceTable};

use super::aggregate::ComponentModel;
use super::bindings::exports::tidegate::plugin::plugin;
use super::deadline::Deadline;
use super::description::Description;
use super::exports::{Deliveries, Entry, Linked};
use super::host::Host;
use super::instance::{PluginInstance, call};
use super::limiter::Limiter;
use super::line::LaneLog;
use super::load::{LoadError, LoadOptions};
use super::queries::{Answers, QueryInstance};
use super::runtime::Shared;
use super::wasi::GuestClock;
use super::worker::Worker;
use crate::aggregate::{Model, Models};
use crate::clock::{BoxFuture, Timestamp};
use crate::handler::{Failure, FailureKind, Instance, LaneName, Program, ProgramVersion};
use crate::limits::{GUEST_CALL_BYTES_MAX, WASI_RESOURCES_MAX};
use crate::question::{Answering, Respondent};

/// One version of a plugin, loaded and checked, with what one consumer grants it.
pub(crate) struct Plugin {
    launch: Launch<Entry>,
    version: ProgramVersion,
    description: Description,
    /// Kept for the plugin's life: see [`LaneLog`].
    logs: Mutex<HashMap<u32, Arc<LaneLog>>>,
    /// The log of those who answer questions.
    questions: Arc<LaneLog>,
}

/// All that it takes to start an instance.
pub(super) struct Launch<E> {
    pub shared: Arc<Shared>,
    pub component: Linked<E>,
    pub options: LoadOptions,
    /// How many slots of the pool's memories an instance takes.
    pub memories: u32,
}

/// An instance that has started.
pub(super) struct Started {
    pub store: Store<Host>,
    pub instance: component::Instance,
    pub room: OwnedSemaphorePermit,
}

impl Plugin {
    /// Starts the component once and has it describe itself.
    pub(super) async fn describe(launch: Launch<Entry>, hash: String) -> Result<Self, LoadError> {
        let lane = LaneName { consumer: Arc::clone(&launch.options.consumer), partition: 0 };
        let started = launch.start(launch.log(lane)).await.map_err(LoadError::Describe)?;
        let Started { mut store, instance, room } = started;
        if let Some(queries) = launch.component.entry.queries() {
            // Its types show here, rather than at the first question.
            queries.load(&mut store, &instance).map_err(|error| LoadError::Contract(error.into()))?;
            if !launch.options.grants.publish.is_empty() {
                return Err(LoadError::ProjectionPublishes { consumer: launch.options.consumer.to_string() });
            }
        }
        let described = launch.describe(&mut store, &instance).await.map_err(LoadError::Describe)?;
        drop((store, room));
        let description = Description::check(described, &launch.options)?;
        let version =
            ProgramVersion { name: description.name.clone(), version: description.version.clone(), hash };
        let LoadOptions { consumer, grants, .. } = &launch.options;
        let clock = Arc::clone(&launch.shared.clock);
        let questions = Arc::new(LaneLog::of_questions(Arc::clone(consumer), grants.log, clock));
        Ok(Self { launch, version, description, logs: Mutex::default(), questions })
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
        Box::pin(async move { self.launch.instantiate(self.log(lane)).await })
    }

    fn answering(&self) -> Option<&dyn Answering> {
        self.launch.component.entry.queries().map(|_| self as &dyn Answering)
    }
}

impl Answering for Plugin {
    /// An instance of its own for each question: it costs less than what it saves would be worth, since nothing that a
    /// question leaves in memory can show in the answer to another.
    fn respondent(&self, now: Timestamp) -> BoxFuture<'_, Result<Box<dyn Respondent>, Failure>> {
        Box::pin(async move {
            let Some(queries) = self.launch.component.entry.queries() else { return Err(not_called_so()) };
            let Started { mut store, instance, room } =
                self.launch.start(Arc::clone(&self.questions)).await?;
            let guest = queries.load(&mut store, &instance).map_err(|error| invalid(&error))?;
            let answers = Answers {
                consumer: Arc::clone(&self.launch.options.consumer),
                version: self.version.version.as_str().into(),
                reads_state: self.launch.options.grants.state,
                now,
            };
            Ok(Box::new(QueryInstance::new(store, guest, answers, room)) as Box<dyn Respondent>)
        })
    }
}

impl Models for Plugin {
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn state_version(&self) -> u32 {
        self.description.state_version
    }

    fn model<'a>(&'a self, lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Model>, Failure>> {
        Box::pin(async move { self.launch.model(self.log(lane)).await })
    }
}

/// An export that isn't what it was when the component was linked.
fn invalid(error: &wasmtime::Error) -> Failure {
    Failure::new(FailureKind::Trap, "invalid-call", error.to_string())
}

/// What a component is loaded for is checked before.
fn not_called_so() -> Failure {
    Failure::permanent("invalid-call", "the component has no such export")
}

impl<E> Launch<E> {
    pub(super) fn log(&self, lane: LaneName) -> Arc<LaneLog> {
        Arc::new(LaneLog::new(lane, self.options.grants.log, Arc::clone(&self.shared.clock)))
    }

    /// Starts an instance, once the pool has room for it. What its component runs when it starts is under the limits
    /// and the deadline of a delivery.
    pub(super) async fn start(&self, log: Arc<LaneLog>) -> Result<Started, Failure> {
        let room = self.room().await?;
        let (store, instance) = self.start_within(log).await?;
        Ok(Started { store, instance, room })
    }

    /// Waits for room in the pool for an instance.
    pub(super) async fn room(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let room = Arc::clone(&self.shared.room).acquire_many_owned(self.memories).await;
        room.map_err(|_| Failure::transient("shutdown", "the plugin runtime has ended"))
    }

    /// Starts an instance where the caller has room for it.
    pub(super) async fn start_within(
        &self,
        log: Arc<LaneLog>,
    ) -> Result<(Store<Host>, component::Instance), Failure> {
        let mut store = self.store(log);
        let instance =
            self.call(&mut store, async |store| self.component.instance.instantiate_async(store).await);
        let instance = instance.await?;
        Ok((store, instance))
    }

    /// Has an instance describe the plugin.
    pub(super) async fn describe(
        &self,
        store: &mut Store<Host>,
        instance: &component::Instance,
    ) -> Result<plugin::Description, Failure> {
        self.call(store, async |store| {
            let plugin = self.component.plugin.load(&mut *store, instance)?;
            plugin.call_describe(store).await
        })
        .await
    }

    /// Makes a call outside of a delivery.
    pub(super) async fn call<T>(
        &self,
        store: &mut Store<Host>,
        made: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
    ) -> Result<T, Failure> {
        store.data_mut().start_clocks(Timestamp(0));
        call(store, made).await
    }

    fn store(&self, log: Arc<LaneLog>) -> Store<Host> {
        let mut resources = ResourceTable::new();
        resources.set_max_capacity(WASI_RESOURCES_MAX);
        let pulse = self.shared.ticker.pulse();
        let host = Host {
            batch: None,
            asked: None,
            consumer: Arc::clone(&self.options.consumer),
            settings: Arc::clone(&self.options.settings),
            exchange: None,
            log,
            time: self.options.limits.deadline,
            deadline: Deadline::new(pulse),
            limiter: Limiter::new(self.options.limits.memory_bytes),
            clock: GuestClock::default(),
            unavailable: None,
            draws_at_start: 0,
            is_pure: false,
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

impl Launch<Entry> {
    /// An instance for deliveries.
    async fn instantiate(&self, log: Arc<LaneLog>) -> Result<Box<dyn Instance>, Failure> {
        let (Entry::Consumer(deliveries) | Entry::Projection(deliveries, _)) = &self.component.entry else {
            return Err(not_called_so());
        };
        let Started { mut store, instance, room } = self.start(log).await?;
        match deliveries {
            Deliveries::Handler(handler) => {
                let handler = handler.load(&mut store, &instance).map_err(|error| invalid(&error))?;
                Ok(Box::new(PluginInstance::new(store, handler, room)))
            }
            Deliveries::Worker(run) => {
                let run = instance.get_typed_func(&mut store, run).map_err(|error| invalid(&error))?;
                Ok(Box::new(Worker::new(store, run, room)))
            }
        }
    }

    /// An instance that decides on commands.
    async fn model(&self, log: Arc<LaneLog>) -> Result<Box<dyn Model>, Failure> {
        let Entry::Aggregate(aggregate) = &self.component.entry else { return Err(not_called_so()) };
        let Started { mut store, instance, room } = self.start(log).await?;
        let aggregate = aggregate.load(&mut store, &instance).map_err(|error| invalid(&error))?;
        Ok(Box::new(ComponentModel::new(store, aggregate, room)))
    }
}
