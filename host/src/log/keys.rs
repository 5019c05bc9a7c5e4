//! The events of each key, numbered and found again, on topics that ask for it.
//!
//! Table `keys` has a row for up to [`ROW_EVENTS`] events of a key, under the number of the first of them:
//! `n * offset u64`, little-endian, ascending. The number of an event is that of its row plus its index, so the last row
//! of a key gives the key's last number. When retention has removed the events of a row, the row goes too; of a key's last
//! row, its last entry stays for ever.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable, StorageError, Table};

use super::batch::Batch;
use super::error::StorageFault;
use super::guard::misplaced;
use super::redo::JournaledTable;
use crate::ids::TopicId;

/// Events of a key that a row tells of: a commit writes the key's last row anew, so it is a few hundred bytes at most.
const ROW_EVENTS: usize = 64;

/// What a key is known by within its topic, see [`key_identity`](super::hash::key_identity).
pub(super) type KeyIdentity = u128;

/// Topic, key, number of the row's first event.
pub(super) type RowKey = (u32, u128, u64);

/// The keys that a commit appends to.
#[derive(Default)]
pub(super) struct StagedKeys {
    /// In the order of the table: rows that are written in order touch each of its pages once.
    rows: BTreeMap<(TopicId, KeyIdentity), KeyRow>,
}

/// The last row of a key.
#[derive(Debug)]
struct KeyRow {
    /// The number of the first event in it.
    first: u64,
    offsets: Vec<u64>,
    is_written: bool,
}

impl KeyRow {
    /// The number of its last event. A damaged row may say any number, so nothing overflows here.
    fn last(&self) -> u64 {
        self.first.saturating_add(self.offsets.len() as u64).saturating_sub(1)
    }
}

impl StagedKeys {
    /// The number of the key's last event, 0 where there is none.
    pub fn last(
        &mut self,
        table: &Table<'_, RowKey, &'static [u8]>,
        topic: TopicId,
        key: KeyIdentity,
    ) -> Result<u64, StorageFault> {
        Ok(self.row(table, topic, key)?.last())
    }

    /// Adds an event to its key. Returns its number.
    pub fn push(
        &mut self,
        table: &mut JournaledTable<'_, RowKey, &'static [u8]>,
        topic: TopicId,
        key: KeyIdentity,
        offset: u64,
    ) -> Result<u64, StorageFault> {
        let row = self.row(table, topic, key)?;
        if row.offsets.len() == ROW_EVENTS {
            write(table, topic, key, row)?;
            row.first = row.first.saturating_add(ROW_EVENTS as u64);
            row.offsets.clear();
        }
        row.offsets.push(offset);
        row.is_written = false;
        Ok(row.last())
    }

    /// Writes what is not written yet.
    pub fn complete(
        &mut self,
        table: &mut JournaledTable<'_, RowKey, &'static [u8]>,
    ) -> Result<(), StorageFault> {
        for ((topic, key), row) in &mut self.rows {
            if !row.is_written {
                write(table, *topic, *key, row)?;
            }
        }
        Ok(())
    }

    fn row(
        &mut self,
        table: &Table<'_, RowKey, &'static [u8]>,
        topic: TopicId,
        key: KeyIdentity,
    ) -> Result<&mut KeyRow, StorageFault> {
        use std::collections::btree_map::Entry;
        Ok(match self.rows.entry((topic, key)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(last_row(table, topic, key)?),
        })
    }
}

fn write(
    table: &mut JournaledTable<'_, RowKey, &'static [u8]>,
    topic: TopicId,
    key: KeyIdentity,
    row: &mut KeyRow,
) -> Result<(), StorageFault> {
    let bytes: Vec<u8> = row.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    table.insert((topic.0, key, row.first), bytes.as_slice())?;
    row.is_written = true;
    Ok(())
}

