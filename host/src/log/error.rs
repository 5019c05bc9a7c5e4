//! What goes wrong in the log: one enum for each kind of call.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::admission::Refusal;
use crate::config::{ConfigError, NameError};
use crate::event::EventError;
use crate::handler::{Failure, FailureKind};
use crate::schema::{Incompatible, SchemaError, SchemaRefusal};
use crate::timer::TimerError;

/// A fault of the database or of the disk below it.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use std::error::Error;
/// use tidegate::{Event, PublishError};
///
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// let event = Event::new("order-17", "/shop", "OrderPlaced.v1").build()?;
/// if let Err(PublishError::InDoubt(fault)) = bus.publish("orders", event) {
///     println!("{fault}, of {:?}", fault.source());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[error("{0}")]
pub struct StorageFault(#[source] pub(super) Arc<redb::Error>);

impl<E: Into<redb::Error>> From<E> for StorageFault {
    fn from(error: E) -> Self {
        Self(Arc::new(error.into()))
    }
}

/// Why a bus could not be opened. Nothing was changed.
///
/// ```
/// use tidegate::{Bus, BusError, OpenError};
///
/// # let directory = tempfile::tempdir()?;
/// std::fs::write(directory.path().join("tidegate.redb"), "not a database")?;
/// match Bus::open(directory.path()) {
///     Err(BusError::Open(OpenError::Damaged { path, reason })) => println!("{}: {reason}", path.display()),
///     other => panic!("{other:?}"),
/// }
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process, or another bus of this one, has the directory open.
    #[error("{} is in use: another tidegate process has it open; stop that one or talk to it", .path.display())]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database was written by a newer version.
    #[error(
        "{} has format {found}, and this tidegate reads up to {known}: use the tidegate that wrote it or a newer one",
        .path.display()
    )]
    NewerFormat {
        /// The database file.
        path: PathBuf,
        /// The file's format.
        found: u32,
        /// The newest format that this build reads.
        known: u32,
    },
    /// The file isn't a database, or is damaged beyond opening.
    #[error(
        "{} can't be opened: {reason}. Restore it from a backup, or move it away and start with an empty one; \
         the file was not changed",
        .path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory or a file in it could not be used.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The database refused to work.
    #[error("{}: {source}", .path.display())]
    Storage {
        /// The database file.
        path: PathBuf,
        /// What the database said.
        source: StorageFault,
    },
}

