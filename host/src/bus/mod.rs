//! The bus: what an application opens, publishes to, subscribes to and shuts down.

mod aggregates;
mod blobs;
mod blocking;
mod components;
mod consumers;
mod dead_letters;
mod doctor;
mod drained;
mod ending;
mod error;
mod execute;
mod handle;
mod options;
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
mod outboxes;
mod programs;
mod projections;
mod proving;
mod queries;
mod query;
mod reader;
mod rebuild;
mod roster;
mod saga;
mod sagas;
mod schemas;
mod snapshot;
mod state;
mod status;
mod tasks;
mod timers;
mod trace;
mod transactions;
mod upcasters;

pub use aggregates::{AggregateError, AggregateProblem, AggregateState, AggregateStatus, At};
pub use blobs::{BlobStatus, BlobUsage};
pub use blocking::Blocking;
#[cfg(feature = "server")]
pub use doctor::config_findings;
pub use doctor::{DoctorOptions, Finding, Severity};
pub use drained::{Drained, StorageEnd, Unfinished};
pub use error::{BusError, ConsumerError};
pub use execute::ExecuteError;
pub use handle::Bus;
pub use options::Options;
pub use projections::{ModelStatus, ProjectionStatus, RebuildOutcome};
pub use proving::{DurableHold, DurableLane};
pub use query::{EventPlace, LanePosition, Query, QueryAnswer, QueryError};
pub use reader::{KeyReader, Reader, Record};
pub use rebuild::Rebuild;
pub use saga::{Saga, SagaError, SagaEvent, SagaQuery, SagaState, SagaStatus, SagaStep};
pub use snapshot::{Snapshot, SnapshotReader};
pub use state::StateView;
pub use status::{ConsumerKind, ConsumerStatus, PartitionStatus, PluginStatus, ReloadOutcome, TopicStatus};
pub use trace::{Trace, TraceBy, TraceLink, TraceNode, TraceOptions, TraceSummary, Traced};
pub use upcasters::{UpcasterError, UpcasterStatus};
