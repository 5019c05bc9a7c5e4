//! One commit in the making: what the items of a group write, and what memory learns once that is durable.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::batch::BatchBuilder;
use super::claims::{self, Holder};
use super::error::StorageFault;
use super::guard;
use super::hash;
use super::in_flight::PartitionEnds;
use super::keys::StagedKeys;
use super::last_commit::LastCommit;
use super::memtable::{self, MemRow, PartitionId};
use super::new_events::NewEvent;
use super::read;
use super::rows::PartitionRows;
use super::schema::{self, Tables, meta};
use super::shared::Shared;
use super::topics::Topic;
use super::window::{Place, Windows};
use crate::clock::Timestamp;
use crate::config::Dedup;
use crate::ids::{LaneId, TopicId};
use crate::limits::MEMTABLE_ROW_BYTES_MAX;

/// Something that wants to be part of a commit.
///
/// What an item refuses, it refuses before it has written anything: redb can't roll back a part of a transaction.
pub(super) trait Change: Send {
    /// What it weighs, in bytes: commits are bounded by it.
    fn bytes(&self) -> usize;

    /// Whether it adds to the log, which a full disk refuses. What frees space must not.
    fn adds(&self) -> bool;

    /// Whether it is so large that it waits for its turn, and nobody minds what goes before it.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Whether all that it waits for is that it is durable: who reads then waits until it is visible.
    fn ends_when_durable(&self) -> bool {
        false
    }

    /// Writes its part.
    ///
    /// # Errors
    ///
    /// The storage failed: then nothing of the whole group becomes durable.
    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageFault>;

    /// Answers whoever waits.
    fn finish(self: Box<Self>, verdict: &Verdict);
}

/// What became of a group.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It is durable.
    Durable,
    /// It failed, and may be durable all the same.
    InDoubt(StorageFault),
    /// It was not begun: the disk is full.
    DiskFull { free: u64, min: u64 },
    /// It was not begun: the storage is being opened anew.
    Reopening,
    /// It was not begun: the log is closed.
    Closed,
}

/// What memory does once the commit is visible, or once it is durable and nothing is visible. Who waits for no more than
/// that it is durable may have been told by then.
pub(super) type After = Box<dyn FnOnce(&Shared) + Send>;

/// A write transaction with its tables open.
pub(super) struct Txn<'t> {
    pub tables: Tables<'t>,
    pub shared: &'t Shared,
    windows: &'t mut Windows,
    /// The commit's time.
    pub now: Timestamp,
    /// The commit's number, if it adds events.
    pub commit: u64,
    /// How many offsets all partitions have given out, see [`LastCommit`].
    offsets: u64,
    staged: BTreeMap<PartitionId, StagedPartition>,
    /// What is written down, and goes into the memtable with the commit.
    rows: Vec<(PartitionId, MemRow)>,
    /// Partitions of which all that was in the memtable is in the table now.
    flushed: BTreeSet<PartitionId>,
    /// Where partitions end, as far as memory doesn't know yet.
    ends: &'t PartitionEnds,
    /// The topics that were published to, with the bounds of their windows.
    bounds: BTreeMap<TopicId, Dedup>,
    pub keys: StagedKeys,
    changed_lanes: BTreeSet<LaneId>,
    after: Vec<After>,
    idle: usize,
    /// Whether retention has run within this commit: memory, which it measures by, doesn't know of that yet.
    pub trimmed: bool,
}

/// A commit that is written, and not durable yet.
pub(super) struct Completed {
    pub after: Vec<After>,
    /// What goes into the memtable if the commit goes to the journal, and else into the table.
    pub rows: Vec<(PartitionId, MemRow)>,
    /// Partitions of which all that was in the memtable is in the table now.
    pub flushed: BTreeSet<PartitionId>,
    /// Where the partitions end that it has added to.
    pub ends: PartitionEnds,
    /// What it says of itself.
    pub last: LastCommit,
}

/// Events on their way into a partition.
struct StagedPartition {
    topic: Arc<Topic>,
    first: u64,
    next: u64,
    bytes: u64,
    batch: BatchBuilder,
}

/// Where an event is, after it was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Appended {
    pub place: Place,
    /// Its number among the events of its key, where the topic keeps one.
    pub sequence: Option<u64>,
    /// Whether it had been there before.
    pub duplicate: bool,
}

