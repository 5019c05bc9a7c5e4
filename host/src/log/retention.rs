//! Retention: what is too old or too much is removed, whole batches at a time, and never what a consumer still needs.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use redb::ReadableTable as _;

use super::admin::AdminResult;
use super::batch::Batch;
use super::error::StorageFault;
use super::lane_rows::{DeadLetter, Held, Progress, Wait};
use super::rows::PartitionRows;
use super::schema::{self, meta};
use super::topics::Topic;
use super::txn::Txn;
use super::{claims, hash, keys};
use crate::clock::Timestamp;
use crate::config::Retention;
use crate::handler::{Failure, FailureKind, ProgramVersion};
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{DETACHED_HOLDS_RETENTION, TRIM_BATCHES_MAX, TRIM_KEYS_MAX};

/// What one run removed.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// while bus.trim().await?.more {
///     // One commit removes so many batches at most, so that publishers beside it don't wait.
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Batches.
    pub batches: u64,
    /// Events.
    pub events: u64,
    /// Bytes.
    pub bytes: u64,
    /// Whether there is more to remove than one run does.
    pub more: bool,
}

/// The first offset that each consumer still needs of each partition.
type Needs = BTreeMap<(TopicId, u32), Vec<(LaneId, u64)>>;

/// Removes what the topics' settings say, as far as one commit does.
pub(super) fn trim(txn: &mut Txn<'_>) -> AdminResult<Trimmed> {
    let topics: Vec<_> = txn.shared.topics().sorted();
    let topics: Vec<_> = topics.into_iter().filter(|topic| is_bounded(topic.config().retention)).collect();
    let mut trimmed = Trimmed::default();
    if topics.is_empty() || std::mem::replace(&mut txn.trimmed, true) {
        txn.wrote_nothing();
        return Ok(Ok(trimmed));
    }
    let needs = needs(txn)?;
    let mut keys_seen = 0;
    for topic in topics {
        let sizes: u64 = topic.partitions.iter().map(|partition| partition.ends().bytes()).sum();
        let excess = topic.config().retention.bytes.map_or(0, |bytes| sizes.saturating_sub(bytes));
        for partition in 0..topic.partition_count() {
            if trimmed.more {
                break;
            }
            // Each partition gives its share of what is too much.
            let ends = topic.partitions[partition as usize].ends();
            let size = ends.bytes();
            let share = u128::from(excess) * u128::from(size) / u128::from(sizes.max(1));
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            trim_partition(txn, &topic, partition, share, &needs, &mut trimmed, &mut keys_seen)?;
        }
    }
    if trimmed.batches == 0 {
        txn.wrote_nothing();
    }
    Ok(Ok(trimmed))
}

fn is_bounded(retention: Retention) -> bool {
    retention.age.is_some() || retention.bytes.is_some()
}

