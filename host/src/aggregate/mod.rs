//! Aggregates: consumers of commands, each of which decides events of its own stream.
//!
//! `model.rs` is what decides, a plugin's component or a type of the application's; `keeper.rs` runs it in a lane: it
//! brings an aggregate to its present version (`fold.rs`) out of a `cache`, a snapshot (`rows.rs`) and the events
//! behind it (`stream.rs`), and leaves events, snapshot and outcome as effects of the command's delivery. Like all that
//! stands beside the lanes, it knows neither the log nor the plugin runtime.

mod cache;
mod fold;
mod keeper;
mod model;
mod native;
mod outcome;
mod program;
mod rows;
mod stream;

pub(crate) use fold::Until;
pub(crate) use model::{Decision, Model, Models};
pub(crate) use native::NativeModels;
pub use native::{Aggregate, Fact};
pub use outcome::{Outcome, REJECTED, Rejection};
pub(crate) use program::AggregateProgram;
pub(crate) use rows::{OutcomeRow, outcome_key, snapshot_key};
pub(crate) use stream::{StreamEntry, Streams, Unreadable};

/// What is stored as the state version of a consumer that is an aggregate: its snapshots name the version of their
/// layout themselves, and no other consumer may take them for its state.
pub(crate) const STATE_VERSION: u32 = u32::MAX;
