//! What goes over the control socket.
//!
//! The client begins with a [`Hello`] and gets a [`Welcome`], or a [`Refusal`] where the versions don't fit. To each
//! [`Request`] come any number of [`Answer`]s, then the end of them, which says whether the bus refused. A client that
//! hangs up ends what it asked for.

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::AggregateLine;
use super::queries::{AnswerLine, QueryLine};
use crate::aggregate::Outcome;
use crate::bus::{
    AggregateStatus, At, BlobStatus, BlobUsage, ConsumerStatus, DoctorOptions, Finding, PluginStatus,
    ProjectionStatus, RebuildOutcome, Record, ReloadOutcome, Saga, SagaQuery, SagaStatus, TopicStatus,
    TraceNode, TraceOptions, TraceSummary, UpcasterStatus,
};
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::event::Event;
use crate::handler::{Failure, ProgramVersion};
use crate::limits::EVENT_BYTES_CEILING;
use crate::log::{AdminError, Attempt, DeadLetter, Position, PublishError, Published};
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::outbox::{FailedRow, FailedRows, OutboxStatus};
use crate::schema::{Compatibility, Schema, SchemaVersion, SubjectStatus};
use crate::timer::TimerStatus;

/// The version of the protocol. Two sides of different versions don't talk.
pub const PROTOCOL: u32 = 3;

/// What a client says first.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let control = tidegate::server::serve_control(&bus)?;
/// // What a client of another language writes first, a line of JSON.
/// let hello = r#"{"protocol": 3, "version": "0.1.0"}"#;
/// let hello: tidegate::server::Hello = serde_json::from_str(hello)?;
/// assert_eq!(hello.protocol, tidegate::server::PROTOCOL);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Its [`PROTOCOL`].
    pub protocol: u32,
    /// The version of its tidegate.
    pub version: String,
}

