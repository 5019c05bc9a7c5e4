//! What was asked and answered, and holding it against the streams.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context as _, Result, bail, ensure};
use tidegate::{Blocking, Outcome, Position};

use super::load::WAIT;
use super::work::{Counted, KEYS, NAME, STREAM, command, is_rejected, key_of, start};
use crate::scenario::Account;

/// Commands that are given once more at the end, of those that were answered last: of older ones the outcome may be gone.
const AGAIN_MAX: usize = 2000;

/// What the children told.
#[derive(Default)]
pub struct AggregateAccount {
    /// Commands that were given and not answered.
    open: BTreeSet<String>,
    answers: HashMap<String, Outcome>,
    /// Those that were answered, in that order.
    answered: Vec<String>,
    given_again: u64,
    rejected: u64,
}

impl Account for AggregateAccount {
    fn take(&mut self, line: &str) -> Result<()> {
        match line.split_once(' ') {
            Some(("asks", id)) => drop(self.open.insert(id.to_owned())),
            Some(("answered", told)) => {
                let (id, outcome) = told.split_once(' ').context("an answer of nothing")?;
                self.answer(id, serde_json::from_str(outcome)?)?;
            }
            _ => bail!("a child told {line:?}"),
        }
        Ok(())
    }

    fn again(&self) -> Vec<String> {
        self.open.iter().cloned().collect()
    }

    fn check(&mut self, bus: &Blocking) -> Result<()> {
        self.check_streams(bus).map(drop)
    }

    fn settle(&mut self, bus: &Blocking) -> Result<()> {
        start(bus)?;
        let last = self.answered.iter().rev().take(AGAIN_MAX);
        for id in self.open.iter().chain(last).cloned().collect::<Vec<_>>() {
            let outcome = bus.execute(NAME, command(&id)?, WAIT)?;
            self.answer(&id, outcome)?;
            self.given_again += 1;
        }
        let versions = self.check_streams(bus)?;
        for key in (0..KEYS).map(|key| format!("counter-{key}")) {
            let count = bus.aggregate(NAME, &key)?.map_or(Ok(0), |state| state.json::<u64>())?;
            let version = versions.get(&key).copied().unwrap_or_default();
            ensure!(count == version, "aggregate {key} has counted {count}, and has {version} events");
        }
        let letters = bus.bus().dead_letters(NAME, 0, 1)?;
        ensure!(letters.is_empty(), "a command was given up on: {letters:?}");
        Ok(())
    }

    fn counts(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("commands answered", self.answered.len() as u64),
            ("rejected", self.rejected),
            ("given again at the end", self.given_again),
        ]
    }
}

impl AggregateAccount {
    fn answer(&mut self, id: &str, outcome: Outcome) -> Result<()> {
        self.open.remove(id);
        if let Some(before) = self.answers.get(id) {
            ensure!(*before == outcome, "{id} was answered with {before:?}, and now with {outcome:?}");
        } else {
            self.rejected += u64::from(matches!(outcome, Outcome::Rejected(_)));
            self.answered.push(id.to_owned());
            self.answers.insert(id.to_owned(), outcome);
        }
        Ok(())
    }

    /// Checks the events of all aggregates, and the answers. Returns how many each of them has.
    fn check_streams(&self, bus: &Blocking) -> Result<BTreeMap<String, u64>> {
        let mut versions: BTreeMap<String, u64> = BTreeMap::new();
        let mut effects = HashMap::new();
        let Ok(mut reader) = bus.bus().read(STREAM, None, Position::Earliest) else {
            ensure!(self.answers.is_empty(), "the stream is gone");
            return Ok(versions);
        };
        while let Some(record) = reader.try_next()? {
            let version = versions.entry(record.event.key().to_owned()).or_default();
            *version += 1;
            let Counted { command, count } = record.event.data_as()?;
            let is_right = record.event.sequence() == Some(*version)
                && count == *version
                && key_of(&command) == record.event.key()
                && !is_rejected(&command);
            ensure!(is_right, "{command} has come to event {version} as {:?}", record.event);
            ensure!(effects.insert(command.clone(), *version).is_none(), "{command} took effect twice");
        }
        for (id, outcome) in &self.answers {
            let found = effects.get(id).copied();
            let is_right = match outcome {
                Outcome::Accepted { version, events: 1 } => found == Some(*version),
                Outcome::Rejected(_) => found.is_none() && is_rejected(id),
                _ => false,
            };
            ensure!(is_right, "{id} was answered with {outcome:?}, and its event is {found:?}");
        }
        Ok(versions)
    }
}
