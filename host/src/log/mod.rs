//! The log: topics, lanes, state and dead letters in redb. The one place that names redb.
//!
//! One committer owns the only write transaction, see `committer`; readers see what is durable, and nothing else. What
//! lies above knows [`Log`] and the rows of a lane, see `lane_rows`, and no word of redb's.

mod admin;
mod admission;
mod batch;
mod blob_files;
mod blobs;
#[cfg(test)]
mod blobs_tests;
mod claims;
mod commit_delay;
mod committer;
mod error;
mod generations;
#[cfg(test)]
mod generations_tests;
mod guard;
mod hash;
#[cfg(test)]
mod hidden_tests;
mod in_flight;
#[cfg(test)]
mod in_flight_tests;
mod journal;
#[cfg(test)]
mod journal_tests;
mod keys;
mod lane_commit;
mod lane_rows;
mod last_commit;
mod letters;
mod load;
mod medium;
mod memory_medium;
mod memtable;
#[cfg(test)]
mod memtable_tests;
mod moment;
mod new_events;
mod open;
mod pages;
pub(crate) mod probe;
mod publish;
mod read;
mod record;
mod redo;
mod registry;
mod retention;
mod rows;
mod schema;
mod schemas;
#[cfg(test)]
mod schemas_tests;
mod shared;
mod snapshot;
mod steps;
mod store;
mod streams;
#[cfg(test)]
mod tests;
mod timer_changes;
mod timer_names;
mod timers;
#[cfg(test)]
mod timers_tests;
mod topics;
mod transaction;
mod turns;
#[cfg(test)]
mod turns_tests;
mod txn;
mod visibility;
mod watcher;
mod window;
mod write_behind;

/// What the application's own tables are made of.
pub use redb;

pub(crate) use admission::block_on;
pub(crate) use claims::ListedBlob;
pub(crate) use committer::Closing;
pub use committer::Step;
pub(crate) use error::CommitError;
pub use error::{AdminError, BlobError, OpenError, PublishError, ReadError, StorageFault, TransactionError};
pub(crate) use generations::{Rebuilding, rebuilt_name};
pub(crate) use hash::key_hash;
pub use lane_rows::{Attempt, DeadLetter, LaneCounts};
pub(crate) use lane_rows::{CameTimer, Held, Lane, LaneCommit, Marked, Progress, REDRIVEN, Target, Wait};
pub(crate) use medium::FileMedium;
pub use medium::Medium;
pub use memory_medium::MemoryMedium;
pub(crate) use moment::{ConsumerMoment, LetterOf};
pub use publish::Published;
pub(crate) use read::{Entry, Numbered, Stored};
pub use registry::Position;
pub use retention::Trimmed;
pub(crate) use schema::ConsumerRow;
pub(crate) use shared::LogOptions;
pub(crate) use snapshot::LogSnapshot;
pub use steps::Steps;
pub(crate) use store::{Log, TopicInfo};
pub(crate) use timers::{DueTimer, DueTimers, TimerEvent};
pub(crate) use transaction::APPLICATION;
pub use transaction::Transaction;
pub(crate) use watcher::Watcher;