fn trim_partition(
    txn: &mut Txn<'_>,
    topic: &Arc<Topic>,
    partition: u32,
    excess: u64,
    needs: &Needs,
    trimmed: &mut Trimmed,
    keys_seen: &mut usize,
) -> Result<(), StorageFault> {
    let retention = topic.config().retention;
    let ends = topic.partitions[partition as usize].ends();
    let lanes = needs.get(&(topic.id, partition)).map(Vec::as_slice).unwrap_or_default();
    let needed = lanes.iter().map(|(_, offset)| *offset).min().unwrap_or(u64::MAX);
    // After a jump of the clock, ages mean nothing until it has settled.
    let age = retention.age.filter(|_| !txn.shared.clock.is_slewing());
    let oldest_kept = age.map_or(Timestamp(i64::MIN), |age| txn.now.before(age));
    let (mut low, mut bytes_removed) = (ends.low, 0);
    let (mut rows, mut are_in_table) = (Vec::new(), true);
    let hash_key = txn.shared.hash_key;
    let mut keys = BTreeSet::new();
    let id = (topic.id, partition);
    let memory = txn.shared.memtable().all(id);
    let found = PartitionRows { partition: id, table: &*txn.tables.batches, memory: &memory };
    let mut batches = found.range(0..=ends.next.saturating_sub(1))?.peekable();
    while let Some(row) = batches.next() {
        let (key, row) = row?;
        let first = key.2;
        let after = match batches.peek() {
            Some(Ok((key, _))) => key.2,
            _ => ends.next,
        };
        // A page of another place says nothing of this one: all of the partition stays.
        if (key.0, key.1) != (topic.id.0, partition) || after < first || first < low {
            break;
        }
        // A damaged batch is as old as the one after it: it goes when it is the oldest.
        let count = after - first;
        let batch = Batch::parse(key, row.value());
        let appended = batch.as_ref().map_or(Timestamp(i64::MIN), |batch| batch.appended);
        let is_old = appended < oldest_kept;
        if !(is_old || bytes_removed < excess) || (first + count > needed && !retention.force) {
            break;
        }
        if trimmed.batches >= TRIM_BATCHES_MAX || *keys_seen + keys.len() >= TRIM_KEYS_MAX {
            trimmed.more = true;
            break;
        }
        if topic.sequence
            && let Ok(batch) = batch
        {
            keys::of_batch(&batch, |key| hash::key_identity(hash_key, topic.id, key), &mut keys);
        }
        rows.push(first);
        are_in_table &= !row.is_in_memory();
        low = first + count;
        bytes_removed += row.value().len() as u64;
        trimmed.batches += 1;
        trimmed.events += count;
        trimmed.bytes += row.value().len() as u64;
    }
    drop(batches);
    if rows.is_empty() {
        return Ok(());
    }
    if !are_in_table {
        txn.flush(id)?;
    }
    for first in rows {
        txn.tables.batches.remove((topic.id.0, partition, first))?;
    }
    txn.tables.floors.insert((topic.id.0, partition), low)?;
    claims::release_events(txn, topic.id, partition, low)?;
    keys::trim(&mut txn.tables.keys, &txn.keys, topic.id, &keys, low)?;
    *keys_seen += keys.len();
    for (lane, _) in lanes.iter().filter(|(_, needed)| *needed < low) {
        leave_gaps(txn, *lane, topic, low)?;
    }
    let (topic, bytes_before) = (Arc::clone(topic), ends.bytes_before + bytes_removed);
    txn.after(move |_| topic.partitions[partition as usize].trim(low, bytes_before));
    Ok(())
}

/// What each lane still needs: the events it has not read, and those that it holds.
fn needs(txn: &Txn<'_>) -> Result<Needs, StorageFault> {
    let mut needs = Needs::new();
    let detached: Vec<_> = txn
        .shared
        .consumers()
        .iter()
        .filter(|(_, row)| row.detached.is_some_and(|since| txn.now.since(since) > DETACHED_HOLDS_RETENTION))
        .map(|(id, _)| *id)
        .collect();
    let topics_of = |lane: LaneId| {
        txn.shared.consumers().get(&lane.consumer).map(|row| row.topics.clone()).unwrap_or_default()
    };
    let mut by_lane: BTreeMap<(LaneId, TopicId), u64> = BTreeMap::new();
    let mut need = |lane: LaneId, topic: TopicId, offset: u64| {
        if !detached.contains(&lane.consumer) {
            by_lane.entry((lane, topic)).and_modify(|least| *least = offset.min(*least)).or_insert(offset);
        }
    };
    for row in txn.tables.lanes.iter()? {
        let (key, row) = row?;
        let lane = LaneId { consumer: ConsumerId(key.value().0), partition: key.value().1 };
        match schema::decode::<Progress>(key.value(), row.value(), String::new) {
            Ok(progress) => progress.next.into_iter().for_each(|(topic, offset)| need(lane, topic, offset)),
            // What it still needs is not known, so that is all.
            Err(_) => topics_of(lane).into_iter().for_each(|topic| need(lane, topic, 0)),
        }
    }
    for row in txn.tables.held.iter()? {
        let (key, row) = row?;
        let lane = LaneId { consumer: ConsumerId(key.value().0), partition: key.value().1 };
        match schema::decode::<Held>(key.value(), row.value(), String::new) {
            Ok(held) if held.event.is_none() && held.wait != Wait::Operator => {
                need(lane, held.topic, held.offset);
            }
            Ok(_) => {}
            Err(_) => topics_of(lane).into_iter().for_each(|topic| need(lane, topic, 0)),
        }
    }
    for ((lane, topic), offset) in by_lane {
        needs.entry((topic, lane.partition)).or_default().push((lane, offset));
    }
    Ok(needs)
}

