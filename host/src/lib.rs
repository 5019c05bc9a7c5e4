//! tidegate: an embedded, durable event bus.

mod clock;
pub mod config;
mod delivery;
mod effects;
mod event;
mod handler;
mod ids;
mod limits;
mod log;
#[doc(hidden)]
pub mod testing;

pub use event::{Attribute, Data, DataError, Event, EventBuilder, EventError, EventParts};
