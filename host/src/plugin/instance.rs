//! A running instance of a plugin.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::Store;

use super::bindings::Consumer;
use super::bindings::exports::tidegate::plugin::plugin::Description;
use super::failure::{failure, timeout};
use super::host::Host;
use super::imports::types;
use crate::clock::{BoxFuture, Timestamp};
use crate::effects::Context;
use crate::handler::{Delivery, Failure, FailureKind, Instance};

/// An instance with a store of its own, for one lane.
pub(super) struct PluginInstance {
    store: Store<Host>,
    consumer: Consumer,
    deadline: Duration,
    /// Whether a call has begun and not come back in order: the guest's memory may be in any state then.
    poisoned: bool,
    /// Its room in the pool. Last, so that the store is gone when others may take it.
    _room: OwnedSemaphorePermit,
}

impl PluginInstance {
    pub(super) fn new(
        store: Store<Host>,
        consumer: Consumer,
        deadline: Duration,
        room: OwnedSemaphorePermit,
    ) -> Self {
        Self { store, consumer, deadline, poisoned: false, _room: room }
    }

    /// Asks the plugin what it is.
    pub(super) async fn describe(&mut self) -> Result<Description, Failure> {
        let plugin = self.consumer.tidegate_plugin_plugin();
        call(&mut self.store, Timestamp(0), self.deadline, async |store| plugin.call_describe(store).await)
            .await
    }

    async fn handle(&mut self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        if self.poisoned {
            return Err(Failure::new(
                FailureKind::Trap,
                "instance-poisoned",
                "the instance failed before and can't be used again",
            ));
        }
        self.poisoned = true;
        let extensions = types::extensions(&delivery.event);
        let record = types::delivery(delivery, &extensions);
        let lent = Lent::new(&mut self.store, delivery, context);
        let handler = self.consumer.tidegate_plugin_handler();
        let outcome = call(lent.store, delivery.now, self.deadline, async |store| {
            handler.call_handle(store, record).await
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
        context: &'a mut Context,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.handle(delivery, context))
    }
}

/// The lane's context in the hands of the guest. It comes back however the call ends.
struct Lent<'a> {
    store: &'a mut Store<Host>,
    context: &'a mut Context,
}

impl<'a> Lent<'a> {
    fn new(store: &'a mut Store<Host>, delivery: &Delivery, context: &'a mut Context) -> Self {
        store.data_mut().begin(delivery, context.lend());
        Self { store, context }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(context) = self.store.data_mut().end() {
            *self.context = context;
        }
    }
}

/// Makes a call into a guest under a deadline.
pub(super) async fn call<T>(
    store: &mut Store<Host>,
    now: Timestamp,
    time: Duration,
    call: impl AsyncFnOnce(&mut Store<Host>) -> wasmtime::Result<T>,
) -> Result<T, Failure> {
    let host = store.data_mut();
    host.deadline.set(time);
    host.clock.set(now, time);
    let clock = host.clock.clone();
    let _running = host.deadline.run();
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
