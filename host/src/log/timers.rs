//! The timers of lanes: in the order in which they are due, and by their names.
//!
//! Table `timers` has a row for each, with the event that it comes as; table `timers_by_name` says where that row is (see
//! `timer_names`). A timer that is set again moves: its old row goes in the commit that writes the new one.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use redb::{ReadableTable, StorageError};
use serde::{Deserialize, Serialize};

use super::admin::AdminResult;
use super::error::{AdminError, ReadError, StorageFault};
use super::guard::{misplaced, reading};
use super::hash;
use super::lane_rows::Progress;
use super::registry;
use super::schema::{self, TIMERS, TimerKey};
use super::shared::Shared;
use super::store::Log;
use super::timer_changes::TimerChanges;
use super::timer_names;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::event::{Attribute, Data, Event};
use crate::ids::{ConsumerId, LaneId};
use crate::limits::{TIMERS_LISTED_MAX, TIMERS_MAX};
use crate::timer::{NewTimer, TimerCounts, TimerError, TimerName, TimerPlace, TimerStatus, timer_parts};

/// A timer as it is stored.
#[derive(Serialize, Deserialize)]
struct TimerRow {
    /// The event that it comes as. It says the key and the name.
    #[serde(with = "super::record::optional_event")]
    event: Option<Arc<Event>>,
    /// When it was set.
    set: Timestamp,
}

/// A timer that is due.
#[derive(Clone, Debug)]
pub(crate) struct DueTimer {
    /// Where it is.
    pub place: TimerPlace,
    /// What it comes as, or why that can't be read.
    pub event: Result<TimerEvent, String>,
}

/// What a timer comes as.
#[derive(Clone, Debug)]
pub(crate) struct TimerEvent {
    /// What it is known by.
    pub name: TimerName,
    /// The hash of its key: what order goes by.
    pub key: u64,
    /// The event.
    pub event: Arc<Event>,
}

/// Where a timer is, what it comes as or why that can't be read, and when it was set.
pub(crate) type SetTimer = (TimerPlace, Result<Arc<Event>, String>, Timestamp);

/// Timers of a lane that are due, and when the next one is.
#[derive(Clone, Debug, Default)]
pub(crate) struct DueTimers {
    /// In the order in which they come.
    pub due: Vec<DueTimer>,
    /// When the first one after those is due: some may be due already.
    pub next: Option<Timestamp>,
}

fn key_of(lane: LaneId, place: TimerPlace) -> TimerKey {
    (lane.consumer.0, lane.partition, place.due.0, place.number)
}

pub(super) fn place_of(key: TimerKey) -> TimerPlace {
    TimerPlace { due: Timestamp(key.2), number: key.3 }
}

/// Writes what a lane's batch does to its timers: those that have come are removed, then those that it names are set or
/// cancelled. Returns how many there are then.
pub(super) fn change(
    txn: &mut Txn<'_>,
    lane: LaneId,
    before: TimerCounts,
    changes: &TimerChanges,
) -> Result<TimerCounts, StorageFault> {
    for place in changes.came_unnamed() {
        let row = txn.tables.timers.get(key_of(lane, place))?;
        // The name of one whose row is damaged stays, and leads nowhere.
        if let Some(name) = row.and_then(|row| name(key_of(lane, place), row.value())) {
            leave(txn, &timer_names::key(txn.shared.hash_key, lane, &name), place)?;
        }
    }
    for (name, place) in changes.came_names() {
        leave(txn, name, place)?;
    }
    let names = &mut txn.tables.timers_by_name;
    let mut replaced = Vec::new();
    for (name, place) in changes.names() {
        let before = match place {
            Some(place) => names.replace(name, &timer_names::row(name, place))?,
            None => names.take(name)?,
        };
        replaced.extend(before.and_then(|row| timer_names::place(name, row.value())));
    }
    let mut gone = remove_came(txn, lane, changes.came())?;
    for place in replaced.into_iter().filter(|place| changes.came().binary_search(place).is_err()) {
        gone += u64::from(txn.tables.timers.remove(key_of(lane, place))?);
    }
    let (mut set, now) = (0, txn.now);
    for (place, row) in changes.rows() {
        let key = key_of(lane, place);
        txn.tables.timers.insert_made(key, row.len(), |out| complete_row(key, row, now, out))?;
        set += 1;
    }
    Ok(TimerCounts { next: before.next + changes.numbers(), set: before.set.saturating_sub(gone) + set })
}

/// Removes the name of a timer that has come, unless it stands for another one by now.
fn leave(txn: &mut Txn<'_>, name: &[u8], place: TimerPlace) -> Result<(), StorageFault> {
    let names = &mut txn.tables.timers_by_name;
    let row = names.take(name)?.map(|row| *row.value());
    if let Some(row) = row.filter(|row| timer_names::place(name, row).is_some_and(|other| other != place)) {
        names.insert(name, &row)?;
    }
    Ok(())
}