/// Why events were not published.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::{Event, PublishError};
///
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// let event = Event::new("order-17", "/shop", "OrderPlaced.v1").build()?;
/// loop {
///     match bus.publish("orders", event.clone()) {
///         Ok(published) => break println!("offset {}", published.offset),
///         // The same event again is safe, whatever became of the first one.
///         Err(PublishError::InDoubt(_) | PublishError::Reopening) => continue,
///         Err(other) => return Err(other.into()),
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// There is no such topic. Nothing was written.
    #[error("there is no topic `{0}`: create it first")]
    UnknownTopic(String),
    /// An event is larger than the bus allows. Nothing was written.
    #[error(
        "event `{id}` has {size} bytes, more than the {max} that this bus allows: give the topic a claim check \
             (`claim_check_over`), raise `event_bytes_max`, or keep the data elsewhere and name it by `dataref`"
    )]
    EventSize {
        /// The event's id.
        id: String,
        /// Its size in bytes.
        size: usize,
        /// The bound in bytes.
        max: usize,
    },
    /// More events than one commit takes. Nothing was written.
    #[error("{what} at once are more than the {max} that one commit takes: publish them in several calls")]
    TooMany {
        /// What there are too many of, with their number.
        what: String,
        /// The bound.
        max: usize,
    },
    /// The event breaks a rule of `CloudEvents`, or has a `sequence` of its own in a topic that numbers its events.
    /// Nothing was written.
    #[error(transparent)]
    Invalid(#[from] EventError),
    /// The topic requires schemas, and the event has none, or breaks it. Nothing was written.
    #[error(transparent)]
    Schema(#[from] SchemaRefusal),
    /// A number was expected or asked for in a topic that doesn't number its events. Nothing was written.
    #[error(
        "topic `{0}` doesn't number the events of its keys: only a topic that is created with `sequence = true` does"
    )]
    NotSequenced(String),
    /// Events that are published on one condition have several keys. Nothing was written.
    #[error(
        "events that expect a number are of one key, and these are of `{first}` and `{other}`: publish them in a transaction"
    )]
    MixedKeys {
        /// The first event's key.
        first: String,
        /// Another key.
        other: String,
    },
    /// Somebody was faster: the last event of the key has another number than was expected. Nothing was written.
    #[error(
        "the last event of key `{key}` in topic `{topic}` has number {actual}, and {expected} was expected: read what has \
             come since, decide anew, and publish again"
    )]
    VersionConflict {
        /// The topic.
        topic: String,
        /// The key.
        key: String,
        /// The number that was expected, 0 for no event.
        expected: u64,
        /// The number that it has, 0 for no event.
        actual: u64,
    },
    /// Called from within the closure of a transaction of the same bus, where it would wait for itself. Nothing was
    /// written.
    #[error(
        "within a transaction, the bus can't be waited for: use the `Transaction` that the closure is handed"
    )]
    InTransaction,
    /// The storage failed within a transaction. Nothing was written.
    #[error("the storage failed: {0}. Hand the error back from the transaction, and try it again")]
    Storage(#[source] StorageFault),
    /// The disk is full. Nothing was written.
    #[error(
        "the disk has {free} bytes free and the bus leaves {min} of them alone: free some space, or shorten the \
             retention of a topic"
    )]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The floor that publishing leaves.
        min: u64,
    },
    /// The event's data doesn't fit into the blob store any more. Nothing was written.
    #[error(
        "with the data of event `{id}` the blob store would have {bytes} bytes, more than the {max} that it may: shorten the \
             retention of a topic, or raise `blobs_bytes_max`"
    )]
    BlobsFull {
        /// The event's id.
        id: String,
        /// What the blob store would have, in bytes.
        bytes: u64,
        /// The bound in bytes.
        max: u64,
    },
    /// The event's data could not be put into the blob store. The event is not published.
    #[error(
        "the data of event `{id}` can't be written to the blob store: {source}. Look at the disk and try again"
    )]
    Blob {
        /// The event's id.
        id: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The commit failed, and may have reached the disk all the same. Publishing the same events again is safe: those
    /// that are there already are recognized by source and id.
    #[error(
        "the commit failed and may still have reached the disk: {0}. Publish the same events again, deduplication makes \
             that safe"
    )]
    InDoubt(#[source] StorageFault),
    /// The storage failed and is being opened anew. Nothing was written.
    #[error("the storage failed and is being opened anew: try again")]
    Reopening,
    /// The bus is shut down. Nothing was written.
    #[error("the bus is shut down")]
    Closed,
}

impl From<Refusal> for PublishError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::InTransaction => Self::InTransaction,
        }
    }
}

/// Why something could not be read.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::{Position, ReadError};
///
/// match bus.bus().read("nowhere", None, Position::Earliest) {
///     Err(ReadError::UnknownTopic(topic)) => assert_eq!(topic, "nowhere"),
///     _ => panic!("there is none"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum ReadError {
    /// There is no such topic.
    #[error("there is no topic `{0}`")]
    UnknownTopic(String),
    /// The topic has fewer partitions.
    #[error("topic `{topic}` has {partitions} partitions, so there is no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The topic doesn't number its events.
    #[error(
        "topic `{0}` doesn't number the events of its keys: only a topic that is created with `sequence = true` does"
    )]
    NotSequenced(String),
    /// What should be the SHA-256 of a blob is none.
    #[error("`{0}` is no SHA-256 in lower-case hexadecimal")]
    NoDigest(String),
    /// The snapshot is too old.
    #[error("the snapshot is older than {} seconds: take another one", .max.as_secs())]
    SnapshotExpired {
        /// The age at which snapshots end.
        max: Duration,
    },
    /// The storage was closed, or opened anew after a failure, since the snapshot was taken.
    #[error("the storage was closed or opened anew since the snapshot was taken: take another one")]
    SnapshotEnded,
    /// There is no such consumer.
    #[error("there is no consumer `{0}`")]
    UnknownConsumer(String),
    /// The consumer has fewer lanes.
    #[error("consumer `{consumer}` has {lanes} lanes, so there is no partition {partition}")]
    UnknownLane {
        /// The consumer.
        consumer: String,
        /// The partition asked for.
        partition: u32,
        /// How many there are.
        lanes: u32,
    },
    /// A row can't be decoded.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// What could not be read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The database could not be read.
    #[error("the storage can't be read: {0}")]
    Storage(#[source] StorageFault),
    /// Waiting for events from within the closure of a transaction, which nobody can publish any beside.
    #[error(
        "within a transaction, the bus can't be waited for: read what is there, and wait before or after it"
    )]
    InTransaction,
    /// The storage failed and is being opened anew.
    #[error("the storage failed and is being opened anew: try again")]
    Reopening,
    /// The bus is shut down.
    #[error("the bus is shut down")]
    Closed,
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Storage(StorageFault::from(error))
    }
}

