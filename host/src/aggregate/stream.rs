//! The events of an aggregate, as the log has them.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::effects::StateUnavailable;
use crate::event::Event;

/// Reads streams.
pub(crate) trait Streams: Send + Sync {
    /// The number of the last durable event of a key, 0 where there is none.
    fn version(&self, stream: &str, key: &str) -> Result<u64, StateUnavailable>;

    /// The durable events of a key behind number `after`, some at a time, in their order; empty at the end. Of those that
    /// retention has removed one is there at the most, where nothing comes behind them.
    fn events(&self, stream: &str, key: &str, after: u64) -> Result<Vec<StreamEntry>, StateUnavailable>;
}

/// An event of a stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamEntry {
    /// Its number among the events of its key, from 1.
    pub number: u64,
    /// When the log accepted it, and the event.
    pub event: Result<(Timestamp, Arc<Event>), Unreadable>,
}

/// Why an event can't be read.
#[derive(Clone, Debug)]
pub(crate) enum Unreadable {
    /// Retention has removed it, and those before it.
    Removed,
    /// It can't be read now.
    Unavailable {
        /// When the log accepted it.
        appended: Timestamp,
        /// Why.
        reason: String,
    },
    /// It is damaged.
    Damaged {
        /// When the log accepted it, where that is known.
        appended: Option<Timestamp>,
        /// In which way.
        reason: String,
    },
}
