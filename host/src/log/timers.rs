//! The timers of lanes: in the order in which they are due, and by their names.
//!
//! Table `timers` has a row for each, with the event that it comes as; table `timer_names` says where that row is. A timer that is
//! set again moves: its old row goes in the commit that writes the new one.

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
use super::schema::{self, TIMERS, TimerKey, TimerNameKey};
use super::shared::Shared;
use super::store::Log;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::effects::Effects;
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

fn place_of(key: TimerKey) -> TimerPlace {
    TimerPlace { due: Timestamp(key.2), number: key.3 }
}

/// Writes what a lane's batch does to its timers: those that have come are removed, then those that it names are set or
/// cancelled. Returns how many there are then.
pub(super) fn change(
    txn: &mut Txn<'_>,
    lane: LaneId,
    before: TimerCounts,
    fired: &[TimerPlace],
    effects: &Effects,
) -> Result<TimerCounts, StorageFault> {
    let mut counts = TimerCounts { next: before.next + effects.timers_set, ..before };
    for place in fired {
        remove(txn, lane, *place, &mut counts)?;
    }
    for (name, timer) in &effects.timers {
        cancel(txn, lane, name, &mut counts)?;
        if let Some(timer) = timer {
            set(txn, lane, name, timer, &mut counts)?;
        }
    }
    Ok(counts)
}

fn set(
    txn: &mut Txn<'_>,
    lane: LaneId,
    name: &TimerName,
    timer: &NewTimer,
    counts: &mut TimerCounts,
) -> Result<(), StorageFault> {
    counts.set += 1;
    let row = TimerRow { event: Some(Arc::clone(&timer.event)), set: txn.now };
    let (key, name_key) = (key_of(lane, timer.place), name_key(txn.shared, lane, name));
    txn.tables.timers.insert(key, schema::encode(key, &row).as_slice())?;
    Ok(txn.tables.timer_names.insert(name_key, schema::encode(name_key, &timer.place).as_slice())?)
}

/// Removes the timer of this name. Returns whether there was one.
fn cancel(
    txn: &mut Txn<'_>,
    lane: LaneId,
    name: &TimerName,
    counts: &mut TimerCounts,
) -> Result<bool, StorageFault> {
    let name_key = name_key(txn.shared, lane, name);
    let Some(place) = named(txn, name_key)? else { return Ok(false) };
    txn.tables.timer_names.remove(name_key)?;
    let was_there = txn.tables.timers.remove(key_of(lane, place))?;
    counts.set = counts.set.saturating_sub(u64::from(was_there));
    Ok(was_there)
}

/// Removes the timer at this place, where the log has it: one that came before the batch that has set it was over never got there.
/// The name of one whose row is damaged stays, and leads nowhere.
fn remove(
    txn: &mut Txn<'_>,
    lane: LaneId,
    place: TimerPlace,
    counts: &mut TimerCounts,
) -> Result<(), StorageFault> {
    let key = key_of(lane, place);
    let name = txn.tables.timers.get(key)?.and_then(|row| read(key, row.value()).ok()).map(|(name, ..)| name);
    if let Some(name) = name {
        let name_key = name_key(txn.shared, lane, &name);
        if named(txn, name_key)? == Some(place) {
            txn.tables.timer_names.remove(name_key)?;
        }
    }
    let was_there = txn.tables.timers.remove(key)?;
    counts.set = counts.set.saturating_sub(u64::from(was_there));
    Ok(())
}

fn name_key(shared: &Shared, lane: LaneId, name: &TimerName) -> TimerNameKey {
    (lane.consumer.0, lane.partition, hash::timer_identity(shared.hash_key, name))
}

/// Where the timer of a name is. A damaged row names none: then the timer comes, as it can't be found to be cancelled.
fn named(txn: &Txn<'_>, key: TimerNameKey) -> Result<Option<TimerPlace>, StorageFault> {
    let row = txn.tables.timer_names.get(key)?;
    Ok(row.and_then(|row| schema::decode(key, row.value(), String::new).ok()))
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
    counts.next += 1;
    cancel(txn, lane, name, counts)?;
    set(txn, lane, name, &NewTimer { place, event }, counts)?;
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
    if !cancel(txn, lane, name, &mut progress.timers)? {
        let (consumer, key, timer) = (consumer.to_owned(), name.key.clone(), name.name.clone());
        return Ok(Err(AdminError::UnknownTimer { consumer, key, timer }));
    }
    registry::put_progress(txn, lane, &progress)?;
    txn.change_lane(lane);
    Ok(Ok(()))
}

/// Removes all timers of a consumer.
pub(super) fn forget(txn: &mut Txn<'_>, consumer: ConsumerId) -> Result<(), StorageError> {
    txn.tables.timers.remove_in(all_of(consumer))?;
    txn.tables.timer_names.remove_in(all_names_of(consumer))
}

/// Removes some of the timers of a consumer that is no more: so many rows at the most. Returns how many there were.
pub(super) fn forget_some(
    txn: &mut Txn<'_>,
    consumer: ConsumerId,
    rows_max: usize,
) -> Result<usize, StorageError> {
    let rows = txn.tables.timers.remove_some_in(all_of(consumer), rows_max)?;
    Ok(rows + txn.tables.timer_names.remove_some_in(all_names_of(consumer), rows_max - rows)?)
}

fn all_of(ConsumerId(id): ConsumerId) -> RangeInclusive<TimerKey> {
    (id, 0, i64::MIN, 0)..=(id, u32::MAX, i64::MAX, u64::MAX)
}

fn all_names_of(ConsumerId(id): ConsumerId) -> RangeInclusive<TimerNameKey> {
    (id, 0, 0)..=(id, u32::MAX, u128::MAX)
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
