//! Topics and consumers: creating, changing, registering, seeking, forgetting.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::admin::AdminResult;
use super::claims;
use super::error::{AdminError, ReadError, StorageFault};
use super::lane_rows::{Held, Progress, Wait};
use super::read;
use super::schema::{self, ConsumerRow, TopicRow, meta};
use super::shared::Shared;
use super::timers;
use super::topics::{Ends, Topic};
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::config::{ConfigError, TopicConfig};
use crate::handler::ProgramVersion;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::TOPICS_MAX;

/// A place in a topic, for each of its partitions.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// use tidegate::Position;
///
/// let yesterday = Position::Time("2018-01-31T00:00:00Z".parse()?);
/// for from in [Position::Earliest, yesterday, Position::Offset(17), Position::Latest] {
///     assert!(bus.bus().read("orders", None, from)?.try_next()?.is_none(), "the topic is empty");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// The first event that is retained.
    Earliest,
    /// What comes from now on.
    Latest,
    /// The first event that was appended at this time or later.
    Time(Timestamp),
    /// The event at this offset, or the nearest that is there.
    Offset(u64),
}

/// Creates a topic. One of the same name and partition count takes over the other settings.
pub(super) fn create_topic(txn: &mut Txn<'_>, name: &str, config: TopicConfig) -> AdminResult<TopicId> {
    let known = txn.shared.topics().named(name).cloned();
    if let Some(topic) = known {
        if let Err(refused) = same_fixed(name, &topic.config(), &config) {
            return Ok(Err(refused));
        }
        let row = TopicRow { name: Arc::clone(&topic.name), config: config.clone(), created: topic.created };
        txn.tables.topics.insert(topic.id.0, schema::encode(topic.id.0, &row).as_slice())?;
        let id = topic.id;
        txn.after(move |_| topic.set_config(config));
        return Ok(Ok(id));
    }
    if txn.shared.topics().len() >= TOPICS_MAX {
        return Ok(Err(AdminError::TooManyTopics { max: TOPICS_MAX }));
    }
    // Two creations in one group: the name is looked for among the rows too.
    let mut made = None;
    for row in txn.tables.topics.iter()? {
        let (id, row) = row?;
        if let Ok(row) = schema::decode::<TopicRow>(id.value(), row.value(), String::new)
            && &*row.name == name
        {
            made = Some((TopicId(id.value()), row));
        }
    }
    if let Some((id, row)) = made {
        if let Err(refused) = same_fixed(name, &row.config, &config) {
            return Ok(Err(refused));
        }
        let row = TopicRow { config: config.clone(), ..row };
        txn.tables.topics.insert(id.0, schema::encode(id.0, &row).as_slice())?;
        txn.after(move |shared| {
            if let Some(topic) = shared.topic(id) {
                topic.set_config(config);
            }
        });
        return Ok(Ok(id));
    }
    let id = TopicId(txn.tables.take_id(meta::NEXT_TOPIC)?);
    let row = TopicRow { name: name.into(), config, created: txn.now };
    txn.tables.topics.insert(id.0, schema::encode(id.0, &row).as_slice())?;
    txn.after(move |shared| {
        let ends = vec![Ends::default(); row.config.partitions as usize];
        let topic = Topic::new(id, row.name, row.created, row.config, ends);
        shared.topics_mut().insert(Arc::new(topic));
    });
    Ok(Ok(id))
}

/// Checks that a topic's settings differ only in what can be changed.
fn same_fixed(name: &str, is: &TopicConfig, wanted: &TopicConfig) -> Result<(), AdminError> {
    let topic = || name.to_owned();
    if is.partitions != wanted.partitions {
        let (partitions, asked) = (is.partitions, wanted.partitions);
        return Err(AdminError::PartitionsFixed { topic: topic(), partitions, asked });
    }
    if is.sequence != wanted.sequence {
        return Err(AdminError::SequenceFixed { topic: topic(), is_sequenced: is.sequence });
    }
    Ok(())
}

