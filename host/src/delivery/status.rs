//! What a consumer's lanes are doing, for people and for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::clock::Timestamp;
use crate::handler::ProgramVersion;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::log::{ConsumerRow, Entry, Lane, LaneCounts, Log, ReadError, Wait};

/// What a lane is doing.
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
/// use tidegate::LaneState;
///
/// for lane in &bus.bus().consumers()?[0].lanes {
///     match &lane.state {
///         LaneState::Stalled { held_max } => println!("lane {} holds {held_max} events", lane.partition),
///         LaneState::Parked => println!("lane {} waits for `redrive` or `discard`", lane.partition),
///         _ => {}
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LaneState {
    /// It has just been started.
    #[default]
    Starting,
    /// It has nothing to do.
    Idle,
    /// It is delivering.
    Working,
    /// It waits for a retry, with nothing else to do.
    Waiting {
        /// When the next retry is due.
        until: Timestamp,
    },
    /// It waits for an operator to redrive or discard a dead letter: everything else is parked behind it.
    Parked,
    /// It holds as many events as it may, or as many timers wait behind held ones, and it takes no new ones until retries succeed or
    /// are given up on.
    Stalled {
        /// The bound.
        held_max: usize,
    },
    /// An operator has paused it.
    Paused,
    /// The disk is full and its consumer wants to publish: it tries again.
    DiskFull {
        /// Free bytes.
        free: u64,
        /// The floor that publishing leaves.
        min: u64,
    },
    /// The storage fails: it tries again.
    Failing {
        /// What the storage said.
        reason: String,
    },
    /// It has ended, with its consumer or with the bus.
    Stopped,
}

/// A lane, as it was last seen.
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
/// let lane = bus.bus().consumers()?[0].lanes.remove(0);
/// assert_eq!((lane.next["orders"], lane.lag_events, lane.held), (1, 0, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LaneStatus {
    /// The partition number.
    pub partition: u32,
    /// What it is doing.
    pub state: LaneState,
    /// For each topic the offset that it delivers next.
    pub next: BTreeMap<String, u64>,
    /// Events in its topics that it hasn't come to yet. Held ones don't count.
    pub lag_events: u64,
    /// How long ago the log accepted the oldest of them; zero where there is none.
    #[serde(rename = "lag_seconds", with = "crate::clock::seconds")]
    pub lag: Duration,
    /// Held events: those that wait for a retry, and those that wait behind them.
    pub held: usize,
    /// Of those, places of dead letters that park their key.
    pub parked: usize,
    /// When the next retry is due.
    pub next_retry: Option<Timestamp>,
    /// Timers that are set.
    #[serde(default)]
    pub timers: u64,
    /// What it has done since its consumer was registered.
    pub counts: LaneCounts,
    /// The version that makes its deliveries.
    pub version: ProgramVersion,
}

/// What a lane says of itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub state: LaneState,
    pub next: BTreeMap<TopicId, u64>,
    pub held: usize,
    pub parked: usize,
    pub next_retry: Option<Timestamp>,
    pub timers: u64,
    pub counts: LaneCounts,
    pub version: ProgramVersion,
    /// Which of its consumer's programs the lane runs, see `Control`.
    pub generation: u64,
    /// The epoch of the rows that it reports of, see [`Lane`].
    pub epoch: u64,
}

impl Report {
    /// What a lane has in the log, as one says it that has just been started.
    fn of(lane: Lane) -> Self {
        let waiting = |wait: Wait| match wait {
            Wait::Until(due) => Some(due),
            Wait::Behind | Wait::Operator => None,
        };
        Self {
            state: LaneState::Starting,
            next: lane.progress.next,
            held: lane.held.len(),
            parked: lane.held.values().filter(|held| held.wait == Wait::Operator).count(),
            next_retry: lane.held.values().filter_map(|held| waiting(held.wait)).min(),
            timers: lane.progress.timers.set,
            counts: lane.progress.counts,
            version: lane.progress.version,
            generation: 0,
            epoch: lane.epoch,
        }
    }