/// Moves a lane past what retention took from it by force, and leaves dead letters that say so: one for the events that it
/// had not read, and one for each that it held. What lies between them it has finished, and nothing says otherwise.
fn leave_gaps(txn: &mut Txn<'_>, lane: LaneId, topic: &Topic, low: u64) -> Result<(), StorageFault> {
    let key = (lane.consumer.0, lane.partition);
    let stored =
        txn.tables.lanes.get(key)?.map(|row| schema::decode::<Progress>(key, row.value(), String::new));
    // A lane that can't be read stays as it is: it says so itself, and finds the gap when it can be.
    let Some(Ok(mut progress)) = stored else { return Ok(()) };
    let next = progress.next.entry(topic.id).or_insert(low);
    let unread = *next..low;
    *next = low.max(*next);
    let mut lost = Vec::new();
    for row in txn.tables.held.range((key.0, key.1, 0)..=(key.0, key.1, u64::MAX))? {
        let (key, row) = row?;
        if let Ok(held) = schema::decode::<Held>(key.value(), row.value(), String::new)
            && held.event.is_none()
            && held.wait != Wait::Operator
            && held.topic == topic.id
            && held.offset < low
        {
            lost.push((key.value(), held));
        }
    }
    progress.counts.dead_letters += lost.len() as u64 + u64::from(!unread.is_empty());
    txn.tables.lanes.insert(key, schema::encode(key, &progress).as_slice())?;
    for (row, held) in lost {
        txn.tables.held.remove(row)?;
        let message = "retention removed the event by force while it was held";
        let letter = gap(txn, topic, lane.partition, held.offset..held.offset + 1, message.to_owned());
        let letter = DeadLetter {
            commit: held.commit,
            appended: held.appended,
            first_attempt: if held.attempts.is_empty() { txn.now } else { held.first_attempt },
            attempts: held.attempts,
            key: held.key,
            ..letter
        };
        put_letter(txn, lane, letter)?;
    }
    if !unread.is_empty() {
        let message = format!(
            "retention removed the events up to offset {} by force, before the consumer had read them",
            low - 1
        );
        let letter = gap(txn, topic, lane.partition, unread, message);
        put_letter(txn, lane, letter)?;
    }
    txn.change_lane(lane);
    Ok(())
}

fn put_letter(txn: &mut Txn<'_>, lane: LaneId, letter: DeadLetter) -> Result<(), StorageFault> {
    let id = txn.tables.take_number(meta::NEXT_LETTER)?;
    let letter = DeadLetter { id, ..letter };
    let key = (lane.consumer.0, id);
    txn.tables.dead_letters.insert(key, schema::encode(key, &letter).as_slice())?;
    Ok(())
}

/// What is said of events that are gone.
fn gap(txn: &Txn<'_>, topic: &Topic, partition: u32, offsets: Range<u64>, message: String) -> DeadLetter {
    DeadLetter {
        id: 0,
        at: txn.now,
        topic: topic.name.to_string(),
        topic_id: topic.id,
        partition,
        offset: offsets.start,
        offset_last: offsets.end - 1,
        commit: 0,
        appended: txn.now,
        event: None,
        reason: Failure::new(FailureKind::Gap, "gap", message),
        attempts: Vec::new(),
        first_attempt: txn.now,
        version: ProgramVersion::default(),
        redriven: false,
        key: 0,
        parked: None,
    }
}
