//! What memory learns of the database when it is opened, and what it then finds out to be missing.
//!
//! A page of redb's tree that is damaged may lead past some of a table's rows, as if they had never been. redb keeps how many
//! rows a table has, and each commit keeps the sum of what all partitions have been given: what is found is compared to
//! these. Where a table is gone, or a row for which nothing can stand in, the file is not opened. Where events are missing, or may be, their place is taken by a row that says so (see `batch`), so that none of
//! their offsets is given out again, and who reads them is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use redb::{
    Database, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata,
};
use serde::de::DeserializeOwned;

use super::batch::{self, Batch, BatchError, BatchKey};
use super::error::{ReadError, StorageFault};
use super::guard::misplaced;
use super::lane_rows::DeadLetter;
use super::last_commit::LastCommit;
use super::open::durably;
use super::read;
use super::redo::Redo;
use super::rows::PartitionRows;
use super::schema::{
    self, BATCHES, CONSUMERS, ConsumerRow, DEAD_LETTERS, FLOORS, IDENTITIES, META, SCHEMAS, TOPICS, Tables,
    TopicRow, decode, meta, number,
};
use super::schemas;
use super::shared::Shared;
use super::topics::{Ends, Topic};
use super::window::{self, Window, Windows};
use crate::ids::{ConsumerId, TopicId};

/// What the committer remembers of the database.
pub(super) struct Loaded {
    pub windows: Windows,
    pub last: LastCommit,
}

/// A topic as it is stored.
struct Found {
    id: TopicId,
    row: TopicRow,
    ends: Vec<Ends>,
}

/// Events that are missing: where, and how many bytes the partition's batches before them took.
#[derive(Debug)]
struct Lost {
    key: BatchKey,
    count: u64,
    bytes_before: u64,
}

/// Reads topics, consumers and deduplication windows into memory.
///
/// # Errors
///
/// A row is damaged, or missing where no other can take its place.
pub(super) fn load(shared: &Shared, database: &Database) -> Result<Loaded, ReadError> {
    let read = database.begin_read()?;
    let mut last = find_last(&read)?;
    let mut windows = Windows::default();
    let (mut topics, mut lost) = find_topics(&read, &mut windows)?;
    let consumers = rows(&read.open_table(CONSUMERS)?, "consumer")?;
    check_counters(&read, &topics, &consumers)?;
    let made = read.open_table(META)?.get(meta::NEXT_SUBJECT)?.map_or(1, |row| number(row.value()));
    let subjects = schemas::load(&read.open_table(SCHEMAS)?, made.saturating_sub(1))?;
    // Nothing says whose they are that nothing else has told of, so they may be anybody's.
    let missing = last.offsets.saturating_sub(given(&topics));
    for topic in &mut topics {
        lost.extend(topic.lose_ends(std::iter::repeat(missing)));
    }
    last.offsets = given(&topics);
    if !lost.is_empty() {
        write_lost(shared, database, &lost, &mut last).map_err(ReadError::Storage)?;
    }
    shared.clock.not_before(last.time);
    for topic in topics {
        put_topic(shared, topic);
    }
    *shared.subjects_mut() = subjects;
    *shared.consumers_mut() = consumers.into_iter().map(|(id, row)| (ConsumerId(id), row)).collect();
    Ok(Loaded { windows, last })
}

/// How many offsets all partitions have given out, together.
fn given(topics: &[Found]) -> u64 {
    topics.iter().flat_map(|topic| &topic.ends).fold(0, |sum, ends| sum.saturating_add(ends.next))
}

/// The rows of a table that has few: all that it says that it has.
fn rows<R: DeserializeOwned>(
    table: &ReadOnlyTable<u32, &'static [u8]>,
    what: &str,
) -> Result<BTreeMap<u32, R>, ReadError> {
    let mut found = BTreeMap::new();
    for row in table.iter()? {
        let (id, row) = row?;
        let id = id.value();
        found.insert(id, decode(id, row.value(), || format!("the row of {what} {id}"))?);
    }
    let (len, all) = (found.len() as u64, table.len()?);
    if len == all {
        return Ok(found);
    }
    Err(damaged(&format!("{what}s"), format!("the database says that there are {all}, and {len} are found")))
}

