//! The consumer's effects: its state, what it published, and its progress.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use tidegate::{Blocking, Record};

use super::seen::Spot;
use super::work::{AUDIT, Audited, COUNT, ORDERS, PARTITIONS};

/// What the consumer has done.
#[derive(Default)]
pub struct Audit {
    /// For each of its lanes, how many deliveries have taken effect.
    counts: HashMap<u32, u64>,
    /// For each key, the number of the last order that it has passed.
    sequences: HashMap<String, u64>,
}

impl Audit {
    pub fn deliveries(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Takes in what a lane has published since the last time.
    pub fn read(&mut self, records: &[Record], partition: u32, spots: &HashMap<String, Spot>) -> Result<()> {
        let count = self.counts.entry(partition).or_default();
        for record in records {
            let audited: Audited = record.event.data_as()?;
            let Audited { id, key, sequence, count: told } = &audited;
            ensure!(
                *told == *count + 1,
                "lane {partition} publishes its delivery {told} of {id}, and {} is due",
                *count + 1
            );
            *count += 1;
            let last = self.sequences.entry(key.clone()).or_default();
            ensure!(
                *sequence == *last + 1,
                "the consumer passes number {sequence} of key {key} ({id}), and {} is due",
                *last + 1
            );
            *last += 1;
            let spot =
                spots.get(id).with_context(|| format!("the consumer has passed {id}, which isn't there"))?;
            ensure!(
                spot.topic == ORDERS && spot.partition == partition,
                "lane {partition} has passed {id}, which is at {spot:?}"
            );
        }
        Ok(())
    }

    /// Holds it against the consumer's state and progress.
    pub fn check(&self, bus: &Blocking) -> Result<()> {
        let consumers = bus.bus().consumers()?;
        let Some(consumer) = consumers.iter().find(|consumer| consumer.name == AUDIT) else {
            ensure!(self.deliveries() == 0, "the consumer isn't there any more");
            return Ok(());
        };
        ensure!(consumer.dead_letters == 0, "the consumer has {} dead letters", consumer.dead_letters);
        ensure!(
            consumer.counts.handled == self.deliveries(),
            "the consumer has made {} deliveries and published {} events",
            consumer.counts.handled,
            self.deliveries()
        );
        for partition in 0..PARTITIONS {
            let state = bus.bus().state(AUDIT, partition)?.get(COUNT)?;
            let state = state.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
            let published = self.counts.get(&partition).copied().unwrap_or_default();
            ensure!(state == published, "lane {partition} counts {state}, and has published {published}");
        }
        Ok(())
    }

    /// Checks that it has passed all events of all keys.
    pub fn is_complete(&self, sequences: &HashMap<String, u64>) -> Result<()> {
        ensure!(self.sequences == *sequences, "it has passed {:?} of {sequences:?}", self.sequences);
        Ok(())
    }
}