/// Why the data of an event can't be had from the blob store.
///
/// ```
/// use tidegate::{BlobError, Bus, Record};
///
/// fn show(bus: &Bus, record: &Record) {
///     match bus.with_data(&record.event) {
///         Ok(event) => println!("{:?}", event.data()),
///         Err(error @ (BlobError::Missing { .. } | BlobError::Damaged { .. })) => eprintln!("{error}"),
///         Err(other) => eprintln!("try again: {other}"),
///     }
/// }
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum BlobError {
    /// It is not there.
    #[error(
        "blob {digest} is missing: put its file back into `blobs/` from a backup, or publish the same event again, which \
             puts its data back; then redrive"
    )]
    Missing {
        /// The SHA-256 of the data, in hexadecimal.
        digest: String,
    },
    /// It is not as it was written.
    #[error(
        "blob {digest} is damaged, {reason}: put its file back into `blobs/` from a backup, or publish the same event again, \
             which puts its data back; then redrive"
    )]
    Damaged {
        /// The SHA-256 of the data, in hexadecimal.
        digest: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It can't be read now.
    #[error("blob {digest} can't be read: {source}")]
    Io {
        /// The SHA-256 of the data, in hexadecimal.
        digest: String,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
}

/// What has become of a blob stays so until somebody mends it; what can't be read now may be readable at the next attempt.
impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        let message = error.to_string();
        match error {
            BlobError::Missing { .. } => Self::new(FailureKind::Damaged, "blob-missing", message),
            BlobError::Damaged { .. } => Self::new(FailureKind::Damaged, "blob-damaged", message),
            BlobError::Io { .. } => Self::transient("blob-unreadable", message),
        }
    }
}

