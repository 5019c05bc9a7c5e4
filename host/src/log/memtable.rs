//! Small rows of batches that have no place in their table yet, as in the memtable of a log-structured merge tree.
//!
//! Where a topic has many partitions, a commit has a small row for each of them, and each lies in a leaf of its own: so
//! many pages to find, to copy and to write, for some hundred bytes each. Such a row is written to the journal as any other,
//! and kept here. Each commit *flushes* the oldest rows of a partition, and then of the next one, until no more is left than may
//! be: so a partition's rows go into the table `batches` together, one beside the other. A checkpoint *spills* what is left
//! here into a few rows of the table `spill`, so that the journal needn't have it any more. Opening puts what is spilled in its
//! place, and closing leaves nothing here.
//!
//! ```text
//! spill row := (topic u32, partition u32, first offset u64, length u32, batch)*            (integers little-endian)
//! ```
//!
//! Such a row goes when all of its batches have been flushed. Some of them may stand in their table until then, or may have stood
//! there until retention removed them.
//!
//! So a row is in the table or here, or for a moment in both. The committer alone changes that: it adds a row before it is
//! visible, and takes it out once the table shows it. Who takes what is here before, or while, they take a view of the
//! database misses nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};

use super::batch::{Batch, BatchKey};
use super::error::StorageFault;
use super::record::bounded_u32;
use super::redo;
use super::schema::{BATCHES, BATCHES_COUNTED, SPILL, Tables};
use crate::ids::TopicId;
use crate::limits::{MEMTABLE_PARTITIONS_MAX, READ_EVENTS_MAX, SPILL_ROW_BYTES_MAX};

/// Bytes before each row within a spilled one.
const HEAD: usize = 4 + 4 + 8 + 4;

/// A partition of a topic.
pub(super) type PartitionId = (TopicId, u32);

/// A row of a batch.
#[derive(Clone, Debug)]
pub(super) struct MemRow {
    /// Its first offset.
    pub first: u64,
    /// The offset behind its last.
    pub next: u64,
    /// The commit that it is of.
    pub commit: u64,
    pub bytes: Arc<[u8]>,
    /// The row of the table `spill` that it is in, once it is in one.
    spilled_in: Option<u64>,
}

impl MemRow {
    pub fn new(first: u64, next: u64, commit: u64, bytes: &[u8]) -> Self {
        Self { first, next, commit, bytes: bytes.into(), spilled_in: None }
    }