impl Hello {
    /// That of this build.
    pub(super) fn ours() -> Self {
        Self { protocol: PROTOCOL, version: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

/// What the server says to a client that it can talk with.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// let control = tidegate::server::serve_control(&bus)?;
/// let mut client = tidegate::server::Client::connect(bus.directory())?;
/// assert_eq!(client.welcome().process, std::process::id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// The server's [`PROTOCOL`].
    pub protocol: u32,
    /// The version of its tidegate.
    pub version: String,
    /// The number of its process.
    pub process: u32,
    /// The largest event that its bus accepts, in bytes of [`Event::size`].
    pub event_bytes_max: usize,
}

/// What can be asked of a bus.
///
/// ```
/// use tidegate::server::Request;
///
/// let request = serde_json::to_string(&Request::Pause { consumer: "billing".into() }).unwrap();
/// assert_eq!(request, r#"{"pause":{"consumer":"billing"}}"#);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// All topics. Answered by [`Answer::Topics`].
    Topics,
    /// Creates a topic, or gives one other settings.
    CreateTopic {
        /// Its name.
        name: String,
        /// Its settings.
        config: TopicConfig,
    },
    /// What the blob store has. Answered by [`Answer::BlobUsage`], and then many [`Answer::Blob`].
    Blobs {
        /// Whether each is read, and what is wrong with it told.
        verify: bool,
    },
    /// All subjects with their schemas. Answered by [`Answer::Schemas`].
    Schemas,
    /// See [`Bus::register_schema`](crate::Bus::register_schema). Answered by [`Answer::Schema`].
    RegisterSchema {
        /// The event type with its version.
        event_type: String,
        /// Its schema.
        schema: Schema,
        /// What its subject is held to from now on; `None` leaves that as it is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compatibility: Option<Compatibility>,
    },
    /// Publishes events in one commit. Answered by [`Answer::Published`].
    Publish {
        /// The topic.
        topic: String,
        /// The events.
        events: Vec<EventJson>,
        /// The number that the last event of their key has to have, see
        /// [`Bus::publish_expecting`](crate::Bus::publish_expecting); `None` where any will do. A [`Refusal`] says the
        /// actual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expected: Option<u64>,
    },
    /// Reads a topic: to what is durable when it is asked, or for ever. Answered by many [`Answer::Record`] and
    /// [`Answer::Damaged`], and with `lift` by [`Answer::NotLifted`].
    Read {
        /// The topic.
        topic: String,
        /// One of its partitions, or all.
        partition: Option<u32>,
        /// Where to begin.
        from: Position,
        /// After how many events to end.
        limit: Option<u64>,
        /// Whether to go on with what is published from now on.
        follow: bool,
        /// Whether events are to come as consumers see them, and not as they were published.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lift: bool,
        /// Whether data is to come that is in the blob store, and not the reference to it. With `lift` it does in any case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        data: bool,
    },
    /// Reads the events of one key, to what is durable when it is asked: see [`Bus::read_key`](crate::Bus::read_key).
    /// Answered by many [`Answer::Record`] and [`Answer::Damaged`], and with `lift` by [`Answer::NotLifted`].
    ReadKey {
        /// The topic, which numbers its events.
        topic: String,
        /// The key.
        key: String,
        /// The number behind which to begin, 0 for the first event.
        after: u64,
        /// After how many events to end.
        limit: Option<u64>,
        /// Whether events are to come as consumers see them, and not as they were published.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lift: bool,
        /// Whether data is to come that is in the blob store, and not the reference to it. With `lift` it does in any case.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        data: bool,
    },
    /// All consumers. Answered by [`Answer::Consumers`].
    Consumers,
    /// See [`Bus::pause`](crate::Bus::pause).
    Pause {
        /// The consumer.
        consumer: String,
    },
    /// See [`Bus::resume`](crate::Bus::resume).
    Resume {
        /// The consumer.
        consumer: String,
    },
    /// See [`Bus::seek`](crate::Bus::seek).
    Seek {
        /// The consumer.
        consumer: String,
        /// One of its topics, or all.
        topic: Option<String>,
        /// One of its partitions, or all.
        partition: Option<u32>,
        /// Where to.
        to: Position,
    },
    /// See [`Bus::forget`](crate::Bus::forget).
    Forget {
        /// The consumer.
        consumer: String,
    },
    /// Reads a consumer's state. Answered by many [`Answer::State`].
    State {
        /// The consumer.
        consumer: String,
        /// One of its partitions, or all.
        partition: Option<u32>,
        /// What the keys begin with.
        prefix: String,
    },
    /// See [`Bus::timers`](crate::Bus::timers). Answered by [`Answer::Timers`].
    Timers {
        /// The consumer.
        consumer: String,
        /// One of its partitions, or all.
        partition: Option<u32>,
        /// One key, or all.
        key: Option<String>,
        /// How many at most.
        limit: usize,
    },
    /// See [`Bus::set_timer`](crate::Bus::set_timer).
    SetTimer {
        /// The consumer.
        consumer: String,
        /// The timer's key.
        key: String,
        /// Its name.
        name: String,
        /// When it is due; without it, when `wait` is over.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
        /// How long after now it is due where `due` doesn't say it.
        #[serde(default)]
        wait: Duration,
        /// What it comes with: JSON.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        data: Option<String>,
    },
    /// See [`Bus::cancel_timer`](crate::Bus::cancel_timer).
    CancelTimer {
        /// The consumer.
        consumer: String,
        /// The timer's key.
        key: String,
        /// Its name.
        name: String,
    },
    /// The aggregates that run. Answered by [`Answer::Aggregates`].
    Aggregates,
    /// See [`Bus::execute`](crate::Bus::execute). Answered by [`Answer::Outcome`].
    Execute {
        /// The aggregate's consumer.
        aggregate: String,
        /// The command.
        command: EventJson,
        /// How long to wait for the outcome.
        wait: Duration,
    },
    /// See [`Bus::aggregate_at`](crate::Bus::aggregate_at). Answered by [`Answer::Aggregate`].
    Aggregate {
        /// The aggregate's consumer.
        name: String,
        /// The aggregate.
        id: String,
        /// At which point.
        at: At,
    },
    /// See [`Bus::trace`](crate::Bus::trace). Answered by many [`Answer::TraceNode`] and one [`Answer::TraceSummary`].
    Trace {
        /// The correlation, or what the options say that it is.
        id: String,
        /// What is followed, and how far.
        #[serde(default)]
        options: TraceOptions,
    },
    /// See [`Bus::doctor`](crate::Bus::doctor). Answered by [`Answer::Findings`].
    Doctor {
        /// What is known beside the bus.
        #[serde(default)]
        options: DoctorOptions,
    },
    /// See [`Bus::sagas`](crate::Bus::sagas). Answered by [`Answer::Sagas`].
    Sagas(SagaQuery),
    /// See [`Bus::saga`](crate::Bus::saga). Answered by [`Answer::Saga`].
    Saga {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
    },
    /// See [`Bus::retry_saga`](crate::Bus::retry_saga).
    RetrySaga {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
    },
    /// See [`Bus::compensate_saga`](crate::Bus::compensate_saga).
    CompensateSaga {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
    },
    /// See [`Bus::resolve_saga`](crate::Bus::resolve_saga).
    ResolveSaga {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
    },
    /// The plugins that run. Answered by [`Answer::Plugins`].
    Plugins,
    /// The upcasters that run. Answered by [`Answer::Upcasters`].
    Upcasters,
    /// See [`Bus::reload_upcaster`](crate::Bus::reload_upcaster). Answered by [`Answer::Reloaded`].
    ReloadUpcaster {
        /// The upcaster whose plugin it is.
        upcaster: String,
    },
    /// See [`Bus::reload`](crate::Bus::reload). Answered by [`Answer::Reloaded`].
    Reload {
        /// The consumer whose plugin it is.
        consumer: String,
    },
    /// See [`Bus::query`](crate::Bus::query). Answered by [`Answer::Query`].
    Query {
        /// The projection.
        projection: String,
        /// What it is asked.
        query: QueryLine,
    },
    /// The projections that run. Answered by [`Answer::Projections`].
    Projections,
    /// See [`Bus::rebuild`](crate::Bus::rebuild). Answered by [`Answer::Rebuilt`] where it is waited for.
    Rebuild {
        /// The projection.
        projection: String,
        /// Whether it is made of what is left, where events are gone.
        partial: bool,
        /// Whether it may have more dead letters than before.
        allow_dead_letters: bool,
        /// Whether to wait until it has ended.
        wait: bool,
    },
    /// See [`Bus::cancel_rebuild`](crate::Bus::cancel_rebuild).
    CancelRebuild {
        /// The projection.
        projection: String,
    },
    /// See [`Bus::dead_letters`](crate::Bus::dead_letters). Answered by many [`Answer::Letter`].
    DeadLetters {
        /// The consumer.
        consumer: String,
        /// The id behind which to begin.
        after: u64,
        /// After how many to end.
        limit: usize,
    },
    /// One dead letter. Answered by [`Answer::Letter`].
    DeadLetter {
        /// The consumer.
        consumer: String,
        /// The letter's id.
        letter: u64,
        /// Whether the event's data is to come where that is in the blob store, and not the reference to it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        data: bool,
    },
    /// See [`Bus::redrive`](crate::Bus::redrive).
    Redrive {
        /// The consumer.
        consumer: String,
        /// The ids of the letters.
        letters: Vec<u64>,
    },
    /// See [`Bus::discard`](crate::Bus::discard).
    Discard {
        /// The consumer.
        consumer: String,
        /// The ids of the letters.
        letters: Vec<u64>,
    },
    /// See [`Bus::outboxes`](crate::Bus::outboxes). Answered by [`Answer::Outboxes`].
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    Outboxes,
    /// See [`Bus::outbox_failed_rows`](crate::Bus::outbox_failed_rows). Answered by [`Answer::FailedRows`].
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    FailedRows {
        /// The outbox.
        outbox: String,
        /// After how many rows to end.
        limit: u32,
    },
    /// See [`Bus::retry_outbox`](crate::Bus::retry_outbox). Answered by [`Answer::Retried`].
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    RetryOutbox {
        /// The outbox.
        outbox: String,
        /// Which rows.
        rows: FailedRows,
    },
    /// See [`Bus::adopt_outbox`](crate::Bus::adopt_outbox); of one that runs.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    AdoptOutbox {
        /// The outbox.
        outbox: String,
    },
}

