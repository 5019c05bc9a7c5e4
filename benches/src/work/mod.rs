//! The benchmarks.

mod aggregates;
mod blobs;
mod bus;
mod consume;
mod flow;
mod grow;
mod hostile;
mod lifts;
mod list;
mod publish;
mod queries;
mod rates;
mod sagas;
mod schemas;
mod timers;
mod waits;

pub use list::BENCHES;
