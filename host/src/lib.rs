//! tidegate: an embedded, durable event bus.

mod clock;
pub mod config;
mod effects;
mod event;
mod handler;
mod ids;
mod limits;
mod log;

pub use clock::Timestamp;
pub use event::{
    Attribute, Data, DataError, Event, EventBuilder, EventError, EventLines, EventParts, JsonError, LineError,
};
