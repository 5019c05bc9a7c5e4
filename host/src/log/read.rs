//! Reading: events from any offset or time, lanes, state.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, StorageError};

use super::batch::{Batch, BatchError, BatchKey};
use super::error::{ReadError, StorageFault};
use super::generations;
use super::guard::{misplaced, reading};
use super::hash::{self, key_hash};
use super::keys;
use super::lane_rows::{Lane, Progress};
use super::memtable::{self, MemRow, PartitionId};
use super::rows::{self, PartitionRows, Row};
use super::schema::{self, BATCHES, FLOORS, HELD, KEYS, LANES, STATE};
use super::shared::Shared;
use super::topics::{Ends, Partition, Topic};
use crate::clock::Timestamp;
use crate::effects::{StateEntry, StateRead, StateUnavailable};
use crate::event::Event;
use crate::ids::{LaneId, TopicId};
use crate::limits::{READ_BYTES_MAX, READ_EVENTS_MAX};

/// An event as the log has it, or the place of events that can't be read.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// An event.
    Event(Stored),
    /// Events that can't be read: a damaged record, or a whole batch.
    Damaged {
        /// The first offset.
        offset: u64,
        /// The last offset.
        offset_last: u64,
        /// What is wrong.
        reason: String,
    },
}

/// An event with its place.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The offset.
    pub offset: u64,
    /// The commit that made it durable.
    pub commit: u64,
    /// When the log accepted it.
    pub appended: Timestamp,
    /// The hash of its key.
    pub key: u64,
    /// The event.
    pub event: Arc<Event>,
}

impl Entry {
    /// Whether it is of this offset.
    fn covers(&self, wanted: u64) -> bool {
        match self {
            Self::Event(stored) => stored.offset == wanted,
            Self::Damaged { offset, offset_last, .. } => (*offset..=*offset_last).contains(&wanted),
        }
    }

    /// The last offset that it covers.
    pub fn offset_last(&self) -> u64 {
        match self {
            Self::Event(stored) => stored.offset,
            Self::Damaged { offset_last, .. } => *offset_last,
        }
    }
}

/// Reads events from `from` on, or from the first retained one where that is later.
pub(super) fn events(
    shared: &Shared,
    topic: TopicId,
    partition: u32,
    from: u64,
    events_max: usize,
    bytes_max: usize,
) -> Result<Vec<Entry>, ReadError> {
    let Some(ends) = ends(shared, topic, partition) else {
        return Ok(Vec::new());
    };
    let from = from.max(ends.low);
    if from >= ends.next {
        return Ok(Vec::new());
    }
    let id = (topic, partition);
    let (memory, next) = shared.memtable().rows(id, from..ends.next, bytes_max.min(READ_BYTES_MAX));
    // Who is at the head asks the database for nothing but whether it can be used.
    if memtable::covers(&memory, from..next) {
        shared.database()?;
        let mut entries = Entries::new(id, from..next, events_max, bytes_max);
        entries.read(rows::in_memory(id, &memory), || Ok(0))?;
        return Ok(entries.found);
    }
    let ends = Ends { next, ..ends };
    events_in(&shared.begin_read()?, id, &memory, ends, from, events_max, bytes_max)
}

/// How far a partition goes now.
fn ends(shared: &Shared, topic: TopicId, partition: u32) -> Option<Ends> {
    Some(shared.topic(topic)?.partitions.get(partition as usize)?.ends())
}

/// As [`events`], of one partition as a transaction and the memtable had it, or a moment before that, when it went so far.
pub(super) fn events_in(
    read: &ReadTransaction,
    (topic, partition): PartitionId,
    memory: &[MemRow],
    ends: Ends,
    from: u64,
    events_max: usize,
    bytes_max: usize,
) -> Result<Vec<Entry>, ReadError> {
    let id = (topic, partition);
    let mut entries = Entries::new(id, from.max(ends.low)..ends.next, events_max, bytes_max);
    if entries.next < entries.end {
        let table = read.open_table(BATCHES)?;
        let rows = PartitionRows { partition: id, table: &table, memory };
        // The batch that the first event lies in begins at it or before it.
        let start = rows.last_until(entries.next)?.map_or(entries.next, |(key, _)| key.2);
        let floor = || floor(&read.open_table(FLOORS)?, topic, partition);
        entries.read(rows.range(start..=ends.next - 1)?, floor)?;
    }
    Ok(entries.found)
}

