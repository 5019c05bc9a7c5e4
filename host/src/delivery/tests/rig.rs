//! A log, a clock and consumers for the tests of lanes.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::{Clock, Timestamp};
use crate::config::{BusConfig, ConsumerConfig, RetryPolicy, TopicConfig};
use crate::delivery::status::Report;
use crate::delivery::{Consumer, LaneState, Lanes, Native, Setup};
use crate::effects::{Authority, Context};
use crate::event::Event;
use crate::handler::{Delivery, Failure, Handler, Program, handler_fn};
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::JOURNAL_FILE_PART;
use crate::log::{Lane, Log, LogOptions, Position};
use crate::testing::{ManualClock, MemoryMedium, SeededRandom};
use crate::upcast::Lifts;

/// What a native handler may take.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Longer than any test takes; a lane that doesn't get there fails its test instead of hanging it.
const PATIENCE: Duration = Duration::from_mins(1);

/// A bus without the bus.
pub struct Rig {
    pub disk: MemoryMedium,
    pub clock: Arc<ManualClock>,
    pub log: Arc<Log>,
    /// What consumers are started with.
    pub lifts: Arc<Lifts>,
    lanes: Lanes,
}

impl Rig {
    pub fn new() -> Self {
        Self::open(MemoryMedium::new(), Timestamp(1_700_000_000_000_000))
    }

    fn open(disk: MemoryMedium, now: Timestamp) -> Self {
        let clock = Arc::new(ManualClock::new(now));
        let config = BusConfig::default();
        let options = LogOptions {
            commit: config.commit,
            event_bytes_max: config.event_bytes_max,
            cache_bytes: config.cache_bytes,
            journal_bytes: config.journal_bytes,
            journal_file_part: JOURNAL_FILE_PART,
            free_bytes_min: 1000,
            blobs_bytes_max: crate::limits::BLOBS_BYTES_MAX,
            is_stepped: false,
        };
        let medium = Box::new(disk.clone());
        let random = Arc::new(SeededRandom::new(7));
        let log =
            Arc::new(Log::open(options, medium, Arc::clone(&clock) as Arc<dyn Clock>, random, None).unwrap());
        let lanes = Lanes::new(Arc::clone(&log), tokio::runtime::Handle::current(), None);
        Self { disk, clock, log, lifts: Arc::default(), lanes }
    }

    /// Another process on the same disk, after this one has ended in good order.
    pub fn reopened(self) -> Self {
        self.log.close();
        Self::open(self.disk.clone(), self.clock.now())
    }

    /// Another process on the same disk, after the power went out.
    pub fn after_power_cut(self) -> Self {
        self.disk.cut_power();
        let (disk, now) = (self.disk.clone(), self.clock.now());
        drop(self);
        Self::open(disk, now)
    }

    pub async fn topic(&self, name: &str) -> TopicId {
        self.log.create_topic(name, TopicConfig::new(1)).await.unwrap()
    }

    /// Publishes events, given as key and id, in one commit.
    pub async fn publish(&self, topic: &str, events: &[(&str, &str)]) {
        let events = events.iter().map(|(key, id)| (topic, event(key, id))).collect();
        self.log.append(events).await.unwrap();
    }

    /// Starts consumer `c`.
    pub async fn start(&self, config: ConsumerConfig, program: Arc<dyn Program>) -> Running {
        let running = self.start_paused(config, program).await;
        running.consumer.resume();
        running
    }

    /// Starts consumer `c`, which stands still until it is resumed.
    pub async fn start_paused(&self, config: ConsumerConfig, program: Arc<dyn Program>) -> Running {
        let (id, row) = self.log.register("c", &config.topics, Position::Earliest).await.unwrap();
        let consumer = self.lanes.start(Setup {
            id,
            name: "c".into(),
            topics: row.topics,
            partitions: row.partitions,
            config,
            authority: Arc::new(Authority::Native),
            program,
            lifts: Arc::clone(&self.lifts),
            paused: true,
        });
        Running { id, consumer, clock: Arc::clone(&self.clock), log: Arc::clone(&self.log) }
    }

    pub fn native(&self, handler: impl Handler, version: &str) -> Arc<dyn Program> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Arc::new(Native::new(Versioned { handler, version: version.to_owned() }, DEADLINE, clock))
    }

    /// A program of a closure that writes each attempt into the journal before it.
    pub fn program(
        &self,
        journal: &Journal,
        handle: impl Fn(&Delivery, &mut Context) -> Result<(), Failure> + Send + Sync + 'static,
    ) -> Arc<dyn Program> {
        let journal = journal.clone();
        let handler = handler_fn(move |delivery: &Delivery, context: &mut Context| {
            journal.note(delivery);
            handle(delivery, context)
        });
        self.native(handler, "1")
    }

    /// The ids of a topic's events.
    pub fn ids(&self, topic: TopicId) -> Vec<String> {
        let entries = self.log.read(topic, 0, 0, 1000, 1 << 20).unwrap();
        let id = |entry| match entry {
            crate::log::Entry::Event(stored) => stored.event.id().to_owned(),
            crate::log::Entry::Damaged { reason, .. } => panic!("{reason}"),
        };
        entries.into_iter().map(id).collect()
    }
}