/// An answer, or one of many to a request.
///
/// ```
/// use tidegate::server::Answer;
///
/// let answer: Answer = serde_json::from_str(r#"{"topics":[]}"#).unwrap();
/// assert!(matches!(answer, Answer::Topics(topics) if topics.is_empty()));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Answer {
    /// All topics, by name.
    Topics(Vec<TopicStatus>),
    /// What the blob store has.
    BlobUsage(BlobUsage),
    /// A blob that somebody names; they come by their digests.
    Blob(BlobStatus),
    /// All subjects, by name.
    Schemas(Vec<SubjectStatus>),
    /// A version that is registered.
    Schema(SchemaVersion),
    /// Where the events are, in their order.
    Published(Vec<Published>),
    /// An event.
    Record(RecordLine),
    /// Events that can't be read any more; those behind them follow.
    Damaged {
        /// Which, and why.
        reason: String,
    },
    /// An event that can't be lifted, as it was published.
    NotLifted {
        /// The event with its place.
        record: Box<RecordLine>,
        /// Why not.
        failure: Failure,
    },
    /// The upcasters that run, by name.
    Upcasters(Vec<UpcasterStatus>),
    /// All consumers, by name.
    Consumers(Vec<ConsumerStatus>),
    /// An entry of a consumer's state.
    State(StateLine),
    /// Timers, by when they are due.
    Timers(Vec<TimerStatus>),
    /// The aggregates that run, by name.
    Aggregates(Vec<AggregateStatus>),
    /// What became of a command.
    Outcome(Outcome),
    /// What an aggregate is; `None` where nothing has happened to it.
    Aggregate(Option<AggregateLine>),
    /// A node of a trace; those below it follow.
    TraceNode(Box<TraceNode>),
    /// What was read for a trace, behind its nodes.
    TraceSummary(TraceSummary),
    /// What will hurt, worst first.
    Findings(Vec<Finding>),
    /// Sagas, in the order in which they need looking at.
    Sagas(Vec<SagaStatus>),
    /// A saga.
    Saga(Box<Saga>),
    /// The plugins that run, by their consumer.
    Plugins(Vec<PluginStatus>),
    /// What became of a reload.
    Reloaded(ReloadOutcome),
    /// A projection's answer.
    Query(Box<AnswerLine>),
    /// The projections that run, by name.
    Projections(Vec<ProjectionStatus>),
    /// How a rebuild has ended.
    Rebuilt(RebuildOutcome),
    /// A dead letter.
    Letter(Box<Letter>),
    /// The outboxes that run, by name.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    Outboxes(Vec<OutboxStatus>),
    /// Rows that were set aside.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    FailedRows(Vec<FailedRow>),
    /// How many rows are back at work.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    Retried(u64),
}

