//! What runs a consumer, seen from the lanes: plugins and native Rust handlers alike.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::aggregate::AggregateProgram;
use crate::clock::{BoxFuture, Timestamp};
use crate::effects::{Context, EmitError, StateError};
use crate::event::{DataError, Event};
use crate::limits::{BACKTRACE_BYTES_MAX, FAILURE_CODE_BYTES_MAX, FAILURE_MESSAGE_BYTES_MAX};
use crate::question::Answering;
use crate::schema::SchemaRefusal;

/// An event handed to a consumer.
///
/// ```
/// use tidegate::{Failure, handler_fn};
///
/// let handler = handler_fn(|delivery, _| {
///     if delivery.attempt > 3 {
///         return Err(Failure::permanent("too-often", "three attempts are enough for this one"));
///     }
///     println!("{} of {}, offset {}", delivery.event.kind(), delivery.topic, delivery.offset);
///     Ok(())
/// });
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Delivery {
    /// The topic that holds the event.
    pub topic: Arc<str>,
    /// The partition within the topic.
    pub partition: u32,
    /// The event's place in the partition.
    pub offset: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// Counts from 1 and goes on over restarts and reloads.
    pub attempt: u32,
    /// When the first attempt was made.
    pub first_attempt: Timestamp,
    /// The delivery's time: `appended` at the first attempt, the recorded due time afterwards.
    pub now: Timestamp,
    /// Whether an operator put the event back to work from the dead-letter queue.
    pub redriven: bool,
    /// The event.
    pub event: Arc<Event>,
}

/// What kind of failure ended a delivery.
///
/// ```
/// use tidegate::FailureKind;
///
/// assert!(FailureKind::Timeout.is_retryable());
/// assert!(!FailureKind::Permanent.is_retryable());
/// assert_eq!(FailureKind::HostCrash.to_string(), "host-crash");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FailureKind {
    /// The consumer said that another attempt is worth it.
    Transient,
    /// The consumer said that another attempt would fail as well.
    Permanent,
    /// A trap of the plugin, or a panic of the native handler.
    Trap,
    /// The deadline passed.
    Timeout,
    /// The plugin wanted more memory than it may have.
    Memory,
    /// The whole process ended during the delivery.
    HostCrash,
    /// The event can't be read back from the log.
    Damaged,
    /// Retention by force removed the event before the consumer had it.
    Gap,
}

impl FailureKind {
    /// Whether another attempt may help.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Transient | Self::Trap | Self::Timeout | Self::Memory | Self::HostCrash => true,
            Self::Permanent | Self::Damaged | Self::Gap => false,
        }
    }

    /// Whether the program was cut off in what it did, and has to be taken down.
    pub(crate) fn is_of_program(self) -> bool {
        matches!(self, Self::Trap | Self::Timeout | Self::Memory)
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Transient => "transient",
            Self::Permanent => "permanent",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::HostCrash => "host-crash",
            Self::Damaged => "damaged",
            Self::Gap => "gap",
        })
    }
}

/// Why a delivery failed: what a retry is decided by, and what a dead letter shows.
///
/// ```
/// use std::time::Duration;
/// use tidegate::Failure;
///
/// let busy = Failure::transient("busy", "the bank answered 503").with_retry_after(Duration::from_secs(30));
/// assert_eq!(busy.to_string(), "transient (busy): the bank answered 503");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// A short word that stays the same for the same cause.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// Where a trap or a panic happened, innermost first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// The least time to wait before the next attempt, as the consumer asked. More than a day counts as a day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of any kind. Strings over their bounds are cut.
    pub fn new(kind: FailureKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: cut(code.into(), FAILURE_CODE_BYTES_MAX),
            message: cut(message.into(), FAILURE_MESSAGE_BYTES_MAX),
            backtrace: None,
            retry_after: None,
        }
    }

    /// Worth another attempt.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Transient, code, message)
    }

    /// Another attempt would fail as well: to the dead-letter queue at once.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(FailureKind::Permanent, code, message)
    }

    /// The same failure with the place where it happened.
    #[must_use]
    pub fn with_backtrace(mut self, backtrace: impl Into<String>) -> Self {
        self.backtrace = Some(cut(backtrace.into(), BACKTRACE_BYTES_MAX));
        self
    }

    /// The same failure with a least time to wait: at most a day. The lane waits longer where its backoff says so; the
    /// backoff's maximum doesn't bound what is asked for.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.kind, self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// What the log can't read now it may read at the next attempt; what a bound or a grant refuses, it always will.
impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let code = match &error {
            StateError::Unavailable(_) => return Self::transient("state-unavailable", error.to_string()),
            StateError::NotGranted => "state-not-granted",
            StateError::KeySize { .. } => "state-key-size",
            StateError::ValueSize { .. } => "state-value-size",
            StateError::EffectsSize { .. } => "effects-size",
        };
        Self::permanent(code, error.to_string())
    }
}

/// What a bound, a grant or a rule refuses, it always will.
impl From<EmitError> for Failure {
    fn from(error: EmitError) -> Self {
        let message = error.to_string();
        let code = match error {
            EmitError::NotGranted(_) => "topic-not-granted",
            EmitError::UnknownTopic(_) => "unknown-topic",
            EmitError::Invalid(_) => "invalid-event",
            EmitError::Schema(refusal) => return refusal.into(),
            EmitError::EventSize { .. } => "event-size",
            EmitError::EffectsSize { .. } => "effects-size",
        };
        Self::permanent(code, message)
    }
}

/// What is wrong with an event stays so; a schema that can't be read may be readable at the next attempt.
impl From<SchemaRefusal> for Failure {
    fn from(refusal: SchemaRefusal) -> Self {
        if refusal.is_of_event() {
            Self::permanent("schema", refusal.to_string())
        } else {
            Self::transient("schema-unreadable", refusal.to_string())
        }
    }
}

/// Data of another shape than a handler expects is so at every attempt.
impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        Self::permanent("bad-data", error.to_string())
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let message = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    message.unwrap_or("a panic without a message")
}

/// Shortens to at most `bytes_max`, at a character's border.
fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

/// A native consumer.
///
/// One value serves all lanes of its consumer, several at a time, so it keeps nothing that a lane's order depends on;
/// what it wants to keep goes into its state through the [`Context`]. Its effects (state, published events, progress)
/// commit together when it returns `Ok`; a failure, a panic or a missed deadline leaves none of them behind. What it
/// does besides, such as an HTTP call, happens at least once: hand the event's id on as idempotency key.
///
/// For a handler that awaits nothing, [`handler_fn`] makes one of a closure.
///
/// ```
/// use tidegate::{Context, Delivery, Failure, Handler};
///
/// struct Mailer {
///     sender: String,
/// }
///
/// impl Handler for Mailer {
///     async fn handle(&self, delivery: &Delivery, _: &mut Context) -> Result<(), Failure> {
///         send(&self.sender, delivery.event.id()).await.map_err(|error| Failure::transient("mail", error))
///     }
///
///     fn version(&self) -> String {
///         "2".into()
///     }
/// }
/// # async fn send(_: &str, _: &str) -> Result<(), String> {
/// #     Ok(())
/// # }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Handles one delivery. Past the consumer's deadline, which counts from its first await that has to wait, the future is
    /// dropped at its next await.
    fn handle(
        &self,
        delivery: &Delivery,
        context: &mut Context,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// What dead letters and the list of consumers call the handler; by default `native`.
    fn name(&self) -> String {
        "native".to_owned()
    }

    /// What dead letters and the list of consumers call this version of the handler; by default nothing.
    fn version(&self) -> String {
        String::new()
    }
}

/// Makes a [`Handler`] of a closure.
///
/// ```
/// use tidegate::handler_fn;
///
/// let handler = handler_fn(|delivery, context| {
///     context.set(b"last", delivery.event.id().as_bytes())?;
///     Ok(())
/// });
/// ```
pub fn handler_fn<F>(handle: F) -> impl Handler
where
    F: Fn(&Delivery, &mut Context) -> Result<(), Failure> + Send + Sync + 'static,
{
    HandlerFn(handle)
}

struct HandlerFn<F>(F);

impl<F> Handler for HandlerFn<F>
where
    F: Fn(&Delivery, &mut Context) -> Result<(), Failure> + Send + Sync + 'static,
{
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        (self.0)(delivery, context)
    }
}