    /// The lane for people. Reads one event for each topic in which it has some to come.
    pub(super) fn status(self, log: &Log, partition: u32) -> LaneStatus {
        let now = log.clock().now();
        let (mut lag_events, mut oldest, mut next) = (0, None, BTreeMap::new());
        for (topic, offset) in self.next {
            let to_come = log.next_offset(topic, partition).saturating_sub(offset);
            lag_events += to_come;
            // A log that can't be read says so by the lane's state; how old the event is doesn't matter then.
            let read = (to_come > 0).then(|| log.read(topic, partition, offset, 1, 1));
            if let Some(Ok(entries)) = read
                && let Some(Entry::Event(event)) = entries.first()
            {
                oldest = Some(oldest.map_or(event.appended, |oldest: Timestamp| oldest.min(event.appended)));
            }
            let name = log.topic_name(topic).map_or_else(|| topic.to_string(), |name| name.to_string());
            next.insert(name, offset);
        }
        LaneStatus {
            partition,
            state: self.state,
            next,
            lag_events,
            lag: oldest.map_or(Duration::ZERO, |appended| now.since(appended)),
            held: self.held,
            parked: self.parked,
            next_retry: self.next_retry,
            timers: self.timers,
            counts: self.counts,
            version: self.version,
        }
    }
}

/// What the log has of a lane.
pub(super) fn stored(log: &Log, lane: LaneId) -> Result<Report, ReadError> {
    log.lane(lane).map(Report::of)
}

/// The lanes of a consumer that doesn't run in this process, as the log has them.
///
/// # Errors
///
/// See [`ReadError`].
pub(crate) fn stored_status(
    log: &Log,
    id: ConsumerId,
    row: &ConsumerRow,
) -> Result<Vec<LaneStatus>, ReadError> {
    let lane = |partition| {
        let mut report = stored(log, LaneId { consumer: id, partition })?;
        report.state = LaneState::Stopped;
        Ok(report.status(log, partition))
    };
    (0..row.partitions).map(lane).collect()
}

/// Where a consumer's lanes report.
#[derive(Debug)]
pub(super) struct Board {
    lanes: Box<[Mutex<Report>]>,
    changed: Notify,
}

impl Board {
    pub(super) fn new(lanes: u32) -> Self {
        Self { lanes: (0..lanes).map(|_| Mutex::default()).collect(), changed: Notify::new() }
    }

    /// Changes a lane's report.
    pub(super) fn report(&self, partition: u32, change: impl FnOnce(&mut Report)) {
        change(&mut self.lane(partition));
        self.changed.notify_waiters();
    }

    /// Notes that a lane has ended.
    pub(super) fn stopped(&self, partition: u32) {
        self.report(partition, |report| report.state = LaneState::Stopped);
    }

    /// All reports, by partition.
    pub(super) fn reports(&self) -> impl Iterator<Item = Report> {
        self.lanes.iter().map(|lane| lane.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// Ends with the next report from now on.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Waits until this is true of every lane.
    pub(super) async fn all(&self, is_so: impl Fn(u32, &Report) -> bool) {
        self.until(|| (0..).zip(self.reports()).all(|(partition, report)| is_so(partition, &report))).await;
    }

    /// Waits until this is true of some lane.
    pub(super) async fn any(&self, is_so: impl Fn(u32, &Report) -> bool) {
        self.until(|| (0..).zip(self.reports()).any(|(partition, report)| is_so(partition, &report))).await;
    }

    /// Looks whenever a lane has reported something, until it is so.
    async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            // Made before the look, so that no change after it is missed.
            if is_so() {
                return;
            }
            changed.await;
        }
    }

    /// Looks at a lane whenever one of them has reported something, until `look` finds what it looks for with what is
    /// seen.
    pub(super) async fn find<S, T>(
        &self,
        partition: u32,
        see: impl Fn(&Report) -> S,
        mut look: impl FnMut(S) -> Option<T>,
    ) -> T {
        loop {
            let changed = self.changed.notified();
            // Made before the look, so that no change after it is missed.
            let seen = see(&self.lane(partition));
            if let Some(found) = look(seen) {
                return found;
            }
            changed.await;
        }
    }

    fn lane(&self, partition: u32) -> MutexGuard<'_, Report> {
        self.lanes[partition as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
