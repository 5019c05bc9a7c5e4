//! The application's rows against the events of its transactions.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use tidegate::Snapshot;

use super::work::{COUNTER, Fate, LAST, Placed, ROWS, Row};

/// An event of a transaction, as the log has it.
pub struct Found {
    /// The transaction's name.
    pub name: String,
    /// Which of its events.
    pub index: usize,
    /// How many it has.
    pub of: usize,
    /// The commit that made it durable.
    pub commit: u64,
    pub placed: Placed,
}

/// The transactions that are durable.
#[derive(Default)]
pub struct Orders {
    numbers: HashMap<String, u64>,
    /// The number of the last one.
    last: u64,
    /// The commit of the last one.
    commit: u64,
}

impl Orders {
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers.get(name).copied()
    }

    /// Reads the rows that have come, and holds them against the events that have come.
    pub fn read(&mut self, snapshot: &Snapshot, mut found: HashMap<u64, Vec<Found>>) -> Result<()> {
        if let Some(rows) = snapshot.open_table(ROWS)? {
            for entry in rows.range(self.last + 1..)? {
                let (number, row) = entry?;
                let (number, row) = (number.value(), serde_json::from_str(row.value())?);
                ensure!(number == self.last + 1, "the table has row {number} where {} is due", self.last + 1);
                let events = found.remove(&number).unwrap_or_default();
                self.take(number, row, events)?;
            }
        }
        if let Some((number, events)) = found.into_iter().next() {
            let ids: Vec<_> = events.iter().map(|event| format!("{}/{}", event.name, event.index)).collect();
            anyhow::bail!("events {} have no row {number} to belong to", ids.join(", "));
        }
        let counter = match snapshot.open_table(COUNTER)? {
            Some(counter) => counter.get(LAST)?.map_or(0, |row| row.value()),
            None => 0,
        };
        ensure!(counter == self.last, "the counter stands at {counter}, and the last row is {}", self.last);
        Ok(())
    }

    fn take(&mut self, number: u64, row: Row, mut events: Vec<Found>) -> Result<()> {
        let Row { name, events: placed } = row;
        let row = || format!("row {number} ({name})");
        ensure!(name.ends_with(Fate::Keep.word()), "{} was refused, and is there", row());
        events.sort_by_key(|event| event.index);
        let of = events.first().map(|event| event.of);
        ensure!(
            events.iter().all(|event| event.name == name) && of == Some(placed.len()),
            "{} has {} events, and the log has {} of {of:?}",
            row(),
            placed.len(),
            events.len()
        );
        let in_log: Vec<_> = events.iter().map(|event| event.placed.clone()).collect();
        ensure!(in_log == placed, "{} says {placed:?}, and the log has {in_log:?}", row());
        let commit = events.first().map(|event| event.commit).with_context(row)?;
        ensure!(events.iter().all(|event| event.commit == commit), "{} is in more than one commit", row());
        ensure!(
            commit > self.commit,
            "{} is in commit {commit}, and the row before in {}",
            row(),
            self.commit
        );
        (self.last, self.commit) = (number, commit);
        self.numbers.insert(name, number);
        Ok(())
    }
}