/// A consumer with one lane.
pub struct Running {
    pub id: ConsumerId,
    pub consumer: Consumer,
    clock: Arc<ManualClock>,
    log: Arc<Log>,
}

impl Running {
    /// Waits for this state of the lane, without moving the clock.
    pub async fn reaches(&self, is_so: impl Fn(&Report) -> bool) {
        let reached = tokio::time::timeout(PATIENCE, self.consumer.all(is_so)).await;
        assert!(reached.is_ok(), "the lane doesn't get there: {:?}", self.consumer.status());
    }

    /// Moves the clock from retry to retry until there is nothing to do but to wait for new events or for an operator,
    /// and the lane has come to these offsets.
    pub async fn settles(&self, offsets: u64) {
        loop {
            let now = self.clock.now();
            let is_retry =
                |report: &Report| matches!(report.state, LaneState::Waiting { until } if until > now);
            let is_settled = |report: &Report| {
                let at_rest = matches!(report.state, LaneState::Idle | LaneState::Parked);
                at_rest && report.next.values().sum::<u64>() == offsets && report.next_retry.is_none()
            };
            self.reaches(|report| is_retry(report) || is_settled(report)).await;
            match self.consumer.status().remove(0).state {
                LaneState::Waiting { until } => self.clock.advance_to(until),
                LaneState::Idle | LaneState::Parked => return,
                _ => {}
            }
        }
    }

    /// The lane's rows.
    pub fn rows(&self) -> Lane {
        self.log.lane(LaneId { consumer: self.id, partition: 0 }).unwrap()
    }

    /// A number in the lane's state.
    pub fn count(&self, key: &str) -> u64 {
        let state = self.log.state(LaneId { consumer: self.id, partition: 0 }).unwrap();
        decoded(state.get(key.as_bytes()).unwrap())
    }

    pub async fn stop(self) {
        assert_eq!(self.consumer.stop(DEADLINE).await, 0, "no lane was cut off");
    }
}

pub fn config(topics: &[&str]) -> ConsumerConfig {
    ConsumerConfig::new(topics.iter().copied()).retry(RetryPolicy::default().attempts(4))
}

/// The attempts in the order in which they were made, as id and number.
#[derive(Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<(String, u32)>>>);

impl Journal {
    pub fn note(&self, delivery: &Delivery) {
        self.0.lock().unwrap().push((delivery.event.id().to_owned(), delivery.attempt));
    }

    /// What was noted, as `id/attempt`.
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(id, attempt)| format!("{id}/{attempt}")).collect()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// A handler whose deliveries never end.
#[derive(Clone, Default)]
pub struct Hanging {
    pub journal: Journal,
    /// Told of each delivery.
    pub begun: Arc<Notify>,
}

impl Handler for Hanging {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        self.journal.note(delivery);
        add_one(context, "hung")?;
        self.begun.notify_one();
        pending().await
    }
}

/// A handler whose deliveries each wait until they may go on.
#[derive(Clone, Default)]
pub struct Gate {
    pub journal: Journal,
    /// Told of each delivery.
    pub begun: Arc<Notify>,
    /// Lets one go on.
    pub goes_on: Arc<Notify>,
}

impl Handler for Gate {
    async fn handle(&self, delivery: &Delivery, _: &mut Context) -> Result<(), Failure> {
        self.journal.note(delivery);
        self.begun.notify_one();
        self.goes_on.notified().await;
        Ok(())
    }
}

/// Adds one to a number in the state.
pub fn add_one(context: &mut Context, key: &str) -> Result<(), Failure> {
    let unavailable = |error| Failure::transient("state", format!("{error}"));
    let count = decoded(context.get(key.as_bytes()).map_err(unavailable)?);
    context.set(key.as_bytes(), &(count + 1).to_le_bytes()).map_err(unavailable)
}

fn decoded(value: Option<Vec<u8>>) -> u64 {
    value.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

pub fn event(key: &str, id: &str) -> Event {
    Event::new(id, "/tests", "Test.v1").subject(key).build().unwrap()
}

/// A handler of a version.
struct Versioned<H> {
    handler: H,
    version: String,
}

impl<H: Handler> Handler for Versioned<H> {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        self.handler.handle(delivery, context).await
    }

    fn version(&self) -> String {
        self.version.clone()
    }
}
