//! Publishing: how many events a second, and how long one waits for its acknowledgement.

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tidegate::config::{BusConfig, CommitMode, TopicConfig};
use tidegate::{Bus, Event, Options};

use super::bus::{KEYS, Measured, PARTITIONS, event, group};
use crate::peers::{Bare, Nats, PlainFile, Syncing};
use crate::report::target;
use crate::row::{Goal, P50_P99, Rounds, Row, WaitRounds};
use crate::scale::Scale;
use crate::tasks::{runtime, together};
use crate::time::{Waits, rate, timed};

/// Events in a group, and what part of the rates of bare redb and of a plain file ours has to reach.
const GROUPS: [(usize, f64, f64); 2] = [(256, 0.8, 0.2), (4096, 0.8, 0.3)];
/// Publishers of groups: one group is encoded while the one before it is synced.
const PUBLISHERS_OF_GROUPS: usize = 2;
/// Publishers that each wait for their acknowledgement.
const PUBLISHERS: usize = 64;
/// Waits that are measured before what stands beside them has its turn.
const TURN: usize = 50;

/// Groups of events, by two publishers that each wait for theirs. Beside it stand bare redb and a plain file, which are
/// given the bytes that the bus keeps of the events, in the same groups.
pub fn publish_rate(scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (size, of_redb, of_file) in GROUPS {
        let stored = stored_bytes(size)?;
        let (mut beside_redb, mut beside_file) = (Rounds::default(), Rounds::default());
        let groups = (scale.group_events / size).max(2);
        for _ in 0..scale.rounds {
            let ours = publish_groups(groups, size)?;
            beside_redb.push(ours, write_bare(groups, size, stored)?);
            beside_file.push(ours, write_file(groups, size, stored)?);
        }
        let unit = "events/s";
        let id = format!("publish-{size}");
        rows.push(beside_redb.row(id, unit, "bare redb: same bytes and groups", Goal::AtLeast(of_redb)));
        let id = format!("publish-file-{size}");
        rows.push(beside_file.row(id, unit, "a plain file, fdatasync each group", Goal::AtLeast(of_file)));
    }
    Ok(rows)
}

/// What the bus keeps of a group, in bytes.
fn stored_bytes(size: usize) -> Result<usize> {
    let measured = Measured::new()?;
    measured.bus.publish_all(group("plain", 0..size)?)?;
    let topics = measured.bus.bus().topics();
    let plain = topics.iter().find(|topic| topic.name == "plain").context("the topic isn't there")?;
    Ok(usize::try_from(plain.bytes())?)
}

fn publish_groups(groups: usize, size: usize) -> Result<f64> {
    let measured = Measured::new()?;
    let groups_of = |publisher: usize| -> Result<Vec<_>> {
        let numbers = (publisher..groups).step_by(PUBLISHERS_OF_GROUPS);
        numbers.map(|number| group("plain", number * size..(number + 1) * size)).collect()
    };
    let made: Vec<_> = (0..PUBLISHERS_OF_GROUPS).map(groups_of).collect::<Result<_>>()?;
    let publishers = made.into_iter().map(|groups| {
        let bus = measured.bus.bus().clone();
        async move {
            for group in groups {
                bus.publish_all(group).await?;
            }
            Ok(())
        }
    });
    let runtime = runtime()?;
    let (outcome, took) = timed(|| together(&runtime, publishers));
    outcome?;
    Ok(rate(groups * size, took))
}

fn write_bare(groups: usize, size: usize, stored: usize) -> Result<f64> {
    let mut bare = Bare::new()?;
    // As the bus has it: a row for each partition, of a bounded size.
    let row = noise(stored / PARTITIONS as usize);
    let (outcome, took) =
        timed(|| (0..groups).try_for_each(|_| bare.commit_rows((0..PARTITIONS).map(|_| row.as_slice()))));
    outcome?;
    Ok(rate(groups * size, took))
}

fn write_file(groups: usize, size: usize, stored: usize) -> Result<f64> {
    let mut file = PlainFile::new()?;
    let bytes = noise(stored);
    let (outcome, took) = timed(|| (0..groups).try_for_each(|_| file.append(&bytes)));
    outcome?;
    Ok(rate(groups * size, took))
}