impl<'t> Txn<'t> {
    /// The one after `last`.
    pub fn new(
        tables: Tables<'t>,
        shared: &'t Shared,
        windows: &'t mut Windows,
        last: LastCommit,
        ends: &'t PartitionEnds,
    ) -> Self {
        Self {
            tables,
            shared,
            windows,
            now: shared.clock.now(),
            commit: last.number + 1,
            offsets: last.offsets,
            staged: BTreeMap::new(),
            rows: Vec::new(),
            flushed: BTreeSet::new(),
            ends,
            bounds: BTreeMap::new(),
            keys: StagedKeys::default(),
            changed_lanes: BTreeSet::new(),
            after: Vec::new(),
            idle: 0,
            trimmed: false,
        }
    }

    /// Says of one item that it has written nothing. A group of which all items say so needs no commit.
    pub fn wrote_nothing(&mut self) {
        self.idle += 1;
    }

    /// How many items have written nothing.
    pub fn idle(&self) -> usize {
        self.idle
    }

    /// Appends an event to its topic, unless it is there already.
    pub fn append(&mut self, event: NewEvent<'_>) -> Result<Appended, StorageFault> {
        let (remembers, known) = self.identify(event)?;
        if let Some(known) = known {
            return Ok(known);
        }
        let (topic, partition, identity) = (event.topic(), event.partition(), event.identity());
        let topic_id = topic.id;
        let known = self.ends;
        let into = self.staged.entry((topic.id, partition)).or_insert_with(|| {
            let (next, bytes) = ends(known, topic, partition);
            StagedPartition {
                topic: Arc::clone(topic),
                first: next,
                next,
                bytes,
                batch: BatchBuilder::default(),
            }
        });
        if !into.batch.has_room_for(event) {
            into.write(&mut self.tables, &mut self.rows, partition, self.commit, self.now)?;
        }
        let place = Place { partition, offset: into.next };
        let sequence = match event.key() {
            Some(key) => Some(self.keys.push(&mut self.tables.keys, topic_id, key, place.offset)?),
            None => None,
        };
        into.batch.push(event, sequence);
        if let Some(blob) = event.blob() {
            claims::add(&mut self.tables, Holder::Event(topic_id, partition, place.offset), blob)?;
        }
        // Only a damaged row can say that there were so many.
        into.next = into.next.checked_add(1).ok_or_else(guard::exhausted)?;
        self.offsets = self.offsets.saturating_add(1);
        if remembers {
            self.windows.get(topic_id).add(identity, place);
        }
        Ok(Appended { place, sequence, duplicate: false })
    }

    /// Where an event of the same identity is, if the topic's window knows one.
    pub fn known(&mut self, event: NewEvent<'_>) -> Result<Option<Appended>, StorageFault> {
        Ok(self.identify(event)?.1)
    }

