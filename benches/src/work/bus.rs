//! A bus to measure, and what is done to it.

use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tidegate::config::TopicConfig;
use tidegate::redb::TableDefinition;
use tidegate::{Blocking, Bus, Event};

use crate::report::target;
use crate::time::{rate, timed};

/// The application's own table.
const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");

/// Partitions of every topic.
pub const PARTITIONS: u32 = 8;
/// Keys of events, unless said otherwise.
pub const KEYS: usize = 1000;
/// Bytes of an event's data, and of a row.
const DATA_BYTES: usize = 256;

/// A bus with its defaults on a folder of its own.
pub struct Measured {
    pub bus: Blocking,
    _folder: TempDir,
}

impl Measured {
    pub fn new() -> Result<Self> {
        let folder = TempDir::new_in(target()?)?;
        let bus = Bus::open(folder.path())?.blocking();
        bus.create_topic("plain", TopicConfig::new(PARTITIONS))?;
        bus.create_topic("single", TopicConfig::new(1))?;
        bus.create_topic("numbered", TopicConfig::new(PARTITIONS).sequence(true))?;
        Ok(Self { bus, _folder: folder })
    }

    /// One transaction of a row and an event.
    pub fn transact(&self, number: u64, event: Event) -> Result<()> {
        let row = data();
        let outcome = self.bus.transaction(move |transaction| {
            transaction.open_table(ROWS)?.insert(number, row.as_bytes())?;
            transaction.publish("plain", event)?;
            anyhow::Ok(())
        });
        Ok(outcome?)
    }
}

/// An event with the usual attributes.
pub fn event(id: &str, key: usize) -> Result<Event> {
    let event = Event::new(id, "/benches/orders", "OrderPlaced.v1")
        .subject(format!("customer-{key}"))
        .time("2026-01-01T12:00:00Z")
        .text("text/plain", data());
    Ok(event.build()?)
}

/// Events of a topic with these numbers.
pub fn group(topic: &str, numbers: Range<usize>) -> Result<Vec<(&str, Event)>> {
    numbers.map(|number| Ok((topic, event(&format!("order-{number}"), number % KEYS)?))).collect()
}

/// Publishes events with these numbers, in groups. Returns the rate.
pub fn fill(bus: &Blocking, topic: &str, numbers: Range<usize>, size: usize) -> Result<f64> {
    let (count, mut spent) = (numbers.len(), Duration::ZERO);
    for first in numbers.clone().step_by(size) {
        let events = group(topic, first..(first + size).min(numbers.end))?;
        let (outcome, took) = timed(|| bus.publish_all(events));
        outcome?;
        spent += took;
    }
    Ok(rate(count, spent))
}

/// Has a paused consumer work off its backlog of so many events. Returns the rate.
pub fn work_off(bus: &Blocking, consumer: &str, count: usize) -> Result<f64> {
    let (outcome, took) = timed(|| {
        bus.resume(consumer)?;
        anyhow::Ok(bus.caught_up(consumer)?)
    });
    outcome?;
    Ok(rate(count, took))
}

/// The data of an event.
pub fn data() -> String {
    "d".repeat(DATA_BYTES)
}
