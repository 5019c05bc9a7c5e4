//! The benchmarks.

mod bus;
mod list;
mod rates;
mod waits;

pub use list::BENCHES;
