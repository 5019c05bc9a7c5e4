//! The events of an aggregate, as the log has them.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::effects::StateUnavailable;
use crate::event::Event;

/// Reads streams.
pub(crate) trait Streams: Send + Sync {
    /// The number of the last durable event of a key, 0 where there is none.
    fn version(&self, stream: &str, key: &str) -> Result<u64, StateUnavailable>;

    /// The durable events of a key behind number `after`, some at a time, in their order; empty at the end. Those that
    /// retention has removed are left out.
    fn events(&self, stream: &str, key: &str, after: u64) -> Result<Vec<StreamEntry>, StateUnavailable>;
}

/// An event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamEntry {
    /// Its number among the events of its key, from 1.
    pub number: u64,
    /// When the log accepted it, and the event; or why it can't be read.
    pub event: Result<(Timestamp, Arc<Event>), String>,
}
