//! Opening the database, at the start and after a failure: what memory needs of it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, WriteTransaction};

use super::batch::Batch;
use super::error::{OpenError, ReadError, StorageFault};
use super::guard::{OpenDatabase, misplaced};
use super::medium::Medium;
use super::schema::{
    BATCHES, CONSUMERS, ConsumerRow, FLOORS, FORMAT, IDENTITIES, META, TOPICS, Tables, TopicRow, decode,
    meta, number,
};
use super::shared::{LogOptions, Shared};
use super::topics::{Ends, Topic};
use super::txn::Windows;
use super::window::{self, Window};
use crate::clock::{Random, Timestamp};
use crate::config::CommitMode;
use crate::ids::{ConsumerId, TopicId};

/// The database and what belongs to all of it.
pub(super) struct Opened {
    pub database: OpenDatabase,
    pub seed: u128,
    pub hash_key: [u8; 16],
    /// Whether the process before ended without closing it.
    pub unclean: bool,
}

/// The database after a failure, with what the committer forgot on purpose.
pub(super) struct Reopened {
    pub database: OpenDatabase,
    pub windows: Windows,
    pub commit_last: u64,
}

/// Opens the database, makes one where there is none, and marks it as open.
pub(super) fn open(
    options: &LogOptions,
    medium: &dyn Medium,
    random: &dyn Random,
) -> Result<Opened, OpenError> {
    let database = open_database(options, medium)?;
    let storage = |source: StorageFault| OpenError::Storage { path: medium.path().to_owned(), source };
    guarded(medium, || check_format(&database, medium))??;
    let mut opened = Opened { database, seed: 0, hash_key: [0; 16], unclean: false };
    guarded(medium, || prepare(&mut opened, options, random))?.map_err(storage)?;
    Ok(opened)
}

/// Opens the database anew, and brings what memory knows of it up to what is durable.
pub(super) fn reopen(shared: &Shared) -> Result<Reopened, OpenError> {
    let database = open_database(&shared.options, &*shared.medium)?;
    let path = || shared.medium.path().to_owned();
    let marked = guarded(&*shared.medium, || mark(&database, shared.options.commit, true))?;
    marked.map_err(|source| OpenError::Storage { path: path(), source })?;
    let loaded = guarded(&*shared.medium, || load(shared, &database))?;
    let (windows, commit_last) =
        loaded.map_err(|error| OpenError::Damaged { path: path(), reason: error.to_string() })?;
    Ok(Reopened { database, windows, commit_last })
}

fn open_database(options: &LogOptions, medium: &dyn Medium) -> Result<OpenDatabase, OpenError> {
    let path = || medium.path().to_owned();
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    if options.commit == CommitMode::OnePhase {
        medium
            .forget_unwritten()
            .map_err(|source| OpenError::Io { path: path(), source: Arc::new(source) })?;
    }
    match guarded(medium, || medium.open(&builder))? {
        Ok(database) => Ok(OpenDatabase::new(database)),
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
            Err(OpenError::InUse { path: path() })
        }
        Err(DatabaseError::Storage(redb::StorageError::Io(source))) if !means_damage(&source) => {
            Err(OpenError::Io { path: path(), source: Arc::new(source) })
        }
        Err(error) => Err(OpenError::Damaged { path: path(), reason: error.to_string() }),
    }
}

/// Begins a transaction that commits as the bus is set to: a single commit without quick repair would make the next
/// opening after a crash verify the whole file.
pub(super) fn begin_write(database: &Database, mode: CommitMode) -> Result<WriteTransaction, StorageFault> {
    let mut transaction = database.begin_write()?;
    match mode {
        CommitMode::QuickRepair => transaction.set_quick_repair(true),
        CommitMode::OnePhase => {}
    }
    Ok(transaction)
}

/// Does something with a database that may be damaged in a way that redb doesn't expect, and so may panic.
pub(super) fn guarded<T>(medium: &dyn Medium, work: impl FnOnce() -> T) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| OpenError::Damaged {
        path: medium.path().to_owned(),
        reason: "the database panicked while it was opened".to_owned(),
    })
}

