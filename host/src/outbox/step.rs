//! The steps of a relay, for tests that end it between two of them.

use std::fmt;
use std::sync::Arc;

/// A step that a relay has just done with a batch.
///
/// ```
/// # #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
/// # {
/// use tidegate::outbox::OutboxStep;
///
/// let ends_before_the_rows_are_marked = |step| step == OutboxStep::Committed;
/// assert!(!ends_before_the_rows_are_marked(OutboxStep::Read));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutboxStep {
    /// The bus has noted an outbox that is new to it.
    Introduced,
    /// Rows were read.
    Read,
    /// The table has noted the batch.
    Claimed,
    /// The bus has committed the batch.
    Committed,
    /// The rows were marked.
    Settled,
}

/// Asked after each step whether the relay ends there, as in a crash: nothing is cleared up.
#[derive(Clone)]
pub(crate) struct Crash(pub Arc<dyn Fn(OutboxStep) -> bool + Send + Sync>);

impl fmt::Debug for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Crash(..)")
    }
}
