//! A running instance of a plugin that is called for each delivery.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use super::bindings::exports::tidegate::plugin::handler;
use super::failure::{failure, timeout};
use super::host::Host;
use super::imports::types;
use super::wasi::GuestClock;
use crate::clock::BoxFuture;
use crate::handler::{Delivery, Failure, FailureKind, Instance, Lender};

/// An instance with a store of its own, for one lane.
pub(super) struct PluginInstance {
    store: Store<Host>,
    handler: handler::Guest,
    /// Whether a call has begun and not come back in order: the guest's memory may be in any state then.
    poisoned: bool,
    /// Its room in the pool. Last, so that the store is gone when others may take it.
    _room: OwnedSemaphorePermit,
}

impl PluginInstance {
    pub(super) fn new(store: Store<Host>, handler: handler::Guest, room: OwnedSemaphorePermit) -> Self {
        Self { store, handler, poisoned: false, _room: room }
    }

    async fn handle(&mut self, lender: &mut dyn Lender) -> Result<(), Failure> {
        if self.poisoned {
            return Err(poisoned());
        }
        self.poisoned = true;
        let (clock, pulse) = (self.store.data().clock.clone(), self.store.data().deadline.pulse().clone());
        let _running = pulse.run();
        let loan = Loan::new(&mut self.store, lender);
        let outcome = loop {
            let delivery = loan.delivery();
            // Made where it is used: it is large, and each hand that it goes through copies it.
            let handled = call_running(loan.store, &clock, async |store| {
                let extensions = types::extensions(&delivery.event);
                self.handler.call_handle(store, types::delivery(&delivery, &extensions)).await
            });
            let outcome = handled.await?;
            let host = loan.store.data_mut();
            if let Some(unavailable) = &host.unavailable {
                return Err(Failure::transient("state-unavailable", unavailable.to_string()));
            }
            if outcome.is_err() || !host.proceed() {
                break outcome.map_err(Failure::from);
            }
        };
        drop(loan);
        self.poisoned = false;
        outcome
    }
}

impl Instance for PluginInstance {
    fn deliver<'a>(&'a mut self, lender: &'a mut dyn Lender) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.handle(lender))
    }
}

/// The lane's batch in the hands of the guest. It comes back however its deliveries end.
pub(super) struct Loan<'a> {
    pub store: &'a mut Store<Host>,
    lender: &'a mut dyn Lender,
}

impl<'a> Loan<'a> {
    pub(super) fn new(store: &'a mut Store<Host>, lender: &'a mut dyn Lender) -> Self {
        store.data_mut().begin(lender.lend());
        Self { store, lender }
    }

    /// The delivery under way: the guest is called with it while the batch is in its store.
    pub(super) fn delivery(&self) -> Delivery {
        match &self.store.data().batch {
            Some(batch) => batch.delivery().clone(),
            None => unreachable!("it is lent"),
        }
    }
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.store.data_mut().end() {
            self.lender.put_back(batch);
        }
    }
}

/// The failure of a delivery to an instance that has failed before.
pub(super) fn poisoned() -> Failure {
    Failure::new(FailureKind::Trap, "instance-poisoned", "the instance failed before and can't be used again")
}

/// Makes a call into a guest, under the deadline of the clocks that were started for it.
pub(super) async fn call<T>(
    store: &mut Store<Host>,
    made: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let host = store.data();
    let (clock, pulse) = (host.clock.clone(), host.deadline.pulse().clone());
    let _running = pulse.run();
    call_running(store, &clock, made).await
}

/// Makes a call into a guest while the epoch advances.
async fn call_running<T>(
    store: &mut Store<Host>,
    clock: &GuestClock,
    made: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    store.set_epoch_deadline(1);
    let ended = {
        let mut call = pin!(made(store));
        poll_fn(|cx| match call.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            // A guest that sleeps past its deadline is never woken.
            Poll::Pending if clock.is_overslept() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    match ended {
        Some(ended) => ended.map_err(|error| failure(&error, store.data())),
        None => Err(timeout()),
    }
}