/// What has been read of a partition.
struct Entries {
    partition: PartitionId,
    found: Vec<Entry>,
    bytes: usize,
    /// The next offset, and the one where reading ends.
    next: u64,
    end: u64,
    events_max: usize,
    bytes_max: usize,
}

impl Entries {
    /// Nothing yet, of these offsets.
    fn new(partition: PartitionId, offsets: Range<u64>, events_max: usize, bytes_max: usize) -> Self {
        Self {
            partition,
            found: Vec::new(),
            bytes: 0,
            next: offsets.start,
            end: offsets.end,
            events_max: events_max.min(READ_EVENTS_MAX),
            bytes_max: bytes_max.min(READ_BYTES_MAX),
        }
    }

    fn is_full(&self) -> bool {
        self.found.len() >= self.events_max || self.bytes >= self.bytes_max
    }

    /// Reads rows, the first of which begins at the next offset or before it. `floor` says how far retention has removed
    /// what was there.
    fn read<'r>(
        &mut self,
        rows: impl Iterator<Item = Result<(BatchKey, Row<'r>), StorageError>>,
        floor: impl Fn() -> Result<u64, ReadError>,
    ) -> Result<(), ReadError> {
        let mut rows = rows.peekable();
        while let Some(row) = rows.next() {
            let ((_, _, first), row) = row?;
            self.skip_hidden(first, &floor)?;
            let after = match rows.peek() {
                Some(Ok(((_, _, first), _))) => *first,
                _ => self.end,
            };
            let (topic, partition) = self.partition;
            // A page of another place may stand here: what is in it is no batch of this partition.
            match Batch::parse((topic.0, partition, first), row.value()) {
                Ok(batch) => {
                    if !self.take(&batch, first) {
                        return Ok(());
                    }
                }
                Err(error) if self.next < after => {
                    self.damaged(self.next.max(first).min(after - 1), after, &error);
                }
                Err(_) => {}
            }
        }
        self.skip_hidden(self.end, &floor)
    }

    /// Takes the events of a batch. Returns whether there is room for more.
    fn take(&mut self, batch: &Batch<'_>, first: u64) -> bool {
        for index in self.next.saturating_sub(first)..u64::from(batch.count) {
            if self.is_full() {
                return false;
            }
            let entry = entry(batch, first, index);
            if let Entry::Event(stored) = &entry {
                self.bytes += stored.event.size();
            }
            self.next = first + index + 1;
            self.found.push(entry);
        }
        true
    }

    /// Takes note of what lies between the next offset and the one at which a batch has been found, or the partition ends.
    /// Offsets are dense, so it was there once: damage hides it, unless retention has removed it.
    fn skip_hidden(
        &mut self,
        found: u64,
        floor: &impl Fn() -> Result<u64, ReadError>,
    ) -> Result<(), ReadError> {
        if self.next < found {
            self.next = floor()?.clamp(self.next, found);
        }
        if self.next < found {
            let count = found - self.next;
            self.damaged(self.next, found, &BatchError::Lost { count, bytes_before: 0 });
        }
        Ok(())
    }

    fn damaged(&mut self, offset: u64, after: u64, reason: &BatchError) {
        self.found.push(Entry::Damaged { offset, offset_last: after - 1, reason: reason.to_string() });
        self.next = after;
    }
}

/// The first offset of a partition that retention has left.
pub(super) fn floor(
    floors: &ReadOnlyTable<(u32, u32), u64>,
    topic: TopicId,
    partition: u32,
) -> Result<u64, ReadError> {
    Ok(floors.get((topic.0, partition))?.map_or(0, |floor| floor.value()))
}

fn entry(batch: &Batch<'_>, first: u64, index: u64) -> Entry {
    let offset = first + index;
    match batch.event(index) {
        Ok(event) => Entry::Event(Stored {
            offset,
            commit: batch.commit,
            appended: batch.appended,
            key: key_hash(event.key()),
            event: Arc::new(event),
        }),
        Err(error) => Entry::Damaged { offset, offset_last: offset, reason: error.to_string() },
    }
}

