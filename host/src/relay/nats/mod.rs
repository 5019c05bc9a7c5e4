//! A relay to NATS `JetStream`.

mod ack;
mod handler;
mod link;
mod message;
mod subject;

pub use handler::NatsRelay;
