#![doc = include_str!("../README.md")]

mod counter;
mod decider;
mod fault;
mod hostile;
mod idle;
mod lifter;
mod model;
mod reader;
mod surroundings;
mod tally;
mod witness;

pub use counter::{Count, Counter, CounterSettings, Request};
pub use decider::{Decider, Deed, Evolved, Fact, Happened, Order, Sight};
pub use fault::Fault;
pub use hostile::{Act, Hostile, HostileSettings};
pub use idle::Idle;
pub use lifter::{Lifter, LifterSettings};
pub use model::{Counted, Model};
pub use reader::Reader;
pub use surroundings::Surroundings;
pub use tally::Tally;
pub use witness::Testimony;

// Of worlds other than the contract's.
#[cfg(target_arch = "wasm32")]
#[rustfmt::skip]
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, unsafe_code, unused_qualifications)]
pub mod bindings;

/// A core WebAssembly module without anything in it: valid WebAssembly, and not a component.
pub const NOT_A_COMPONENT: &[u8] = b"\0asm\x01\0\0\0";
