//! A running instance of a plugin that fetches its deliveries.
//!
//! The guest is entered once and runs on a stack of its own. Where it asks for the next delivery, the batch that it was
//! lent goes on to it right there. Only where the batch ends, or the delivery has failed, does the guest hand it back and
//! stand still until the lane has another: to leave its stack and come back takes a third as long as all of a delivery does.

use std::future::poll_fn;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{Linker, TypedFunc};
use wasmtime::{Store, StoreContextMut};

use super::bindings::tidegate::plugin::types;
use super::contract;
use super::failure::{failure, timeout};
use super::host::Host;
use super::instance::poisoned;
use super::record;
use super::ticker::Pulse;
use super::wasi::GuestClock;
use crate::clock::{BoxFuture, Timestamp};
use crate::handler::{Batch, Failure, FailureKind, Instance, Lender};

/// An instance with a store of its own, for one lane.
pub(super) struct Worker {
    /// The call that the guest is in; none once it has ended, or was left in a delivery.
    guest: Option<BoxFuture<'static, Ended>>,
    exchange: Arc<Exchange>,
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

/// A batch, when the guest has done what it can do of it, or failed.
type Done = (Box<dyn Batch>, Result<(), Failure>);

#[derive(Default)]
enum Passing {
    /// Nothing: the guest is at its deliveries, or the lane at something else.
    #[default]
    Nothing,
    /// The lane's batch, with a delivery under way that the guest hasn't fetched yet.
    Begun(Box<dyn Batch>),
    /// The batch, for the lane to go on with.
    Done(Done),
    /// The batch, of a guest that was cut off in its delivery.
    CutOff(Box<dyn Batch>),
}

impl Worker {
    /// An instance that runs this.
    pub(super) fn new(mut store: Store<Host>, run: TypedFunc<(), ()>, room: OwnedSemaphorePermit) -> Self {
        let exchange = Arc::new(Exchange::default());
        let host = store.data_mut();
        host.exchange = Some(Arc::clone(&exchange));
        let (clock, pulse) = (host.clock.clone(), host.deadline.pulse().clone());
        // What it does before it asks for a delivery may take as long as one.
        host.start_clocks(Timestamp(0));
        store.set_epoch_deadline(1);
        let guest = Box::pin(async move {
            let outcome = run.call_async(&mut store, ()).await;
            Ended { store, outcome }
        });
        Self { guest: Some(guest), exchange, clock, pulse, _room: room }
    }

    async fn work(&mut self, lender: &mut dyn Lender) -> Result<(), Failure> {
        // However this ends, the guest gives the batch back before `loan` takes it from there: it is dropped first.
        let mut loan = Loan { exchange: &self.exchange, lender };
        let mut guest = self.guest.take().ok_or_else(poisoned)?;
        loan.put();
        let running = self.pulse.run();
        let outcome = poll_fn(|cx| match guest.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Err(ended.failure())),
            Poll::Pending => match loan.done() {
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
    fn deliver<'a>(&'a mut self, lender: &'a mut dyn Lender) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.work(lender))
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

    /// Hands over what the guest has done, and takes what it is to do next.
    fn turn(&self, done: &mut Option<Done>) -> Poll<Box<dyn Batch>> {
        let mut passing = self.passing();
        if let Some(done) = done.take() {
            *passing = Passing::Done(done);
            return Poll::Pending;
        }
        match mem::take(&mut *passing) {
            Passing::Begun(batch) => Poll::Ready(batch),
            other => {
                *passing = other;
                Poll::Pending
            }
        }
    }

    /// Gives back the lane's batch, in the middle of a delivery.
    pub(super) fn cut_off(&self, batch: Box<dyn Batch>) {
        *self.passing() = Passing::CutOff(batch);
    }
}

/// The lane's batch in the hands of the guest. It comes back however its deliveries end.
struct Loan<'a> {
    exchange: &'a Exchange,
    lender: &'a mut dyn Lender,
}

impl Loan<'_> {
    /// Hands the batch over.
    fn put(&mut self) {
        *self.exchange.passing() = Passing::Begun(self.lender.lend());
    }

    /// How its deliveries have ended, once they have.
    fn done(&mut self) -> Option<Result<(), Failure>> {
        let mut passing = self.exchange.passing();
        match mem::take(&mut *passing) {
            Passing::Done((batch, outcome)) => {
                self.lender.put_back(batch);
                Some(outcome)
            }
            other => {
                *passing = other;
                None
            }
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if !self.lender.is_lent() {
            return;
        }
        match mem::take(&mut *self.exchange.passing()) {
            Passing::Begun(batch) | Passing::Done((batch, _)) | Passing::CutOff(batch) => {
                self.lender.put_back(batch);
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

/// Goes on to the delivery that follows the one before, if that has succeeded. Otherwise it tells the lane how it has
/// ended, and waits for another.
async fn next(
    mut store: StoreContextMut<'_, Host>,
    outcome: Result<(), types::Failure>,
) -> wasmtime::Result<(Vec<u8>,)> {
    let host = store.data_mut();
    if host.exchange.is_none() {
        return Err(wasmtime::format_err!("a plugin asks for deliveries in `run` alone"));
    }
    let outcome = match host.unavailable.take() {
        Some(error) => Err(Failure::transient("state-unavailable", error.to_string())),
        None => outcome.map_err(Failure::from),
    };
    if outcome.is_err() || !host.proceed() {
        let Some(exchange) = host.exchange.clone() else { unreachable!("it is there, see above") };
        let mut done = host.end().map(|batch| (batch, outcome));
        // Nobody has to be woken: whoever puts a batch there works on the guest next.
        let batch = poll_fn(|_| exchange.turn(&mut done)).await;
        store.data_mut().begin(batch);
    }
    store.set_epoch_deadline(1);
    let record = store.data().batch.as_ref().map(|batch| record::encode(batch.delivery()));
    Ok((record.unwrap_or_default(),))
}