/// Removes the rows of timers that have come, and returns how many there were. Between the first and the last of them are those
/// alone that wait for their keys, of which a lane has no more than it may hold.
fn remove_came(txn: &mut Txn<'_>, lane: LaneId, came: &[TimerPlace]) -> Result<u64, StorageFault> {
    let (Some(first), Some(last)) = (came.first(), came.last()) else { return Ok(0) };
    let (mut came, mut gone) = (came.iter().copied().peekable(), 0);
    txn.tables.timers.remove_those(key_of(lane, *first)..=key_of(lane, *last), |key| {
        while came.next_if(|place| key_of(lane, *place) < *key).is_some() {}
        let has_come = came.next_if(|place| key_of(lane, *place) == *key).is_some();
        gone += u64::from(has_come);
        has_come
    })?;
    Ok(gone)
}

/// Appends a timer's row, but for when it is set and for its checksum.
pub(super) fn push_row(event: Arc<Event>, out: &mut Vec<u8>) {
    // Any moment takes as many bytes as this one.
    schema::encode_unsealed(&TimerRow { event: Some(event), set: Timestamp(i64::MIN) }, out);
}

/// Appends a timer's row that is set at this moment.
fn complete_row(key: TimerKey, row: &[u8], set: Timestamp, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(row);
    // It is the last field, and its number what ends the row.
    if let Some(last) = out.last_chunk_mut() {
        *last = set.0.to_be_bytes();
    }
    schema::seal(key, &mut out[start..]);
}

/// What the timer of this row is known by, where that can be read.
pub(super) fn name(key: TimerKey, row: &[u8]) -> Option<TimerName> {
    read(key, row).ok().map(|(name, ..)| name)
}

fn read(key: TimerKey, row: &[u8]) -> Result<(TimerName, Arc<Event>, Timestamp), ReadError> {
    let what = || format!("the row of timer {} of lane {} of consumer {}", key.3, key.1, key.0);
    let row: TimerRow = schema::decode(key, row, what)?;
    match row.event {
        Some(event) => Ok((TimerName::of(&event), event, row.set)),
        None => Err(ReadError::Damaged { what: what(), reason: "it has no event".to_owned() }),
    }
}

impl Log {
    /// The timers of a lane after `after` that are due at `now`: at most so many, and about so many bytes.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn due_timers(
        &self,
        lane: LaneId,
        after: Option<TimerPlace>,
        now: Timestamp,
        bounds: (usize, usize),
    ) -> Result<DueTimers, ReadError> {
        reading(|| due(&self.shared, lane, after, now, bounds))
    }

    /// The timers of a lane after `after`, due or not, with when each was set: at most so many, and about so many bytes. Empty
    /// only where there are none.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn set_timers(
        &self,
        lane: LaneId,
        after: Option<TimerPlace>,
        bounds: (usize, usize),
    ) -> Result<Vec<SetTimer>, ReadError> {
        reading(|| set_timers(&self.shared, lane, after, bounds))
    }

    /// The timer of a lane at this place, where it is there.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn timer(&self, lane: LaneId, place: TimerPlace) -> Result<Option<DueTimer>, ReadError> {
        reading(|| at(&self.shared, lane, place))
    }

    /// The lane of a consumer that a key belongs to.
    ///
    /// # Errors
    ///
    /// There is no such consumer.
    pub fn lane_of(&self, consumer: &str, key: &str) -> Result<LaneId, ReadError> {
        let unknown = || ReadError::UnknownConsumer(consumer.to_owned());
        let (id, row) = self.consumer(consumer).ok_or_else(unknown)?;
        Ok(LaneId { consumer: id, partition: partition_of(key, row.partitions) })
    }

    /// The timers of a consumer that are due first, of all its lanes or of one, of all keys or of one: at most so many.
    ///
    /// # Errors
    ///
    /// There is no such consumer or lane, or the log can't be read.
    pub fn timers(
        &self,
        consumer: &str,
        partition: Option<u32>,
        key: Option<&str>,
        count_max: usize,
    ) -> Result<Vec<TimerStatus>, ReadError> {
        let unknown = || ReadError::UnknownConsumer(consumer.to_owned());
        let (id, row) = self.consumer(consumer).ok_or_else(unknown)?;
        let lanes = row.partitions;
        if let Some(partition) = partition.filter(|partition| *partition >= lanes) {
            return Err(ReadError::UnknownLane { consumer: consumer.to_owned(), partition, lanes });
        }
        let of_key = key.map(|key| partition_of(key, lanes));
        let partitions = match partition.or(of_key) {
            Some(only) if of_key.is_some_and(|of_key| of_key != only) => 0..0,
            Some(only) => only..only + 1,
            None => 0..lanes,
        };
        reading(|| list(&self.shared, id, partitions, key, count_max.min(TIMERS_LISTED_MAX)))
    }
}