fn last_row(
    table: &impl ReadableTable<RowKey, &'static [u8]>,
    topic: TopicId,
    key: KeyIdentity,
) -> Result<KeyRow, StorageError> {
    Ok(match table.range((topic.0, key, 0)..=(topic.0, key, u64::MAX))?.next_back() {
        None => KeyRow { first: 1, offsets: Vec::new(), is_written: true },
        Some(row) => {
            let (row_key, row) = row?;
            if (row_key.value().0, row_key.value().1) != (topic.0, key) {
                return Err(misplaced("keys"));
            }
            KeyRow { first: row_key.value().2, offsets: offsets(row.value()).collect(), is_written: true }
        }
    })
}

/// The number of the key's last event that is durable, 0 where there is none.
pub(super) fn last(
    table: &impl ReadableTable<RowKey, &'static [u8]>,
    topic: TopicId,
    key: KeyIdentity,
) -> Result<u64, StorageError> {
    Ok(last_row(table, topic, key)?.last())
}

/// The next events of a key behind number `after` whose offset is `low` or higher, at most a row of them: their numbers
/// and offsets. Empty at the end.
pub(super) fn next(
    table: &impl ReadableTable<RowKey, &'static [u8]>,
    topic: TopicId,
    key: KeyIdentity,
    after: u64,
    low: u64,
) -> Result<Vec<(u64, u64)>, StorageError> {
    let wanted = after.saturating_add(1);
    let row_key = |first: u64| (topic.0, key, first);
    let before = table.range(row_key(0)..=row_key(wanted))?.next_back().transpose()?;
    let start = before.map_or(wanted, |(key, _)| key.value().2);
    for row in table.range(row_key(start)..=row_key(u64::MAX))? {
        let (row_key, row) = row?;
        if (row_key.value().0, row_key.value().1) != (topic.0, key) {
            return Err(misplaced("keys"));
        }
        let numbered = numbered(row_key.value().2, row.value());
        let found: Vec<_> = numbered.filter(|(number, offset)| *number >= wanted && *offset >= low).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Removes the rows of these keys whose events all lie below `low`. Of the last row of a key its last number stays, unless
/// this commit appends to the key and so has the row in hand.
pub(super) fn trim(
    table: &mut JournaledTable<'_, RowKey, &'static [u8]>,
    staged: &StagedKeys,
    topic: TopicId,
    keys: &BTreeSet<KeyIdentity>,
    low: u64,
) -> Result<(), StorageFault> {
    for key in keys {
        let mut gone = Vec::new();
        let mut kept = None;
        let mut rows = table.range((topic.0, *key, 0)..=(topic.0, *key, u64::MAX))?.peekable();
        while let Some(row) = rows.next() {
            let (row_key, row) = row?;
            let count = offsets(row.value()).count() as u64;
            let Some(last) = offsets(row.value()).last().filter(|offset| *offset < low) else { break };
            let is_last = rows.peek().is_none();
            if is_last && (count == 1 || staged.rows.contains_key(&(topic, *key))) {
                break;
            }
            gone.push(row_key.value());
            if is_last {
                kept = Some((row_key.value().2.saturating_add(count - 1), last));
            }
        }
        drop(rows);
        for row in gone {
            table.remove(row)?;
        }
        if let Some((number, offset)) = kept {
            table.insert((topic.0, *key, number), offset.to_le_bytes().as_slice())?;
        }
    }
    Ok(())
}

/// The keys of a batch's events. Those of damaged records are not among them; their rows stay.
pub(super) fn of_batch(
    batch: &Batch<'_>,
    identity: impl Fn(&str) -> KeyIdentity,
    keys: &mut BTreeSet<KeyIdentity>,
) {
    let events = (0..u64::from(batch.count)).filter_map(|index| batch.event(index).ok());
    keys.extend(events.map(|event| identity(event.key())));
}

/// The events of a row whose first has this number: their numbers and offsets.
pub(super) fn numbered(first: u64, row: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    (0..).zip(offsets(row)).filter_map(move |(index, offset)| Some((first.checked_add(index)?, offset)))
}

fn offsets(row: &[u8]) -> impl Iterator<Item = u64> {
    row.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}