/// Registers a consumer, or brings one up to what its configuration says now. It starts at `start` in topics that it has
/// not read before; what it has of topics that it doesn't read any more is dropped, but for its held events.
pub(super) fn register(
    txn: &mut Txn<'_>,
    name: &str,
    topics: &[Arc<Topic>],
    start: Position,
) -> AdminResult<(ConsumerId, ConsumerRow)> {
    let partitions = match equal_partitions(name, topics) {
        Ok(partitions) => partitions,
        Err(refused) => return Ok(Err(refused)),
    };
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    let known = known(txn, name)?;
    let is_new = known.is_none();
    let (id, row) = if let Some((id, row)) = known {
        if let Err(refused) = same_partitions(name, &row, partitions) {
            return Ok(Err(refused));
        }
        (id, ConsumerRow { topics: ids, detached: None, ..row })
    } else {
        let id = ConsumerId(txn.tables.take_id(meta::NEXT_CONSUMER)?);
        let row = ConsumerRow {
            name: name.into(),
            topics: ids,
            partitions,
            registered: txn.now,
            paused: false,
            detached: None,
            program: ProgramVersion::default(),
            state_version: None,
            reloads: 0,
            generation: 0,
            allows_letters: false,
        };
        (id, row)
    };
    for partition in 0..partitions {
        let lane = LaneId { consumer: id, partition };
        let stored = match stored_progress(txn, lane)? {
            Ok(None) if !is_new => {
                let reason = "it is missing".to_owned();
                return Ok(Err(ReadError::Damaged { what: schema::lane_row(lane), reason }.into()));
            }
            Ok(stored) => stored,
            Err(error) => return Ok(Err(error)),
        };
        let mut progress = stored.clone().unwrap_or_default();
        progress.next.retain(|topic, _| row.topics.contains(topic));
        for topic in topics {
            if let Entry::Vacant(entry) = progress.next.entry(topic.id) {
                match position(txn, topic, partition, start) {
                    Ok(offset) => drop(entry.insert(offset)),
                    Err(error) => return Ok(Err(error.into())),
                }
            }
        }
        if stored.as_ref() != Some(&progress) {
            put_progress(txn, lane, &progress)?;
        }
        // In any case: who ran this lane before and isn't at its end yet can't commit any more.
        txn.change_lane(lane);
    }
    put_consumer(txn, id, row.clone())?;
    Ok(Ok((id, row)))
}

/// Changes a consumer's row.
pub(super) fn change(
    txn: &mut Txn<'_>,
    name: &str,
    change: impl FnOnce(&mut ConsumerRow, Timestamp),
) -> AdminResult<ConsumerRow> {
    let Some((id, mut row)) = known(txn, name)? else {
        return Ok(Err(AdminError::UnknownConsumer(name.to_owned())));
    };
    change(&mut row, txn.now);
    put_consumer(txn, id, row.clone())?;
    Ok(Ok(row))
}

/// Moves a consumer's lanes to another place in its topics, or in one of them, or one lane. What was held there by
/// reference is let go of: it is delivered again if it lies behind the new place. Redriven events stay.
pub(super) fn seek(
    txn: &mut Txn<'_>,
    name: &str,
    topic: Option<&Arc<Topic>>,
    partition: Option<u32>,
    to: Position,
) -> AdminResult<()> {
    let Some((id, row)) = known(txn, name)? else {
        return Ok(Err(AdminError::UnknownConsumer(name.to_owned())));
    };
    if let Some(refused) = seek_refusal(name, &row, topic, partition) {
        return Ok(Err(refused));
    }
    let topics: Vec<_> = match topic {
        Some(topic) => vec![Arc::clone(topic)],
        None => row.topics.iter().filter_map(|topic| txn.shared.topic(*topic)).collect(),
    };
    let partitions = partition.map_or(0..row.partitions, |partition| partition..partition + 1);
    let mut moves = Vec::new();
    for partition in partitions {
        let lane = LaneId { consumer: id, partition };
        let mut progress = match stored_progress(txn, lane)? {
            Ok(stored) => stored.unwrap_or_default(),
            Err(error) => return Ok(Err(error)),
        };
        for topic in &topics {
            match position(txn, topic, partition, to) {
                Ok(offset) => drop(progress.next.insert(topic.id, offset)),
                Err(error) => return Ok(Err(error.into())),
            }
        }
        moves.push((lane, progress));
    }
    let ids: Vec<TopicId> = topics.iter().map(|topic| topic.id).collect();
    for (lane, progress) in moves {
        put_progress(txn, lane, &progress)?;
        let_go(txn, lane, &ids)?;
        txn.change_lane(lane);
    }
    Ok(Ok(()))
}

fn seek_refusal(
    name: &str,
    row: &ConsumerRow,
    topic: Option<&Arc<Topic>>,
    partition: Option<u32>,
) -> Option<AdminError> {
    if let Some(topic) = topic
        && !row.topics.contains(&topic.id)
    {
        return Some(AdminError::TopicNotRead { consumer: name.to_owned(), topic: topic.name.to_string() });
    }
    let partition = partition?;
    (partition >= row.partitions).then(|| {
        let consumer = name.to_owned();
        ReadError::UnknownLane { consumer, partition, lanes: row.partitions }.into()
    })
}

/// Removes the held events of these topics that are in the log, but for those that wait for an operator.
fn let_go(txn: &mut Txn<'_>, lane: LaneId, topics: &[TopicId]) -> Result<(), StorageFault> {
    let range = (lane.consumer.0, lane.partition, 0)..=(lane.consumer.0, lane.partition, u64::MAX);
    let mut keys = Vec::new();
    for row in txn.tables.held.range(range)? {
        let (key, row) = row?;
        let Ok(held) = schema::decode::<Held>(key.value(), row.value(), String::new) else {
            continue;
        };
        if held.event.is_none() && held.wait != Wait::Operator && topics.contains(&held.topic) {
            keys.push(key.value());
        }
    }
    for key in keys {
        txn.tables.held.remove(key)?;
    }
    Ok(())
}

