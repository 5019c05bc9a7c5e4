//! What the bus costs as the work grows.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tidegate::config::{BusConfig, ConsumerConfig, Dedup, Retention, RetryPolicy, Start, TopicConfig};
use tidegate::{Blocking, Bus, Failure, Options, handler_fn};

use super::bus::{PARTITIONS, event, fill, work_off};
use super::consume::guest;
use crate::memory;
use crate::report::target;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::tasks::runtime;
use crate::time::timed;

/// Events that are published at a time.
const GROUP: usize = 4096;
/// Events of a group that goes through the journal.
const SMALL_GROUP: usize = 256;
/// Seconds that opening may take, after a clean close and after a kill.
const OPEN_MAX: f64 = 1.0;
const OPEN_AFTER_KILL_MAX: f64 = 2.0;
/// What 10,000 idle lanes may take: bytes of memory, and a part of a core.
const IDLE_BYTES_MAX: f64 = 300e6;
const IDLE_CORE_MAX: f64 = 0.01;
/// Partitions of the topic of idle consumers.
const IDLE_PARTITIONS: u32 = 10;
/// How long they are watched.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Bytes of memory that a backlog of 10 million events may take beyond that of a million.
const BACKLOG_BYTES_MAX: f64 = 32.0 * 1024.0 * 1024.0;
/// Bytes that a window of a million identities may take.
const WINDOW_BYTES_MAX: f64 = 64.0 * 1024.0 * 1024.0;
/// How many times what is retained the file may take.
const FILE_MAX: f64 = 2.0;
/// Bytes that a topic retains while its file is watched.
const RETAINED: u64 = 32 << 20;
/// The file of the log.
const DATABASE: &str = "tidegate.redb";
/// Times that it is filled anew, and so often retention runs meanwhile.
const REFILLS: usize = 6;
const TRIMS: usize = 8;

/// A folder of a bus that may be opened again.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Result<Self> {
        Ok(Self { folder: TempDir::new_in(target()?)? })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn open(&self) -> Result<Blocking> {
        Ok(Bus::open(self.path())?.blocking())
    }
}

/// A log of many events: publishing to it, in turns with a small one, and opening it. It is filled once: that takes a minute.
pub fn log(scale: &Scale) -> Result<Vec<Row>> {
    let place = Place::new()?;
    let bus = place.open()?;
    bus.create_topic("plain", TopicConfig::new(PARTITIONS))?;
    let part = scale.group_events.min(scale.grown_events / 4);
    fill(&bus, "plain", 0..2 * part, GROUP)?;
    // Somebody has all of it still to come.
    bus.subscribe(
        "behind",
        ConsumerConfig::new(["plain"]).start(Start::Earliest).paused(true),
        handler_fn(|_, _| Ok(())),
    )?;
    let tenth = (scale.grown_events / 10).max(2 * part);
    fill(&bus, "plain", 2 * part..tenth, GROUP)?;
    let before = memory::resident()?;
    fill(&bus, "plain", tenth..scale.grown_events, GROUP)?;
    let more = bytes(memory::resident()?.saturating_sub(before));
    let few = Place::new()?;
    let small_bus = few.open()?;
    small_bus.create_topic("plain", TopicConfig::new(PARTITIONS))?;
    // As warm as the large one.
    fill(&small_bus, "plain", 0..part, GROUP)?;
    let mut turns = 0;
    let mut rates = |size: usize| -> Result<(f64, f64)> {
        let next = |from: usize| from + turns * part..from + (turns + 1) * part;
        let (large, small) = (next(scale.grown_events), next(part));
        turns += 1;
        Ok((fill(&bus, "plain", large, size)?, fill(&small_bus, "plain", small, size)?))
    };
    let (mut rounds, mut rounds_of_small) = (Rounds::default(), Rounds::default());
    for _ in 0..scale.rounds {
        let (large, small) = rates(GROUP)?;
        rounds.push(large, small);
        let (large, small) = rates(SMALL_GROUP)?;
        rounds_of_small.push(large, small);
    }
    small_bus.shutdown(IDLE_FOR);
    drop(small_bus);
    // Nothing is being written, so a copy is what a kill leaves.
    let killed = Place::new()?;
    for entry in fs::read_dir(place.path())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), killed.path().join(entry.file_name()))?;
        }
    }
    bus.shutdown(IDLE_FOR);
    drop(bus);
    let opened = |place: &Place| -> Result<f64> {
        let (bus, took) = timed(|| place.open());
        bus?.shutdown(IDLE_FOR);
        Ok(took.as_secs_f64())
    };
    let small_log = "a log of a few rounds";
    Ok(vec![
        rounds.row("grow-publish", "events/s", small_log, Goal::AtLeast(0.9)),
        rounds_of_small.row("grow-publish-256", "events/s", small_log, Goal::AtLeast(0.9)),
        within("grow-memory", "bytes", more, BACKLOG_BYTES_MAX, "the most for ten times the backlog"),
        within("grow-open", "s", opened(&place)?, OPEN_MAX, "the most after a clean close"),
        within("grow-open-killed", "s", opened(&killed)?, OPEN_AFTER_KILL_MAX, "the most after a kill"),
    ])
}

/// Publishing in groups to a topic of many partitions, beside one of few.
pub fn partitions(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for _ in 0..scale.rounds {
        let rate = |partitions: u32| -> Result<f64> {
            let place = Place::new()?;
            let bus = place.open()?;
            bus.create_topic("plain", TopicConfig::new(partitions))?;
            fill(&bus, "plain", 0..scale.group_events / 4, SMALL_GROUP)
        };
        let few = rate(PARTITIONS)?;
        rounds.push(rate(scale.many_partitions)?, few);
    }
    let beside = "a topic of 8 partitions";
    Ok(vec![rounds.row("grow-partitions", "events/s", beside, Goal::AtLeast(0.5))])
}

