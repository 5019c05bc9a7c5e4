//! Scripted consumers: what becomes of a delivery follows from the event's id, so the model can know it without having
//! seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate::config::{ConsumerConfig, OnDeadLetter, Order, RetryPolicy};
use tidegate::{
    Attribute, Clock, Context, Delivery, Event, Failure, Handler, Outgoing, TIMER_NAME, TIMER_TOPIC,
    Timestamp,
};

/// What panics say that are part of the script.
pub const ON_PURPOSE: &str = "on purpose";
/// What a handler asks to be left alone for.
const LATER: Duration = Duration::from_secs(30);
/// What a slow handler takes: longer than a lane's batch.
const SLOW: Duration = Duration::from_millis(40);
/// Where a consumer's effects on all keys are listed.
pub const ALL: &[u8] = b"all";

/// A consumer of the simulation.
#[derive(Debug)]
pub struct Plan {
    pub name: &'static str,
    pub topics: &'static [&'static str],
    pub partitions: u32,
    pub order: Order,
    pub on_dead_letter: OnDeadLetter,
    pub attempts: u32,
    /// Whether it does more than listing what it gets.
    pub is_scripted: bool,
}

/// All consumers.
pub static PLANS: [Plan; 5] = [
    Plan {
        name: "by-key",
        topics: &["a", "b"],
        partitions: 2,
        order: Order::Key,
        on_dead_letter: OnDeadLetter::Continue,
        attempts: 4,
        is_scripted: true,
    },
    Plan {
        name: "parking",
        topics: &["a"],
        partitions: 2,
        order: Order::Key,
        on_dead_letter: OnDeadLetter::Park,
        attempts: 3,
        is_scripted: true,
    },
    Plan {
        name: "by-partition",
        topics: &["b"],
        partitions: 2,
        order: Order::Partition,
        on_dead_letter: OnDeadLetter::Continue,
        attempts: 3,
        is_scripted: true,
    },
    Plan {
        name: "unordered",
        topics: &["f"],
        partitions: 1,
        order: Order::None,
        on_dead_letter: OnDeadLetter::Continue,
        attempts: 3,
        is_scripted: true,
    },
    Plan {
        name: "tail",
        topics: &["out"],
        partitions: 2,
        order: Order::Key,
        on_dead_letter: OnDeadLetter::Continue,
        attempts: 3,
        is_scripted: false,
    },
];

impl Plan {
    pub fn config(&self, held_max: usize) -> ConsumerConfig {
        let retry = RetryPolicy::default()
            .attempts(self.attempts)
            .backoff(Duration::from_millis(100), Duration::from_secs(20));
        ConsumerConfig::new(self.topics.iter().copied())
            .order(self.order)
            .on_dead_letter(self.on_dead_letter)
            .held_max(held_max)
            .retry(retry)
    }

    /// The timer that an event sets, to so long after it, or cancels.
    fn timer(&self, id: &str) -> Option<(&'static str, Option<Duration>)> {
        let chance = hash(self.name, &format!("{id}/timer"));
        let name = ["x", "y", "z"][usize::try_from(chance % 3).unwrap_or(0)];
        match chance / 3 % 8 {
            _ if !self.is_scripted => None,
            0..3 => Some((name, Some(Duration::from_millis(chance / 24 % 120_000)))),
            3 => Some((name, None)),
            _ => None,
        }
    }

    /// What becomes of an event, as long as it isn't redriven.
    pub fn fate(&self, id: &str) -> Fate {
        if !self.is_scripted {
            return Fate::Good;
        }
        // So that whether a timer comes doesn't depend on an operator. Only crashes make dead letters of it.
        if id.contains("/timers/") {
            return [Fate::Good, Fate::Good, Fate::Flaky(1), Fate::TrapsOnce]
                [usize::try_from(hash(self.name, id) % 4).unwrap_or(0)];
        }
        match hash(self.name, id) % 100 {
            0..60 => Fate::Good,
            60..65 => Fate::Slow,
            65..72 => Fate::Flaky(1),
            72..76 => Fate::Flaky(2),
            76..80 => Fate::Later,
            80..84 => Fate::TrapsOnce,
            84..87 => Fate::Traps,
            87..92 => Fate::Bad,
            92..97 => Fate::Poison,
            _ => Fate::Stalls,
        }
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Good,
    /// It succeeds, and takes longer than a batch may.
    Slow,
    /// So many attempts fail.
    Flaky(u32),
    /// The first attempt fails and asks for a pause.
    Later,
    /// The first attempt panics.
    TrapsOnce,
    /// Every attempt panics.
    Traps,
    /// Given up on at once.
    Bad,
    /// Every attempt fails.
    Poison,
    /// The first attempt never ends.
    Stalls,
}

impl Fate {
    /// The code of the failure for which the event is given up on.
    pub fn ends_with(self) -> Option<&'static str> {
        match self {
            Self::Bad => Some("bad"),
            Self::Poison => Some("poison"),
            Self::Traps => Some("panic"),
            _ => None,
        }
    }
}

