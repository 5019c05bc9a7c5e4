//! Delivery: lanes, held events, retries, dead letters and hot reload.
//!
//! `machine.rs` decides and does no I/O: order, holds, retries, dead letters. `merge.rs` puts a lane's topics into one
//! sequence, and `timers.rs` reads the timers that are due. `lifting.rs` keeps what was lifted to the latest version ahead of its
//! delivery. `lane.rs` is the task that does what they say, `desk.rs` what it works on between two commits, and
//! `consumer.rs` what others have of a running consumer.

mod consumer;
mod desk;
mod holds;
mod interruption;
mod lane;
mod lifting;
mod machine;
mod merge;
mod native;
mod pace;
mod panics;
mod retry;
mod status;
#[cfg(test)]
mod tests;
mod timers;

pub(crate) use consumer::{Changes, Consumer, LaneView, Lanes, Setup, Undone};
pub(crate) use native::Native;
pub(crate) use status::stored_status;
pub use status::{LaneState, LaneStatus};
