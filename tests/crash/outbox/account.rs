//! What was acknowledged, and holding it against what is durable.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};
use tidegate::{Blocking, handler_fn};

use super::load::audit;
use super::seen::{Seen, Spot};
use super::work::{AUDIT, audit_config, plain_topic, successor};
use crate::scenario::Account;

/// What the children told, and what is known to be durable.
#[derive(Default)]
pub struct OutboxAccount {
    /// Transactions: number and name.
    kept: Vec<(u64, String)>,
    refused: u64,
    panicked: u64,
    /// Plain events and their places.
    plain: HashMap<String, Spot>,
    batches: Vec<String>,
    /// Plain events of the last child, the newest of each publisher.
    newest: HashMap<String, String>,
    /// What is new since the last check.
    fresh: Fresh,
    seen: Seen,
}

/// Where what is to be checked begins.
#[derive(Default)]
struct Fresh {
    kept: usize,
    batches: usize,
    plain: Vec<String>,
}

impl Account for OutboxAccount {
    fn take(&mut self, line: &str) -> Result<()> {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["kept", number, name] => self.kept.push((number.parse()?, (*name).to_owned())),
            ["refused"] => self.refused += 1,
            ["panicked"] => self.panicked += 1,
            ["batch", name] => self.batches.push((*name).to_owned()),
            ["plain", topic, partition, offset, duplicate, id] => {
                ensure!(*topic == plain_topic(id), "{id} went into {topic}");
                let spot =
                    Spot { topic: plain_topic(id), partition: partition.parse()?, offset: offset.parse()? };
                self.take_plain(id, spot, *duplicate == "1")?;
            }
            _ => bail!("the process told `{line}`"),
        }
        Ok(())
    }

    /// What a client without an answer does: it publishes its last events again, and the one that it may have published.
    fn again(&self) -> Vec<String> {
        let pairs = self.newest.values().map(|id| [Some(id.clone()), successor(id).ok()]);
        pairs.flatten().flatten().collect()
    }

    fn check(&mut self, bus: &Blocking) -> Result<()> {
        self.seen.read(bus)?;
        for (number, name) in &self.kept[self.fresh.kept..] {
            let row = self.seen.transaction(name);
            ensure!(
                row == Some(*number),
                "transaction {name} was acknowledged as {number}, and it is {row:?}"
            );
        }
        for id in &self.fresh.plain {
            let (acked, durable) = (self.plain.get(id), self.seen.spot(id));
            ensure!(durable == acked, "event {id} was acknowledged at {acked:?}, and it is at {durable:?}");
        }
        for name in &self.batches[self.fresh.batches..] {
            ensure!(self.seen.has_batch(name), "batch {name} was acknowledged, and it is not there");
        }
        self.fresh = Fresh { kept: self.kept.len(), batches: self.batches.len(), plain: Vec::new() };
        Ok(())
    }

    fn settle(&mut self, bus: &Blocking) -> Result<()> {
        bus.subscribe(AUDIT, audit_config(), handler_fn(audit))?;
        bus.caught_up(AUDIT)?;
        bus.unsubscribe(AUDIT)?;
        self.check_all(bus)?;
        self.seen.is_all_audited().context("the consumer has caught up")
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        let [orders, plain] =
            [self.kept.len(), self.plain.len() + self.batches.len()].map(|count| count as u64);
        vec![
            ("transactions acknowledged", orders),
            ("refused", self.refused + self.panicked),
            ("publishes acknowledged", plain),
            ("events", self.seen.events()),
            ("deliveries", self.seen.deliveries()),
        ]
    }
}

impl OutboxAccount {
    /// Checks all of it from the start.
    pub fn check_all(&mut self, bus: &Blocking) -> Result<()> {
        self.seen = Seen::default();
        self.fresh = Fresh { kept: 0, batches: 0, plain: self.plain.keys().cloned().collect() };
        self.check(bus)
    }

    fn take_plain(&mut self, id: &str, spot: Spot, is_duplicate: bool) -> Result<()> {
        if let Some(first) = self.plain.get(id) {
            ensure!(
                is_duplicate && *first == spot,
                "event {id} was acknowledged at {first:?}, and published again it is at {spot:?}"
            );
            return Ok(());
        }
        self.fresh.plain.push(id.to_owned());
        self.plain.insert(id.to_owned(), spot);
        let (publisher, _) = id.rsplit_once('-').with_context(|| format!("`{id}` names no publisher"))?;
        let (_, worker) = publisher.split_once('-').with_context(|| format!("`{id}` names no publisher"))?;
        self.newest.insert(worker.to_owned(), id.to_owned());
        Ok(())
    }
}
