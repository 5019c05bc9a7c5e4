//! Upcasting: events of an older version of their type are lifted to a later one, so that consumers see one version.
//!
//! The log keeps events as they were published. An upcaster makes the data of the later version, and nothing else: identity,
//! key, time and extension attributes of an event stay.

mod lift;
mod lifted;
mod lifter;
mod lifts;
mod native;
#[cfg(test)]
mod tests;

pub use lift::{Lift, LiftError};
pub use lifted::Lifted;
pub(crate) use lifter::{CurrentLifts, Lifter};
pub(crate) use lifts::{LiftRun, Lifts, Upcaster, Work};
pub(crate) use native::NativeUpcaster;
