//! Delivery: lanes, held events, retries, dead letters and hot reload.
//!
//! `machine.rs` decides and does no I/O; `lane.rs` does what it says.

mod holds;
mod machine;
mod merge;
mod retry;
