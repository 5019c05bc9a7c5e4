//! How long events wait for their effects while hostile plugins run beside their consumers.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, PluginLimits, RetryPolicy, TopicConfig};
use tidegate::{Blocking, Bus, ConsumerStatus, Event, LaneState};

use super::waits::joined;
use crate::report::target;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{Waits, timed};

/// Neighbours, each with a topic and a publisher of its own.
const NEIGHBOURS: usize = 2;
/// The pause of a publisher after each event: a steady rate that leaves the machine mostly idle.
const PAUSE: Duration = Duration::from_millis(8);
/// Events that a hostile plugin finds waiting, at least, and how many more it gets at a time.
const BAIT: u64 = 64;
/// Time between two looks at whether it still has as many.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What each turn measures: 0 is beside hostile plugins, 1 and 2 are without.
const TURNS: [usize; 16] = [0, 1, 2, 0, 0, 2, 1, 0, 0, 1, 2, 0, 0, 2, 1, 0];
/// Events of each neighbour before a turn is measured: hostile plugins that begin, or come to their end.
const SETTLE: usize = 20;
/// Longest delivery of a hostile plugin, so that it soon rests when it is to.
const DEADLINE: Duration = Duration::from_secs(1);
/// How many times as long neighbours may wait.
const LONGER_MAX: f64 = 1.5;

/// What is told of waits.
const QUANTILES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

