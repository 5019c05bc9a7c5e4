//! The events that consumers read, as the log has them.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};
use tidegate::{Position, Record, Snapshot};

use super::work::COUNTS;
use crate::outbox::work::{NOTES, ORDERS, PARTITIONS, PLAIN};

/// Where an event is, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub topic: &'static str,
    pub partition: u32,
    pub offset: u64,
    pub key: String,
}

/// What has been read of some topics; each look goes on where the one before ended.
#[derive(Default)]
pub struct Places(HashMap<(&'static str, u32), u64>);

impl Places {
    /// What has come to a partition.
    pub fn records(
        &mut self,
        snapshot: &Snapshot,
        topic: &'static str,
        partition: u32,
    ) -> Result<Vec<Record>> {
        let next = self.0.entry((topic, partition)).or_default();
        let mut reader = snapshot.read(topic, Some(partition), Position::Offset(*next))?;
        let mut records = Vec::new();
        while let Some(record) = reader.try_next()? {
            ensure!(record.offset == *next, "{topic}/{partition} has {} where {next} is due", record.offset);
            *next += 1;
            records.push(record);
        }
        Ok(records)
    }
}

/// See the module.
#[derive(Default)]
pub struct Sources {
    places: Places,
    by_id: HashMap<String, Source>,
}

impl Sources {
    /// Takes in what has come.
    pub fn read(&mut self, snapshot: &Snapshot) -> Result<()> {
        for topic in [ORDERS, NOTES, PLAIN, COUNTS] {
            for partition in 0..PARTITIONS {
                for record in self.places.records(snapshot, topic, partition)? {
                    let (id, key) = (record.event.id().to_owned(), record.event.key().to_owned());
                    let source = Source { topic, partition, offset: record.offset, key };
                    if let Some(first) = self.by_id.insert(id, source) {
                        bail!(
                            "event {} is at {first:?}, and again in {topic}/{partition}",
                            record.event.id()
                        );
                    }
                }
            }
        }
        Ok(())
    }

    pub fn get(&self, id: &str) -> Option<&Source> {
        self.by_id.get(id)
    }

    /// All events of some topics.
    pub fn of<'s>(
        &'s self,
        topics: &'static [&'static str],
    ) -> impl Iterator<Item = (&'s str, &'s Source)> + use<'s> {
        let all = self.by_id.iter().map(|(id, source)| (id.as_str(), source));
        all.filter(move |(_, source)| topics.contains(&source.topic))
    }
}