/// The first offset whose event was appended at `time` or later; the next offset where there is none.
pub(super) fn offset_at(
    shared: &Shared,
    topic: TopicId,
    partition: u32,
    time: Timestamp,
) -> Result<u64, ReadError> {
    let Some(ends) = ends(shared, topic, partition) else {
        return Ok(0);
    };
    let memory = shared.memtable().all((topic, partition));
    let table = shared.begin_read()?.open_table(BATCHES)?;
    offset_at_in(&PartitionRows { partition: (topic, partition), table: &table, memory: &memory }, ends, time)
}

/// As [`offset_at`], of one partition as its rows have it that go so far.
pub(super) fn offset_at_in(
    rows: &PartitionRows<'_, impl ReadableTable<BatchKey, &'static [u8]>>,
    ends: Ends,
    time: Timestamp,
) -> Result<u64, ReadError> {
    // Times never go back from batch to batch, so the answer is found by halving the range of offsets.
    let (mut low, mut high) = (ends.low, ends.next);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(((_, _, first), row)) = rows.last_until(middle)? else {
            break;
        };
        let (topic, partition) = rows.partition;
        let (count, appended) = match Batch::parse((topic.0, partition, first), row.value()) {
            Ok(batch) => (u64::from(batch.count), batch.appended),
            // A damaged batch is taken to be too early: who reads from there is told of it.
            Err(_) => (0, Timestamp(i64::MIN)),
        };
        if appended < time {
            low = first.saturating_add(count).max(middle + 1);
        } else {
            high = first.max(ends.low);
        }
    }
    Ok(low.min(ends.next))
}

/// An event of a key, with its number among them.
pub(crate) type Numbered = (u64, Entry);

/// The number of a key's last event, 0 where there is none.
pub(super) fn version(shared: &Shared, topic: &Topic, key: &str) -> Result<u64, ReadError> {
    let table = shared.begin_durable_read()?.open_table(KEYS)?;
    let key = hash::key_identity(shared.hash_key, topic.id, key);
    Ok(keys::last(&table, topic.id, key)?)
}

/// The same, of what is visible.
pub(super) fn visible_version(shared: &Shared, topic: &Topic, key: &str) -> Result<u64, ReadError> {
    let table = shared.begin_read()?.open_table(KEYS)?;
    Ok(keys::last(&table, topic.id, hash::key_identity(shared.hash_key, topic.id, key))?)
}

/// The next events of a key behind number `after`, some at a time, in their order. Those that retention has removed are
/// left out. Empty at the end.
pub(super) fn key_events(
    shared: &Shared,
    topic: &Topic,
    key: &str,
    after: u64,
) -> Result<Vec<Numbered>, ReadError> {
    let partition = hash::partition_of(key_hash(key), topic.partition_count());
    let ends = topic.partitions.get(partition as usize).map(Partition::ends).unwrap_or_default();
    let id = (topic.id, partition);
    let memory = shared.memtable().all(id);
    key_events_in(&shared.begin_read()?, id, &memory, ends, (shared.hash_key, key), after)
}

/// The number of an event of a key behind number `after` that retention has removed; `None` where it has removed none of them.
pub(super) fn removed_number(
    shared: &Shared,
    topic: &Topic,
    key: &str,
    after: u64,
) -> Result<Option<u64>, ReadError> {
    let partition = hash::partition_of(key_hash(key), topic.partition_count());
    let low = topic.partitions.get(partition as usize).map_or(0, |partition| partition.ends().low);
    let identity = hash::key_identity(shared.hash_key, topic.id, key);
    let first = keys::next(&shared.begin_read()?.open_table(KEYS)?, topic.id, identity, after, 0)?;
    Ok(first.first().filter(|(_, offset)| *offset < low).map(|(number, _)| *number))
}

/// As [`key_events`], of a partition as a transaction sees it, or a moment before that, when it went so far.
pub(super) fn key_events_in(
    read: &ReadTransaction,
    (topic, partition): PartitionId,
    memory: &[MemRow],
    ends: Ends,
    (hash_key, key): ([u8; 16], &str),
    after: u64,
) -> Result<Vec<Numbered>, ReadError> {
    let identity = hash::key_identity(hash_key, topic, key);
    let mut events = Vec::new();
    let mut bytes = 0;
    for (number, offset) in keys::next(&read.open_table(KEYS)?, topic, identity, after, ends.low)? {
        // What has become durable since the ends were looked at belongs to a later call.
        if offset >= ends.next || bytes >= READ_BYTES_MAX {
            break;
        }
        let entry = events_in(read, (topic, partition), memory, ends, offset, 1, READ_BYTES_MAX)?;
        let entry = entry.into_iter().next();
        // Retention may have removed it since the ends were looked at: what is read then is another one.
        let Some(entry) = entry.filter(|entry| entry.covers(offset)) else { continue };
        if let Entry::Event(stored) = &entry {
            if stored.event.key() != key {
                return Err(misplaced("keys").into());
            }
            bytes += stored.event.size();
        }
        events.push((number, entry));
    }
    Ok(events)
}

