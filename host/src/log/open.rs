//! Opening the database, at the start and after a failure.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, TableHandle,
    WriteTransaction,
};

use super::error::{OpenError, StorageFault};
use super::guard::{self, OpenDatabase};
use super::journal::{self, Checkpoint, Found, Journal, Link, Records};
use super::last_commit::LastCommit;
use super::load::{self, Loaded};
use super::medium::Medium;
use super::memtable::{self, Memtable};
use super::redo::{self, Redo};
use super::schema::{self, COUNTED, FORMAT, META, Tables, meta};
use super::shared::{LogOptions, Shared};
use super::timer_names;
use super::write_behind::WriteBehind;
use crate::clock::Random;
use crate::config::CommitMode;

/// The database and what belongs to all of it.
pub(super) struct Opened {
    pub database: OpenDatabase,
    /// Where there is to be one.
    pub journal: Option<Journal>,
    pub seed: u128,
    pub hash_key: [u8; 16],
    /// Whether the process before ended without closing it.
    pub unclean: bool,
}

/// The database after a failure, with what the committer forgot on purpose.
pub(super) struct Reopened {
    pub database: OpenDatabase,
    /// Where there is to be one.
    pub journal: Option<Journal>,
    pub loaded: Loaded,
}

/// Opens the database, makes one where there is none, and marks it as open.
pub(super) fn open(
    options: &LogOptions,
    medium: &dyn Medium,
    random: &dyn Random,
) -> Result<Opened, OpenError> {
    let (database, disk) = open_database(options, medium)?;
    let storage = |source: StorageFault| OpenError::Storage { path: medium.path().to_owned(), source };
    let is_new = guarded(medium, || check_format(&database, medium))??;
    let found = guarded(medium, || find_journal(&database, options, medium))??;
    guarded(medium, || prepare(database, disk, found, is_new, options, random))?.map_err(storage)
}

/// Opens the database anew, and brings what memory knows of it up to what is durable.
pub(super) fn reopen(shared: &Shared) -> Result<Reopened, OpenError> {
    let (options, medium) = (&shared.options, &*shared.medium);
    let (database, disk) = open_database(options, medium)?;
    let path = || medium.path().to_owned();
    let found = guarded(medium, || find_journal(&database, options, medium))??;
    let journal = guarded(medium, || {
        recover(database.begin_write()?, disk, found, shared.hash_key, options, &*shared.random)
    })?;
    let journal = journal.map_err(|source| OpenError::Storage { path: path(), source })?;
    let loaded = guarded(medium, || load::load(shared, &database))?;
    let loaded = loaded.map_err(|error| OpenError::Damaged { path: path(), reason: error.to_string() })?;
    Ok(Reopened { database, journal, loaded })
}

fn open_database(
    options: &LogOptions,
    medium: &dyn Medium,
) -> Result<(OpenDatabase, Arc<WriteBehind>), OpenError> {
    let path = || medium.path().to_owned();
    let mut builder = Builder::new();
    builder.set_cache_size(options.cache_bytes);
    if options.commit == CommitMode::OnePhase {
        medium
            .forget_unwritten()
            .map_err(|source| OpenError::Io { path: path(), source: Arc::new(source) })?;
    }
    let open = || {
        let file = medium.open_database()?;
        let (disk, backend) = WriteBehind::new(file, !options.is_stepped).map_err(redb::StorageError::Io)?;
        Ok((OpenDatabase::new(builder.create_with_backend(backend)?), disk))
    };
    match guarded(medium, open)? {
        Ok(opened) => Ok(opened),
        Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch) => {
            Err(OpenError::InUse { path: path() })
        }
        Err(DatabaseError::Storage(redb::StorageError::Io(source))) if !means_damage(&source) => {
            Err(OpenError::Io { path: path(), source: Arc::new(source) })
        }
        Err(error) => Err(OpenError::Damaged { path: path(), reason: error.to_string() }),
    }
}

