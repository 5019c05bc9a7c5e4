//! The tables, and the rows that aren't a lane's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{
    ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle, WriteTransaction,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::claims::{BlobKey, ClaimKey, DigestKey};
use super::error::{ReadError, StorageFault};
use super::guard;
use super::last_commit::LastCommit;
use super::redo::{Change, JournaledTable, Redo};
use super::timer_names::TimerNameRow;
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::handler::ProgramVersion;
use crate::ids::{ConsumerId, LaneId, TopicId};

/// The newest format that this build reads, and the one that it writes.
pub(super) const FORMAT: u32 = 9;

/// Single values, by name.
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
/// Topic → [`TopicRow`].
pub(super) const TOPICS: TableDefinition<u32, &[u8]> = TableDefinition::new("topics");
/// Topic, partition → the first offset that retention has left, where it has removed any.
pub(super) const FLOORS: TableDefinition<(u32, u32), u64> = TableDefinition::new("floors");
/// Topic, partition, first offset → a batch.
pub(super) const BATCHES: TableDefinition<(u32, u32, u64), &[u8]> = TableDefinition::new("batches");
/// Number → rows of batches that a checkpoint has left in the memtable, see `memtable`.
pub(super) const SPILL: TableDefinition<u64, &[u8]> = TableDefinition::new("spill");
/// Topic, commit → the identities that the commit added, for deduplication.
pub(super) const IDENTITIES: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("identities");
/// Topic, key, number of the first event → the offsets of a key's events, see `keys`.
pub(super) const KEYS: TableDefinition<(u32, u128, u64), &[u8]> = TableDefinition::new("keys");
/// Consumer → [`ConsumerRow`].
pub(super) const CONSUMERS: TableDefinition<u32, &[u8]> = TableDefinition::new("consumers");
/// Consumer, partition → a lane's progress.
pub(super) const LANES: TableDefinition<(u32, u32), &[u8]> = TableDefinition::new("lanes");
/// Consumer, partition, held id → a held event.
pub(super) const HELD: TableDefinition<(u32, u32, u64), &[u8]> = TableDefinition::new("held");
/// Consumer, letter → a dead letter.
pub(super) const DEAD_LETTERS: TableDefinition<(u32, u64), &[u8]> = TableDefinition::new("dead_letters");
/// Consumer (4 bytes, big-endian), partition (4 bytes, big-endian), key → value: a lane's state.
pub(super) const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");

/// Subject, version → a schema, see `schemas`.
pub(super) const SCHEMAS: TableDefinition<(u32, u32), &[u8]> = TableDefinition::new("schemas");
/// Consumer, partition, when it is due (microseconds), number → a timer, see `timers`.
pub(super) const TIMERS: TableDefinition<TimerKey, &[u8]> = TableDefinition::new("timers");
/// A timer's lane, name and key → where it is in [`TIMERS`], see `timer_names`.
pub(super) const TIMERS_BY_NAME: TableDefinition<&[u8], &TimerNameRow> =
    TableDefinition::new("timers_by_name");
/// What format 8 had in place of it.
pub(super) const TIMER_NAMES: TableDefinition<(u32, u32, u128), &[u8]> = TableDefinition::new("timer_names");

/// Holder → the blob that it has, see `claims`.
pub(super) const CLAIMS: TableDefinition<ClaimKey, DigestKey> = TableDefinition::new("claims");
/// Blob, holder → the blob's size in bytes, see `claims`.
pub(super) const BLOBS: TableDefinition<BlobKey, u64> = TableDefinition::new("blobs");

/// The key of [`TIMERS`].
pub(super) type TimerKey = (u32, u32, i64, u64);

/// How many tables each commit counts the rows of, in the order of [`NAMES`]: all but [`META`] and [`SPILL`], whose rows count
/// as those of [`BATCHES`] that they are.
pub(super) const COUNTED: usize = 15;

/// Where [`TOPICS`] is among them.
pub(super) const TOPICS_COUNTED: usize = 0;