    /// Whether the topic remembers what it has, and where an event of the same identity is.
    fn identify(&mut self, event: NewEvent<'_>) -> Result<(bool, Option<Appended>), StorageFault> {
        let topic = event.topic();
        let bounds = match self.bounds.entry(topic.id) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let bounds = *entry.insert(topic.config().dedup);
                // Before anything is looked up: what is too old doesn't count, however long nothing came. What this commit
                // adds beyond the bounds goes with the next one.
                self.windows.begin(topic.id).expire(&mut self.tables, topic.id, bounds, self.now)?;
                bounds
            }
        };
        if bounds.count == 0 {
            return Ok((false, None));
        }
        let Some(place) = self.windows.get(topic.id).get(event.identity()) else {
            return Ok((true, None));
        };
        let sequence = if topic.sequence { self.sequence_at(topic.id, place)? } else { None };
        Ok((true, Some(Appended { place, sequence, duplicate: true })))
    }

    /// The number that an event has among those of its key.
    fn sequence_at(&self, topic: TopicId, place: Place) -> Result<Option<u64>, StorageFault> {
        let partition = (topic, place.partition);
        let staged = self.staged.get(&partition);
        let number = staged.and_then(|staged| staged.batch.number(place.offset.checked_sub(staged.first)?));
        if number.is_some() {
            return Ok(number);
        }
        let offsets = place.offset..place.offset.saturating_add(1);
        let (mut memory, _) = self.shared.memtable().rows(partition, offsets, 1);
        let of_this = self.rows.iter().filter(|(id, row)| *id == partition && row.has(place.offset));
        memory.extend(of_this.map(|(_, row)| row.clone()));
        read::stored_sequence(
            &PartitionRows { partition, table: &*self.tables.batches, memory: &memory },
            place.offset,
        )
    }

    /// The number of the key's last event, 0 where there is none: what this commit has appended counts. The topic numbers
    /// its events.
    pub fn version(&mut self, topic: &Topic, key: &str) -> Result<u64, StorageFault> {
        let key = hash::key_identity(self.shared.hash_key, topic.id, key);
        self.keys.last(&self.tables.keys, topic.id, key)
    }

    /// The first offset that will not be there after this commit.
    pub fn next_offset(&self, topic: &Topic, partition: u32) -> u64 {
        let staged = self.staged.get(&(topic.id, partition));
        staged.map_or_else(|| ends(self.ends, topic, partition).0, |staged| staged.next)
    }

    /// Whether the lane has been changed within this commit.
    pub fn has_changed(&self, lane: LaneId) -> bool {
        self.changed_lanes.contains(&lane)
    }

    /// Makes the lane read itself back, once this is durable.
    pub fn change_lane(&mut self, lane: LaneId) {
        if self.changed_lanes.insert(lane) {
            self.after(move |shared| shared.change_lane(lane));
        }
    }

    /// Has memory do something once this is durable.
    pub fn after(&mut self, after: impl FnOnce(&Shared) + Send + 'static) {
        self.after.push(Box::new(after));
    }

    /// Puts the rows of a partition that are in the memtable in their place, so that some can be removed.
    pub fn flush(&mut self, partition: PartitionId) -> Result<(), StorageFault> {
        if self.flushed.insert(partition) {
            for row in self.shared.memtable().all(partition) {
                self.tables.batches.insert(memtable::key(partition, &row), &*row.bytes)?;
            }
        }
        Ok(())
    }

    /// Writes what is staged.
    pub fn complete(mut self) -> Result<Completed, StorageFault> {
        let mut ends = PartitionEnds::new();
        for ((topic, partition), mut staged) in std::mem::take(&mut self.staged) {
            staged.write(&mut self.tables, &mut self.rows, partition, self.commit, self.now)?;
            let (next, bytes) = (staged.next, staged.bytes);
            ends.insert((topic, partition), (next, bytes));
            self.after(move |shared| {
                if let Some(topic) = shared.topic(topic) {
                    topic.partitions[partition as usize].advance(next, bytes);
                }
            });
        }
        for topic in self.bounds.keys() {
            let (window, now) = (self.windows.get(*topic), self.now);
            if let Some(len) = window.row_bytes() {
                let key = (topic.0, self.commit);
                self.tables.identities.insert_made(key, len, |out| window.write_row(now, out))?;
            }
        }
        self.keys.complete(&mut self.tables.keys)?;
        // Whatever it writes may tell of this moment, before which the clock doesn't go back after a restart.
        let mut rows = self.tables.rows()?;
        let memtable = self.shared.memtable();
        let flushed: usize = self.flushed.iter().map(|partition| memtable.len_of(*partition)).sum();
        rows[schema::BATCHES_COUNTED] += (memtable.len() - flushed + self.rows.len()) as u64;
        let rows = Some(rows);
        let last = LastCommit { number: self.commit, time: self.now, offsets: self.offsets, rows };
        self.tables.meta.insert(meta::COMMIT, last.encode().as_slice())?;
        Ok(Completed { after: self.after, rows: self.rows, flushed: self.flushed, ends, last })
    }
}

/// Where a partition ends: as these say, or else as memory knows.
fn ends(known: &PartitionEnds, topic: &Topic, partition: u32) -> (u64, u64) {
    known.get(&(topic.id, partition)).copied().unwrap_or_else(|| {
        let ends = topic.partitions[partition as usize].ends();
        (ends.next, ends.bytes_after)
    })
}

impl StagedPartition {
    /// Writes the batch, if there is one: small rows that are written down go to `rows`.
    fn write(
        &mut self,
        tables: &mut Tables<'_>,
        rows: &mut Vec<(PartitionId, MemRow)>,
        partition: u32,
        commit: u64,
        now: Timestamp,
    ) -> Result<(), StorageFault> {
        for row in std::mem::take(&mut self.batch).rows() {
            let (key, len, before) = ((self.topic.id.0, partition, self.first), row.len(), self.bytes);
            let make = |out: &mut Vec<u8>| row.write(key, commit, now, before, out);
            let next = self.first + u64::from(row.count());
            if len <= MEMTABLE_ROW_BYTES_MAX {
                tables.batches.keep_made(key, len, make, |row| {
                    rows.push(((self.topic.id, partition), MemRow::new(key.2, next, commit, row)));
                })?;
            } else {
                tables.batches.insert_made(key, len, make)?;
            }
            self.first = next;
            self.bytes += len as u64;
        }
        Ok(())
    }
}