    /// Whether it has the event at this offset.
    pub fn has(&self, offset: u64) -> bool {
        (self.first..self.next).contains(&offset)
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Memtable {
    /// In the order of their offsets: no partition without any.
    partitions: BTreeMap<PartitionId, VecDeque<MemRow>>,
    len: usize,
    bytes: usize,
    /// The partition whose turn it is to be flushed, once some were.
    turn: Option<PartitionId>,
    /// How many of the rows here each row of the table `spill` has.
    spilled: BTreeMap<u64, usize>,
    /// The number of the next of those.
    next_spill: u64,
}

/// The rows that a memtable had at some moment.
#[derive(Debug)]
pub(super) struct MemRows(BTreeMap<PartitionId, Vec<MemRow>>);

impl MemRows {
    /// Those of a partition.
    pub fn of(&self, partition: PartitionId) -> &[MemRow] {
        self.0.get(&partition).map(Vec::as_slice).unwrap_or_default()
    }
}

/// What a transaction does with it, once that is visible.
pub(super) struct Flush {
    /// How many of the oldest rows of partitions go into their table.
    rows: Vec<(PartitionId, usize)>,
    /// The partition whose turn is next.
    turn: Option<PartitionId>,
    /// How many of the rows that were in no row of `spill` are in each new one, in their order.
    spilled: Vec<usize>,
}

impl Memtable {
    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many bytes they have.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds rows behind those of their partitions.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = (PartitionId, MemRow)>) {
        for (partition, row) in rows {
            self.len += 1;
            self.bytes += row.bytes.len();
            self.partitions.entry(partition).or_default().push_back(row);
        }
    }

    /// The rows of a partition that have events of these offsets, as far as one read goes that takes about so many bytes, and
    /// the offset at which that is.
    pub fn rows(&self, partition: PartitionId, offsets: Range<u64>, bytes_max: usize) -> (Vec<MemRow>, u64) {
        let Some(rows) = self.partitions.get(&partition) else { return (Vec::new(), offsets.end) };
        let from = rows.partition_point(|row| row.next <= offsets.start);
        let to = rows.partition_point(|row| row.first < offsets.end).max(from);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        let events_max = READ_EVENTS_MAX as u64;
        for row in rows.range(from..to) {
            if bytes >= bytes_max || row.first.saturating_sub(offsets.start) >= events_max {
                return (taken, row.first);
            }
            bytes += row.bytes.len();
            taken.push(row.clone());
        }
        (taken, offsets.end)
    }

    /// All rows of a partition.
    pub fn all(&self, partition: PartitionId) -> Vec<MemRow> {
        self.partitions.get(&partition).into_iter().flatten().cloned().collect()
    }

    /// All that was there after this commit.
    pub fn until(&self, commit: u64) -> MemRows {
        let until =
            |rows: &VecDeque<MemRow>| rows.iter().filter(|row| row.commit <= commit).cloned().collect();
        MemRows(self.partitions.iter().map(|(partition, rows)| (*partition, until(rows))).collect())
    }

    /// Flushes what is more than so many bytes.
    pub fn flush_excess(
        &self,
        transaction: &WriteTransaction,
        bytes_kept: usize,
    ) -> Result<Flush, StorageFault> {
        let flush = self.excess(bytes_kept);
        put(transaction, self.flushed_by(&flush))?;
        self.forget_spilled(transaction, &flush)?;
        Ok(flush)
    }

    /// Takes note that all rows of these partitions are in their place.
    pub fn found_in_place(
        &self,
        transaction: &WriteTransaction,
        partitions: &BTreeSet<PartitionId>,
    ) -> Result<Flush, StorageFault> {
        let rows = partitions.iter().map(|partition| (*partition, self.len_of(*partition))).collect();
        let flush = Flush { rows, turn: self.turn, spilled: Vec::new() };
        self.forget_spilled(transaction, &flush)?;
        Ok(flush)
    }

    /// Spills what is left besides, for a checkpoint.
    pub fn spill(&self, transaction: &WriteTransaction, flush: Flush) -> Result<Flush, StorageFault> {
        let spilled = self.spill_rest(transaction, &flush)?;
        Ok(Flush { spilled, ..flush })
    }

    /// Flushes all of it, for the last time.
    pub fn flush(&self, transaction: &WriteTransaction) -> Result<(), StorageFault> {
        put(transaction, self.partitions.keys().flat_map(|partition| self.keyed(*partition)))?;
        transaction.open_table(SPILL)?.retain(|_, _| false)?;
        Ok(())
    }

    /// Takes out what was flushed, which the table shows now.
    pub fn flushed(&mut self, flush: Flush) {
        for (partition, count) in flush.rows {
            let Some(rows) = self.partitions.get_mut(&partition) else { continue };
            for row in rows.drain(..count) {
                self.len -= 1;
                self.bytes -= row.bytes.len();
                if let Some(left) = row.spilled_in.and_then(|number| self.spilled.get_mut(&number)) {
                    *left -= 1;
                }
            }
            if rows.is_empty() {
                self.partitions.remove(&partition);
            }
        }
        self.spilled.retain(|_, left| *left > 0);
        self.turn = flush.turn;
        let mut unspilled = self.partitions.values_mut().flat_map(|rows| {
            let spilled = spilled(rows);
            rows.range_mut(spilled..)
        });
        for count in flush.spilled {
            for row in unspilled.by_ref().take(count) {
                row.spilled_in = Some(self.next_spill);
            }
            self.spilled.insert(self.next_spill, count);
            self.next_spill += 1;
        }
    }

    /// The oldest rows of the partitions whose turn it is, until no more is left than so many bytes, and of so many partitions.
    fn excess(&self, bytes_kept: usize) -> Flush {
        let turn = self.turn.unwrap_or((TopicId(0), 0));
        let in_turn = self.partitions.range(turn..).chain(self.partitions.range(..turn));
        let mut flush = Flush { rows: Vec::new(), turn: self.turn, spilled: Vec::new() };
        let (mut bytes, mut partitions) = (self.bytes, self.partitions.len());
        for (partition, rows) in in_turn {
            flush.turn = Some(*partition);
            let are_too_many = partitions > MEMTABLE_PARTITIONS_MAX;
            let is_excess = |row: &&MemRow| {
                let is_excess = are_too_many || bytes > bytes_kept;
                bytes -= if is_excess { row.bytes.len() } else { 0 };
                is_excess
            };
            let count = rows.iter().take_while(is_excess).count();
            flush.rows.extend((count > 0).then_some((*partition, count)));
            if count < rows.len() {
                break;
            }
            partitions -= 1;
        }
        flush
    }

    /// How many rows a partition has.
    pub fn len_of(&self, partition: PartitionId) -> usize {
        self.partitions.get(&partition).map_or(0, VecDeque::len)
    }

    fn keyed(&self, partition: PartitionId) -> impl Iterator<Item = (PartitionId, &MemRow)> {
        self.partitions.get(&partition).into_iter().flatten().map(move |row| (partition, row))
    }

    fn flushed_by<'a>(&'a self, flush: &'a Flush) -> impl Iterator<Item = (PartitionId, &'a MemRow)> {
        flush.rows.iter().flat_map(|(partition, count)| self.keyed(*partition).take(*count))
    }

