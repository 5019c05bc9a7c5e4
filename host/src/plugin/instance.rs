//! A running instance of a plugin that is called for each delivery.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use super::bindings::exports::tidegate::plugin::handler;
use super::failure::{failure, timeout};
use super::host::Host;
use super::imports::types;
use crate::clock::{BoxFuture, Timestamp};
use crate::effects::LaneContext;
use crate::handler::{Delivery, Failure, FailureKind, Instance};

/// An instance with a store of its own, for one lane.
pub(super) struct PluginInstance {
    store: Store<Host>,
    handler: handler::Guest,
    deadline: Duration,
    /// Whether a call has begun and not come back in order: the guest's memory may be in any state then.
    poisoned: bool,
    /// Its room in the pool. Last, so that the store is gone when others may take it.
    _room: OwnedSemaphorePermit,
}

impl PluginInstance {
    pub(super) fn new(
        store: Store<Host>,
        handler: handler::Guest,
        deadline: Duration,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { store, handler, deadline, poisoned: false, _room: room }
    }

    async fn handle(&mut self, delivery: &Delivery, context: &mut LaneContext) -> Result<(), Failure> {
        if self.poisoned {
            return Err(poisoned());
        }
        self.poisoned = true;
        let extensions = types::extensions(&delivery.event);
        let record = types::delivery(delivery, &extensions);
        let lent = Lent::new(&mut self.store, delivery, context);
        let outcome = call(lent.store, delivery.now, self.deadline, async |store| {
            self.handler.call_handle(store, record).await
        })
        .await;
        drop(lent);
        let outcome = outcome?;
        if let Some(unavailable) = &self.store.data().unavailable {
            return Err(Failure::transient("state-unavailable", unavailable.to_string()));
        }
        self.poisoned = false;
        outcome.map_err(Failure::from)
    }
}

impl Instance for PluginInstance {
    fn deliver<'a>(
        &'a mut self,
        delivery: &'a Delivery,
        context: &'a mut LaneContext,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.handle(delivery, context))
    }
}

/// The lane's context in the hands of the guest. It comes back however the call ends.
struct Lent<'a> {
    store: &'a mut Store<Host>,
    context: &'a mut LaneContext,
}

impl<'a> Lent<'a> {
    fn new(store: &'a mut Store<Host>, delivery: &Delivery, context: &'a mut LaneContext) -> Self {
        let host = store.data_mut();
        host.begin(context.lend());
        host.log.begin(delivery);
        Self { store, context }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let host = self.store.data_mut();
        host.log.end();
        if let Some(context) = host.context.take() {
            self.context.put_back(context);
        }
    }
}

/// The failure of a delivery to an instance that has failed before.
pub(super) fn poisoned() -> Failure {
    Failure::new(FailureKind::Trap, "instance-poisoned", "the instance failed before and can't be used again")
}

/// Makes a call into a guest under a deadline.
pub(super) async fn call<T>(
    store: &mut Store<Host>,
    now: Timestamp,
    time: Duration,
    call: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let host = store.data_mut();
    host.start_clocks(now, time);
    let clock = host.clock.clone();
    let pulse = host.deadline.pulse().clone();
    let _running = pulse.run();
    store.set_epoch_deadline(1);
    let ended = {
        let mut call = pin!(call(store));
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