/// Commits as the bus is set to: a single commit without quick repair would make the next opening after a crash verify the
/// whole file.
pub(super) fn durably(mut transaction: WriteTransaction, mode: CommitMode) -> Result<(), StorageFault> {
    match mode {
        CommitMode::QuickRepair => transaction.set_quick_repair(true),
        CommitMode::OnePhase => {}
    }
    transaction.commit()?;
    Ok(())
}

/// Commits, and makes durable with it what was committed before. The journal, where there is one, goes on as this says.
pub(super) fn checkpoint(
    transaction: WriteTransaction,
    mode: CommitMode,
    this: Option<Checkpoint>,
) -> Result<(), StorageFault> {
    {
        let mut table = transaction.open_table(META)?;
        match this {
            Some(this) => drop(table.insert(meta::CHECKPOINT, this.encode().as_slice())?),
            None => drop(table.remove(meta::CHECKPOINT)?),
        }
    }
    durably(transaction, mode)
}

/// Does something with a database that may be damaged in a way that redb doesn't expect, and so may panic.
pub(super) fn guarded<T>(medium: &dyn Medium, work: impl FnOnce() -> T) -> Result<T, OpenError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| OpenError::Damaged {
        path: medium.path().to_owned(),
        reason: "the database panicked while it was opened".to_owned(),
    })
}

/// Whether an I/O error comes of the file's content: it ends too early, or makes no sense.
fn means_damage(error: &io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput)
}

/// Refuses what this build doesn't read and what isn't whole, before anything is written. Returns whether the database is
/// new.
fn check_format(database: &Database, medium: &dyn Medium) -> Result<bool, OpenError> {
    let path = || medium.path().to_owned();
    let storage = |source: StorageFault| OpenError::Storage { path: path(), source };
    let damaged = |reason: String| OpenError::Damaged { path: path(), reason };
    let (format, tables) = stored_format(database).map_err(storage)?;
    match format {
        Some(found) if found > FORMAT => Err(OpenError::NewerFormat { path: path(), found, known: FORMAT }),
        Some(format) => match schema::names(format).find(|name| !tables.iter().any(|table| table == name)) {
            Some(missing) => Err(damaged(format!("table `{missing}` is missing"))),
            None => Ok(false),
        },
        // A database gets its format and all its tables at once.
        None if !tables.is_empty() => Err(damaged("its format is missing".to_owned())),
        None => Ok(true),
    }
}

/// The format, where there is one, and the names of the tables.
fn stored_format(database: &Database) -> Result<(Option<u32>, Vec<String>), StorageFault> {
    let read = database.begin_read()?;
    let tables = read.list_tables()?.map(|table| table.name().to_owned()).collect();
    let table = match read.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok((None, tables)),
        Err(error) => return Err(error.into()),
    };
    let row = table.get(meta::FORMAT)?;
    Ok((row.and_then(|row| row.value().first_chunk().map(|bytes| u32::from_le_bytes(*bytes))), tables))
}

/// The journal as the process before has left it.
struct FoundJournal {
    /// Its file; nothing where there was no journal, and is to be none.
    file: Option<Box<dyn StorageBackend>>,
    /// What the last checkpoint says.
    stored: Stored,
}

/// What the last checkpoint says.
#[derive(Clone, Copy, Default)]
struct Stored {
    /// Nothing where there was no journal.
    checkpoint: Option<Checkpoint>,
    /// Whether the database was open when the process before ended.
    is_open: bool,
}