/// The number that an event was given among those of its key; `None` where retention has removed it.
pub(super) fn stored_sequence(
    rows: &PartitionRows<'_, impl ReadableTable<BatchKey, &'static [u8]>>,
    offset: u64,
) -> Result<Option<u64>, StorageFault> {
    let Some(((_, _, first), row)) = rows.last_until(offset)? else {
        return Ok(None);
    };
    let (topic, partition) = rows.partition;
    let batch = Batch::parse((topic.0, partition, first), row.value()).ok();
    let event = batch.and_then(|batch| batch.event(offset.checked_sub(first)?).ok());
    Ok(event.and_then(|event| event.sequence()))
}

/// Reads a lane back.
pub(super) fn lane(shared: &Shared, lane: LaneId) -> Result<Lane, ReadError> {
    // The epoch first: if the rows change while they are read, the lane's next commit is refused.
    let epoch = shared.lane_epoch(lane);
    if shared.consumers().get(&lane.consumer).is_some_and(|row| generations::is_to_be_removed(&row.name)) {
        return Err(ReadError::UnknownConsumer(lane.consumer.to_string()));
    }
    let read = shared.begin_read()?;
    let key = (lane.consumer.0, lane.partition);
    let what = || schema::lane_row(lane);
    let progress: Progress = match read.open_table(LANES)?.get(key)? {
        Some(row) => schema::decode(key, row.value(), what)?,
        None => return Err(ReadError::UnknownConsumer(lane.consumer.to_string())),
    };
    let mut held = BTreeMap::new();
    for row in read.open_table(HELD)?.range((key.0, key.1, 0)..=(key.0, key.1, u64::MAX))? {
        let (key, row) = row?;
        if (key.value().0, key.value().1) != (lane.consumer.0, lane.partition) {
            return Err(misplaced("held").into());
        }
        held.insert(key.value().2, schema::decode(key.value(), row.value(), what)?);
    }
    Ok(Lane { epoch, progress, held })
}

/// A lane's state at one moment.
pub(super) struct StateSnapshot {
    prefix: [u8; 8],
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
}

impl StateSnapshot {
    /// The state as it is now.
    pub fn new(shared: &Shared, lane: LaneId) -> Result<Self, ReadError> {
        Self::of(&shared.begin_read()?, lane)
    }

    /// The state as a transaction shows it.
    pub fn of(read: &ReadTransaction, lane: LaneId) -> Result<Self, ReadError> {
        let table = read.open_table(STATE)?;
        Ok(Self { prefix: schema::state_prefix(lane.consumer, lane.partition), table })
    }

    fn key(&self, key: &[u8]) -> Vec<u8> {
        [self.prefix.as_slice(), key].concat()
    }
}

impl StateRead for StateSnapshot {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateUnavailable> {
        let read = reading(|| {
            let value = self.table.get(self.key(key).as_slice())?;
            Ok(value.map(|value| value.value().to_vec()))
        });
        read.map_err(|error| unavailable(&error))
    }

    fn scan(
        &self,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<StateEntry>, StateUnavailable> {
        let start = self.key(start);
        let read = reading(|| {
            let rows = match end {
                Some(end) if self.key(end) <= start => return Ok(Vec::new()),
                Some(end) => self.table.range(start.as_slice()..self.key(end).as_slice())?,
                None => self.table.range(start.as_slice()..)?,
            };
            let mut entries = Vec::new();
            for row in rows.take(limit) {
                let (key, value) = row?;
                // Without an end the range runs on into the next lane's keys.
                let Some(key) = key.value().strip_prefix(&self.prefix) else {
                    break;
                };
                entries.push((key.to_vec(), value.value().to_vec()));
            }
            Ok(entries)
        });
        read.map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &ReadError) -> StateUnavailable {
    StateUnavailable(error.to_string())
}
