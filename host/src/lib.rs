//! tidegate: an embedded, durable event bus.

mod clock;
pub mod config;
mod effects;
mod event;
mod handler;
mod ids;
mod limits;
mod plugin;
