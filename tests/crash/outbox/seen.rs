//! What is durable, and that it agrees with itself. Reads what has come since the last time.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate::{Blocking, Position, Record, Snapshot};

use super::audit::Audit;
use super::orders::{Found, Orders};
use super::work::{AUDITED, BATCH_EVENTS, NOTES, ORDERS, PARTITIONS, PLAIN, Part, Placed};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub topic: &'static str,
    pub partition: u32,
    pub offset: u64,
}

/// See the module.
#[derive(Default)]
pub struct Seen {
    /// The offset that is read next.
    next: HashMap<(&'static str, u32), u64>,
    /// Where each event is.
    spots: HashMap<String, Spot>,
    /// The number of each key's last order.
    sequences: HashMap<String, u64>,
    /// Events of each batch.
    batches: HashMap<String, usize>,
    orders: Orders,
    audit: Audit,
}

impl Seen {
    /// Reads what has come, all at one moment.
    pub fn read(&mut self, bus: &Blocking) -> Result<()> {
        let snapshot = bus.bus().snapshot()?;
        let mut found = HashMap::<u64, Vec<Found>>::new();
        let mut touched = Vec::new();
        for topic in [ORDERS, NOTES, PLAIN] {
            for partition in 0..PARTITIONS {
                for record in self.records(&snapshot, topic, partition)? {
                    self.take(topic, &record, &mut found)?;
                    touched.push(record.event.key().to_owned());
                }
            }
        }
        for (name, events) in &self.batches {
            ensure!(*events == BATCH_EVENTS, "of batch {name} there are {events} events of {BATCH_EVENTS}");
        }
        self.orders.read(&snapshot, found)?;
        touched.sort_unstable();
        touched.dedup();
        self.check_versions(&snapshot, &touched)?;
        for partition in 0..PARTITIONS {
            let records = self.records(&snapshot, AUDITED, partition)?;
            self.audit.read(&records, partition, &self.spots)?;
        }
        self.audit.check(bus)
    }

    /// The number of the transaction of this name.
    pub fn transaction(&self, name: &str) -> Option<u64> {
        self.orders.number(name)
    }

    /// Where this event is.
    pub fn spot(&self, id: &str) -> Option<&Spot> {
        self.spots.get(id)
    }

    /// Whether this batch is there.
    pub fn has_batch(&self, name: &str) -> bool {
        self.batches.contains_key(name)
    }

    /// Checks that the consumer has passed all orders, each once.
    pub fn is_all_audited(&self) -> Result<()> {
        self.audit.is_complete(&self.sequences)
    }

    /// Events that are durable.
    pub fn events(&self) -> u64 {
        self.spots.len() as u64 + self.audit.deliveries()
    }

    /// Deliveries that have taken effect.
    pub fn deliveries(&self) -> u64 {
        self.audit.deliveries()
    }

    fn records(&mut self, snapshot: &Snapshot, topic: &'static str, partition: u32) -> Result<Vec<Record>> {
        let next = self.next.entry((topic, partition)).or_default();
        let mut reader = snapshot.read(topic, Some(partition), Position::Offset(*next))?;
        let mut records = Vec::new();
        while let Some(record) = reader.try_next()? {
            ensure!(record.offset == *next, "{topic}/{partition} has {} where {next} is due", record.offset);
            *next += 1;
            records.push(record);
        }
        let end = snapshot.next_offset(topic, partition)?;
        ensure!(end == *next, "{topic}/{partition} is said to end at {end}, and ends at {next}");
        Ok(records)
    }

    /// Takes in an event that is durable.
    fn take(
        &mut self,
        topic: &'static str,
        record: &Record,
        found: &mut HashMap<u64, Vec<Found>>,
    ) -> Result<()> {
        let (event, partition, offset) = (&record.event, record.partition, record.offset);
        let spot = Spot { topic, partition, offset };
        if let Some(first) = self.spots.insert(event.id().to_owned(), spot) {
            bail!("event {} is there twice, at {first:?} and at {spot:?}", event.id());
        }
        let sequence = event.sequence();
        if topic == ORDERS {
            let last = self.sequences.entry(event.key().to_owned()).or_default();
            ensure!(
                sequence == Some(*last + 1),
                "event {} has number {sequence:?} of key {}, whose last is {last}",
                event.id(),
                event.key()
            );
            *last += 1;
        } else {
            ensure!(sequence.is_none(), "event {} of {topic} has number {sequence:?}", event.id());
        }
        match event.id().split_once('/') {
            None => {}
            Some((name, _)) if event.data().is_none() => {
                *self.batches.entry(name.to_owned()).or_default() += 1;
            }
            Some((name, index)) => {
                let part: Part = event.data_as().with_context(|| format!("event {}", event.id()))?;
                let placed = Placed { topic: topic.to_owned(), partition, offset, sequence };
                let found = found.entry(part.number).or_default();
                let (name, index) = (name.to_owned(), index.parse()?);
                found.push(Found { name, index, of: part.of, commit: record.commit, placed });
            }
        }
        Ok(())
    }

    /// Checks that the log tells the same numbers of keys as the events themselves.
    fn check_versions(&self, snapshot: &Snapshot, keys: &[String]) -> Result<()> {
        for key in keys {
            let last = self.sequences.get(key).copied().unwrap_or_default();
            let version = snapshot.version(ORDERS, key)?;
            ensure!(version == last, "key {key} is said to be at {version}, and its last event has {last}");
            // The last events of the key, found by its number: the index leads to them.
            let after = last.saturating_sub(3);
            let mut reader = snapshot.read_key(ORDERS, key, after)?;
            for number in after + 1..=last {
                let record =
                    reader.try_next()?.with_context(|| format!("key {key} has no event {number}"))?;
                let sequence = record.event.sequence();
                ensure!(sequence == Some(number), "key {key} has {sequence:?} where {number} is due");
                let spot = Spot { topic: ORDERS, partition: record.partition, offset: record.offset };
                ensure!(
                    self.spots.get(record.event.id()) == Some(&spot),
                    "event {} isn't at {spot:?}",
                    record.event.id()
                );
            }
            ensure!(reader.try_next()?.is_none(), "key {key} has more than {last} events");
        }
        Ok(())
    }
}
