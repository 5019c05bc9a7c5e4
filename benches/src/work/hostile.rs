//! How long events wait for their effects while hostile plugins run beside their consumers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginLimits, RetryPolicy, TopicConfig};
use tidegate::{Blocking, Bus, ConsumerStatus, Event, LaneState};

use super::consume::guest;
use super::waits::joined;
use crate::report::target;
use crate::row::{Goal, P50_P99, Rounds, Row, WaitRounds};
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

/// Turns of each load in a round, each with a turn without any after it: so short that a machine that is slow for
/// a while is slow for both.
const TURNS: usize = 2;
/// Events of each neighbour before a turn is measured: hostile plugins that begin, or come to their end.
const SETTLE: usize = 20;
/// Longest delivery of a hostile plugin, so that it soon rests when it is to.
const DEADLINE: Duration = Duration::from_secs(1);
/// How many times as long neighbours may wait beside a hostile plugin.
const LONGER_MAX: f64 = 1.5;
/// The same beside all of them at once.
const LONGER_BESIDE_ALL_MAX: f64 = 2.0;

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

/// Who runs beside the neighbours.
struct Load {
    name: &'static str,
    /// The names of the hostile plugins.
    plugins: Vec<&'static str>,
    longer_max: f64,
}

/// Each of the hostile plugins alone, and all at once.
fn loads() -> Vec<Load> {
    let all: Vec<_> = acts().map(|(name, _)| name).to_vec();
    let alone = |name| Load { name, plugins: vec![name], longer_max: LONGER_MAX };
    let mut loads: Vec<_> = all.iter().copied().map(alone).collect();
    loads.push(Load { name: "all", plugins: all, longer_max: LONGER_BESIDE_ALL_MAX });
    loads
}

/// From the call that publishes an event until the effects of the plugin that consumes it are durable. What the machine does to
/// turns that are alike is told too.
pub fn hostile_neighbours(scale: &Scale) -> Result<Vec<Row>> {
    let loads = loads();
    let mut rounds: Vec<_> = loads.iter().map(|_| WaitRounds::new(P50_P99)).collect();
    let mut noise = Rounds::default();
    for _ in 0..scale.rounds {
        let Measured { mut beside, quiet } = Neighbours::new()?.measure(&loads, scale.samples)?;
        let [mut quiet, mut quiet_again] = quiet;
        noise.push(quiet_again.quantile(0.99), quiet.quantile(0.99));
        quiet.extend(quiet_again);
        for (rounds, waits) in rounds.iter_mut().zip(&mut beside) {
            rounds.push(waits, &mut quiet);
        }
    }
    let mut rows = Vec::new();
    for (Load { name, longer_max, .. }, rounds) in loads.iter().zip(&rounds) {
        let (id, goal) = (format!("hostile-neighbours-{name}"), Goal::AtMost(*longer_max));
        rows.extend(rounds.rows(&id, "the same consumers without hostile ones", goal));
    }
    let beside_name = "p99 without hostile ones, at other times";
    rows.push(noise.row("hostile-neighbours-noise", "µs", beside_name, Goal::AtMost(LONGER_MAX)));
    Ok(rows)
}

/// How long events waited in a round.
struct Measured {
    /// Beside each load.
    beside: Vec<Waits>,
    /// Without any, in two parts.
    quiet: [Waits; 2],
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

    /// So many waits beside each load, and at least as many without any.
    fn measure(mut self, loads: &[Load], samples: usize) -> Result<Measured> {
        let samples = samples.div_ceil(TURNS * NEIGHBOURS);
        let mut measured = Measured {
            beside: loads.iter().map(|_| Waits::default()).collect(),
            quiet: [(); 2].map(|()| Waits::default()),
        };
        // What the first events bring along (a plugin's first instance, the file's first pages) isn't measured.
        self.waits(samples)?;
        for turn in 0..TURNS {
            for (number, Load { plugins, .. }) in loads.iter().enumerate() {
                self.set_hostile(plugins)?;
                self.waits(SETTLE)?;
                measured.beside[number].extend(self.waits_beside_hostile(plugins, samples)?);
                self.set_hostile(&[])?;
                self.waits(SETTLE)?;
                measured.quiet[(turn + number) % 2].extend(self.waits(samples / 2)?);
            }
        }
        Ok(measured)
    }

    /// Has these hostile plugins go on and all others rest, and waits until they do.
    fn set_hostile(&self, plugins: &[&str]) -> Result<()> {
        for (name, _) in acts() {
            if plugins.contains(&name) {
                self.bus.resume(name)?;
            } else {
                self.bus.pause(name)?;
            }
        }
        let rests =
            |consumer: &ConsumerStatus| consumer.lanes.iter().all(|lane| lane.state == LaneState::Paused);
        let is_to = |consumer: &&ConsumerStatus| {
            acts().iter().any(|(name, _)| *name == consumer.name && !plugins.contains(name))
        };
        while !self.bus.bus().consumers()?.iter().filter(is_to).all(rests) {
            thread::park_timeout(PAUSE);
        }
        Ok(())
    }

    fn waits_beside_hostile(&mut self, plugins: &[&str], samples: usize) -> Result<Waits> {
        let (bus, baits) = (self.bus.clone(), Arc::clone(&self.baits));
        let measuring = &AtomicBool::new(true);
        thread::scope(|scope| {
            bait(&bus, &baits, plugins)?;
            let feeder = scope.spawn(move || {
                while measuring.load(Ordering::Relaxed) {
                    bait(&bus, &baits, plugins)?;
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

/// Gives these hostile plugins more to do that come to the end of what they have.
fn bait(bus: &Blocking, baits: &AtomicU64, plugins: &[&str]) -> Result<()> {
    let consumers = bus.bus().consumers()?;
    for (name, act) in acts().into_iter().filter(|(name, _)| plugins.contains(name)) {
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