/// Whether an I/O error comes of the file's content: it ends too early, or makes no sense.
fn means_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput)
}

/// Refuses what this build doesn't read, before anything is written.
fn check_format(database: &Database, medium: &dyn Medium) -> Result<(), OpenError> {
    let path = || medium.path().to_owned();
    let storage = |source: StorageFault| OpenError::Storage { path: path(), source };
    let format = stored_format(database).map_err(storage)?;
    match format {
        Some(found) if found > FORMAT => Err(OpenError::NewerFormat { path: path(), found, known: FORMAT }),
        _ => Ok(()),
    }
}

fn stored_format(database: &Database) -> Result<Option<u32>, StorageFault> {
    let read = database.begin_read()?;
    let table = match read.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let row = table.get(meta::FORMAT)?;
    Ok(row.and_then(|row| row.value().first_chunk().map(|bytes| u32::from_le_bytes(*bytes))))
}

/// Makes the tables and the bus's own numbers where there are none, and marks the database as open.
fn prepare(opened: &mut Opened, options: &LogOptions, random: &dyn Random) -> Result<(), StorageFault> {
    let transaction = begin_write(&opened.database, options.commit)?;
    {
        let mut tables = Tables::open(&transaction)?;
        tables.meta.insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
        opened.seed = u128::from_le_bytes(drawn_once(&mut tables, meta::SEED, random)?);
        opened.hash_key = drawn_once(&mut tables, meta::HASH_KEY, random)?;
        let before = tables.meta.insert(meta::OPEN, [1].as_slice())?;
        opened.unclean = before.is_some_and(|row| row.value() == [1]);
    }
    transaction.commit()?;
    Ok(())
}

/// Sixteen random bytes that are drawn when the database is made and stay the same.
fn drawn_once(
    tables: &mut Tables<'_>,
    name: &'static str,
    random: &dyn Random,
) -> Result<[u8; 16], StorageFault> {
    if let Some(row) = tables.meta.get(name)?
        && let Some(bytes) = row.value().first_chunk()
    {
        return Ok(*bytes);
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_le_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_le_bytes());
    tables.meta.insert(name, bytes.as_slice())?;
    Ok(bytes)
}

/// Marks the database as open, or as closed in good order.
pub(super) fn mark(database: &Database, mode: CommitMode, open: bool) -> Result<(), StorageFault> {
    let transaction = begin_write(database, mode)?;
    transaction.open_table(META)?.insert(meta::OPEN, [u8::from(open)].as_slice())?;
    transaction.commit()?;
    Ok(())
}

/// Reads topics, consumers and deduplication windows into memory. Returns the windows and the last commit.
pub(super) fn load(shared: &Shared, database: &Database) -> Result<(Windows, u64), ReadError> {
    let read = database.begin_read()?;
    let batches = read.open_table(BATCHES)?;
    let floors = read.open_table(FLOORS)?;
    let identities = read.open_table(IDENTITIES)?;
    let mut windows = Windows::new();
    for row in read.open_table(TOPICS)?.iter()? {
        let (id, row) = row?;
        let id = TopicId(id.value());
        let row: TopicRow = decode(id.0, row.value(), || format!("the row of topic {id}"))?;
        let mut ends = Vec::with_capacity(row.config.partitions as usize);
        for partition in 0..row.config.partitions {
            let floor = floors.get((id.0, partition))?.map_or(0, |floor| floor.value());
            ends.push(ends_of(&batches, id, partition, floor)?);
        }
        let mut window = Window::default();
        let mut beyond = vec![BTreeSet::new(); ends.len()];
        for row in identities.range((id.0, 0)..=(id.0, u64::MAX))? {
            let row = row?.1;
            window.load(row.value());
            for place in window::places(row.value()) {
                let at = place.partition as usize;
                if ends.get(at).is_some_and(|ends| place.offset >= ends.next) {
                    beyond[at].insert(place.offset);
                }
            }
        }
        windows.insert(id, window);
        for (partition, (ends, beyond)) in ends.iter_mut().zip(&beyond).enumerate() {
            go_beyond(ends, beyond, id, partition);
        }
        put_topic(shared, id, row, &ends);
    }
    let mut consumers = std::collections::BTreeMap::new();
    for row in read.open_table(CONSUMERS)?.iter()? {
        let (id, row) = row?;
        let id = ConsumerId(id.value());
        let row: ConsumerRow = decode(id.0, row.value(), || format!("the row of consumer {id}"))?;
        consumers.insert(id, row);
    }
    *shared.consumers_mut() = consumers;
    let last = read.open_table(META)?.get(meta::COMMIT)?;
    let commit_last = last.as_ref().map_or(0, |row| number(row.value()));
    if let Some(time) = last.and_then(|row| row.value().get(8..16)?.first_chunk().copied()) {
        shared.clock.not_before(Timestamp(i64::from_le_bytes(time)));
    }
    Ok((windows, commit_last))
}

