//! Native Rust handlers as programs.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::clock::{BoxFuture, Clock};
use crate::handler::{
    Batch, Failure, FailureKind, Handler, Instance, LaneName, Lender, Program, ProgramVersion,
};

/// A handler that is part of the application.
pub(crate) struct Native<H> {
    handler: Arc<H>,
    version: ProgramVersion,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl<H: Handler> Native<H> {
    /// Past `deadline` a delivery has failed.
    pub(crate) fn new(handler: H, deadline: Duration, clock: Arc<dyn Clock>) -> Self {
        let version =
            ProgramVersion { name: handler.name(), version: handler.version(), hash: String::new() };
        Self { handler: Arc::new(handler), version, deadline, clock }
    }
}

impl<H: Handler> Program for Native<H> {
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn instantiate<'a>(&'a self, _lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Instance>, Failure>> {
        let instance = NativeInstance {
            handler: Arc::clone(&self.handler),
            deadline: self.deadline,
            clock: Arc::clone(&self.clock),
        };
        Box::pin(async move { Ok(Box::new(instance) as Box<dyn Instance>) })
    }
}

/// One value serves all lanes, so an instance is a reference to it.
struct NativeInstance<H> {
    handler: Arc<H>,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl<H: Handler> NativeInstance<H> {
    async fn handle(&self, batch: &mut dyn Batch) -> Result<(), Failure> {
        let (delivery, context) = batch.parts();
        let mut handling = pin!(self.handler.handle(delivery, context));
        // Most handlers don't wait for anything, and need no deadline.
        if let Poll::Ready(outcome) = poll_fn(|cx| Poll::Ready(handling.as_mut().poll(cx))).await {
            return outcome;
        }
        let end = self.clock.now().after(self.deadline);
        tokio::select! {
            biased;
            outcome = handling => outcome,
            () = self.clock.sleep_until(end) => {
                let message = format!("the handler took longer than its deadline of {:?}", self.deadline);
                Err(Failure::new(FailureKind::Timeout, "timeout", message))
            }
        }
    }
}

impl<H: Handler> Instance for NativeInstance<H> {
    fn deliver<'a>(&'a mut self, lender: &'a mut dyn Lender) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let batch = lender.batch();
            loop {
                self.handle(batch).await?;
                if !batch.proceed() {
                    return Ok(());
                }
            }
        })
    }
}
