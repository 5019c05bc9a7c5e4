//! A steady flow of events through the bus: how long each takes, and what a reload does to it.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::json;
use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, TopicConfig};
use tidegate::{Event, Position, Reader, ReloadOutcome};
use tokio::task::JoinSet;

use super::bus::{KEYS, Measured, event};
use super::consume::{component, guest};
use super::publish::noise;
use crate::peers::Bare;
use crate::report::target;
use crate::row::{Goal, P50_P99, Rounds, Row, WaitRounds};
use crate::scale::Scale;
use crate::tasks::{ended, runtime};
use crate::time::{Stopwatch, Waits, timed};

/// The beat at which events are published.
const BEAT: Duration = Duration::from_millis(1);
/// Events of a beat: 10,000 a second for the waits, and 20,000 a second for reloads.
const EVENTS_OF_WAITS: usize = 10;
const EVENTS_OF_RELOADS: usize = 20;
/// Reloads of a round.
const RELOADS: usize = 4;
/// The longest gap between two deliveries, in microseconds.
const GAP_MAX: f64 = 10_000.0;

/// From the call that publishes an event until a reader has what the plugin published for it, whose effects are durable then;
/// beside bare redb, which commits the same load as fast as it can.
pub fn end_to_end(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = WaitRounds::new(P50_P99);
    for _ in 0..scale.rounds {
        rounds.push(&mut flow_waits(scale.samples)?, &mut commit_waits(scale.samples)?);
    }
    let beside = "one commit of bare redb, same load";
    Ok(rounds.rows("end-to-end", beside, Goal::AtMost(3.0)).collect())
}

/// What a plugin that goes on to topic `plain` gives back, by the subject of each event.
struct Flow {
    measured: Measured,
    sent: Arc<Mutex<HashMap<String, Stopwatch>>>,
}

impl Flow {
    fn new(plugin: PluginConfig) -> Result<Self> {
        let measured = Measured::new()?;
        measured.bus.create_topic("out", TopicConfig::new(1))?;
        let plugin = plugin
            .grants(Grants::nothing().state().publish("out"))
            .settings(json!({ "topic": "out" }).to_string());
        measured.bus.subscribe_plugin("consumer", ConsumerConfig::new(["plain"]), plugin)?;
        Ok(Self { measured, sent: Arc::default() })
    }

    /// Publishes so many beats of so many events. Returns how long each took until a reader had what came of it, and the
    /// longest time between two that the reader had.
    fn run(&self, beats: usize, events: usize) -> Result<(Waits, Duration)> {
        let (bus, sent) = (self.measured.bus.bus(), &self.sent);
        runtime()?.block_on(async {
            // Before anything is published, so that it misses nothing.
            let reader = bus.read("out", None, Position::Latest)?;
            let reading = tokio::spawn(read(reader, Arc::clone(sent), beats * events));
            let (mut beat, mut publishes) = (tokio::time::interval(BEAT), JoinSet::new());
            for number in 0..beats * events {
                if number % events == 0 {
                    beat.tick().await;
                }
                let event = numbered(number)?;
                let key = event.key().to_owned();
                sent.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Stopwatch::start());
                let bus = bus.clone();
                publishes.spawn(async move { Ok(bus.publish("plain", event).await.map(drop)?) });
            }
            ended(&mut publishes).await?;
            reading.await?
        })
    }
}

/// Reads so many events of topic `out`.
async fn read(
    mut reader: Reader,
    sent: Arc<Mutex<HashMap<String, Stopwatch>>>,
    count: usize,
) -> Result<(Waits, Duration)> {
    let (mut waits, mut gap, mut last) = (Waits::default(), Duration::ZERO, None::<Stopwatch>);
    for _ in 0..count {
        let record = reader.next().await?;
        let key = record.event.key();
        let begun = sent.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        waits.push(begun.with_context(|| format!("{key} came twice, or was never sent"))?.took());
        gap = gap.max(last.map_or(Duration::ZERO, |last| last.took()));
        last = Some(Stopwatch::start());
    }
    Ok((waits, gap))
}

/// An event with a key of its own.
fn numbered(number: usize) -> Result<Event> {
    event(&format!("order-{number}"), KEYS + number)
}

fn flow_waits(beats: usize) -> Result<Waits> {
    Ok(Flow::new(guest("echo")?)?.run(beats, EVENTS_OF_WAITS)?.0)
}

/// How long bare redb's commits take, of all that has come in a millisecond.
fn commit_waits(beats: usize) -> Result<Waits> {
    let mut bare = Bare::new()?;
    let row = noise(numbered(0)?.size());
    let mut waits = Waits::default();
    let (begun, mut done) = (Stopwatch::start(), 0);
    while done < beats {
        let due = usize::try_from(begun.took().as_millis())?.min(beats);
        if done == due {
            thread::park_timeout(BEAT / 10);
            continue;
        }
        // What comes in, and what a consumer makes of it.
        let rows = 2 * EVENTS_OF_WAITS * (due - done);
        let (outcome, took) = timed(|| bare.commit_rows((0..rows).map(|_| row.as_slice())));
        outcome?;
        waits.push(took);
        done = due;
    }
    Ok(waits)
}

/// The longest time between two deliveries while the plugin is replaced, some times in a round.
pub fn reload(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    let beats = 2 * scale.samples;
    for _ in 0..scale.rounds {
        let folder = TempDir::new_in(target()?)?;
        let file = folder.path().join("counter.wasm");
        let versions = [component("counter")?, component("counter_v2")?];
        fs::copy(&versions[0], &file)?;
        let flow = Flow::new(PluginConfig::new(&file))?;
        let bus = flow.measured.bus.clone();
        let gap = thread::scope(|scope| {
            let reloads = scope.spawn(|| {
                for number in 1..=RELOADS {
                    thread::park_timeout(BEAT * u32::try_from(beats / (RELOADS + 1))?);
                    fs::copy(&versions[number % 2], &file)?;
                    let outcome = bus.reload("consumer")?;
                    ensure!(
                        matches!(outcome, ReloadOutcome::Switched { .. }),
                        "nothing was reloaded: {outcome:?}"
                    );
                }
                anyhow::Ok(())
            });
            let flowed = flow.run(beats, EVENTS_OF_RELOADS);
            reloads.join().map_err(|_| anyhow!("the thread of reloads panicked"))??;
            flowed.map(|(_, gap)| gap)
        })?;
        rounds.push(gap.as_secs_f64() * 1e6, GAP_MAX);
    }
    Ok(vec![rounds.row("reload", "µs", "the longest gap in deliveries", Goal::AtMost(1.0))])
}
