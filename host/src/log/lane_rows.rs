//! What a lane keeps in the log: its progress, its held events and its dead letters.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::effects::Effects;
use crate::event::Event;
use crate::handler::{Failure, ProgramVersion};
use crate::ids::{LaneId, TopicId};
use crate::timer::{TimerCounts, TimerName, TimerPlace};

/// A lane's progress. Every event below `next` is finished, held or a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// For each topic of the consumer the offset to read next.
    pub next: BTreeMap<TopicId, u64>,
    /// The id that the next held event gets. Ids from [`REDRIVEN`] on belong to redriven dead letters.
    pub held_next: u64,
    /// Counts since the consumer was registered.
    pub counts: LaneCounts,
    /// The timers that it has set. Given by the log when it commits.
    #[serde(default, skip_serializing_if = "TimerCounts::are_none")]
    pub timers: TimerCounts,
    /// The version that ran last.
    pub version: ProgramVersion,
    /// The delivery in progress, while the lane marks them one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked: Option<Marked>,
}

/// Held ids from here on are those of redriven dead letters: this plus the letter's id.
pub(crate) const REDRIVEN: u64 = 1 << 63;

/// What a lane has done.
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
/// let counts = bus.bus().consumers()?[0].counts;
/// assert_eq!((counts.handled, counts.retries, counts.dead_letters), (1, 0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneCounts {
    /// Deliveries that succeeded.
    pub handled: u64,
    /// Attempts that failed and were to be made again.
    pub retries: u64,
    /// Dead letters written.
    pub dead_letters: u64,
}

/// A delivery that had started when the process ended, if it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marked {
    /// The event.
    pub target: Target,
    /// When it was started.
    pub at: Timestamp,
    /// How often the process has ended during this delivery, without a delivery of the lane finished in between.
    pub crashes: u32,
}

/// Which event a delivery is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Target {
    /// The event at this place in the log, not held.
    Fresh(TopicId, u64),
    /// The timer that is due, not held.
    Timer(TimerPlace),
    /// The held event with this id.
    Held(u64),
}

/// A failed attempt.
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
/// let letter = bus.bus().dead_letters("billing", 0, 1)?.remove(0);
/// for (number, attempt) in (1..).zip(&letter.attempts) {
///     println!("{number}. at {}: {}", attempt.at, attempt.failure);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Attempt {
    /// When it was made.
    pub at: Timestamp,
    /// Why it failed. Its backtrace is left out where an attempt before it has the same one.
    pub failure: Failure,
    /// The version that made it.
    pub version: ProgramVersion,
}

/// An event that waits for its retry, or behind another of its key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Held {
    /// The hash of the event's key: what order goes by.
    pub key: u64,
    /// The event's topic.
    pub topic: TopicId,
    /// The event's place in the topic's partition of the lane's number.
    pub offset: u64,
    /// The commit that made the event durable.
    pub commit: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// The event itself, where the log need not have it any more: for redriven events, and for timers.
    #[serde(default, with = "super::record::optional_event", skip_serializing_if = "Option::is_none")]
    pub event: Option<Arc<Event>>,
    /// What waits.
    pub wait: Wait,
    /// Failed attempts, in order.
    pub attempts: Vec<Attempt>,
    /// When the first attempt was made; of no meaning before that.
    pub first_attempt: Timestamp,
    /// Whether an operator put the event back to work.
    pub redriven: bool,
}

/// What a held event waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wait {
    /// For its time to come.
    Until(Timestamp),
    /// For the event before it of its key. It runs once it is the first, at once.
    Behind,
    /// For an operator: a dead letter whose key is parked behind it. The event is in the letter.
    Operator,
}

/// A dead letter: an event that was given up on, with its diagnosis.
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
/// let letter = bus.bus().dead_letters("billing", 0, 1)?.remove(0);
/// assert_eq!((&*letter.topic, letter.offset, letter.redriven), ("orders", 0, false));
/// assert_eq!(letter.event.ok_or("it can't be read")?.id(), "order-17");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Counts up within the bus. Given by the log when the letter commits.
    pub id: u64,
    /// When the event was given up on.
    pub at: Timestamp,
    /// The event's topic.
    pub topic: String,
    /// The topic's number.
    pub(crate) topic_id: TopicId,
    /// The event's partition.
    pub partition: u32,
    /// The event's offset; of a gap the first that is missing.
    pub offset: u64,
    /// Of a gap the last that is missing; otherwise the same as `offset`.
    pub offset_last: u64,
    /// The commit that made the event durable; 0 where that is not known.
    pub commit: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// The event; `None` where it is damaged or gone.
    #[serde(default, with = "super::record::optional_event", skip_serializing_if = "Option::is_none")]
    pub event: Option<Arc<Event>>,
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
    /// The hash of the event's key.
    pub(crate) key: u64,
    /// The id of the held entry that parks the key, where the consumer parks.
    pub(crate) parked: Option<u64>,
}

/// A timer that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CameTimer {
    /// Where it was set. The log need not have it: one that came before the batch which has set it was over never got there.
    pub place: TimerPlace,
    /// What it is known by, where the lane has read it; else the log reads its row.
    pub name: Option<TimerName>,
}

/// What a lane wants to make durable at once: the effects of a batch of deliveries and its progress over them.
#[derive(Debug)]
pub(crate) struct LaneCommit {
    /// The lane.
    pub lane: LaneId,
    /// The lane's epoch, as [`Lane`] had it: refused where it is not the lane's any more.
    pub epoch: u64,
    /// The progress afterwards.
    pub progress: Progress,
    /// Held events to write, or to remove where `None`.
    pub held: BTreeMap<u64, Option<Held>>,
    /// Dead letters to add. Their ids are given by the log.
    pub dead_letters: Vec<DeadLetter>,
    /// Timers that have come: they are removed.
    pub came: Vec<CameTimer>,
    /// State, events and timers.
    pub effects: Effects,
}

/// A lane as the log has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lane {
    /// Counts up whenever something else than the lane itself changes what the log keeps of it (a seek, a redrive, an
    /// engine that was opened anew): a lane with an older epoch reads itself back before it goes on.
    pub epoch: u64,
    /// Its progress.
    pub progress: Progress,
    /// Its held events, by id.
    pub held: BTreeMap<u64, Held>,
}