/// Where [`BATCHES`] is among them.
pub(super) const BATCHES_COUNTED: usize = 1;

/// Where [`TIMERS_BY_NAME`] is among them.
pub(super) const TIMERS_BY_NAME_COUNTED: usize = 12;

/// The names of the tables that are counted. Their order is part of the format.
const NAMES: [&str; COUNTED] = [
    "topics",
    "batches",
    "floors",
    "identities",
    "keys",
    "consumers",
    "lanes",
    "held",
    "dead_letters",
    "state",
    "schemas",
    "timers",
    "timers_by_name",
    "claims",
    "blobs",
];

/// The names of the tables that a database of this format has.
pub(super) fn names(format: u32) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().chain(["meta", "spill", "timer_names"]).filter(move |name| match *name {
        "keys" => format > 1,
        "spill" => format > 5,
        "schemas" => format > 6,
        "timers" => format > 7,
        "timer_names" => format == 8,
        "timers_by_name" | "claims" | "blobs" => format > 8,
        _ => true,
    })
}

/// Names the first table that doesn't have as many rows as the last commit says, with both numbers.
pub(super) fn miscounted(
    read: &ReadTransaction,
    said: [u64; COUNTED],
) -> Result<Option<(&'static str, u64, u64)>, ReadError> {
    let tables: BTreeMap<_, _> = read.list_tables()?.map(|table| (table.name().to_owned(), table)).collect();
    for (name, said) in NAMES.into_iter().zip(said) {
        let table = tables.get(name).map(|table| read.open_untyped_table(table.clone())).transpose()?;
        let found = table.map_or(Ok(0), |table| table.len())?;
        if found != said {
            return Ok(Some((name, said, found)));
        }
    }
    Ok(None)
}

/// What the last commit says of itself.
pub(super) fn last_commit(read: &ReadTransaction) -> Result<LastCommit, ReadError> {
    match read.open_table(META)?.get(meta::COMMIT)? {
        Some(row) => LastCommit::decode(row.value()),
        // Nothing was ever committed.
        None => Ok(LastCommit { rows: Some([0; COUNTED]), ..LastCommit::default() }),
    }
}

/// What errors call the row of a lane.
pub(super) fn lane_row(lane: LaneId) -> String {
    format!("the row of lane {} of consumer {}", lane.partition, lane.consumer)
}

/// Names in [`META`].
pub(super) mod meta {
    /// The file's format: u32, little-endian.
    pub(in crate::log) const FORMAT: &str = "format";
    /// The bus's seed for its plugins' random numbers: 16 bytes.
    pub(in crate::log) const SEED: &str = "seed";
    /// The key that identities are hashed under: 16 bytes.
    pub(in crate::log) const HASH_KEY: &str = "hash-key";
    /// The last commit, see `last_commit`.
    pub(in crate::log) const COMMIT: &str = "commit";
    /// Whether a process has it open, or ended without closing it: one byte.
    pub(in crate::log) const OPEN: &str = "open";
    /// What the last checkpoint says of the journal, see `journal`. Not there where there is none.
    pub(in crate::log) const CHECKPOINT: &str = "checkpoint";
    /// The next number of a topic, a consumer, a dead letter: u64, little-endian.
    pub(in crate::log) const NEXT_TOPIC: &str = "next-topic";
    /// See [`NEXT_TOPIC`].
    pub(in crate::log) const NEXT_CONSUMER: &str = "next-consumer";
    /// See [`NEXT_TOPIC`]: of a subject.
    pub(in crate::log) const NEXT_SUBJECT: &str = "next-subject";
    /// See [`NEXT_TOPIC`].
    pub(in crate::log) const NEXT_LETTER: &str = "next-letter";
}

/// A topic as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct TopicRow {
    pub name: Arc<str>,
    pub config: TopicConfig,
    pub created: Timestamp,
}