/// What follows a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    /// One answer.
    Answer(Answer),
    /// There is no other, and what was asked is done.
    Done,
    /// There is no other, and the bus refused.
    Refused(Refusal),
}

/// Why a bus refused a request, in words for people.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// let control = tidegate::server::serve_control(&bus)?;
/// let mut client = tidegate::server::Client::connect(bus.directory())?;
/// use tidegate::server::{ClientError, Request};
///
/// let mut answers = client.ask(&Request::Pause { consumer: "nobody".into() })?;
/// match answers.next() {
///     Some(Err(ClientError::Refused(refusal))) => assert!(refusal.message.contains("`nobody`")),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
#[non_exhaustive]
pub struct Refusal {
    /// What happened, to which thing, and what to do.
    pub message: String,
    /// The number that the key's last event has, where another one was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<u64>,
    /// Whether the same request will be taken once the bus has worked off what it has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_busy: bool,
    /// Whether an event is wrong that was to be published: the same request without it may be taken.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_of_event: bool,
}

impl Refusal {
    /// A refusal in these words.
    pub(super) fn new(message: String) -> Self {
        Self { message, actual: None, is_busy: false, is_of_event: false }
    }

    /// A refusal in the words of an error and its causes.
    pub(super) fn of(error: &dyn std::error::Error) -> Self {
        Self::new(error.to_string())
    }

    /// Why dead letters were not settled.
    pub(super) fn of_settling(error: &AdminError) -> Self {
        Self { is_busy: matches!(error, AdminError::RedrivenWait { .. }), ..Self::of(error) }
    }

    /// Why events were not published.
    pub(super) fn of_publish(error: &PublishError) -> Self {
        let actual = match error {
            PublishError::VersionConflict { actual, .. } => Some(*actual),
            _ => None,
        };
        let is_of_event = match error {
            PublishError::Schema(refusal) => refusal.is_of_event(),
            other => matches!(other, PublishError::Invalid(_) | PublishError::EventSize { .. }),
        };
        Self { actual, is_of_event, ..Self::of(error) }
    }
}

/// An event that travels in the JSON format of `CloudEvents`, to the byte: with the line breaks that its data may have between
/// its values. Only JSON carries it.
///
/// ```
/// use std::sync::Arc;
/// use tidegate::Event;
/// use tidegate::server::EventJson;
///
/// let event = Event::new("order-17", "/shop", "OrderPlaced.v1").build().unwrap();
/// let json = serde_json::to_string(&EventJson(Arc::new(event))).unwrap();
/// assert!(json.contains(r#""id":"order-17""#));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EventJson(pub Arc<Event>);

impl Serialize for EventJson {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.0.to_json()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for EventJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        // The bus has its own bound, which it applies when it accepts the event.
        let event = Event::from_json(raw.get(), EVENT_BYTES_CEILING).map_err(serde::de::Error::custom)?;
        Ok(Self(Arc::new(event)))
    }
}

