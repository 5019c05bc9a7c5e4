//! What stands beside the bus: the limits that it is built on, and a peer.

mod bare;
mod file;
mod nats;
#[path = "../../../tests/system/nats_process.rs"]
mod nats_process;

pub use bare::Bare;
pub use file::{PlainFile, PlainFiles};
pub use nats::{Nats, Syncing};
