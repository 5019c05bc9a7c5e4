//! Why a lane has to let go of what it has in memory.

use crate::log::{CommitError, ReadError};

/// What ends a lane's work between two durable states. Whatever was not committed never was.
#[derive(Debug)]
pub(super) enum Interruption {
    /// Its rows were changed by something else: it reads them back.
    Stale,
    /// Somebody else has appended to a stream that it wanted to append to.
    Conflict,
    /// The disk has no room for what it wants to publish.
    DiskFull { free: u64, min: u64 },
    /// The storage can't be read or written.
    Storage(String),
    /// The log is closed, or the consumer is forgotten: there is nothing to go on with.
    Ended,
}

impl Interruption {
    /// The lane itself panicked.
    pub(super) fn panicked(message: &str) -> Self {
        tracing::error!(panic = message, "a lane panicked; it starts anew from what is durable");
        Self::Storage(format!("a fault of tidegate itself, please report it: {message}"))
    }
}

impl From<ReadError> for Interruption {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed | ReadError::UnknownConsumer(_) => Self::Ended,
            other => Self::Storage(other.to_string()),
        }
    }
}

impl From<CommitError> for Interruption {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Stale => Self::Stale,
            CommitError::Conflict => Self::Conflict,
            CommitError::DiskFull { free, min } => Self::DiskFull { free, min },
            CommitError::Closed => Self::Ended,
            CommitError::Failed(_) | CommitError::Reopening => Self::Storage(error.to_string()),
        }
    }
}
