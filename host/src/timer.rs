//! Timers: what a delivery has the bus deliver to its consumer at a later moment.
//!
//! A timer belongs to a consumer, a key and a name: that of the delivery which sets it, and one that the consumer gives it. When it
//! is due, it comes to the consumer as an event of that key and of the type [`TIMER_TYPE`], in its place among the others.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::event::{Attribute, Data, Event, EventError, EventParts};
use crate::handler::Failure;
use crate::ids::TopicId;
use crate::limits::{TIMER_DATA_BYTES_MAX, TIMER_DUE_MAX, TIMER_NAME_BYTES_MAX};

/// The type of the event that a timer comes as when it is due.
pub const TIMER_TYPE: &str = "tidegate.timer";

/// The extension attribute that names the timer.
pub const TIMER_NAME: &str = "timername";

/// What deliveries call the topic of timers. No topic can have this name.
pub const TIMER_TOPIC: &str = "$timers";

/// The number of that topic where a lane keeps what it holds: none comes near it.
pub(crate) const TIMER_TOPIC_ID: TopicId = TopicId(u32::MAX);

/// Where a timer stands among those of its lane: what is due first comes first, and at the same moment what was set first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct TimerPlace {
    /// When it is due.
    pub due: Timestamp,
    /// Counts the timers that the lane has set, from 0.
    pub number: u64,
}

/// The timers that a lane has set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimerCounts {
    /// The number that the next one gets.
    pub next: u64,
    /// How many have not come yet.
    pub set: u64,
}

impl TimerCounts {
    /// Whether it has never set one.
    pub fn are_none(&self) -> bool {
        self.next == 0
    }
}

/// What a timer is known by within its lane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerName {
    /// The key of the events among which it comes.
    pub key: String,
    /// The name that the consumer gives it.
    pub name: String,
}

impl TimerName {
    /// The name of the timer that has become this event.
    pub fn of(event: &Event) -> Self {
        let name = event.extension(TIMER_NAME).and_then(Attribute::as_text).unwrap_or_default();
        Self { key: event.key().to_owned(), name: name.to_owned() }
    }
}

/// A timer that a delivery sets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewTimer {
    /// When it is due, and its number.
    pub place: TimerPlace,
    /// The event that it comes as.
    pub event: Arc<Event>,
}

/// Refuses a name, and a moment and data, that a timer may not have.
pub(crate) fn check_timer(name: &str, new: Option<(Timestamp, Option<&Data>)>) -> Result<(), TimerError> {
    if name.is_empty() || name.len() > TIMER_NAME_BYTES_MAX {
        return Err(TimerError::NameSize { len: name.len(), max: TIMER_NAME_BYTES_MAX });
    }
    let Some((due, data)) = new else { return Ok(()) };
    if !(Timestamp(0)..=TIMER_DUE_MAX).contains(&due) {
        return Err(TimerError::Due(due));
    }
    let len = data.map_or(0, |data| data.as_bytes().len());
    if len > TIMER_DATA_BYTES_MAX {
        return Err(TimerError::DataSize { len, max: TIMER_DATA_BYTES_MAX });
    }
    Ok(())
}

/// What a timer comes as, without its subject and what caused it. Its origin is its id.
pub(crate) fn timer_parts(
    consumer: &str,
    origin: String,
    name: &str,
    due: Timestamp,
    data: Option<Data>,
) -> EventParts {
    EventParts {
        id: origin,
        source: format!("/tidegate/consumers/{consumer}"),
        kind: TIMER_TYPE.to_owned(),
        time: Some(due.to_string()),
        datacontenttype: matches!(data, Some(Data::Text(_))).then(|| "text/plain".to_owned()),
        extensions: vec![(TIMER_NAME.to_owned(), Attribute::Text(name.to_owned()))],
        data,
        ..EventParts::default()
    }
}

/// A timer that is set and not due yet, or not delivered yet, as [`Bus::timers`](crate::Bus::timers) lists it.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// use std::time::Duration;
///
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// let reminder = handler_fn(|_, context| {
///     let tomorrow = context.now().after(Duration::from_secs(24 * 60 * 60));
///     Ok(context.set_timer("unpaid", tomorrow, None)?)
/// });
/// bus.subscribe("reminder", ConsumerConfig::new(["orders"]), reminder)?;
/// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?)?;
/// bus.caught_up("reminder")?;
/// let timer = bus.bus().timers("reminder", None, None, 10)?.remove(0);
/// assert_eq!((&*timer.key, &*timer.name), ("customer-4", "unpaid"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TimerStatus {
    /// The partition number of its lane.
    pub partition: u32,
    /// The key of the events among which it comes.
    pub key: String,
    /// The name that the consumer has given it.
    pub name: String,
    /// When it is due.
    pub due: Timestamp,
    /// When the delivery that has set it was committed.
    pub set: Timestamp,
    /// The number that it is delivered under: the offset of its delivery.
    pub number: u64,
}

/// Why a timer could not be set or cancelled. Nothing was changed.
///
/// ```
/// use tidegate::{TimerError, handler_fn};
///
/// let handler = handler_fn(|_, context| match context.cancel_timer("unpaid") {
///     Err(TimerError::NotGranted) => Ok(()), // it has never set one
///     other => Ok(other?),
/// });
/// ```
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum TimerError {
    /// The consumer has no grant for state, which timers are part of.
    #[error(
        "timers are part of the consumer's state, which it is not granted: add `state = true` to its grants"
    )]
    NotGranted,
    /// The name is empty or too long.
    #[error("a timer's name has 1 to {max} bytes, not {len}")]
    NameSize {
        /// The name's length in bytes.
        len: usize,
        /// The longest name allowed, in bytes.
        max: usize,
    },
    /// The data is too large.
    #[error(
        "a timer's data has at most {max} bytes, not {len}: keep it in the state, and let the timer name its key"
    )]
    DataSize {
        /// The data's length in bytes.
        len: usize,
        /// The largest data allowed, in bytes.
        max: usize,
    },
    /// The moment is not one that can be written.
    #[error("a timer is due between the years 1970 and 9999, not at {0}")]
    Due(Timestamp),
    /// The lane has as many timers as it may have.
    #[error(
        "{max} timers are set on this partition, which is as many as there may be: cancel some, or use more partitions"
    )]
    TooMany {
        /// The bound.
        max: u64,
    },
    /// The delivery has set too many timers, or written too much.
    #[error(
        "one delivery sets and cancels at most {timers_max} timers, and writes at most {bytes_max} bytes in all"
    )]
    EffectsSize {
        /// The bound in timers.
        timers_max: usize,
        /// The bound in bytes.
        bytes_max: usize,
    },
    /// The name or the data breaks a rule of `CloudEvents`.
    #[error(transparent)]
    Invalid(#[from] EventError),
}

/// What a bound, a grant or a rule refuses, it always will; but timers of the partition come due.
impl From<TimerError> for Failure {
    fn from(error: TimerError) -> Self {
        let code = match &error {
            TimerError::TooMany { .. } => return Self::transient("too-many-timers", error.to_string()),
            TimerError::NotGranted => "timers-not-granted",
            TimerError::NameSize { .. } => "timer-name-size",
            TimerError::DataSize { .. } => "timer-data-size",
            TimerError::Due(_) => "timer-due",
            TimerError::EffectsSize { .. } => "effects-size",
            TimerError::Invalid(_) => "invalid-timer",
        };
        Self::permanent(code, error.to_string())
    }
}
