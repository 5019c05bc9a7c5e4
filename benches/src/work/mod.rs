//! The benchmarks.

mod bus;
mod hostile;
mod list;
mod rates;
mod waits;

pub use list::BENCHES;