/// A consumer as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ConsumerRow {
    /// Its name.
    pub name: Arc<str>,
    /// Its topics.
    pub topics: Vec<TopicId>,
    /// The partition count of each of its topics, so the number of its lanes.
    pub partitions: u32,
    /// When it was registered.
    pub registered: Timestamp,
    /// Whether an operator has paused it.
    #[serde(default)]
    pub paused: bool,
    /// Since when no configuration names it.
    #[serde(default)]
    pub detached: Option<Timestamp>,
    /// The accepted version.
    #[serde(default)]
    pub program: ProgramVersion,
    /// The layout version of its state, once a program has been accepted.
    #[serde(default)]
    pub state_version: Option<u32>,
    /// How often a version was replaced by another.
    #[serde(default)]
    pub reloads: u64,
    /// How often its state was made anew, see `generations`.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u64,
    /// Of a generation that is being made: whether it may have more dead letters than the one that it is to replace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allows_letters: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_first(generation: &u64) -> bool {
    *generation == 0
}

/// The tables of one write transaction.
pub(super) struct Tables<'t> {
    pub meta: JournaledTable<'t, &'static str, &'static [u8]>,
    pub topics: JournaledTable<'t, u32, &'static [u8]>,
    pub floors: JournaledTable<'t, (u32, u32), u64>,
    pub batches: JournaledTable<'t, (u32, u32, u64), &'static [u8]>,
    pub identities: JournaledTable<'t, (u32, u64), &'static [u8]>,
    pub keys: JournaledTable<'t, (u32, u128, u64), &'static [u8]>,
    pub consumers: JournaledTable<'t, u32, &'static [u8]>,
    pub lanes: JournaledTable<'t, (u32, u32), &'static [u8]>,
    pub held: JournaledTable<'t, (u32, u32, u64), &'static [u8]>,
    pub dead_letters: JournaledTable<'t, (u32, u64), &'static [u8]>,
    pub state: JournaledTable<'t, &'static [u8], &'static [u8]>,
    pub schemas: JournaledTable<'t, (u32, u32), &'static [u8]>,
    pub timers: JournaledTable<'t, TimerKey, &'static [u8]>,
    pub timers_by_name: JournaledTable<'t, &'static [u8], &'static TimerNameRow>,
    pub claims: JournaledTable<'t, ClaimKey, DigestKey>,
    pub blobs: JournaledTable<'t, BlobKey, u64>,
}

impl<'t> Tables<'t> {
    /// Opens them, and makes those that are not there. What is changed in them goes to `redo`.
    pub fn open(transaction: &'t WriteTransaction, redo: &'t Redo) -> Result<Self, StorageFault> {
        // Their numbers are part of the format.
        Ok(Self {
            meta: JournaledTable::new(transaction.open_table(META)?, 0, redo),
            topics: JournaledTable::new(transaction.open_table(TOPICS)?, 1, redo),
            batches: JournaledTable::new(transaction.open_table(BATCHES)?, 2, redo),
            floors: JournaledTable::new(transaction.open_table(FLOORS)?, 3, redo),
            identities: JournaledTable::new(transaction.open_table(IDENTITIES)?, 4, redo),
            keys: JournaledTable::new(transaction.open_table(KEYS)?, 5, redo),
            consumers: JournaledTable::new(transaction.open_table(CONSUMERS)?, 6, redo),
            lanes: JournaledTable::new(transaction.open_table(LANES)?, 7, redo),
            held: JournaledTable::new(transaction.open_table(HELD)?, 8, redo),
            dead_letters: JournaledTable::new(transaction.open_table(DEAD_LETTERS)?, 9, redo),
            state: JournaledTable::new(transaction.open_table(STATE)?, 10, redo),
            schemas: JournaledTable::new(transaction.open_table(SCHEMAS)?, 11, redo),
            timers: JournaledTable::new(transaction.open_table(TIMERS)?, 12, redo),
            timers_by_name: JournaledTable::new(transaction.open_table(TIMERS_BY_NAME)?, 14, redo),
            claims: JournaledTable::new(transaction.open_table(CLAIMS)?, 15, redo),
            blobs: JournaledTable::new(transaction.open_table(BLOBS)?, 16, redo),
        })
    }

