//! Relays: handlers that hand each event on to another system.
//!
//! A relay is a native [`Handler`](crate::Handler) like any other. It keeps no state, so all it promises comes of the
//! lanes: each event at least once, in the order of its key, with retries and dead letters.

#[cfg(any(feature = "relay-http", feature = "relay-nats"))]
mod attributes;
#[cfg(any(feature = "relay-http", feature = "relay-nats"))]
mod causes;
mod error;
#[cfg(feature = "relay-http")]
mod http;
#[cfg(any(feature = "relay-http", feature = "relay-nats"))]
mod identity;
#[cfg(feature = "relay-nats")]
mod nats;
#[cfg(any(feature = "relay-http", feature = "relay-nats"))]
mod tls;

pub use error::RelayError;
#[cfg(feature = "relay-http")]
pub use http::HttpRelay;
#[cfg(feature = "relay-nats")]
pub use nats::NatsRelay;
