//! tidegate: an embedded, durable event bus.
//!
//! Events go into a partitioned log in one file. Consumers are sandboxed WebAssembly components or Rust handlers, and
//! each gets order for each key, retries, a dead-letter queue and exactly-once effects.
//!
//! # Where to begin
//!
//! - [`Bus`] opens a data directory; [`Bus::blocking`] is the same for programs without async. Its page has an example.
//! - [`Event`] is a `CloudEvents` 1.0 event, built, checked, read from JSON and written to it.
//! - [`Bus::publish`] and [`Bus::publish_all`] return when the events are on the disk; [`Bus::read`] reads them back.
//! - [`Bus::transaction`] makes the application's own tables and events durable together, and [`Bus::snapshot`] reads both
//!   at one moment. [`Bus::publish_expecting`] publishes on condition that nobody was faster.
//! - [`Bus::subscribe`] runs a consumer by a [`Handler`], [`Bus::subscribe_plugin`] by a component. What a delivery
//!   changes goes through its [`Context`], and commits with its progress or not at all.
//! - [`Bus::query`] asks a projection, which is a plugin that answers questions from its state, and [`Bus::rebuild`] makes that
//!   state anew beside the one that answers.
//! - [`schema`] has the schemas of event types: [`Bus::register_schema`] registers one, and a topic may require them.
//! - [`upcast`] lifts events of old versions to the latest: [`Bus::add_upcaster`] does it by a function,
//!   [`Bus::add_upcaster_plugin`] by a component. Consumers see one version.
//! - [`config`] has the settings of the bus, of topics, consumers and plugins, each with its bounds and default.
//! - Errors are an enum for each kind of call: [`BusError`], [`PublishError`], [`TransactionError`], [`ReadError`],
//!   [`AdminError`], [`ConsumerError`], [`UpcasterError`]. Each says what is durable when it comes.
//!
//! The bus runs on threads of its own and works with any async runtime, or none. Nothing in it is global: several buses
//! live in one process, each on its own data directory.
//!
//! # Features
//!
//! - `cli` (default): the `tidegate` command. It brings `server` and `schemas`.
//! - `outbox-sqlite`, `outbox-postgres`, and `outboxes` for both: events from an application's own database, see `outbox`.
//! - `server`: the control socket for other processes, the configuration file, and following it while the bus runs.
//!
//! - `relay-http`: `HttpRelay`, a handler that posts each event to an HTTP endpoint.
//! - `relay-nats`: `NatsRelay`, a handler that publishes each event into NATS `JetStream`.
//! - `relays`: both relays.
//! - `schemas-json`, `schemas-protobuf`, and `schemas` for both: events are held against the schemas of their types. Without the
//!   one of a schema's language, topics that require schemas accept no events of that type.
//!
//! Without any, the library is all there is: the bus, native handlers and plugins.
//!
//! # More
//!
//! The repository has the guides: `ARCHITECTURE.md`, and in `docs/` the storage format, transactions, delivery, plugins,
//! relays and operations.

mod aggregate;
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
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
pub mod outbox;
mod plugin;
mod question;
mod relay;
pub mod schema;
#[cfg(feature = "server")]
pub mod server;
mod stepper;
#[doc(hidden)]
pub mod testing;
mod timer;
pub mod upcast;

pub use aggregate::{Aggregate, Fact, Outcome, REJECTED, Rejection};
pub use bus::{
    AggregateError, AggregateProblem, AggregateState, AggregateStatus, At, BlobStatus, BlobUsage, Blocking,
    Bus, BusError, ConsumerError, ConsumerKind, ConsumerStatus, DoctorOptions, Drained, EventPlace,
    ExecuteError, Finding, KeyReader, LanePosition, ModelStatus, Options, PartitionStatus, PluginStatus,
    ProjectionStatus, Query, QueryAnswer, QueryError, Reader, Rebuild, RebuildOutcome, Record, ReloadOutcome,
    Saga, SagaError, SagaEvent, SagaQuery, SagaState, SagaStatus, SagaStep, Severity, Snapshot,
    SnapshotReader, StateView, StorageEnd, TopicStatus, Trace, TraceBy, TraceLink, TraceNode, TraceOptions,
    TraceSummary, Traced, Unfinished, UpcasterError, UpcasterStatus,
};
pub use clock::{Clock, Random, SystemClock, SystemRandom, Timestamp, TimestampError};
pub use delivery::{LaneState, LaneStatus};
pub use effects::{Context, EmitError, Outgoing, StateEntry, StateError, StateUnavailable};
pub use event::{
    Attribute, Data, DataError, Event, EventBuilder, EventError, EventLines, EventParts, JsonError, LineError,
};
pub use handler::{Delivery, Failure, FailureKind, Handler, ProgramVersion, handler_fn};
pub use log::{
    AdminError, Attempt, BlobError, DeadLetter, LaneCounts, Medium, OpenError, Position, PublishError,
    Published, ReadError, StorageFault, Transaction, TransactionError, Trimmed, redb,
};
#[cfg(feature = "relay-http")]
pub use relay::HttpRelay;
#[cfg(feature = "relay-nats")]
pub use relay::NatsRelay;
pub use relay::RelayError;
pub use timer::{TIMER_NAME, TIMER_TOPIC, TIMER_TYPE, TimerError, TimerStatus};

pub use plugin::{LoadError, RuntimeError};

/// The examples of the README, run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
