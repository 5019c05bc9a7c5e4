//! The runtime, tried with components that are written out here: see [`guest`].

mod aggregate;
mod batches;
mod bombs;
mod calls;
mod compiled;
mod contract;
mod guest;
mod lane;
mod log;
mod room;
mod upcaster;
mod wasi;
mod worker;
