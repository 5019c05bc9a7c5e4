//! How long events wait for their effects while hostile plugins run beside their consumers.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, RetryPolicy, TopicConfig};
use tidegate::{Blocking, Bus, Event};

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

/// From the call that publishes an event until the effects of the plugin that consumes it are durable.
pub fn hostile_neighbours(scale: &Scale) -> Result<Vec<Row>> {
    let samples = scale.samples.div_ceil(NEIGHBOURS);
    let mut rounds = [(); QUANTILES.len()].map(|()| Rounds::default());
    for round in 0..scale.rounds {
        // Each comes first in turn.
        let (mut ours, mut beside) = if round % 2 == 0 {
            let ours = Neighbours::new()?.measure(samples, true)?;
            (ours, Neighbours::new()?.measure(samples, false)?)
        } else {
            let beside = Neighbours::new()?.measure(samples, false)?;
            (Neighbours::new()?.measure(samples, true)?, beside)
        };
        for (rounds, (_, part)) in rounds.iter_mut().zip(QUANTILES) {
            rounds.push(ours.quantile(part), beside.quantile(part));
        }
    }
    let row = |(rounds, (name, _)): (&Rounds, (&str, f64))| {
        let id = format!("hostile-neighbours-{name}");
        rounds.row(id, "µs", "the same consumers without hostile ones", Goal::AtMost(1.5))
    };
    Ok(rounds.iter().zip(QUANTILES).map(row).collect())
}

/// A bus with consumers that behave.
struct Neighbours {
    bus: Blocking,
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
        Ok(Self { bus, _folder: folder })
    }

    fn measure(&self, samples: usize, with_hostile: bool) -> Result<Waits> {
        // What the first events bring along (a plugin's first instance, the file's first pages) isn't measured.
        self.waits(0, samples / 10 + 1)?;
        if !with_hostile {
            return self.waits(samples, samples);
        }
        for (name, _) in acts() {
            let topic = format!("bait-{name}");
            self.bus.create_topic(&topic, TopicConfig::new(1))?;
            // One attempt at each, so that it never waits for another.
            let config = ConsumerConfig::new([topic]).retry(RetryPolicy::default().attempts(1));
            let plugin = guest("hostile")?.grants(Grants::nothing().state().publish("out").log());
            self.bus.subscribe_plugin(name, config, plugin)?;
        }
        let (measuring, baits) = (AtomicBool::new(true), AtomicU64::new(0));
        thread::scope(|scope| {
            self.bait(&baits)?;
            let feeder = scope.spawn(|| {
                while measuring.load(Ordering::Relaxed) {
                    self.bait(&baits)?;
                    thread::park_timeout(LOOK_EVERY);
                }
                anyhow::Ok(())
            });
            let waits = self.waits(samples, samples);
            measuring.store(false, Ordering::Relaxed);
            let fed = feeder.join().ok().context("the feeder panicked; it says why above")?;
            fed.and(waits)
        })
    }

    /// Gives hostile plugins more to do that come to the end of what they have.
    fn bait(&self, baits: &AtomicU64) -> Result<()> {
        let consumers = self.bus.bus().consumers()?;
        for (name, act) in acts() {
            let consumer = consumers.iter().find(|consumer| consumer.name == name);
            let lag = consumer.with_context(|| format!("{name} isn't there"))?.lag_events;
            if lag < BAIT {
                let topic = format!("bait-{name}");
                let event = || {
                    let id = format!("bait-{}", baits.fetch_add(1, Ordering::Relaxed));
                    anyhow::Ok((topic.as_str(), Event::new(id, "/benches", "Bait.v1").json(&act).build()?))
                };
                self.bus.publish_all((0..BAIT).map(|_| event()).collect::<Result<_>>()?)?;
            }
        }
        Ok(())
    }

    /// Publishes to each neighbour at a steady rate, and waits for the effects of each event.
    fn waits(&self, first: usize, samples: usize) -> Result<Waits> {
        thread::scope(|scope| {
            let publishers: Vec<_> = (0..NEIGHBOURS)
                .map(|number| scope.spawn(move || self.wait_for_each(number, first, samples)))
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

/// A component of the tests.
fn guest(name: &str) -> Result<PluginConfig> {
    let file: PathBuf = target()?.join("plugins/guests").join(name).with_extension("wasm");
    ensure!(file.exists(), "{} is not there: `cargo xtask plugins` builds it", file.display());
    Ok(PluginConfig::new(file))
}
