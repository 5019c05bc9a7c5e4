//! An upcaster in Rust.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Lift, LiftRun, Lifted, Upcaster};
use crate::clock::BoxFuture;
use crate::event::Event;
use crate::handler::{Failure, FailureKind, ProgramVersion, panic_message};

/// A function that is part of the application.
pub(crate) struct NativeUpcaster<F> {
    lifts: [Lift; 1],
    version: ProgramVersion,
    function: F,
}

impl<F> NativeUpcaster<F> {
    pub(crate) fn new(lift: Lift, function: F) -> Self {
        let version = ProgramVersion { name: "native".to_owned(), ..ProgramVersion::default() };
        Self { lifts: [lift], version, function }
    }
}

impl<F> Upcaster for NativeUpcaster<F>
where
    F: Fn(&Event) -> Result<Lifted, Failure> + Send + Sync + 'static,
{
    fn version(&self) -> &ProgramVersion {
        &self.version
    }

    fn lifts(&self) -> &[Lift] {
        &self.lifts
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn LiftRun + '_>, Failure>> {
        Box::pin(async move { Ok(Box::new(Calls(&self.function)) as Box<dyn LiftRun + '_>) })
    }
}

struct Calls<'f, F>(&'f F);

impl<F> LiftRun for Calls<'_, F>
where
    F: Fn(&Event) -> Result<Lifted, Failure> + Send + Sync,
{
    fn lift<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Lifted, Failure>> {
        // A function that panics has failed, like a plugin that traps.
        let lifted = catch_unwind(AssertUnwindSafe(|| (self.0)(event)))
            .unwrap_or_else(|panic| Err(Failure::new(FailureKind::Trap, "panic", panic_message(&*panic))));
        Box::pin(async move { lifted })
    }
}