/// Bytes that no disk makes smaller.
pub fn noise(len: usize) -> Vec<u8> {
    let mut word: u64 = 1;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// One publisher, one event at a time, with both ways to commit.
pub fn publish_latency(scale: &Scale) -> Result<Vec<Row>> {
    let modes = [
        (CommitMode::QuickRepair, "publish-latency", Goal::AtMost(3.5)),
        (CommitMode::OnePhase, "publish-latency-one-phase", Goal::AtMost(2.0)),
    ];
    let mut rows = Vec::new();
    for (mode, id, goal) in modes {
        let mut rounds = WaitRounds::new(P50_P99);
        for _ in 0..scale.rounds {
            let (mut ours, mut beside) = latencies(mode, scale.samples)?;
            rounds.push(&mut ours, &mut beside);
        }
        rows.extend(rounds.rows(id, "a plain file's append and fdatasync", goal));
    }
    Ok(rows)
}

fn latencies(mode: CommitMode, samples: usize) -> Result<(Waits, Waits)> {
    let folder = TempDir::new_in(target()?)?;
    let mut config = BusConfig::default();
    config.commit = mode;
    let bus = Bus::open_with(Options::new(folder.path()).config(config))?.blocking();
    bus.create_topic("plain", TopicConfig::new(PARTITIONS))?;
    let mut file = PlainFile::new()?;
    let (mut ours, mut beside) = (Waits::default(), Waits::default());
    for first in (0..samples).step_by(TURN) {
        let mut size = 0;
        for number in first..(first + TURN).min(samples) {
            let event = event(&format!("order-{number}"), number % KEYS)?;
            size = event.size();
            let (outcome, took) = timed(|| bus.publish("plain", event));
            outcome?;
            ours.push(took);
        }
        let bytes = noise(size);
        for _ in first..(first + TURN).min(samples) {
            let (outcome, took) = timed(|| file.append(&bytes));
            outcome?;
            beside.push(took);
        }
    }
    Ok((ours, beside))
}

/// Many publishers, each of which waits for its acknowledgement before it publishes again, beside NATS.
pub fn publish_many(scale: &Scale) -> Result<Vec<Row>> {
    let payload = noise(event("order-0", 0)?.size());
    let peers = [
        (Syncing::Always, "publish-64", "NATS JetStream, sync_interval: always", Goal::AtLeast(10.0)),
        (
            Syncing::Default,
            "publish-64-default",
            "NATS JetStream, which acks before it syncs",
            Goal::AtLeast(1.0),
        ),
    ];
    let mut rows = Vec::new();
    for (syncing, id, beside_name, goal) in peers {
        let mut rounds = Rounds::default();
        let each = (scale.flood_events / PUBLISHERS).max(2);
        // Synced it is so slow that a part is enough.
        let each_of_peer = match syncing {
            Syncing::Always => (each / 10).max(2),
            Syncing::Default => each,
        };
        for _ in 0..scale.rounds {
            let Some(nats) = Nats::start(syncing)? else { return Ok(rows) };
            let ours = publish_from_many(each)?;
            rounds.push(ours, nats.publish(PUBLISHERS, each_of_peer, &payload)?);
        }
        rows.push(rounds.row(id, "events/s", beside_name, goal));
    }
    Ok(rows)
}

fn publish_from_many(each: usize) -> Result<f64> {
    let measured = Measured::new()?;
    let events = |publisher: usize| -> Result<Vec<Event>> {
        (0..each)
            .map(|number| event(&format!("order-{publisher}-{number}"), (publisher + number) % KEYS))
            .collect()
    };
    let made: Vec<_> = (0..PUBLISHERS).map(events).collect::<Result<_>>()?;
    let publishers = made.into_iter().map(|events| {
        let bus = measured.bus.bus().clone();
        async move {
            for event in events {
                bus.publish("plain", event).await?;
            }
            Ok(())
        }
    });
    let runtime = runtime()?;
    let (outcome, took) = timed(|| together(&runtime, publishers));
    outcome?;
    Ok(rate(each * PUBLISHERS, took))
}