/// Finds the journal, before anything is written.
fn find_journal(
    database: &Database,
    options: &LogOptions,
    medium: &dyn Medium,
) -> Result<FoundJournal, OpenError> {
    let path = || medium.path().to_owned();
    let io = |source: io::Error| OpenError::Io { path: path(), source: Arc::new(source) };
    let stored = stored(database).map_err(|source| OpenError::Storage { path: path(), source })?;
    if stored.checkpoint.is_none() && options.journal_bytes == 0 {
        return Ok(FoundJournal { file: None, stored });
    }
    let file = medium.open_journal().map_err(io)?;
    // One that was closed in good order has nothing that the database doesn't have.
    if stored.checkpoint.is_some() && stored.is_open && journal::is_missing(&*file).map_err(io)? {
        let reason = "its journal is missing, which has what was committed last".to_owned();
        return Err(OpenError::Damaged { path: path(), reason });
    }
    Ok(FoundJournal { file: Some(file), stored })
}

fn stored(database: &Database) -> Result<Stored, StorageFault> {
    let read = database.begin_read()?;
    let table = match read.open_table(META) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Stored::default()),
        Err(error) => return Err(error.into()),
    };
    let checkpoint = table.get(meta::CHECKPOINT)?.map(|row| Checkpoint::decode(row.value()));
    Ok(Stored { checkpoint, is_open: table.get(meta::OPEN)?.is_some_and(|row| row.value() == [1]) })
}

/// Makes the tables and the bus's own numbers where the database is new, and then recovers it.
fn prepare(
    database: OpenDatabase,
    disk: Arc<WriteBehind>,
    found: FoundJournal,
    is_new: bool,
    options: &LogOptions,
    random: &dyn Random,
) -> Result<Opened, StorageFault> {
    let unclean = found.stored.is_open;
    let transaction = database.begin_write()?;
    let redo = Redo::off();
    let (seed, hash_key);
    {
        let mut tables = Tables::open(&transaction, &redo)?;
        tables.meta.insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
        let random = Some(random).filter(|_| is_new);
        seed = u128::from_le_bytes(drawn_once(&mut tables, meta::SEED, random)?);
        hash_key = drawn_once(&mut tables, meta::HASH_KEY, random)?;
    }
    let journal = recover(transaction, disk, found, hash_key, options, random)?;
    Ok(Opened { database, journal, seed, hash_key, unclean })
}

/// Does again what the journal has, marks the database as open, and begins a journal anew, if there is to be one.
fn recover(
    transaction: WriteTransaction,
    disk: Arc<WriteBehind>,
    found: FoundJournal,
    hash_key: [u8; 16],
    options: &LogOptions,
    random: &dyn Random,
) -> Result<Option<Journal>, StorageFault> {
    let FoundJournal { file, stored } = found;
    let before = stored.checkpoint.map_or(0, |last| last.number);
    // Far from every number that this database and any copy of it has had.
    let number = before.wrapping_add(random.next_u64() | 1);
    let mut link = Link { checkpoint: number, before, count_before: 0 };
    let mut half = 0;
    let redo = Redo::off();
    let mut missing = Vec::new();
    {
        let mut tables = Tables::open(&transaction, &redo)?;
        let unspilled = memtable::unspill(&transaction, &mut tables)?;
        if !unspilled.is_whole {
            tracing::error!("batches that waited for their place in the table are damaged");
            missing.push(schema::BATCHES_COUNTED);
        }
        if let (Some(file), Some(last), true) = (&file, stored.checkpoint, stored.is_open) {
            let mut records = Records::new(&**file, last).map_err(redb::Error::Io)?;
            if !replay(&mut tables, &mut records)? {
                // A topic stays for ever: one that is not there now is missing, which is found out by what was counted.
                missing.extend((0..COUNTED).filter(|table| *table != schema::TOPICS_COUNTED));
            }
            (link.count_before, half) = (records.count(), records.next_half());
        }
        if missing.is_empty() {
            unspilled.put_back_missing(&mut tables)?;
        }
        missing.extend(timer_names::replace_format_8(&transaction, &mut tables, hash_key)?);
        count_anew(&mut tables, &missing)?;
        tables.meta.insert(meta::OPEN, [1].as_slice())?;
    }
    let file = file.filter(|_| options.journal_bytes > 0);
    // Before the number is durable: from then on a file that isn't there is missed.
    let journal = file.map(|file| Journal::new(file, disk, options.journal_size(), half, link));
    let journal = journal.transpose().map_err(redb::Error::Io)?;
    checkpoint(transaction, options.commit, journal.as_ref().map(Journal::checkpoint))?;
    if let Some(journal) = &journal {
        journal.begin();
    }
    Ok(journal)
}