/// Why a change of topics, consumers or dead letters was not made.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::AdminError;
/// use tidegate::config::TopicConfig;
///
/// let wrong = bus.create_topic("orders/eu", TopicConfig::new(1));
/// assert!(matches!(wrong, Err(AdminError::Name(_))));
/// let wrong = bus.redrive("nobody", vec![1]);
/// assert!(matches!(wrong, Err(AdminError::UnknownConsumer(name)) if name == "nobody"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The name is none that a topic can have. Nothing was changed.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is out of its bounds, or at odds with others. Nothing was changed.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A topic can't have another number of partitions. Nothing was changed.
    #[error(
        "topic `{topic}` has {partitions} partitions and can't get {asked}: the number is fixed, since keys would change \
         their partition; create another topic"
    )]
    PartitionsFixed {
        /// The topic.
        topic: String,
        /// How many it has.
        partitions: u32,
        /// How many were asked for.
        asked: u32,
    },
    /// A topic can't begin to number its events, or stop to. Nothing was changed.
    #[error(
        "topic `{topic}` {} the events of each key (`sequence`), and that can't be changed: the numbers would have gaps; \
         create another topic",
        if *.is_sequenced { "numbers" } else { "doesn't number" }
    )]
    SequenceFixed {
        /// The topic.
        topic: String,
        /// Whether it numbers them.
        is_sequenced: bool,
    },
    /// A topic that has the events of an aggregate can't get a retention. Nothing was changed.
    #[error(
        "topic `{topic}` has the events of aggregate `{aggregate}`, and a stream is kept whole: leave it without a retention"
    )]
    StreamRetention {
        /// The topic.
        topic: String,
        /// The aggregate's consumer.
        aggregate: String,
    },
    /// The schema is none, or its event type has no version. Nothing was changed.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The schema breaks the compatibility mode of its subject. Nothing was changed.
    #[error(transparent)]
    Incompatible(Box<Incompatible>),
    /// The version has another schema. Nothing was changed.
    #[error(
        "`{event_type}` has another schema already, and a version never changes: register this one as version {next}"
    )]
    SchemaTaken {
        /// The event type.
        event_type: String,
        /// The next version of its subject.
        next: usize,
    },
    /// A version between is missing. Nothing was changed.
    #[error("`{event_type}` can't be registered yet: the next version of its subject is {next}")]
    SchemaGap {
        /// The event type.
        event_type: String,
        /// The next version of its subject.
        next: usize,
    },
    /// The bus has as many schemas as it can. Nothing was changed.
    #[error("a bus has at most {max} {what}: none can be registered any more")]
    TooManySchemas {
        /// What there are too many of.
        what: String,
        /// The bound.
        max: usize,
    },
    /// A consumer can't go over to topics with another number of partitions. Nothing was changed.
    #[error(
        "consumer `{consumer}` has {lanes} lanes and its topics now have {partitions} partitions: use another name, or \
         forget it first"
    )]
    LanesFixed {
        /// The consumer.
        consumer: String,
        /// How many it has.
        lanes: u32,
        /// How many partitions its topics have.
        partitions: u32,
    },
    /// The bus has as many topics as it can. Nothing was changed.
    #[error("a bus has at most {max} topics: tell events apart by their type")]
    TooManyTopics {
        /// The bound.
        max: usize,
    },
    /// A consumer was given no topic to read. Nothing was changed.
    #[error("consumer `{consumer}` reads no topic: name at least one")]
    NoTopics {
        /// The consumer.
        consumer: String,
    },
    /// The consumer reads other topics. Nothing was changed.
    #[error("consumer `{consumer}` doesn't read topic `{topic}`")]
    TopicNotRead {
        /// The consumer.
        consumer: String,
        /// The topic.
        topic: String,
    },
    /// There is no such topic. Nothing was changed.
    #[error("there is no topic `{0}`")]
    UnknownTopic(String),
    /// There is no such consumer. Nothing was changed.
    #[error("there is no consumer `{0}`")]
    UnknownConsumer(String),
    /// The consumer's state is being made anew already. Nothing was changed.
    #[error(
        "projection `{0}` is being rebuilt already: wait for that, or cancel it (`tidegate projections cancel {0}`)"
    )]
    Rebuilding(String),
    /// Retention has removed events that a consumer's state would be made of. Nothing was changed.
    #[error(
        "the events of topic `{topic}` before offset {first} of partition {partition} are gone: what projection `{consumer}` \
         comes to without them may be something else. If that is as it should be, ask for a partial rebuild (`--partial`)"
    )]
    Truncated {
        /// The consumer.
        consumer: String,
        /// The topic.
        topic: String,
        /// The partition.
        partition: u32,
        /// The first offset that is left.
        first: u64,
    },
    /// There is no such dead letter. Nothing was changed.
    #[error("consumer `{consumer}` has no dead letter {letter}")]
    UnknownDeadLetter {
        /// The consumer.
        consumer: String,
        /// The letter's id.
        letter: u64,
    },
    /// The timer is none that may be. Nothing was changed.
    #[error(transparent)]
    Timer(#[from] TimerError),
    /// No such timer is set: it has come, was cancelled, or never was. Nothing was changed.
    #[error("consumer `{consumer}` has no timer `{timer}` of key `{key}`")]
    UnknownTimer {
        /// The consumer.
        consumer: String,
        /// The timer's key.
        key: String,
        /// The timer's name.
        timer: String,
    },
    /// The dead letter is of what could not be read, so there is nothing to put back to work. Nothing was changed.
    #[error(
        "dead letter {letter} of consumer `{consumer}` has no event to redrive, it is {kind}: discard it"
    )]
    NothingToRedrive {
        /// The consumer.
        consumer: String,
        /// The letter's id.
        letter: u64,
        /// What it was given up for.
        kind: FailureKind,
    },
    /// More than one commit takes. Nothing was changed.
    #[error("{what} at once are more than {max}: take them in several calls")]
    TooMany {
        /// What there is too much of, with its number.
        what: String,
        /// The bound.
        max: usize,
    },
    /// A lane has as many redriven events to work off as it may have at one time. Nothing was changed; once it has worked
    /// some off, the same call is taken.
    #[error(
        "consumer `{consumer}` has to work off the {waiting} redriven events of its lane {partition} first, as many as fit \
         into its memory: redrive the others when it has"
    )]
    RedrivenWait {
        /// The consumer.
        consumer: String,
        /// The lane.
        partition: u32,
        /// How many it has.
        waiting: usize,
    },
    /// What is stored, or a part of it that doesn't exist, can't be read. Nothing was changed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed, and may have reached the disk all the same.
    #[error(
        "the commit failed and may still have reached the disk: {0}. Look at what is there and try again"
    )]
    InDoubt(#[source] StorageFault),
    /// The disk is full. Nothing was changed.
    #[error(
        "the disk has {free} bytes free and the bus leaves {min} of them alone: free some space, or shorten the \
             retention of a topic"
    )]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The floor that publishing leaves.
        min: u64,
    },
    /// Called from within the closure of a transaction of the same bus, where it would wait for itself. Nothing was
    /// changed.
    #[error("within a transaction, the bus can't be waited for: make the change before or after it")]
    InTransaction,
    /// The storage failed and is being opened anew. Nothing was changed.
    #[error("the storage failed and is being opened anew: try again")]
    Reopening,
    /// The bus is shut down. Nothing was changed.
    #[error("the bus is shut down")]
    Closed,
}