/// What hostile plugins do with each event.
fn acts() -> [(&'static str, Value); 5] {
    [
        ("endless-loop", json!({ "act": "fault", "fault": "spin" })),
        ("log-flood", json!({ "act": "log-flood", "count": 100_000 })),
        ("publish-flood", json!({ "act": "publish", "count": 1000, "bytes": 1000 })),
        ("state-flood", json!({ "act": "state", "count": 200, "bytes": 10_000 })),
        ("memory-bomb", json!({ "act": "fault", "fault": "grow" })),
    ]
}

/// From the call that publishes an event until the effects of the plugin that consumes it are durable. Hostile plugins run and
/// rest in turn, in phases so short that a machine that is slow for a while is slow for both; and what it does to phases
/// that are alike is told too.
pub fn hostile_neighbours(scale: &Scale) -> Result<Vec<Row>> {
    let samples = (4 * scale.samples).div_ceil(TURNS.len() * NEIGHBOURS);
    let mut rounds = [(); QUANTILES.len()].map(|()| Rounds::default());
    let mut noise = Rounds::default();
    for _ in 0..scale.rounds {
        let [mut hostile, mut quiet, mut quiet_again] = Neighbours::new()?.measure(samples)?;
        noise.push(quiet_again.quantile(0.99), quiet.quantile(0.99));
        quiet.extend(quiet_again);
        for (rounds, (_, part)) in rounds.iter_mut().zip(QUANTILES) {
            rounds.push(hostile.quantile(part), quiet.quantile(part));
        }
    }
    let row = |(rounds, (name, _)): (&Rounds, (&str, f64))| {
        let id = format!("hostile-neighbours-{name}");
        rounds.row(id, "µs", "the same consumers without hostile ones", Goal::AtMost(LONGER_MAX))
    };
    let noise = noise.row(
        "hostile-neighbours-noise",
        "µs",
        "p99 without hostile ones, at other times",
        Goal::AtMost(LONGER_MAX),
    );
    Ok(rounds.iter().zip(QUANTILES).map(row).chain([noise]).collect())
}

/// A bus with consumers that behave, and hostile ones.
struct Neighbours {
    bus: Blocking,
    /// Events that each topic of a neighbour has been given.
    published: usize,
    /// The same of all hostile ones.
    baits: Arc<AtomicU64>,
    _folder: TempDir,
}

impl Neighbours {
    fn new() -> Result<Self> {
        let folder = TempDir::new_in(target()?)?;
        let bus = Bus::open(folder.path())?.blocking();
        bus.create_topic("counts", TopicConfig::new(1))?;
        bus.create_topic("out", TopicConfig::new(1))?;
        for number in 0..NEIGHBOURS {
            let (topic, name) = (format!("steady-{number}"), format!("neighbour-{number}"));
            bus.create_topic(&topic, TopicConfig::new(1))?;
            let plugin = guest("counter")?
                .grants(Grants::nothing().state().publish("counts"))
                .settings(json!({ "topic": "counts" }).to_string());
            bus.subscribe_plugin(&name, ConsumerConfig::new([topic]), plugin)?;
        }
        for (name, _) in acts() {
            let topic = format!("bait-{name}");
            bus.create_topic(&topic, TopicConfig::new(1))?;
            // One attempt at each, so that it never waits for another.
            let config = ConsumerConfig::new([topic]).retry(RetryPolicy::default().attempts(1));
            let plugin = guest("hostile")?
                .grants(Grants::nothing().state().publish("out").log())
                .limits(PluginLimits::default().deadline(DEADLINE));
            bus.subscribe_plugin(name, config, plugin)?;
            bus.pause(name)?;
        }
        Ok(Self { bus, published: 0, baits: Arc::default(), _folder: folder })
    }

    /// So many waits in each turn: those beside hostile plugins, and those without, in two parts.
    fn measure(mut self, samples: usize) -> Result<[Waits; 3]> {
        // What the first events bring along (a plugin's first instance, the file's first pages) isn't measured.
        self.waits(samples)?;
        let mut waits = [(); 3].map(|()| Waits::default());
        for turn in TURNS {
            let is_hostile = turn == 0;
            self.set_hostile(is_hostile)?;
            self.waits(SETTLE)?;
            let found = if is_hostile { self.waits_beside_hostile(samples)? } else { self.waits(samples)? };
            waits[turn].extend(found);
        }
        Ok(waits)
    }

    /// Has the hostile plugins go on or rest, and waits until they do.
    fn set_hostile(&self, is_hostile: bool) -> Result<()> {
        for (name, _) in acts() {
            if is_hostile {
                self.bus.resume(name)?;
            } else {
                self.bus.pause(name)?;
            }
        }
        let rests =
            |consumer: &ConsumerStatus| consumer.lanes.iter().all(|lane| lane.state == LaneState::Paused);
        let hostile = |consumer: &&ConsumerStatus| acts().iter().any(|(name, _)| *name == consumer.name);
        while !is_hostile && !self.bus.bus().consumers()?.iter().filter(hostile).all(rests) {
            thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    fn waits_beside_hostile(&mut self, samples: usize) -> Result<Waits> {
        let (bus, baits) = (self.bus.clone(), Arc::clone(&self.baits));
        let measuring = &AtomicBool::new(true);
        thread::scope(|scope| {
            bait(&bus, &baits)?;
            let feeder = scope.spawn(move || {
                while measuring.load(Ordering::Relaxed) {
                    bait(&bus, &baits)?;
                    thread::park_timeout(LOOK_EVERY);
                }
                anyhow::Ok(())
            });
            let waits = self.waits(samples);
            measuring.store(false, Ordering::Relaxed);
            let fed = feeder.join().ok().context("the feeder panicked; it says why above")?;
            fed.and(waits)
        })
    }

    /// Publishes to each neighbour at a steady rate, and waits for the effects of each event.
    fn waits(&mut self, samples: usize) -> Result<Waits> {
        let first = self.published;
        self.published += samples;
        let this = &*self;
        thread::scope(|scope| {
            let publishers: Vec<_> = (0..NEIGHBOURS)
                .map(|number| scope.spawn(move || this.wait_for_each(number, first, samples)))
                .collect();
            joined(publishers)
        })
    }

    fn wait_for_each(&self, number: usize, first: usize, samples: usize) -> Result<Waits> {
        let (topic, name) = (format!("steady-{number}"), format!("neighbour-{number}"));
        let mut waits = Waits::default();
        for sample in first..first + samples {
            let event = Event::new(format!("steady-{sample}"), "/benches", "Steady.v1")
                .subject(format!("key-{}", sample % 16))
                .build()?;
            let (outcome, took) = timed(|| {
                self.bus.publish(&topic, event)?;
                anyhow::Ok(self.bus.caught_up(&name)?)
            });
            outcome?;
            waits.push(took);
            // Nobody unparks this thread.
            thread::park_timeout(PAUSE);
        }
        Ok(waits)
    }
}

/// Gives hostile plugins more to do that come to the end of what they have.
fn bait(bus: &Blocking, baits: &AtomicU64) -> Result<()> {
    let consumers = bus.bus().consumers()?;
    for (name, act) in acts() {
        let consumer = consumers.iter().find(|consumer| consumer.name == name);
        let lag = consumer.with_context(|| format!("{name} isn't there"))?.lag_events;
        if lag < BAIT {
            let topic = format!("bait-{name}");
            let event = || {
                let id = format!("bait-{}", baits.fetch_add(1, Ordering::Relaxed));
                anyhow::Ok((topic.as_str(), Event::new(id, "/benches", "Bait.v1").json(&act).build()?))
            };
            bus.publish_all((0..BAIT).map(|_| event()).collect::<Result<_>>()?)?;
        }
    }
    Ok(())
}

/// A component of the tests.
fn guest(name: &str) -> Result<PluginConfig> {
    let file: PathBuf = target()?.join("plugins/guests").join(name).with_extension("wasm");
    ensure!(file.exists(), "{} is not there: `cargo xtask plugins` builds it", file.display());
    Ok(PluginConfig::new(file))
}