/// Compares the counters, whose numbers are never used again, to what has been numbered. A topic stays for ever.
fn check_counters(
    read: &ReadTransaction,
    topics: &[Found],
    consumers: &BTreeMap<u32, ConsumerRow>,
) -> Result<(), ReadError> {
    let meta = read.open_table(META)?;
    let letters = read.open_table(DEAD_LETTERS)?;
    let counter = |name| Ok::<_, ReadError>(meta.get(name)?.map_or(1, |row| number(row.value())));
    let made = counter(meta::NEXT_TOPIC)?.saturating_sub(1);
    if made != topics.len() as u64 {
        return Err(damaged("topics", format!("{made} have been made, and {} are found", topics.len())));
    }
    let mut last_letter = 0;
    for consumer in consumers.keys() {
        let row = letters.range((*consumer, 0)..=(*consumer, u64::MAX))?.next_back().transpose()?;
        let Some((key, row)) = row else { continue };
        // A letter whose key is damaged costs itself alone.
        if decode::<DeadLetter>(key.value(), row.value(), String::new).is_ok() {
            last_letter = last_letter.max(key.value().1);
        }
    }
    let last_consumer = consumers.last_key_value().map_or(0, |(consumer, _)| u64::from(*consumer));
    for (what, name, last) in
        [("consumers", meta::NEXT_CONSUMER, last_consumer), ("dead letters", meta::NEXT_LETTER, last_letter)]
    {
        let next = counter(name)?;
        if last >= next {
            return Err(damaged(what, format!("number {last} is there, and the next one is {next}")));
        }
    }
    Ok(())
}

fn damaged(what: &str, reason: String) -> ReadError {
    ReadError::Damaged { what: format!("the rows of the {what}"), reason }
}

/// The topics, with what is missing by what else is there.
fn find_topics(read: &ReadTransaction, windows: &mut Windows) -> Result<(Vec<Found>, Vec<Lost>), ReadError> {
    let batches = read.open_table(BATCHES)?;
    let floors = read.open_table(FLOORS)?;
    let identities = read.open_table(IDENTITIES)?;
    let (mut topics, mut lost) = (Vec::new(), Vec::new());
    for (id, row) in rows::<TopicRow>(&read.open_table(TOPICS)?, "topic")? {
        let mut topic = Found { id: TopicId(id), row, ends: Vec::new() };
        for partition in 0..topic.row.config.partitions {
            let floor = read::floor(&floors, topic.id, partition)?;
            let rows = PartitionRows { partition: (topic.id, partition), table: &batches, memory: &[] };
            let ends = ends_of(&rows, floor)?;
            let first = batches.range((id, partition, 0)..=(id, partition, u64::MAX))?.next().transpose()?;
            let first = first.map(|(key, _)| key.value().2).filter(|first| *first > ends.low);
            lost.extend(first.map(|first| Lost {
                key: (id, partition, ends.low),
                count: first - ends.low,
                bytes_before: ends.bytes_before,
            }));
            topic.ends.push(ends);
        }
        let mut window = Window::default();
        let mut beyond = vec![BTreeSet::new(); topic.ends.len()];
        for row in identities.range((id, 0)..=(id, u64::MAX))? {
            let row = row?.1;
            window.load(row.value());
            for place in window::places(row.value()) {
                let at = place.partition as usize;
                if topic.ends.get(at).is_some_and(|ends| place.offset >= ends.next) {
                    beyond[at].insert(place.offset);
                }
            }
        }
        windows.insert(topic.id, window);
        let counts: Vec<_> =
            topic.ends.iter().zip(&beyond).map(|(ends, known)| known_beyond(ends, known)).collect();
        lost.extend(topic.lose_ends(counts));
        topics.push(topic);
    }
    Ok((topics, lost))
}

impl Found {
    /// Moves the ends of partitions behind events that are missing, so many of each.
    fn lose_ends(&mut self, counts: impl IntoIterator<Item = u64>) -> Vec<Lost> {
        let mut lost = Vec::new();
        for ((partition, ends), count) in (0..).zip(&mut self.ends).zip(counts) {
            if count > 0 {
                let key = (self.id.0, partition, ends.next);
                lost.push(Lost { key, count, bytes_before: ends.bytes_after });
                ends.next = ends.next.saturating_add(count);
                ends.bytes_after = ends.bytes_after.saturating_add(batch::LOST_BYTES as u64);
            }
        }
        lost
    }
}

