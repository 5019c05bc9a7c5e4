//! A relay to an HTTP endpoint.

mod answer;
mod client;
mod gate;
mod handler;
mod message;
mod retry_after;

pub use handler::HttpRelay;