/// Does again what the journal has. Where records are missing, of those behind them only what means something by itself:
/// the events. Each lane goes on from where it was before. Returns whether none is missing.
fn replay(tables: &mut Tables<'_>, records: &mut Records<'_>) -> Result<bool, StorageFault> {
    let mut is_whole = true;
    let (mut done, mut alone) = (0_u64, 0_u64);
    while let Some(found) = records.read_next().map_err(redb::Error::Io)? {
        let record = match found {
            Found::Record(record) => record,
            Found::Lost { count } => {
                tracing::error!(count, "commits in the journal are damaged");
                is_whole = false;
                continue;
            }
        };
        for change in redo::changes(&record) {
            let change = change?;
            if is_whole || Tables::stands_alone(&change) {
                tables.redo(change)?;
            }
        }
        if is_whole { done += 1 } else { alone += 1 }
    }
    if !is_whole {
        tracing::error!(
            alone,
            "of the commits behind them, the events are kept, and lanes handle them again"
        );
    }
    if done > 0 {
        tracing::info!(commits = done, "what the journal has is done again");
    }
    Ok(is_whole)
}

/// Has the last commit say how many rows these tables have, where it is known that some are missing: what they were is found out
/// by other things.
fn count_anew(tables: &mut Tables<'_>, missing: &[usize]) -> Result<(), StorageFault> {
    if missing.is_empty() {
        return Ok(());
    }
    if let Some(last) = tables.last_commit()? {
        let found = tables.rows()?;
        let mut rows = last.rows.unwrap_or(found);
        for table in missing {
            rows[*table] = found[*table];
        }
        let last = LastCommit { rows: Some(rows), ..last };
        tables.meta.insert(meta::COMMIT, last.encode().as_slice())?;
    }
    Ok(())
}

/// Sixteen random bytes that are drawn when the database is made, if that is now, and stay the same. Their row ends with a
/// checksum; formats 1 to 3 had none.
fn drawn_once(
    tables: &mut Tables<'_>,
    name: &'static str,
    random: Option<&dyn Random>,
) -> Result<[u8; 16], StorageFault> {
    let stored = tables.meta.get(name)?.map(|row| row.value().to_vec());
    let bytes = match (stored, random) {
        (Some(row), _) => match row.split_first_chunk::<16>() {
            Some((bytes, crc)) if crc == crc32fast::hash(bytes).to_le_bytes() => return Ok(*bytes),
            Some((bytes, [])) => *bytes,
            _ => return Err(guard::meta_row(name, "has a wrong checksum")),
        },
        (None, Some(random)) => {
            (u128::from(random.next_u64()) | u128::from(random.next_u64()) << 64).to_le_bytes()
        }
        (None, None) => return Err(guard::meta_row(name, "is missing")),
    };
    let row = [bytes.as_slice(), &crc32fast::hash(&bytes).to_le_bytes()].concat();
    tables.meta.insert(name, row.as_slice())?;
    Ok(bytes)
}

/// Marks the database as closed in good order: it has all that the journal has, and each row in its place.
pub(super) fn mark_closed(
    database: &Database,
    memtable: &Memtable,
    mode: CommitMode,
    this: Option<Checkpoint>,
) -> Result<(), StorageFault> {
    let transaction = database.begin_write()?;
    memtable.flush(&transaction)?;
    transaction.open_table(META)?.insert(meta::OPEN, [0].as_slice())?;
    checkpoint(transaction, mode, this)
}