    /// Removes the spilled rows of which nothing is left here but what is flushed.
    fn forget_spilled(&self, transaction: &WriteTransaction, flush: &Flush) -> Result<(), StorageFault> {
        let mut flushed = BTreeMap::<u64, usize>::new();
        for number in self.flushed_by(flush).filter_map(|(_, row)| row.spilled_in) {
            *flushed.entry(number).or_default() += 1;
        }
        if flushed.is_empty() {
            return Ok(());
        }
        let mut spill = transaction.open_table(SPILL)?;
        for (number, _) in flushed.iter().filter(|(number, count)| self.spilled.get(number) == Some(count)) {
            spill.remove(number)?;
        }
        Ok(())
    }

    /// Spills what is in no row of `spill` yet, but for what is flushed. Returns how many rows go into each new one.
    fn spill_rest(&self, transaction: &WriteTransaction, flush: &Flush) -> Result<Vec<usize>, StorageFault> {
        let flushed: BTreeMap<_, _> = flush.rows.iter().copied().collect();
        let unspilled = self.partitions.iter().flat_map(|(partition, rows)| {
            let from = spilled(rows).max(flushed.get(partition).copied().unwrap_or_default());
            rows.range(from..).map(|row| (*partition, row))
        });
        let mut rows = unspilled.peekable();
        if rows.peek().is_none() {
            return Ok(Vec::new());
        }
        let mut spill = transaction.open_table(SPILL)?;
        let (mut counts, mut bytes) = (Vec::new(), Vec::new());
        while rows.peek().is_some() {
            let fits = |used: usize, row: &MemRow| used + HEAD + row.bytes.len() <= SPILL_ROW_BYTES_MAX;
            let mut count = 0;
            while let Some((partition, row)) = rows.next_if(|(_, row)| count == 0 || fits(bytes.len(), row)) {
                append(&mut bytes, key(partition, row), &row.bytes);
                count += 1;
            }
            spill.insert(self.next_spill + counts.len() as u64, bytes.as_slice())?;
            bytes.clear();
            counts.push(count);
        }
        Ok(counts)
    }
}