    /// Does a change again.
    pub fn redo(&mut self, change: Change<'_>) -> Result<(), StorageFault> {
        match change.table {
            0 => self.meta.redo(change),
            1 => self.topics.redo(change),
            2 => self.batches.redo(change),
            3 => self.floors.redo(change),
            4 => self.identities.redo(change),
            5 => self.keys.redo(change),
            6 => self.consumers.redo(change),
            7 => self.lanes.redo(change),
            8 => self.held.redo(change),
            9 => self.dead_letters.redo(change),
            10 => self.state.redo(change),
            11 => self.schemas.redo(change),
            12 => self.timers.redo(change),
            // `timer_names` of format 8: what is in place of it is made of `timers` when that is opened.
            13 => Ok(()),
            14 => self.timers_by_name.redo(change),
            15 => self.claims.redo(change),
            16 => self.blobs.redo(change),
            _ => Err(guard::journal("has a row of a table that isn't there")),
        }
    }

    /// Whether a change can be done without those of the commits before it: where events are, of which topics, and what they have
    /// in the blob store. What a lane keeps means nothing without what it had before.
    pub fn stands_alone(change: &Change<'_>) -> bool {
        change.value.is_some()
            && match change.table {
                0 => [meta::COMMIT, meta::NEXT_TOPIC].iter().any(|name| name.as_bytes() == change.key),
                table => [1, 2, 4, 5, 15, 16].contains(&table),
            }
    }

    /// How many rows they have, in the order of [`NAMES`].
    pub fn rows(&self) -> Result<[u64; COUNTED], StorageFault> {
        Ok([
            self.topics.len()?,
            self.batches.len()?,
            self.floors.len()?,
            self.identities.len()?,
            self.keys.len()?,
            self.consumers.len()?,
            self.lanes.len()?,
            self.held.len()?,
            self.dead_letters.len()?,
            self.state.len()?,
            self.schemas.len()?,
            self.timers.len()?,
            self.timers_by_name.len()?,
            self.claims.len()?,
            self.blobs.len()?,
        ])
    }

    /// What the last commit says of itself, where there was one.
    pub fn last_commit(&self) -> Result<Option<LastCommit>, StorageFault> {
        let last = self.meta.get(meta::COMMIT)?.map(|row| LastCommit::decode(row.value())).transpose();
        last.map_err(|error| guard::meta_row(meta::COMMIT, &error.to_string()))
    }

    /// Takes the next number of a counter that never comes near 32 bits.
    pub fn take_id(&mut self, counter: &'static str) -> Result<u32, StorageFault> {
        let id = u32::try_from(self.take_number(counter)?);
        Ok(id.unwrap_or_else(|_| unreachable!("each topic and each consumer is made by hand")))
    }

    /// Takes the next number of a counter in [`META`]; the first is 1.
    pub fn take_number(&mut self, counter: &'static str) -> Result<u64, StorageFault> {
        let next = self.meta.get(counter)?.map_or(1, |row| number(row.value()));
        self.meta.insert(counter, (next + 1).to_le_bytes().as_slice())?;
        Ok(next)
    }
}