/// The timers of a lane after `after` that are due at `now`: at most so many, and about so many bytes.
fn due(
    shared: &Shared,
    lane: LaneId,
    after: Option<TimerPlace>,
    now: Timestamp,
    (count_max, bytes_max): (usize, usize),
) -> Result<DueTimers, ReadError> {
    let table = shared.begin_read()?.open_table(TIMERS)?;
    let mut found = DueTimers::default();
    let mut bytes = 0;
    for row in table.range(range(lane, after))? {
        let (key, row) = row?;
        let (key, row) = (in_lane(lane, key.value())?, row.value());
        let place = place_of(key);
        let is_full = found.due.len() >= count_max || (bytes + row.len() > bytes_max && bytes > 0);
        if place.due > now || is_full {
            found.next = Some(place.due);
            break;
        }
        bytes += row.len();
        found.due.push(DueTimer { place, event: event(key, row) });
    }
    Ok(found)
}

/// The timers of a lane after `after`: at most so many, and about so many bytes.
fn set_timers(
    shared: &Shared,
    lane: LaneId,
    after: Option<TimerPlace>,
    (count_max, bytes_max): (usize, usize),
) -> Result<Vec<SetTimer>, ReadError> {
    let table = shared.begin_read()?.open_table(TIMERS)?;
    let mut found = Vec::new();
    let mut bytes = 0;
    for row in table.range(range(lane, after))? {
        let (key, row) = row?;
        let (key, row) = (in_lane(lane, key.value())?, row.value());
        bytes += row.len();
        if found.len() >= count_max || (bytes > bytes_max && !found.is_empty()) {
            break;
        }
        found.push(match read(key, row) {
            Ok((_, event, set)) => (place_of(key), Ok(event), set),
            Err(error) => (place_of(key), Err(error.to_string()), Timestamp(0)),
        });
    }
    Ok(found)
}

/// The timer at this place, where it is there.
fn at(shared: &Shared, lane: LaneId, place: TimerPlace) -> Result<Option<DueTimer>, ReadError> {
    let table = shared.begin_read()?.open_table(TIMERS)?;
    let key = key_of(lane, place);
    Ok(table.get(key)?.map(|row| DueTimer { place, event: event(key, row.value()) }))
}

/// What a row comes as, or why it can't be read.
fn event(key: TimerKey, row: &[u8]) -> Result<TimerEvent, String> {
    let (name, event, _) = read(key, row).map_err(|error| error.to_string())?;
    let key = hash::key_hash(&name.key);
    Ok(TimerEvent { name, key, event })
}

/// The timers of a consumer that are due first, of all its lanes or of some, of all keys or of one: at most so many. One that
/// can't be read is passed over: it is found out when it is due.
fn list(
    shared: &Shared,
    consumer: ConsumerId,
    partitions: Range<u32>,
    key: Option<&str>,
    count_max: usize,
) -> Result<Vec<TimerStatus>, ReadError> {
    let table = shared.begin_read()?.open_table(TIMERS)?;
    let mut found: Vec<TimerStatus> = Vec::new();
    for partition in partitions {
        let lane = LaneId { consumer, partition };
        for row in table.range(range(lane, None))? {
            let (place, row) = row?;
            let place = in_lane(lane, place.value())?;
            let TimerPlace { due, number } = place_of(place);
            if found.len() >= count_max && found.last().is_none_or(|last| last.due <= due) {
                break;
            }
            let Ok((name, _, set)) = read(place, row.value()) else { continue };
            if key.is_none_or(|key| key == name.key) {
                let at = found.partition_point(|other| other.due <= due);
                found.insert(at, TimerStatus { partition, key: name.key, name: name.name, due, set, number });
                found.truncate(count_max);
            }
        }
    }
    Ok(found)
}

/// Sets a timer by hand; one whose moment has passed, for now. The lane reads itself back then.
pub(super) fn set_by_hand(
    txn: &mut Txn<'_>,
    consumer: &str,
    name: &TimerName,
    due: Timestamp,
    data: Option<Data>,
    correlation: Option<String>,
) -> AdminResult<()> {
    let (lane, mut progress) = match lane_by_hand(txn, consumer, name)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    let counts = &mut progress.timers;
    if counts.set >= TIMERS_MAX {
        return Ok(Err(TimerError::TooMany { max: TIMERS_MAX }.into()));
    }
    let place = TimerPlace { due: due.max(txn.now), number: counts.next };
    // No delivery is its origin, so its number among all of the lane tells it from the others.
    let origin = format!("{consumer}/by-hand/{}/{}/timers/{}", lane.partition, place.number, name.name);
    let mut parts = timer_parts(consumer, origin, &name.name, place.due, data);
    parts.subject = Some(name.key.clone());
    if let Some(correlation) = correlation {
        parts.add_extension("correlationid", || Attribute::Text(correlation));
    }
    let event = match Event::try_from(parts) {
        Ok(event) => Arc::new(event),
        Err(error) => return Ok(Err(TimerError::from(error).into())),
    };
    *counts = change_one(txn, lane, *counts, name, Some(NewTimer { place, event }))?;
    registry::put_progress(txn, lane, &progress)?;
    txn.change_lane(lane);
    Ok(Ok(()))
}