/// An event with its place.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::Event;
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// use tidegate::server::RecordLine;
///
/// let mut orders = bus.bus().read("orders", None, tidegate::Position::Earliest)?;
/// let record = orders.try_next()?.ok_or("nothing there")?;
/// println!("{}", serde_json::to_string(&RecordLine::from(record))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordLine {
    /// The partition.
    pub partition: u32,
    /// The offset within the partition.
    pub offset: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// The commit that made it durable.
    pub commit: u64,
    /// The event.
    pub event: EventJson,
}

impl From<Record> for RecordLine {
    fn from(record: Record) -> Self {
        Self {
            partition: record.partition,
            offset: record.offset,
            appended: record.appended,
            commit: record.commit,
            event: EventJson(record.event),
        }
    }
}

/// An entry of a consumer's state.
///
/// ```
/// // Keys and values are bytes, so JSON has them in base64.
/// let line = r#"{"partition": 3, "key": "bGFzdA==", "value": "MTc="}"#;
/// let line: tidegate::server::StateLine = serde_json::from_str(line).unwrap();
/// assert_eq!((&line.key[..], &line.value[..]), (&b"last"[..], &b"17"[..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StateLine {
    /// The partition.
    pub partition: u32,
    /// The key.
    #[serde(with = "base64")]
    pub key: Vec<u8>,
    /// The value.
    #[serde(with = "base64")]
    pub value: Vec<u8>,
}

/// A dead letter.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, Failure, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// # let handler = handler_fn(|_, _| Err(Failure::permanent("no-stock", "there is none left")));
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler)?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// # bus.caught_up("billing")?;
/// use tidegate::server::Letter;
///
/// let letter = bus.bus().dead_letters("billing", 0, 1)?.remove(0);
/// println!("{}", serde_json::to_string(&Letter::from(letter))?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Letter {
    /// Counts up within the bus.
    pub id: u64,
    /// When the event was given up on.
    pub at: Timestamp,
    /// The event's topic.
    pub topic: String,
    /// The event's partition.
    pub partition: u32,
    /// The event's offset; of a gap the first that is missing.
    pub offset: u64,
    /// Of a gap the last that is missing; otherwise the same as `offset`.
    pub offset_last: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// Why it was given up on: the last failure.
    pub reason: Failure,
    /// Every failed attempt, in order.
    pub attempts: Vec<Attempt>,
    /// When the first attempt was made.
    pub first_attempt: Timestamp,
    /// The version that made the last attempt.
    pub version: ProgramVersion,
    /// Whether it had been redriven before.
    pub redriven: bool,
    /// The event; `None` where it is damaged or gone.
    pub event: Option<EventJson>,
}

impl From<DeadLetter> for Letter {
    fn from(letter: DeadLetter) -> Self {
        Self {
            id: letter.id,
            at: letter.at,
            topic: letter.topic,
            partition: letter.partition,
            offset: letter.offset,
            offset_last: letter.offset_last,
            appended: letter.appended,
            reason: letter.reason,
            attempts: letter.attempts,
            first_attempt: letter.first_attempt,
            version: letter.version,
            redriven: letter.redriven,
            event: letter.event.map(EventJson),
        }
    }
}

pub(super) mod base64 {
    use super::{BASE64, Cow, Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_travels_to_the_byte() {
        let text =
            r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"mag": 2.30,@ "é":"\u0000"}}"#
                .replace('@', "\r\n");
        let request = Request::Publish {
            topic: "quakes".to_owned(),
            events: vec![EventJson(Arc::new(Event::from_json(&text, 1000).unwrap()))],
            expected: None,
        };
        let json = serde_json::to_string(&request).unwrap();
        assert!(json.contains(&text), "{json}");
        let Request::Publish { events, .. } = serde_json::from_str(&json).unwrap() else { panic!("{json}") };
        assert_eq!(events[0].0.to_json(), text);
    }

    #[test]
    fn a_wrong_event_is_refused_with_its_attribute() {
        let json = r#"{"publish":{"topic":"a","events":[{"specversion":"1.0","id":"1","source":"/s"}]}}"#;
        let error = serde_json::from_str::<Request>(json).unwrap_err();
        assert!(error.to_string().contains("`type` is missing"), "{error}");
    }

    #[test]
    fn state_of_any_bytes_survives() {
        let line = StateLine { partition: 3, key: vec![0, 255, 1], value: (0..=255).collect() };
        let json = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<StateLine>(&json).unwrap(), line);
    }
}
