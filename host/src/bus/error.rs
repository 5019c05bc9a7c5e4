//! Why a bus or a consumer could not do what was asked.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use super::AggregateProblem;
use crate::config::{ConfigError, NameError};
use crate::log::{AdminError, OpenError, ReadError};
use crate::plugin::{LoadError, RuntimeError};
use crate::relay::RelayError;

/// Why a bus could not be opened. Nothing was changed.
///
/// ```
/// use tidegate::{Bus, BusError, OpenError};
///
/// # let directory = tempfile::tempdir()?;
/// let bus = Bus::open(directory.path())?;
/// match Bus::open(directory.path()) {
///     Err(BusError::Open(OpenError::InUse { path })) => println!("{} is open already", path.display()),
///     other => panic!("{other:?}"),
/// }
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BusError {
    /// The data directory can't be used.
    #[error("the data directory {}: {source}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// A setting is out of its bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The plugin runtime can't be set up.
    #[error(transparent)]
    Plugins(#[from] RuntimeError),
    /// The bus's own threads can't be started.
    #[error("the bus's threads can't be started: {0}")]
    Threads(#[source] Arc<std::io::Error>),
}

/// Why a consumer was not started or changed. What ran before goes on.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::{AdminError, ConsumerError, handler_fn};
/// use tidegate::config::ConsumerConfig;
///
/// let refused = bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())));
/// match refused {
///     Err(ConsumerError::Admin(AdminError::UnknownTopic(topic))) => assert_eq!(topic, "orders"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// The name is none that a consumer can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is out of its bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It is running already.
    #[error("consumer `{0}` is running already: unsubscribe it first")]
    Running(String),
    /// It isn't running in this process.
    #[error("consumer `{0}` isn't running")]
    NotRunning(String),
    /// A native handler has no configuration that it could be made of again.
    #[error("consumer `{0}` is a native handler: only plugins and configured relays can be reloaded")]
    Native(String),
    /// It runs, and what was asked needs it to be out of the way.
    #[error("consumer `{0}` is running: remove it from the configuration, or unsubscribe it, first")]
    StillRunning(String),
    /// The plugin's file can't be read or kept.
    #[error("consumer `{consumer}`, {}: {source}", .path.display())]
    File {
        /// The consumer.
        consumer: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The plugin was refused.
    #[error("consumer `{consumer}`, {}: {source}", .path.display())]
    Load {
        /// The consumer.
        consumer: String,
        /// The plugin's file.
        path: PathBuf,
        /// Why.
        source: Box<LoadError>,
    },
    /// The relay can't be made of its configuration.
    #[error("consumer `{consumer}`: {source}")]
    Relay {
        /// The consumer.
        consumer: String,
        /// Why.
        source: RelayError,
    },
    /// The consumer can't be an aggregate so.
    #[error("aggregate `{consumer}`: {problem}")]
    Aggregate {
        /// The consumer.
        consumer: String,
        /// What is in the way, and what to do.
        problem: AggregateProblem,
    },
    /// The plugin keeps its state in another layout than the one that ran before.
    #[error(
        "consumer `{consumer}`, {}: the plugin has state version {found}, and the consumer's state has version {stored}: \
         {}", .path.display(), remedy(.consumer, *.is_projection)
    )]
    StateVersion {
        /// The consumer.
        consumer: String,
        /// The plugin's file.
        path: PathBuf,
        /// The version that the plugin declares.
        found: u32,
        /// The version of what is stored.
        stored: u32,
        /// Whether the plugin is a projection, whose state can be made anew.
        is_projection: bool,
    },
    /// What runs it answers no questions, so it isn't made anew.
    #[error("consumer `{0}` is no projection: it doesn't run a plugin that exports `queries`")]
    NotProjection(String),
    /// Its state isn't being made anew.
    #[error("projection `{0}` isn't being rebuilt")]
    NotRebuilding(String),
    /// It has open ends that a state of what is left would not have.
    #[error(
        "projection `{consumer}` has {held} held events and {dead_letters} dead letters, whose events may be gone from the log: \
         redrive or discard them before a partial rebuild (`tidegate dlq list {consumer}`)"
    )]
    OpenEnds {
        /// The consumer.
        consumer: String,
        /// Events that it holds.
        held: u64,
        /// Its dead letters.
        dead_letters: u64,
    },
    /// The log refused.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// What to do with a plugin of another state version.
fn remedy(consumer: &str, is_projection: bool) -> String {
    let other = "run it as a consumer of another name, or forget this one first";
    if is_projection {
        format!("rebuild the projection (`tidegate projections rebuild {consumer}`); or {other}")
    } else {
        other.to_owned()
    }
}