/// The lane of a timer's key, and its progress.
fn lane_by_hand(txn: &Txn<'_>, consumer: &str, name: &TimerName) -> AdminResult<(LaneId, Progress)> {
    let Some((id, row)) = registry::known(txn, consumer)? else {
        return Ok(Err(AdminError::UnknownConsumer(consumer.to_owned())));
    };
    let lane = LaneId { consumer: id, partition: partition_of(&name.key, row.partitions) };
    let stored = registry::stored_progress(txn, lane)?;
    Ok(stored.map(|progress| (lane, progress.unwrap_or_default())))
}

/// Cancels a timer by hand. The lane reads itself back then.
pub(super) fn cancel_by_hand(txn: &mut Txn<'_>, consumer: &str, name: &TimerName) -> AdminResult<()> {
    let (lane, mut progress) = match lane_by_hand(txn, consumer, name)? {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    if !is_set(txn, lane, name)? {
        let (consumer, key, timer) = (consumer.to_owned(), name.key.clone(), name.name.clone());
        return Ok(Err(AdminError::UnknownTimer { consumer, key, timer }));
    }
    progress.timers = change_one(txn, lane, progress.timers, name, None)?;
    registry::put_progress(txn, lane, &progress)?;
    txn.change_lane(lane);
    Ok(Ok(()))
}

/// Sets the timer of this name, or cancels it. Returns how many there are then.
fn change_one(
    txn: &mut Txn<'_>,
    lane: LaneId,
    before: TimerCounts,
    name: &TimerName,
    timer: Option<NewTimer>,
) -> Result<TimerCounts, StorageFault> {
    let numbers = u64::from(timer.is_some());
    let changed = [(name.clone(), timer)].into();
    let changes = TimerChanges::new(txn.shared.hash_key, lane, Vec::new(), changed, numbers);
    change(txn, lane, before, &changes)
}

/// Whether there is a timer of this name.
fn is_set(txn: &Txn<'_>, lane: LaneId, name: &TimerName) -> Result<bool, StorageFault> {
    let name = timer_names::key(txn.shared.hash_key, lane, name);
    let row = txn.tables.timers_by_name.get(name.as_slice())?;
    let place = row.and_then(|row| timer_names::place(&name, row.value()));
    Ok(place.map(|place| txn.tables.timers.get(key_of(lane, place))).transpose()?.flatten().is_some())
}

/// Removes all timers of a consumer.
pub(super) fn forget(txn: &mut Txn<'_>, consumer: ConsumerId) -> Result<(), StorageError> {
    txn.tables.timers.remove_in(all_of(consumer))?;
    let (first, after) = timer_names::all_of(consumer);
    txn.tables.timers_by_name.remove_in(first.as_slice()..after.as_slice())
}

/// Removes some of the timers of a consumer that is no more: so many rows at the most. Returns how many there were.
pub(super) fn forget_some(
    txn: &mut Txn<'_>,
    consumer: ConsumerId,
    rows_max: usize,
) -> Result<usize, StorageError> {
    let rows = txn.tables.timers.remove_some_in(all_of(consumer), rows_max)?;
    let (first, after) = timer_names::all_of(consumer);
    let names = first.as_slice()..after.as_slice();
    Ok(rows + txn.tables.timers_by_name.remove_some_in(names, rows_max - rows)?)
}

fn all_of(ConsumerId(id): ConsumerId) -> RangeInclusive<TimerKey> {
    (id, 0, i64::MIN, 0)..=(id, u32::MAX, i64::MAX, u64::MAX)
}

fn partition_of(key: &str, partitions: u32) -> u32 {
    hash::partition_of(hash::key_hash(key), partitions)
}

fn range(lane: LaneId, after: Option<TimerPlace>) -> RangeInclusive<TimerKey> {
    let first = after.map_or((i64::MIN, 0), |place| (place.due.0, place.number.saturating_add(1)));
    (lane.consumer.0, lane.partition, first.0, first.1)
        ..=(lane.consumer.0, lane.partition, i64::MAX, u64::MAX)
}

fn in_lane(lane: LaneId, key: TimerKey) -> Result<TimerKey, ReadError> {
    if (key.0, key.1) == (lane.consumer.0, lane.partition) {
        Ok(key)
    } else {
        Err(misplaced("timers").into())
    }
}