impl<E: Into<redb::Error>> From<E> for AdminError {
    fn from(error: E) -> Self {
        Self::Read(ReadError::Storage(StorageFault::from(error)))
    }
}

impl From<Refusal> for AdminError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::InTransaction => Self::InTransaction,
        }
    }
}

/// Why a transaction was not committed. `E` is the closure's own error.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::TransactionError;
///
/// let refused = bus.transaction(|_| Err::<(), _>("there is no stock"));
/// match refused {
///     Err(TransactionError::Refused(why)) => assert_eq!(why, "there is no stock"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TransactionError<E> {
    /// The closure returned an error. Nothing of the transaction is there.
    #[error("{0}")]
    Refused(E),
    /// The closure panicked. Nothing of the transaction is there.
    #[error("the transaction's closure panicked: {0}")]
    Panicked(String),
    /// The closure took too long, while everybody who publishes waited for it. Nothing of the transaction is there.
    #[error(
        "the transaction's closure took {} ms, more than the {} ms that others may have to wait for it: do the slow part \
             before the transaction",
        .took.as_millis(), .max.as_millis()
    )]
    TooSlow {
        /// How long it took.
        took: Duration,
        /// The bound.
        max: Duration,
    },
    /// The commit failed, and may have reached the disk all the same: all of it or nothing. Reading one of the tables, or
    /// publishing one of the events again (`duplicate` says that it was there), tells which.
    #[error(
        "the commit failed and may still have reached the disk, all of it or nothing: {0}. Look at what is there before \
             trying again"
    )]
    InDoubt(#[source] StorageFault),
    /// The disk is so full that not even rows are taken. The closure was not run.
    #[error(
        "the disk has {free} bytes free, and a transaction needs {min} even if it only deletes: free some space, or \
             shorten the retention of a topic"
    )]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The floor that transactions leave: half of that of publishing.
        min: u64,
    },
    /// Called from within another transaction's closure, where it would wait for itself. The closure was not run.
    #[error(
        "a transaction can't be begun within another one: use the `Transaction` that the closure is handed"
    )]
    InTransaction,
    /// The storage failed and is being opened anew. Nothing of the transaction is there.
    #[error("the storage failed and is being opened anew: try again")]
    Reopening,
    /// The bus is shut down. Nothing of the transaction is there.
    #[error("the bus is shut down")]
    Closed,
}

impl<E> From<Refusal> for TransactionError<E> {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::InTransaction => Self::InTransaction,
        }
    }
}

/// Why a lane's effects were not committed.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub(crate) enum CommitError {
    /// Something else changed what the log keeps of the lane. Nothing was written; the lane reads itself back.
    #[error("the lane was changed from outside")]
    Stale,
    /// Somebody else has appended to a key that the lane's events are to follow on. Nothing was written; the lane reads
    /// itself back.
    #[error("somebody else has appended to a stream")]
    Conflict,
    /// The disk is full and the lane wants to publish. Nothing was written.
    #[error("the disk has {free} bytes free and the bus leaves {min} of them alone")]
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The floor that publishing leaves.
        min: u64,
    },
    /// The commit failed, and may have reached the disk all the same; the lane reads itself back.
    #[error("the commit failed: {0}")]
    Failed(#[source] StorageFault),
    /// The storage failed and is being opened anew. Nothing was written.
    #[error("the storage failed and is being opened anew")]
    Reopening,
    /// The log is closed. Nothing was written.
    #[error("the log is closed")]
    Closed,
}

/// What the blob store refuses a lane, it refuses as the disk would: the lane says so, and goes on when there is room.
impl From<PublishError> for CommitError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::DiskFull { free, min } => Self::DiskFull { free, min },
            PublishError::Reopening => Self::Reopening,
            PublishError::Closed => Self::Closed,
            other => Self::Failed(StorageFault::from(redb::Error::Io(std::io::Error::other(other)))),
        }
    }
}

impl From<Incompatible> for AdminError {
    fn from(incompatible: Incompatible) -> Self {
        Self::Incompatible(Box::new(incompatible))
    }
}
