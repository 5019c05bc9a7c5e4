//! tidegate: an embedded, durable event bus.
#![deny(missing_docs)]

mod clock;
mod config;
mod effects;
mod event;
mod handler;
mod ids;
mod limits;
mod plugin;