/// The bytes of a row as a little-endian number; 0 where they are none.
pub(super) fn number(row: &[u8]) -> u64 {
    row.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// What begins a row that has a checksum. `MessagePack` uses this byte for nothing, so no row of formats 1 and 2 begins
/// with it: those had none.
const CHECKED: u8 = 0xc1;

/// The key of a row.
pub(super) trait RowKey: Copy {
    /// Adds it to a checksum.
    fn add_to(&self, crc: &mut crc32fast::Hasher);
}

impl RowKey for u32 {
    fn add_to(&self, crc: &mut crc32fast::Hasher) {
        crc.update(&self.to_le_bytes());
    }
}

impl RowKey for (u32, u32) {
    fn add_to(&self, crc: &mut crc32fast::Hasher) {
        self.0.add_to(crc);
        self.1.add_to(crc);
    }
}

impl RowKey for (u32, u64) {
    fn add_to(&self, crc: &mut crc32fast::Hasher) {
        self.0.add_to(crc);
        crc.update(&self.1.to_le_bytes());
    }
}

impl RowKey for (u32, u32, u64) {
    fn add_to(&self, crc: &mut crc32fast::Hasher) {
        (self.0, self.1).add_to(crc);
        crc.update(&self.2.to_le_bytes());
    }
}

impl RowKey for TimerKey {
    fn add_to(&self, crc: &mut crc32fast::Hasher) {
        (self.0, self.1).add_to(crc);
        crc.update(&self.2.to_le_bytes());
        crc.update(&self.3.to_le_bytes());
    }
}

fn checksum(key: impl RowKey, row: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    key.add_to(&mut crc);
    crc.update(row);
    crc.finalize().to_le_bytes()
}

/// A row of this key: a checksum of both and `MessagePack` with named fields, so that later versions can add some.
pub(super) fn encode<T: Serialize>(key: impl RowKey, row: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    encode_unsealed(row, &mut bytes);
    seal(key, &mut bytes);
    bytes
}

/// Appends a row without its checksum, which [`seal`] adds.
pub(super) fn encode_unsealed<T: Serialize>(row: &T, out: &mut Vec<u8>) {
    out.extend_from_slice(&[CHECKED, 0, 0, 0, 0]);
    let written = row.serialize(&mut rmp_serde::Serializer::new(out).with_struct_map());
    assert!(written.is_ok(), "rows hold nothing that MessagePack can't, and memory takes all bytes");
}

/// Writes the checksum of a row that has one.
pub(super) fn seal(key: impl RowKey, row: &mut [u8]) {
    if let [CHECKED, crc @ ..] = row
        && let Some((crc, row)) = crc.split_first_chunk_mut()
    {
        *crc = checksum(key, row);
    }
}

/// Reads the row of this key.
pub(super) fn decode<T: DeserializeOwned>(
    key: impl RowKey,
    row: &[u8],
    what: impl FnOnce() -> String,
) -> Result<T, ReadError> {
    let plain = match row {
        [CHECKED, rest @ ..] => {
            rest.split_first_chunk().filter(|(crc, row)| **crc == checksum(key, row)).map(|(_, row)| row)
        }
        old => Some(old),
    };
    match plain.map(rmp_serde::from_slice) {
        Some(Ok(row)) => Ok(row),
        Some(Err(error)) => Err(ReadError::Damaged { what: what(), reason: error.to_string() }),
        None => Err(ReadError::Damaged { what: what(), reason: "its checksum is wrong".to_owned() }),
    }
}

/// The prefix of a lane's keys in [`STATE`].
pub(super) fn state_prefix(consumer: ConsumerId, partition: u32) -> [u8; 8] {
    let mut prefix = [0; 8];
    prefix[..4].copy_from_slice(&consumer.0.to_be_bytes());
    prefix[4..].copy_from_slice(&partition.to_be_bytes());
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(key: (u32, u32), row: &[u8]) -> Result<(u64, String), ReadError> {
        decode(key, row, || "the row".to_owned())
    }

    #[test]
    fn any_flipped_bit_of_a_row_or_its_key_is_found_out() {
        let row = encode((1_u32, 2_u32), &(7_u64, "text"));
        assert_eq!(read((1, 2), &row).unwrap(), (7, "text".to_owned()));
        for at in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(read((1, 2), &bad).is_err(), "bit {at}");
        }
        assert!(read((1, 3), &row).is_err() && read((0, 2), &row).is_err());
    }

    #[test]
    fn a_row_of_an_older_format_is_read() {
        let row = encode((1_u32, 2_u32), &(7_u64, "text"));
        assert_eq!(read((9, 9), &row[5..]).unwrap(), (7, "text".to_owned()));
    }
}