/// Removes a consumer with all that it has: progress, held events, state, dead letters.
pub(super) fn forget(txn: &mut Txn<'_>, name: &str) -> AdminResult<()> {
    let Some((id, row)) = known(txn, name)? else {
        return Ok(Err(AdminError::UnknownConsumer(name.to_owned())));
    };
    let consumer = id.0;
    txn.tables.consumers.remove(consumer)?;
    txn.tables.lanes.remove_in((consumer, 0)..=(consumer, u32::MAX))?;
    txn.tables.held.remove_in((consumer, 0, 0)..=(consumer, u32::MAX, u64::MAX))?;
    txn.tables.dead_letters.remove_in((consumer, 0)..=(consumer, u64::MAX))?;
    claims::release_consumer(txn, id, usize::MAX)?;
    timers::forget(txn, id)?;
    let first = schema::state_prefix(id, 0);
    let after = schema::state_prefix(ConsumerId(consumer + 1), 0);
    txn.tables.state.remove_in(first.as_slice()..after.as_slice())?;
    for partition in 0..row.partitions {
        txn.change_lane(LaneId { consumer: id, partition });
    }
    txn.after(move |shared| drop(shared.consumers_mut().remove(&id)));
    Ok(Ok(()))
}

/// Checks, as far as it can be known before, that a consumer could be registered for these topics.
pub(super) fn check(shared: &Shared, name: &str, topics: &[Arc<Topic>]) -> Result<(), AdminError> {
    let partitions = equal_partitions(name, topics)?;
    match shared.consumer(name) {
        Some((_, row)) => same_partitions(name, &row, partitions),
        None => Ok(()),
    }
}

fn same_partitions(name: &str, row: &ConsumerRow, partitions: u32) -> Result<(), AdminError> {
    if row.partitions == partitions {
        return Ok(());
    }
    Err(AdminError::LanesFixed { consumer: name.to_owned(), lanes: row.partitions, partitions })
}

fn equal_partitions(name: &str, topics: &[Arc<Topic>]) -> Result<u32, AdminError> {
    let Some(first) = topics.first() else {
        return Err(AdminError::NoTopics { consumer: name.to_owned() });
    };
    match topics.iter().find(|topic| topic.partition_count() != first.partition_count()) {
        None => Ok(first.partition_count()),
        Some(other) => {
            let unequal = ConfigError::UnequalPartitions {
                consumer: name.to_owned(),
                topic: first.name.to_string(),
                partitions: first.partition_count(),
                other_topic: other.name.to_string(),
                other_partitions: other.partition_count(),
            };
            Err(unequal.into())
        }
    }
}

/// The consumer of this name, as this commit has it.
pub(super) fn known(txn: &Txn<'_>, name: &str) -> Result<Option<(ConsumerId, ConsumerRow)>, StorageFault> {
    // Rows written earlier in the same group are not in memory yet.
    for row in txn.tables.consumers.iter()? {
        let (id, row) = row?;
        if let Ok(row) = schema::decode::<ConsumerRow>(id.value(), row.value(), String::new)
            && &*row.name == name
        {
            return Ok(Some((ConsumerId(id.value()), row)));
        }
    }
    Ok(None)
}

pub(super) fn put_consumer(txn: &mut Txn<'_>, id: ConsumerId, row: ConsumerRow) -> Result<(), StorageFault> {
    txn.tables.consumers.insert(id.0, schema::encode(id.0, &row).as_slice())?;
    txn.after(move |shared| drop(shared.consumers_mut().insert(id, row)));
    Ok(())
}

pub(super) fn stored_progress(txn: &Txn<'_>, lane: LaneId) -> AdminResult<Option<Progress>> {
    let key = (lane.consumer.0, lane.partition);
    let Some(row) = txn.tables.lanes.get(key)? else {
        return Ok(Ok(None));
    };
    Ok(schema::decode(key, row.value(), || schema::lane_row(lane)).map(Some).map_err(AdminError::from))
}

pub(super) fn put_progress(txn: &mut Txn<'_>, lane: LaneId, progress: &Progress) -> Result<(), StorageFault> {
    let key = (lane.consumer.0, lane.partition);
    txn.tables.lanes.insert(key, schema::encode(key, progress).as_slice())?;
    Ok(())
}

fn position(txn: &Txn<'_>, topic: &Topic, partition: u32, to: Position) -> Result<u64, ReadError> {
    let ends = topic.partitions[partition as usize].ends();
    Ok(match to {
        Position::Earliest => ends.low,
        // Behind what this very commit adds: who registers sees nothing that was published before.
        Position::Latest => txn.next_offset(topic, partition),
        Position::Time(time) => read::offset_at(txn.shared, topic.id, partition, time)?,
        Position::Offset(offset) => offset.clamp(ends.low, ends.next),
    })
}