/// How many of a partition's rows are spilled: the oldest ones.
fn spilled(rows: &VecDeque<MemRow>) -> usize {
    rows.partition_point(|row| row.spilled_in.is_some())
}

/// The key of a row in its table.
pub(super) fn key((topic, partition): PartitionId, row: &MemRow) -> BatchKey {
    (topic.0, partition, row.first)
}

/// Puts rows in their place.
pub(super) fn put<'r>(
    transaction: &WriteTransaction,
    rows: impl IntoIterator<Item = (PartitionId, &'r MemRow)>,
) -> Result<(), StorageFault> {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let mut batches = transaction.open_table(BATCHES)?;
    for (partition, row) in rows {
        batches.insert(key(partition, row), &*row.bytes)?;
    }
    Ok(())
}

/// Whether a partition's rows have all events of these offsets.
pub(super) fn covers(rows: &[MemRow], offsets: Range<u64>) -> bool {
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return false };
    first.first <= offsets.start
        && last.next >= offsets.end
        && rows.windows(2).all(|pair| pair[0].next == pair[1].first)
}

fn append(out: &mut Vec<u8>, (topic, partition, first): BatchKey, row: &[u8]) {
    out.extend_from_slice(&topic.to_le_bytes());
    out.extend_from_slice(&partition.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&bounded_u32(row.len()).to_le_bytes());
    out.extend_from_slice(row);
}

/// The first row in what is left of a spilled one.
fn first<'b>(rest: &mut &'b [u8]) -> Option<(BatchKey, &'b [u8])> {
    let mut number = || rest.split_off(..4)?.first_chunk().copied().map(u32::from_le_bytes);
    let (topic, partition) = (number()?, number()?);
    let (low, high) = (number()?, number()?);
    let len = usize::try_from(number()?).ok()?;
    let key = (topic, partition, u64::from(high) << 32 | u64::from(low));
    Some((key, rest.split_off(..len)?))
}

/// What was spilled, once it is in its place.
pub(super) struct Unspilled {
    /// Whether all of it was there.
    pub is_whole: bool,
    /// What lies below the floor of its partition: it has been in its place, and retention has removed it from there.
    below_floors: Vec<(BatchKey, Vec<u8>)>,
}

impl Unspilled {
    /// Puts back what lies below a floor if batches are missing, after the journal has brought what it has: a floor has no
    /// checksum, and so it is one that is damaged.
    pub fn put_back_missing(&self, tables: &mut Tables<'_>) -> Result<(), StorageFault> {
        if self.below_floors.is_empty() {
            return Ok(());
        }
        let found = tables.batches.len()?;
        let counted = tables.last_commit()?.and_then(|last| last.rows);
        if counted.is_some_and(|rows| found < rows[BATCHES_COUNTED]) {
            for (key, row) in &self.below_floors {
                tables.batches.insert(*key, row.as_slice())?;
            }
        }
        Ok(())
    }
}

/// Puts in their place what was spilled.
pub(super) fn unspill(
    transaction: &WriteTransaction,
    tables: &mut Tables<'_>,
) -> Result<Unspilled, StorageFault> {
    let mut spill = transaction.open_table(SPILL)?;
    let (mut found, len) = (0, spill.len()?);
    let (mut is_whole, mut below_floors) = (true, Vec::new());
    for spilled in spill.iter()? {
        found += 1;
        for row in redo::all(spilled?.1.value(), first) {
            // The header of a batch has a checksum, of its place as well.
            let Some((key, row)) = row.filter(|(key, row)| Batch::parse(*key, row).is_ok()) else {
                is_whole = false;
                continue;
            };
            if key.2 >= tables.floors.get((key.0, key.1))?.map_or(0, |floor| floor.value()) {
                tables.batches.insert(key, row)?;
            } else {
                below_floors.push((key, row.to_vec()));
            }
        }
    }
    spill.retain(|_, _| false)?;
    Ok(Unspilled { is_whole: is_whole && found == len, below_floors })
}
