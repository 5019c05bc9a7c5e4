//! tidegate: an embedded, durable event bus.

mod bus;
mod clock;
pub mod config;
mod delivery;
mod effects;
mod event;
mod handler;
mod ids;
mod limits;
mod log;
mod plugin;
#[cfg(feature = "server")]
pub mod server;
#[doc(hidden)]
pub mod testing;

pub use bus::{
    Blocking, Bus, BusError, ConsumerError, ConsumerKind, ConsumerStatus, Drained, Options, PartitionStatus,
    PluginStatus, Reader, Record, ReloadOutcome, StateView, TopicStatus,
};
pub use clock::{Clock, Random, SystemClock, SystemRandom, Timestamp, TimestampError};
pub use delivery::{LaneState, LaneStatus};
pub use effects::{Context, EmitError, Outgoing, StateEntry, StateError, StateUnavailable};
pub use event::{
    Attribute, Data, DataError, Event, EventBuilder, EventError, EventLines, EventParts, JsonError, LineError,
};
pub use handler::{Delivery, Failure, FailureKind, Handler, ProgramVersion, handler_fn};
pub use log::{
    AdminError, Attempt, DeadLetter, LaneCounts, Medium, OpenError, Position, PublishError, Published,
    ReadError, StorageFault, Trimmed,
};