/// Moves the end of a partition behind events whose batches are not there, though the window knows them: damage of the tree
/// hides them. So their offsets aren't given out again, and consumers are told of the gap.
fn go_beyond(ends: &mut Ends, known: &BTreeSet<u64>, topic: TopicId, partition: usize) {
    let first = ends.next;
    // One number that makes no sense is damage of the window's row, and moves nothing.
    while known.contains(&ends.next) {
        ends.next += 1;
    }
    if ends.next > first {
        let last = ends.next - 1;
        tracing::error!(%topic, partition, first, last, "the last batches of a partition are not there");
    }
}

/// Makes the topic known, or brings a known one, which lanes may hold, up to what is durable.
fn put_topic(shared: &Shared, id: TopicId, row: TopicRow, ends: &[Ends]) {
    let mut topics = shared.topics_mut();
    if let Some(topic) = topics.get(id) {
        topic.set_config(row.config);
        for (partition, ends) in topic.partitions.iter().zip(ends) {
            partition.trim(ends.low, ends.bytes_before);
            partition.advance(ends.next, ends.bytes_after);
        }
    } else {
        topics.insert(Arc::new(Topic::new(id, row.name, row.created, row.config, ends.to_vec())));
    }
}

/// How far a partition goes, from its first and its last batch.
pub(super) fn ends_of(
    batches: &impl ReadableTable<(u32, u32, u64), &'static [u8]>,
    topic: TopicId,
    partition: u32,
    floor: u64,
) -> Result<Ends, ReadError> {
    let mut rows = batches.range((topic.0, partition, 0)..=(topic.0, partition, u64::MAX))?;
    let Some(first) = rows.next() else {
        return Ok(Ends { low: floor, next: floor, ..Ends::default() });
    };
    let (key, row) = first?;
    let low = key.value().2;
    // A first batch that can't be read makes the partition look larger than it is, and costs nothing else.
    let bytes_before = Batch::parse(key.value(), row.value()).map_or(0, |batch| batch.bytes_before);
    let (last, bytes) = match rows.next_back() {
        Some(last) => {
            let (key, row) = last?;
            (key.value(), row.value().to_vec())
        }
        None => (key.value(), row.value().to_vec()),
    };
    let offset = last.2;
    if [key.value(), last].iter().any(|row| (row.0, row.1) != (topic.0, partition)) {
        return Err(misplaced("batches").into());
    }
    let (next, bytes_after) = match Batch::parse(last, &bytes) {
        Ok(last) => {
            (offset.saturating_add(u64::from(last.count)), last.bytes_before.saturating_add(last.row_bytes))
        }
        Err(error) => {
            tracing::error!(%topic, partition, offset, %error, "the last batch of a partition is damaged");
            // It can't have had more events than its bytes could hold: no offset is given out twice.
            let bytes = bytes.len() as u64;
            (offset.saturating_add(bytes), bytes_before.saturating_add(bytes))
        }
    };
    // The floor is a row of its own, and may be damaged in its own way.
    Ok(Ends { low: low.max(floor).min(next), next, bytes_after, bytes_before })
}