/// FNV-1a, mixed once more.
pub fn hash(consumer: &str, id: &str) -> u64 {
    let bytes = consumer.bytes().chain([b'/']).chain(id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// A delivery that was made.
#[derive(Clone, Debug)]
pub struct Call {
    pub consumer: &'static str,
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub event: Arc<Event>,
}

/// An event of a consumer, by its place.
type Place = (&'static str, String, u32, u64);

/// The last attempt at a delivery.
#[derive(Clone, Copy, Default)]
struct Attempt {
    number: u32,
    at: Timestamp,
    /// Crashes before it.
    crashes: u32,
}

/// What the consumers saw, over all lives of the bus.
#[derive(Default)]
pub struct Calls(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Since they were looked at last.
    calls: Vec<Call>,
    /// The last attempt that was made, and when.
    attempts: BTreeMap<Place, Attempt>,
    /// The lanes that are in a delivery.
    busy: BTreeSet<(&'static str, u32)>,
    /// The newest version that a lane ran in this life.
    versions: BTreeMap<(&'static str, u32), u32>,
    failures: u64,
    timers: u64,
    crashes: u32,
    broken: Option<String>,
}

impl Calls {
    /// The deliveries since the last look.
    ///
    /// # Errors
    ///
    /// A promise about deliveries that was broken.
    pub fn take(&self) -> Result<Vec<Call>, String> {
        let mut seen = self.seen();
        match seen.broken.take() {
            Some(broken) => Err(broken),
            None => Ok(std::mem::take(&mut seen.calls)),
        }
    }

    /// How many deliveries failed, as their script has it.
    pub fn failures(&self) -> u64 {
        self.seen().failures
    }

    /// How many deliveries were of timers.
    pub fn timers(&self) -> u64 {
        self.seen().timers
    }

    /// The bus is opened again, after so many crashes altogether.
    pub fn new_life(&self, crashes: u32) {
        let mut seen = self.seen();
        seen.crashes = crashes;
        seen.busy.clear();
        seen.versions.clear();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn begin(&mut self, plan: &'static Plan, version: u32, delivery: &Delivery) -> Result<(), String> {
        let id = delivery.event.id();
        let what = || {
            format!("{} at {}/{} {} ({id})", plan.name, delivery.topic, delivery.partition, delivery.offset)
        };
        let lane = (plan.name, delivery.partition);
        if !self.busy.insert(lane) {
            return Err(format!("{}: two deliveries of one lane at once", what()));
        }
        let newest = self.versions.entry(lane).or_default();
        if *newest > version {
            return Err(format!("{}: version {version} after {newest}", what()));
        }
        *newest = version;
        self.timers += u64::from(delivery.topic.as_ref() == TIMER_TOPIC);
        if delivery.redriven {
            return Ok(());
        }
        let place = (plan.name, delivery.topic.to_string(), delivery.partition, delivery.offset);
        let before = self.attempts.get(&place).copied().unwrap_or_default();
        let Attempt { number: attempt, at, crashes } = before;
        // A crash in a delivery counts as an attempt, even if it came before the handler did.
        let possible = attempt + 1 + self.crashes;
        if delivery.attempt == 0 || delivery.attempt > plan.attempts.min(possible) {
            return Err(format!(
                "{}: attempt {} after {attempt} of {}",
                what(),
                delivery.attempt,
                plan.attempts
            ));
        }
        // What a crash cut off has asked for nothing.
        let waits =
            plan.fate(id) == Fate::Later && delivery.attempt == 2 && attempt == 1 && crashes == self.crashes;
        if waits && delivery.now < at.after(LATER) {
            return Err(format!("{}: repeated at {} though {at} asked for {LATER:?}", what(), delivery.now));
        }
        let attempt = Attempt { number: delivery.attempt, at: delivery.now, crashes: self.crashes };
        self.attempts.insert(place, attempt);
        Ok(())
    }
}

/// A lane is in a delivery for as long as this lives: a delivery that is cut off is dropped.
struct Turn<'c>(&'c Calls, (&'static str, u32));

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.seen().busy.remove(&self.1);
    }
}

/// A consumer that does what its script says.
pub struct Script {
    pub plan: &'static Plan,
    pub version: u32,
    pub calls: Arc<Calls>,
    pub clock: Arc<dyn Clock>,
}

impl Handler for Script {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let _turn = {
            let mut seen = self.calls.seen();
            if let Err(broken) = seen.begin(self.plan, self.version, delivery) {
                seen.broken.get_or_insert(broken);
            }
            seen.calls.push(Call {
                consumer: self.plan.name,
                topic: delivery.topic.to_string(),
                partition: delivery.partition,
                offset: delivery.offset,
                event: Arc::clone(&delivery.event),
            });
            Turn(&self.calls, (self.plan.name, delivery.partition))
        };
        // Effects come first, so that a failure has something to leave behind.
        self.take_effect(delivery, context)?;
        let outcome = self.outcome(delivery).await;
        if outcome.is_err() {
            self.calls.seen().failures += 1;
        }
        outcome
    }

    fn name(&self) -> String {
        self.plan.name.to_owned()
    }

    fn version(&self) -> String {
        self.version.to_string()
    }
}

impl Script {
    fn take_effect(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let id = delivery.event.id();
        let of_key = key_list(delivery.event.key());
        for key in [ALL, &of_key] {
            let mut list = context.get(key)?.unwrap_or_default();
            list.extend_from_slice(id.as_bytes());
            list.push(b'\n');
            context.set(key, &list)?;
        }
        self.change_timers(delivery, context)?;
        if self.plan.is_scripted {
            let subject = Some(format!("{}|{id}", self.plan.name));
            context.publish("out", Outgoing { kind: "Handled.v1".into(), subject, ..Outgoing::default() })?;
        }
        Ok(())
    }

    /// Sets or cancels timers of the key, and lists what it does, which have come, and where among them each event came.
    fn change_timers(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let of_key = timer_list(delivery.event.key());
        let appended = delivery.appended.0;
        let mut list = context.get(&of_key)?.unwrap_or_default();
        let lines = if delivery.topic.as_ref() == TIMER_TOPIC {
            let name = delivery.event.extension(TIMER_NAME).and_then(Attribute::as_text).unwrap_or_default();
            format!("came {name} {appended}\n")
        } else {
            let place = if delivery.redriven { "redriven" } else { "saw" };
            let change = match self.plan.timer(delivery.event.id()) {
                Some((name, Some(wait))) => {
                    let due = context.now().after(wait);
                    context.set_timer(name, due, None)?;
                    format!("set {name} {}\n", due.0)
                }
                Some((name, None)) => {
                    context.cancel_timer(name)?;
                    format!("cancel {name} 0\n")
                }
                None => String::new(),
            };
            format!("{place} - {appended}\n{change}")
        };
        list.extend_from_slice(lines.as_bytes());
        Ok(context.set(&of_key, &list)?)
    }

    async fn outcome(&self, delivery: &Delivery) -> Result<(), Failure> {
        let (fate, attempt) = (self.plan.fate(delivery.event.id()), delivery.attempt);
        if delivery.redriven {
            return Ok(());
        }
        match fate {
            Fate::Slow => self.clock.sleep_until(self.clock.now().after(SLOW)).await,
            Fate::Flaky(failures) if attempt <= failures => {
                return Err(Failure::transient("flaky", "not yet"));
            }
            Fate::Later if attempt == 1 => {
                return Err(Failure::transient("later", "not yet").with_retry_after(LATER));
            }
            Fate::TrapsOnce if attempt == 1 => self.panic(),
            Fate::Traps => self.panic(),
            Fate::Bad => return Err(Failure::permanent("bad", "never")),
            Fate::Poison => return Err(Failure::transient("poison", "never")),
            Fate::Stalls if attempt == 1 => pending().await,
            _ => {}
        }
        Ok(())
    }

    fn panic(&self) {
        self.calls.seen().failures += 1;
        std::panic::panic_any(ON_PURPOSE);
    }
}

/// Where what happened to a key's timers is listed.
pub fn timer_list(key: &str) -> Vec<u8> {
    [TIMER_LISTS, key.as_bytes()].concat()
}

/// What the keys of those lists begin with.
pub const TIMER_LISTS: &[u8] = b"timers/";

/// Where the effects on a key are listed.
pub fn key_list(key: &str) -> Vec<u8> {
    format!("key/{key}").into_bytes()
}