/// Many consumers that have nothing to do: what they take of memory and of a core.
pub fn idle(scale: &Scale) -> Result<Vec<Row>> {
    let place = Place::new()?;
    let bus = place.open()?;
    bus.create_topic("plain", TopicConfig::new(IDLE_PARTITIONS))?;
    let before = memory::resident()?;
    for number in 0..scale.idle_consumers {
        bus.subscribe_plugin(&format!("consumer-{number}"), ConsumerConfig::new(["plain"]), guest("idle")?)?;
    }
    thread::park_timeout(scale.idle_before);
    let used = memory::used()?;
    thread::park_timeout(IDLE_FOR);
    let core = memory::used()?.saturating_sub(used).as_secs_f64() / IDLE_FOR.as_secs_f64();
    let grown = bytes(memory::resident()?.saturating_sub(before));
    Ok(vec![
        within("grow-idle-memory", "bytes", grown, IDLE_BYTES_MAX, "the most for 10,000 lanes"),
        within("grow-idle-core", "of a core", core, IDLE_CORE_MAX, "the most for 10,000 lanes"),
    ])
}

/// A deduplication window of many identities: the memory that opening takes for it.
pub fn window(scale: &Scale) -> Result<Vec<Row>> {
    let place = Place::new()?;
    let count = scale.grown_events / 10;
    let options = |place: &Place| {
        // The least, so that what is measured is the window.
        let mut config = BusConfig::default();
        config.cache_bytes = 1 << 20;
        Options::new(place.path()).config(config)
    };
    let bus = Bus::open_with(options(&place))?.blocking();
    let dedup = Dedup::new(Duration::from_hours(1), count as u64);
    bus.create_topic("plain", TopicConfig::new(PARTITIONS).dedup(dedup))?;
    fill(&bus, "plain", 0..count, GROUP)?;
    bus.shutdown(IDLE_FOR);
    drop(bus);
    let taken = |place: &Place| -> Result<u64> {
        let before = memory::resident()?;
        let bus = Bus::open_with(options(place))?;
        let taken = memory::resident()?.saturating_sub(before);
        bus.blocking().shutdown(IDLE_FOR);
        Ok(taken)
    };
    // What any bus takes that is opened.
    let empty = taken(&Place::new()?)?;
    let grown = bytes(taken(&place)?.saturating_sub(empty));
    Ok(vec![within("grow-window", "bytes", grown, WINDOW_BYTES_MAX, "the most for a million identities")])
}

/// The file of a topic that retains so many bytes, after it was filled anew some times.
pub fn file(_: &Scale) -> Result<Vec<Row>> {
    let place = Place::new()?;
    let bus = place.open()?;
    bus.create_topic("plain", TopicConfig::new(PARTITIONS).retention(Retention::keep_bytes(RETAINED)))?;
    let group = event("order-0", 0)?.size();
    let step = usize::try_from(RETAINED)? / group / TRIMS;
    for turn in 0..REFILLS * TRIMS {
        fill(&bus, "plain", turn * step..(turn + 1) * step, SMALL_GROUP)?;
        trim(&bus)?;
    }
    let topics = bus.bus().topics();
    let retained = topics.iter().find(|topic| topic.name == "plain").context("the topic is gone")?.bytes();
    let taken = Rounds::one(bytes(allocated(&place.path().join(DATABASE))?), bytes(retained));
    Ok(vec![taken.row("grow-file", "bytes", "what is retained", Goal::AtMost(FILE_MAX))])
}

fn trim(bus: &Blocking) -> Result<()> {
    runtime()?.block_on(async {
        while bus.bus().trim().await?.more {}
        anyhow::Ok(())
    })
}

/// Bytes that a file takes on the disk.
fn allocated(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)?.blocks() * 512)
}

/// A consumer whose lane stands still at its bound of held events, beside one that goes on.
pub fn stalled(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds {
        rounds.push_in_turn(round, || neighbour(scale, true), || neighbour(scale, false))?;
    }
    let beside = "the same without a stalled lane";
    Ok(vec![rounds.row("grow-stalled", "events/s", beside, Goal::AtLeast(0.9))])
}

fn neighbour(scale: &Scale, is_stalled: bool) -> Result<f64> {
    let place = Place::new()?;
    let bus = place.open()?;
    bus.create_topic("plain", TopicConfig::new(1))?;
    if is_stalled {
        let retry = RetryPolicy::default().backoff(Duration::from_hours(1), Duration::from_hours(1));
        let config = ConsumerConfig::new(["plain"]).held_max(100).retry(retry);
        let handler = handler_fn(|_, _| Err(Failure::transient("down", "what it calls is down")));
        bus.subscribe("stalled", config, handler)?;
    }
    bus.subscribe("neighbour", ConsumerConfig::new(["plain"]).paused(true), handler_fn(|_, _| Ok(())))?;
    fill(&bus, "plain", 0..scale.group_events, GROUP)?;
    work_off(&bus, "neighbour", scale.group_events)
}

/// The line of what has a limit beside it.
fn within(id: &str, unit: &'static str, ours: f64, most: f64, name: &'static str) -> Row {
    Rounds::one(ours, most).row(id, unit, name, Goal::AtMost(1.0))
}

#[expect(clippy::cast_precision_loss, reason = "some gigabytes at most")]
fn bytes(count: u64) -> f64 {
    count as f64
}
