//! What a trace is asked for, and what it shows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregate::Outcome;
use crate::clock::Timestamp;
use crate::handler::Failure;
use crate::limits::{TRACE_EVENTS, TRACE_EVENTS_CEILING};

/// What a trace follows, and how far.
///
/// ```
/// use tidegate::{TraceBy, TraceOptions};
///
/// let options = TraceOptions::default().topics(["orders", "payments"]).limit(100);
/// assert_eq!((options.by, options.limit), (TraceBy::Correlation, 100));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TraceOptions {
    /// What the id is. By default a correlation.
    pub by: TraceBy,
    /// The topics whose events are read; none for all.
    pub topics: Vec<String>,
    /// Events that the log accepted earlier are not read; `None` for all that are retained.
    pub since: Option<Timestamp>,
    /// After how many nodes others are left out: those of the events that became durable last. 10,000 by default, 1 to
    /// 100,000.
    pub limit: usize,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self { by: TraceBy::default(), topics: Vec::new(), since: None, limit: TRACE_EVENTS }
    }
}

impl TraceOptions {
    /// Sets what the id is.
    #[must_use]
    pub fn by(mut self, by: TraceBy) -> Self {
        self.by = by;
        self
    }

    /// Sets the topics whose events are read.
    #[must_use]
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Sets from when on events are read.
    #[must_use]
    pub fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }

    /// Sets after how many nodes others are left out.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The limit, within its bounds.
    pub(super) fn nodes_max(&self) -> usize {
        self.limit.clamp(1, TRACE_EVENTS_CEILING)
    }
}

/// What the id of a trace is.
///
/// ```
/// assert_eq!(serde_json::to_string(&tidegate::TraceBy::TraceId).unwrap(), r#""trace-id""#);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TraceBy {
    /// A `correlationid`, or the `id` of the event that began it.
    #[default]
    Correlation,
    /// The trace id within `traceparent`: 32 digits, as W3C Trace Context says.
    TraceId,
}

/// What caused what: see [`Bus::trace`](crate::Bus::trace).
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::TraceOptions;
///
/// let trace = bus.trace("order-17", TraceOptions::default())?;
/// for node in &trace.nodes {
///     println!("{}{:?}", "  ".repeat(node.depth), node.what);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trace {
    /// The tree, from the top down: behind each node what it caused, one deeper, in the order of their times.
    pub nodes: Vec<TraceNode>,
    /// What was read for it.
    pub summary: TraceSummary,
}

/// What was read for a trace.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// let summary = bus.trace("order-17", tidegate::TraceOptions::default())?.summary;
/// assert_eq!((summary.scanned, summary.left_out), (0, 0), "the bus is empty");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceSummary {
    /// Events, dead letters and timers that were read; those twice that were read twice, as correlations begin within it.
    pub scanned: u64,
    /// What belongs to it and was left out, as there was more than the limit.
    pub left_out: u64,
    /// Stored batches and events that could not be read: they may belong to it.
    pub damaged: u64,
    /// Other correlations that events of it belong to, or in which they began theirs: their traces have what came before, and what
    /// came after events of this id. At most 10.
    pub correlations: Vec<String>,
}

/// A node of a trace.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// # bus.publish("orders", tidegate::Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// use tidegate::{TraceLink, TraceOptions};
///
/// let trace = bus.trace("order-17", TraceOptions::default())?;
/// let root = &trace.nodes[0];
/// assert_eq!((root.depth, &root.link), (0, &TraceLink::Root));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TraceNode {
    /// How many nodes are above it, up to its root.
    pub depth: usize,
    /// How it comes to stand there.
    pub link: TraceLink,
    /// When it happened: when the log accepted an event, or last had to do with anything else.
    pub at: Timestamp,
    /// The time from its cause's to its own; zero where it has none above it.
    #[serde(rename = "latency_seconds", with = "crate::clock::seconds")]
    pub latency: Duration,
    /// What it is.
    pub what: Traced,
}

/// How a node of a trace comes to stand where it does.
///
/// ```
/// use tidegate::TraceLink;
///
/// let link: TraceLink = serde_json::from_str(r#"{"is":"missing","cause":"order-17"}"#).unwrap();
/// assert!(matches!(link, TraceLink::Missing { cause } if cause == "order-17"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TraceLink {
    /// It names no cause.
    Root,
    /// The node above caused it.
    Cause,
    /// The node above has the id of its cause, and so have others: an id is unique within a source, and `causationid` names none.
    /// Of those that came before it this is the last.
    Likely {
        /// How many have that id.
        candidates: usize,
    },
    /// Its cause was not found: retention has removed it, it is in a topic or from a time that was not read, it was left out, or
    /// it is in another system. It stands below the root, where there is one.
    Missing {
        /// The id of its cause.
        cause: String,
    },
    /// Its causes lead back to itself: here the circle was opened.
    Circle {
        /// The id of its cause.
        cause: String,
    },
}

/// What a node of a trace is.
///
/// ```
/// # fn show(node: &tidegate::TraceNode) {
/// use tidegate::Traced;
///
/// match &node.what {
///     Traced::Event { kind, topic, .. } => println!("{kind} in {topic}, {:?} after its cause", node.latency),
///     Traced::Letter { consumer, reason, .. } => println!("{consumer} gave up: {reason}"),
///     other => println!("{other:?}"),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Traced {
    /// An event.
    Event {
        /// Its topic; [`TIMER_TOPIC`](crate::TIMER_TOPIC) for one that a timer comes as.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// Its type.
        kind: String,
        /// Its source.
        source: String,
        /// Its id.
        id: String,
        /// Its key.
        key: String,
        /// The consumer that published it, if one did.
        consumer: Option<String>,
        /// Whether the log has it. One that it doesn't have is known by a dead letter, or because a consumer holds it.
        is_in_log: bool,
    },
    /// A timer: one that is set, or one that has come and caused something.
    Timer {
        /// The consumer that set it.
        consumer: String,
        /// Its name.
        name: String,
        /// When it is due; `None` for one that has come.
        due: Option<Timestamp>,
    },
    /// The event above is held: it waits to be delivered.
    Held {
        /// The consumer that holds it.
        consumer: String,
        /// When it is tried again; `None` where it waits behind another one of its key.
        until: Option<Timestamp>,
        /// How many attempts have failed.
        attempts: usize,
        /// Why the last one failed, without its backtrace.
        reason: Option<Failure>,
    },
    /// The event above was given up on.
    Letter {
        /// The consumer whose dead letter it is.
        consumer: String,
        /// The letter's id.
        letter: u64,
        /// How many attempts have failed.
        attempts: usize,
        /// Why it was given up on, without its backtrace.
        reason: Failure,
        /// Whether it had been redriven before.
        redriven: bool,
    },
    /// What an aggregate has made of the command above, as long as that is kept.
    Outcome {
        /// The aggregate's consumer.
        consumer: String,
        /// What it has made of it.
        outcome: Outcome,
    },
}
