//! A running instance of a plugin that fetches its deliveries.
//!
//! The guest is entered once and runs on a stack of its own. Where it asks for the next delivery, it hands the outcome of the
//! one before to the lane and stands still until the lane has another for it, so that a lane sees no difference.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, TypedFunc};
use wasmtime::{Store, StoreContextMut};

use super::bindings::tidegate::plugin::types;
use super::contract;
use super::failure::{failure, timeout};
use super::host::Host;
use super::instance::poisoned;
use super::line::LaneLog;
use super::record;
use super::ticker::Pulse;
use super::wasi::GuestClock;
use crate::clock::{BoxFuture, Timestamp};
use crate::effects::{Context, LaneContext};
use crate::handler::{Delivery, Failure, FailureKind, Instance};

/// An instance with a store of its own, for one lane.
pub(super) struct Worker {
    /// The call that the guest is in; none once it has ended, or was left in a delivery.
    guest: Option<BoxFuture<'static, Ended>>,
    exchange: Arc<Exchange>,
    deadline: Duration,
    log: Arc<LaneLog>,
    clock: GuestClock,
    pulse: Pulse,
    /// Its room in the pool. Last, so that the store is gone when others may take it.
    _room: OwnedSemaphorePermit,
}

/// What is left of a call that has ended.
struct Ended {
    store: Store<Host>,
    outcome: wasmtime::Result<()>,
}

/// What passes between a lane and its guest.
#[derive(Default)]
pub(super) struct Exchange(Mutex<Passing>);

#[derive(Default)]
enum Passing {
    /// Nothing: the guest is at its delivery, or the lane at something else.
    #[default]
    Nothing,
    /// A delivery that the guest hasn't fetched yet.
    Job(Job),
    /// How it has ended, with the lane's context.
    Done(Box<Context>, Result<(), Failure>),
    /// The lane's context, of a guest that was cut off in its delivery.
    CutOff(Box<Context>),
}

/// A delivery for a guest.
struct Job {
    record: Vec<u8>,
    now: Timestamp,
    deadline: Duration,
    context: Box<Context>,
}

impl Worker {
    /// An instance whose deliveries may each take up to `deadline`.
    pub(super) fn new(
        mut store: Store<Host>,
        run: TypedFunc<(), ()>,
        deadline: Duration,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let exchange = Arc::new(Exchange::default());
        let host = store.data_mut();
        host.exchange = Some(Arc::clone(&exchange));
        let (log, clock, pulse) = (Arc::clone(&host.log), host.clock.clone(), host.deadline.pulse().clone());
        // What it does before it asks for a delivery may take as long as one.
        host.start_clocks(Timestamp(0), deadline);
        store.set_epoch_deadline(1);
        let guest = Box::pin(async move {
            let outcome = run.call_async(&mut store, ()).await;
            Ended { store, outcome }
        });
        Self { guest: Some(guest), exchange, deadline, log, clock, pulse, _room: room }
    }

    async fn work(&mut self, delivery: &Delivery, context: &mut LaneContext) -> Result<(), Failure> {
        // However this ends, the guest gives the context back before `lent` takes it from there: it is dropped first.
        let mut lent = Lent { exchange: &self.exchange, log: &self.log, context };
        let mut guest = self.guest.take().ok_or_else(poisoned)?;
        lent.put(record::encode(delivery), delivery.now, self.deadline);
        self.log.begin(delivery);
        let running = self.pulse.run();
        let outcome = poll_fn(|cx| match guest.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended.failure())),
            Poll::Pending => match lent.done() {
                Some(outcome) => Poll::Ready(Ok(outcome)),
                // A guest that sleeps past its deadline is never woken.
                None if self.clock.is_overslept() => Poll::Ready(Err(timeout())),
                None => Poll::Pending,
            },
        })
        .await;
        drop(running);
        match outcome {
            Ok(outcome) => {
                self.guest = Some(guest);
                outcome
            }
            Err(failure) => {
                drop(guest);
                Err(failure)
            }
        }
    }
}

impl Instance for Worker {
    fn deliver<'a>(
        &'a mut self,
        delivery: &'a Delivery,
        context: &'a mut LaneContext,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.work(delivery, context))
    }
}

impl Ended {
    fn failure(self) -> Failure {
        if let Some(unavailable) = &self.store.data().unavailable {
            return Failure::transient("state-unavailable", unavailable.to_string());
        }
        match self.outcome {
            Err(error) => failure(&error, self.store.data()),
            Ok(()) => Failure::new(
                FailureKind::Trap,
                "returned",
                "the plugin has returned from `run`, which goes on for as long as the instance lives",
            ),
        }
    }
}

impl Exchange {
    fn passing(&self) -> MutexGuard<'_, Passing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back the lane's context, in the middle of a delivery.
    pub(super) fn cut_off(&self, context: Box<Context>) {
        *self.passing() = Passing::CutOff(context);
    }
}

/// The lane's context in the hands of the guest. It comes back however the delivery ends.
struct Lent<'a> {
    exchange: &'a Exchange,
    log: &'a LaneLog,
    context: &'a mut LaneContext,
}

impl Lent<'_> {
    /// Hands a delivery over.
    fn put(&mut self, record: Vec<u8>, now: Timestamp, deadline: Duration) {
        *self.exchange.passing() = Passing::Job(Job { record, now, deadline, context: self.context.lend() });
    }

    /// How the delivery has ended, once it has.
    fn done(&mut self) -> Option<Result<(), Failure>> {
        let mut passing = self.exchange.passing();
        match mem::take(&mut *passing) {
            Passing::Done(context, outcome) => {
                self.context.put_back(context);
                Some(outcome)
            }
            other => {
                *passing = other;
                None
            }
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        self.log.end();
        if !self.context.is_lent() {
            return;
        }
        match mem::take(&mut *self.exchange.passing()) {
            Passing::Job(Job { context, .. }) | Passing::Done(context, _) | Passing::CutOff(context) => {
                self.context.put_back(context);
            }
            Passing::Nothing => {}
        }
    }
}

/// Links the interface `deliveries`.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    let mut deliveries = linker.instance(&contract::interface("deliveries"))?;
    deliveries.func_wrap_async("next", |store, (outcome,): (Result<(), types::Failure>,)| {
        Box::new(next(store, outcome))
    })
}

/// Tells the lane how the delivery before has ended, and waits for another.
async fn next(
    mut store: StoreContextMut<'_, Host>,
    outcome: Result<(), types::Failure>,
) -> wasmtime::Result<(Vec<u8>,)> {
    let host = store.data_mut();
    let Some(exchange) = host.exchange.clone() else {
        return Err(wasmtime::format_err!("a plugin asks for deliveries in `run` alone"));
    };
    let unavailable = host.unavailable.take();
    let mut done = host.context.take().map(|context| match unavailable {
        Some(error) => (context, Err(Failure::transient("state-unavailable", error.to_string()))),
        None => (context, outcome.map_err(Failure::from)),
    });
    // Nobody has to be woken: whoever puts a job there works on the guest next.
    let Job { record, now, deadline, context } = poll_fn(|_| {
        let mut passing = exchange.passing();
        if let Some((context, outcome)) = done.take() {
            *passing = Passing::Done(context, outcome);
            return Poll::Pending;
        }
        match mem::take(&mut *passing) {
            Passing::Job(job) => Poll::Ready(job),
            other => {
                *passing = other;
                Poll::Pending
            }
        }
    })
    .await;
    let host = store.data_mut();
    host.begin(context);
    host.start_clocks(now, deadline);
    store.set_epoch_deadline(1);
    Ok((record,))
}