/// How many events the window knows of behind a partition's last batch, one after the other: one number that makes no
/// sense is damage of the window's row, and counts for nothing.
fn known_beyond(ends: &Ends, known: &BTreeSet<u64>) -> u64 {
    (ends.next..=u64::MAX).take_while(|offset| known.contains(offset)).count() as u64
}

/// The last commit, once all tables have as many rows as it says.
fn find_last(read: &ReadTransaction) -> Result<LastCommit, ReadError> {
    let last = schema::last_commit(read)?;
    match last.rows.map(|rows| schema::miscounted(read, rows)).transpose()?.flatten() {
        Some((table, said, found)) => Err(damaged(
            table,
            format!("the last commit says that there are {said}, and the table has {found}"),
        )),
        None => Ok(last),
    }
}

/// Writes down what is missing, where it was.
fn write_lost(
    shared: &Shared,
    database: &Database,
    lost: &[Lost],
    last: &mut LastCommit,
) -> Result<(), StorageFault> {
    let transaction = database.begin_write()?;
    let redo = Redo::off();
    {
        let mut tables = Tables::open(&transaction, &redo)?;
        for Lost { key, count, bytes_before } in lost {
            let (topic, partition, offset) = *key;
            tracing::error!(
                topic,
                partition,
                offset,
                count,
                "damage of the file hides events, or may hide so many"
            );
            tables.batches.insert(*key, batch::lost(*key, *count, *bytes_before).as_slice())?;
        }
        last.rows = Some(tables.rows()?);
        tables.meta.insert(meta::COMMIT, last.encode().as_slice())?;
    }
    durably(transaction, shared.options.commit)
}

/// Makes the topic known, or brings a known one, which lanes may hold, up to what is durable.
fn put_topic(shared: &Shared, Found { id, row, ends }: Found) {
    let mut topics = shared.topics_mut();
    if let Some(topic) = topics.get(id) {
        topic.set_config(row.config);
        for (partition, ends) in topic.partitions.iter().zip(ends) {
            partition.trim(ends.low, ends.bytes_before);
            partition.advance(ends.next, ends.bytes_after);
        }
    } else {
        topics.insert(Arc::new(Topic::new(id, row.name, row.created, row.config, ends)));
    }
}

/// How far a partition goes, from its first and its last batch, and from where retention has ended. Where the first batch
/// lies behind that, those before it are missing.
pub(super) fn ends_of(
    rows: &PartitionRows<'_, impl ReadableTable<BatchKey, &'static [u8]>>,
    floor: u64,
) -> Result<Ends, ReadError> {
    let (topic, partition) = rows.partition;
    let first = rows.range(0..=u64::MAX)?.next().transpose()?;
    let (Some((key, row)), Some((last_key, last))) = (first, rows.last_until(u64::MAX)?) else {
        return Ok(Ends { low: floor, next: floor, ..Ends::default() });
    };
    if [key, last_key].iter().any(|key| (key.0, key.1) != (topic.0, partition)) {
        return Err(misplaced("batches").into());
    }
    // A first batch that can't be read makes the partition look larger than it is, and costs nothing else.
    let bytes_before = match Batch::parse(key, row.value()) {
        Ok(batch) => batch.bytes_before,
        Err(BatchError::Lost { bytes_before, .. }) => bytes_before,
        Err(_) => 0,
    };
    let (offset, row_bytes) = (last_key.2, last.value().len() as u64);
    let (count, before) = match Batch::parse(last_key, last.value()) {
        Ok(last) => (u64::from(last.count), last.bytes_before),
        Err(BatchError::Lost { count, bytes_before }) => (count, bytes_before),
        Err(error) => {
            tracing::error!(%topic, partition, offset, %error, "the last batch of a partition is damaged");
            // It can't have had more events than its bytes could hold: no offset is given out twice.
            (row_bytes, bytes_before)
        }
    };
    let (next, bytes_after) = (offset.saturating_add(count), before.saturating_add(row_bytes));
    // A floor behind the first batch is itself damaged: what is there has not been removed.
    Ok(Ends { low: key.2.min(floor), next, bytes_after, bytes_before })
}
