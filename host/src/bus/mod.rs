//! The bus: what an application opens, publishes to, subscribes to and shuts down.

mod blocking;
mod components;
mod consumers;
mod dead_letters;
mod error;
mod handle;
mod options;
mod programs;
mod reader;
mod roster;
mod state;
mod status;

pub use blocking::Blocking;
pub use error::{BusError, ConsumerError};
pub use handle::{Bus, Drained};
pub use options::Options;
pub use reader::{Reader, Record};
pub use state::StateView;
pub use status::{ConsumerKind, ConsumerStatus, PartitionStatus, PluginStatus, ReloadOutcome, TopicStatus};
