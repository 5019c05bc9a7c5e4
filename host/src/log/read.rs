//! Reading: events from any offset or time, lanes, state.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::batch::{Batch, BatchError};
use super::error::{ReadError, StorageFault};
use super::guard::{misplaced, reading};
use super::hash::{self, key_hash};
use super::keys;
use super::lane_rows::{Lane, Progress};
use super::schema::{self, BATCHES, FLOORS, HELD, KEYS, LANES, STATE};
use super::shared::Shared;
use super::topics::{Ends, Partition, Topic};
use super::window::Place;
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
    if from >= ends.next {
        return Ok(Vec::new());
    }
    events_in(&shared.begin_read()?, (topic, partition), ends, from, events_max, bytes_max)
}

/// How far a partition goes now.
fn ends(shared: &Shared, topic: TopicId, partition: u32) -> Option<Ends> {
    Some(shared.topic(topic)?.partitions.get(partition as usize)?.ends())
}

/// As [`events`], of one partition as a transaction sees it, or a moment before that, when it went so far.
pub(super) fn events_in(
    read: &ReadTransaction,
    (topic, partition): (TopicId, u32),
    ends: Ends,
    from: u64,
    events_max: usize,
    bytes_max: usize,
) -> Result<Vec<Entry>, ReadError> {
    let events_max = events_max.min(READ_EVENTS_MAX);
    let bytes_max = bytes_max.min(READ_BYTES_MAX);
    let mut entries = Vec::new();
    let mut next = from.max(ends.low);
    if next >= ends.next {
        return Ok(entries);
    }
    let table = read.open_table(BATCHES)?;
    let key = |offset: u64| (topic.0, partition, offset);
    // The batch that `next` lies in begins at it or before it.
    let start =
        table.range(key(0)..=key(next))?.next_back().transpose()?.map_or(next, |(key, _)| key.value().2);
    let mut rows = table.range(key(start)..key(ends.next))?.peekable();
    let mut bytes = 0;
    while let Some(row) = rows.next() {
        let (row_key, row) = row?;
        let first = row_key.value().2;
        hidden(read, (topic, partition), &mut next, first, &mut entries)?;
        let after = match rows.peek() {
            Some(Ok((key, _))) => key.value().2,
            _ => ends.next,
        };
        // A page of another place may stand here: what is in it is no batch of this partition.
        let batch = match Batch::parse(key(first), row.value()) {
            Ok(batch) => batch,
            Err(error) => {
                if next < after {
                    entries.push(Entry::Damaged {
                        offset: next.max(first).min(after - 1),
                        offset_last: after - 1,
                        reason: error.to_string(),
                    });
                    next = after;
                }
                continue;
            }
        };
        for index in next.saturating_sub(first)..u64::from(batch.count) {
            if entries.len() >= events_max || bytes >= bytes_max {
                return Ok(entries);
            }
            let entry = entry(&batch, first, index);
            if let Entry::Event(stored) = &entry {
                bytes += stored.event.size();
            }
            next = first + index + 1;
            entries.push(entry);
        }
    }
    hidden(read, (topic, partition), &mut next, ends.next, &mut entries)?;
    Ok(entries)
}

/// Adds what lies between `next` and the offset at which a batch has been found, or the partition ends. Offsets are dense, so
/// it was there once: damage hides it, unless retention has removed it.
fn hidden(
    read: &ReadTransaction,
    (topic, partition): (TopicId, u32),
    next: &mut u64,
    found: u64,
    entries: &mut Vec<Entry>,
) -> Result<(), ReadError> {
    if *next < found {
        *next = floor(&read.open_table(FLOORS)?, topic, partition)?.clamp(*next, found);
    }
    if *next < found {
        let reason = BatchError::Lost { count: found - *next, bytes_before: 0 }.to_string();
        entries.push(Entry::Damaged { offset: *next, offset_last: found - 1, reason });
        *next = found;
    }
    Ok(())
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
    let table = shared.begin_read()?.open_table(BATCHES)?;
    offset_at_in(&table, (topic, partition), ends, time)
}

/// As [`offset_at`], of one partition as a table has it that goes so far.
pub(super) fn offset_at_in(
    table: &impl ReadableTable<(u32, u32, u64), &'static [u8]>,
    (topic, partition): (TopicId, u32),
    ends: Ends,
    time: Timestamp,
) -> Result<u64, ReadError> {
    let key = |offset: u64| (topic.0, partition, offset);
    // Times never go back from batch to batch, so the answer is found by halving the range of offsets.
    let (mut low, mut high) = (ends.low, ends.next);
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(row) = table.range(key(0)..=key(middle))?.next_back() else {
            break;
        };
        let (row_key, row) = row?;
        let first = row_key.value().2;
        let (count, appended) = match Batch::parse(key(first), row.value()) {
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
    let (_, read) = shared.begin_durable_read()?;
    let table = read.open_table(KEYS)?;
    let key = hash::key_identity(shared.hash_key, topic.id, key);
    Ok(keys::last(&table, topic.id, key)?)
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
    key_events_in(&shared.begin_read()?, (topic.id, partition), ends, (shared.hash_key, key), after)
}

/// As [`key_events`], of a partition as a transaction sees it, or a moment before that, when it went so far.
pub(super) fn key_events_in(
    read: &ReadTransaction,
    (topic, partition): (TopicId, u32),
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
        let entry = events_in(read, (topic, partition), ends, offset, 1, READ_BYTES_MAX)?.into_iter().next();
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
    batches: &impl ReadableTable<(u32, u32, u64), &'static [u8]>,
    topic: TopicId,
    place: Place,
) -> Result<Option<u64>, StorageFault> {
    let range = (topic.0, place.partition, 0)..=(topic.0, place.partition, place.offset);
    let Some(row) = batches.range(range)?.next_back() else {
        return Ok(None);
    };
    let (row_key, row) = row?;
    let first = row_key.value().2;
    let batch = Batch::parse((topic.0, place.partition, first), row.value()).ok();
    let event = batch.and_then(|batch| batch.event(place.offset.checked_sub(first)?).ok());
    Ok(event.and_then(|event| event.sequence()))
}

/// Reads a lane back.
pub(super) fn lane(shared: &Shared, lane: LaneId) -> Result<Lane, ReadError> {
    // The epoch first: if the rows change while they are read, the lane's next commit is refused.
    let epoch = shared.lane_epoch(lane);
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
        let table = shared.begin_read()?.open_table(STATE)?;
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
