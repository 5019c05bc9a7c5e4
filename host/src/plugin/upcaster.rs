//! A plugin that lifts events.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use wasmtime::Store;

use super::bindings::upcaster::exports::tidegate::plugin::lifter;
use super::description::Description;
use super::exports::Lifter;
use super::host::Host;
use super::imports::types;
use super::line::LaneLog;
use super::load::{LoadError, LoadOptions, UpcasterOptions};
use super::program::{Launch, Started};
use crate::clock::BoxFuture;
use crate::config::Grants;
use crate::event::{Data, Event};
use crate::handler::{Failure, FailureKind, LaneName, ProgramVersion};
use crate::limits::UPCASTER_LIFTS_MAX;
use crate::upcast::{Lift, LiftError, LiftRun, Lifted, Upcaster};

/// One version of an upcaster's plugin, loaded and checked.
///
/// Each run has an instance of its own: nothing of what one lane lifts is there for the next. The runs take room from the pool,
/// where there is some, and one of them always has that which the upcaster keeps: a lane holds the room of its consumer's
/// instance meanwhile, and lanes that filled the pool would wait for each other.
pub(crate) struct UpcasterPlugin {
    launch: Launch<Lifter>,
    version: ProgramVersion,
    lifts: Vec<Lift>,
    log: Arc<LaneLog>,
    /// The turn to use the room that it keeps.
    turn: Semaphore,
    _room: OwnedSemaphorePermit,
}

impl From<UpcasterOptions> for LoadOptions {
    fn from(options: UpcasterOptions) -> Self {
        let grants = if options.log { Grants::nothing().log() } else { Grants::nothing() };
        Self {
            // A name that no consumer can have.
            consumer: format!("upcasters/{}", options.name).into(),
            grants,
            limits: options.limits,
            settings: options.settings,
            is_aggregate: false,
        }
    }
}

impl UpcasterPlugin {
    /// Starts the component once, and has it describe itself and name its lifts.
    pub(super) async fn describe(launch: Launch<Lifter>, hash: String) -> Result<Self, LoadError> {
        let lane = LaneName { consumer: Arc::clone(&launch.options.consumer), partition: 0 };
        let log = launch.log(lane);
        let described = async {
            let Started { mut store, instance, room } = launch.start(Arc::clone(&log)).await?;
            let described = launch.describe(&mut store, &instance).await?;
            let steps = launch.call(&mut store, async |store| {
                let lifter = launch.component.entry.load(&mut *store, &instance)?;
                lifter.call_steps(store).await
            });
            Ok((described, steps.await?.map_err(Failure::from)?, room))
        };
        let (described, steps, room) = described.await.map_err(LoadError::Describe)?;
        let Description { name, version, .. } = Description::check_pure(described)?;
        let count = steps.len();
        if count > UPCASTER_LIFTS_MAX {
            return Err(LiftError::TooMany { count, max: UPCASTER_LIFTS_MAX }.into());
        }
        let lifts: Result<Vec<_>, _> = steps.iter().map(|step| Lift::new(&step.from, &step.to)).collect();
        let (version, lifts) = (ProgramVersion { name, version, hash }, lifts?);
        Ok(Self { launch, version, lifts, log, turn: Semaphore::new(1), _room: room })
    }

    /// Room for an instance: in the pool, or else the own.
    async fn room(&self) -> Result<SemaphorePermit<'_>, Failure> {
        if let Ok(room) = self.launch.shared.room.try_acquire_many(self.launch.memories) {
            return Ok(room);
        }
        let turn = self.turn.acquire().await;
        turn.map_err(|_| Failure::transient("shutdown", "the plugin runtime has ended"))
    }

    async fn run(&self) -> Result<Run<'_>, Failure> {
        let room = self.room().await?;
        let (mut store, instance) = self.launch.start_within(Arc::clone(&self.log)).await?;
        let invalid =
            |error: wasmtime::Error| Failure::new(FailureKind::Trap, "invalid-call", error.to_string());
        let guest = self.launch.component.entry.load(&mut store, &instance).map_err(invalid)?;
        Ok(Run { launch: &self.launch, store, guest, _room: room })
    }
}

impl Upcaster for UpcasterPlugin {
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn lifts(&self) -> &[Lift] {
        &self.lifts
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn LiftRun + '_>, Failure>> {
        Box::pin(async move { Ok(Box::new(self.run().await?) as Box<dyn LiftRun + '_>) })
    }
}

/// An instance that lifts some events.
struct Run<'u> {
    launch: &'u Launch<Lifter>,
    store: Store<Host>,
    guest: lifter::Guest,
    /// Last, so that the store is gone when others may take it.
    _room: SemaphorePermit<'u>,
}

impl LiftRun for Run<'_> {
    fn lift<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Lifted, Failure>> {
        Box::pin(async move {
            self.store.data_mut().begin_pure();
            let lifted = self.launch.call(&mut self.store, async |store| {
                let extensions = types::extensions(event);
                self.guest.call_lift(store, types::event(event, &extensions)).await
            });
            Ok(lifted.await?.map_err(Failure::from)?.into())
        })
    }
}

impl From<lifter::Lifted> for Lifted {
    fn from(lifted: lifter::Lifted) -> Self {
        Self {
            datacontenttype: lifted.datacontenttype,
            dataschema: lifted.dataschema,
            data: lifted.data.map(Data::from),
        }
    }
}

impl From<lifter::Refusal> for Failure {
    fn from(refusal: lifter::Refusal) -> Self {
        Self::permanent(refusal.code, refusal.message)
    }
}
