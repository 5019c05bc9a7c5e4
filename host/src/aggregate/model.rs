//! What decides.

use std::sync::Arc;

use super::{Fact, Rejection};
use crate::clock::BoxFuture;
use crate::event::Event;
use crate::handler::{Failure, LaneName, Lender, ProgramVersion};

/// What is decided on a command.
pub(crate) enum Decision {
    /// These come of it.
    Accepted(Vec<Fact>),
    /// It is turned down.
    Rejected(Rejection),
}

/// One version of what decides.
pub(crate) trait Models: Send + Sync + 'static {
    /// The version, as dead letters and the list of plugins show it.
    fn version(&self) -> &ProgramVersion;

    /// The version of its state's layout.
    fn state_version(&self) -> u32;

    /// A new instance.
    fn model<'a>(&'a self, lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Model>, Failure>>;
}

/// An instance of what decides. After a failure it is thrown away.
pub(crate) trait Model: Send {
    /// Decides on the command whose delivery is under way. `state` is `None` before the first event. However it ends,
    /// the batch is put back.
    fn decide<'a>(
        &'a mut self,
        lender: &'a mut dyn Lender,
        state: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Decision, Failure>>;

    /// The state after these events: a function of its arguments alone.
    fn evolve<'a>(
        &'a mut self,
        state: Option<&'a [u8]>,
        events: &'a [Arc<Event>],
    ) -> BoxFuture<'a, Result<Vec<u8>, Failure>>;
}