/// One version of what runs a consumer.
pub(crate) trait Program: Send + Sync + 'static {
    /// The version, as dead letters and the list of plugins show it.
    fn version(&self) -> &ProgramVersion;

    /// A new instance for one lane. A failure counts as a failed attempt at the delivery that needed the instance.
    fn instantiate<'a>(&'a self, lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Instance>, Failure>>;

    /// The aggregate that it is, if it is one.
    fn aggregate(&self) -> Option<&AggregateProgram> {
        None
    }

    /// What answers questions, where it is a projection.
    fn answering(&self) -> Option<&dyn Answering> {
        None
    }
}

/// What a dead letter and the list of plugins say of a version.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// # bus.caught_up("billing")?;
/// let version = bus.bus().consumers()?.remove(0).version;
/// assert_eq!((&*version.name, &*version.hash), ("native", ""));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramVersion {
    /// The name of the plugin or the handler, as it describes itself.
    pub name: String,
    /// Its version, as it describes itself.
    pub version: String,
    /// SHA-256 of the component in lower-case hexadecimal; empty for a native handler.
    pub hash: String,
}

/// A lane, as logs name it.
#[derive(Clone, Debug)]
pub(crate) struct LaneName {
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// The partition number.
    pub partition: u32,
}

/// A lane's batch in the making: a delivery is under way, and others follow it.
pub(crate) trait Batch: Any + Send {
    /// The delivery under way.
    fn delivery(&self) -> &Delivery;

    /// What it may use.
    fn context(&self) -> &Context;

    /// Both, for who changes something.
    fn parts(&mut self) -> (&Delivery, &mut Context);

    /// The delivery under way has succeeded, and what it did is kept. Whether another is under way now; if not, the lane has
    /// something else to do first.
    fn proceed(&mut self) -> bool;
}

/// What has a batch, and lends it to calls that have to own it.
pub(crate) trait Lender: Send {
    /// The batch, which is not lent.
    fn batch(&mut self) -> &mut dyn Batch;

    /// Takes it away, until it is [put back](Self::put_back).
    fn lend(&mut self) -> Box<dyn Batch>;

    /// Whether it is away.
    fn is_lent(&self) -> bool;

    /// Brings it back.
    fn put_back(&mut self, batch: Box<dyn Batch>);
}

/// Something that can be lent.
pub(crate) struct Lent<B>(Option<Box<B>>);

impl<B> Lent<B> {
    pub(crate) fn new(batch: B) -> Self {
        Self(Some(Box::new(batch)))
    }
}

impl<B> Deref for Lent<B> {
    type Target = B;

    fn deref(&self) -> &B {
        match &self.0 {
            Some(batch) => batch,
            None => unreachable!("whoever is lent a batch puts it back"),
        }
    }
}

impl<B> DerefMut for Lent<B> {
    fn deref_mut(&mut self) -> &mut B {
        match &mut self.0 {
            Some(batch) => batch,
            None => unreachable!("whoever is lent a batch puts it back"),
        }
    }
}

impl<B: Batch> Lender for Lent<B> {
    fn batch(&mut self) -> &mut dyn Batch {
        &mut **self
    }

    fn lend(&mut self) -> Box<dyn Batch> {
        match self.0.take() {
            Some(batch) => batch,
            None => unreachable!("a batch is lent once at a time"),
        }
    }

    fn is_lent(&self) -> bool {
        self.0.is_none()
    }

    fn put_back(&mut self, batch: Box<dyn Batch>) {
        let batch: Box<dyn Any> = batch;
        match batch.downcast() {
            Ok(batch) => self.0 = Some(batch),
            Err(_) => unreachable!("what is put back was lent here"),
        }
    }
}

/// A running instance of a program, owned by one lane.
///
/// After a failed delivery the lane throws it away. It may be thrown away at any time between two deliveries.
pub(crate) trait Instance: Send {
    /// Makes the delivery under way and those that follow it, until none is under way any more; a failure is that of the one
    /// under way then. The future is driven to its end: an implementation bounds the time of each delivery itself. However it
    /// ends, the batch is put back.
    fn deliver<'a>(&'a mut self, lender: &'a mut dyn Lender) -> BoxFuture<'a, Result<(), Failure>>;
}
