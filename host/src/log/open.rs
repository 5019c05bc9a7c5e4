//! Opening the database, at the start and after a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, TableHandle, WriteTransaction,
};

use super::error::{OpenError, StorageFault};
use super::guard::{self, OpenDatabase};
use super::load::{self, Loaded};
use super::medium::Medium;
use super::schema::{self, FORMAT, META, Tables, meta};
use super::shared::{LogOptions, Shared};
use crate::clock::Random;
use crate::config::CommitMode;

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
    pub loaded: Loaded,
}

/// Opens the database, makes one where there is none, and marks it as open.
pub(super) fn open(
    options: &LogOptions,
    medium: &dyn Medium,
    random: &dyn Random,
) -> Result<Opened, OpenError> {
    let database = open_database(options, medium)?;
    let storage = |source: StorageFault| OpenError::Storage { path: medium.path().to_owned(), source };
    let is_new = guarded(medium, || check_format(&database, medium))??;
    let mut opened = Opened { database, seed: 0, hash_key: [0; 16], unclean: false };
    guarded(medium, || prepare(&mut opened, is_new, options, random))?.map_err(storage)?;
    Ok(opened)
}

/// Opens the database anew, and brings what memory knows of it up to what is durable.
pub(super) fn reopen(shared: &Shared) -> Result<Reopened, OpenError> {
    let database = open_database(&shared.options, &*shared.medium)?;
    let path = || shared.medium.path().to_owned();
    let marked = guarded(&*shared.medium, || mark(&database, shared.options.commit, true))?;
    marked.map_err(|source| OpenError::Storage { path: path(), source })?;
    let loaded = guarded(&*shared.medium, || load::load(shared, &database))?;
    let loaded = loaded.map_err(|error| OpenError::Damaged { path: path(), reason: error.to_string() })?;
    Ok(Reopened { database, loaded })
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

/// Makes the tables and the bus's own numbers where the database is new, and marks it as open.
fn prepare(
    opened: &mut Opened,
    is_new: bool,
    options: &LogOptions,
    random: &dyn Random,
) -> Result<(), StorageFault> {
    let transaction = begin_write(&opened.database, options.commit)?;
    {
        let mut tables = Tables::open(&transaction)?;
        tables.meta.insert(meta::FORMAT, FORMAT.to_le_bytes().as_slice())?;
        let random = Some(random).filter(|_| is_new);
        opened.seed = u128::from_le_bytes(drawn_once(&mut tables, meta::SEED, random)?);
        opened.hash_key = drawn_once(&mut tables, meta::HASH_KEY, random)?;
        let before = tables.meta.insert(meta::OPEN, [1].as_slice())?;
        opened.unclean = before.is_some_and(|row| row.value() == [1]);
    }
    transaction.commit()?;
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

/// Marks the database as open, or as closed in good order.
pub(super) fn mark(database: &Database, mode: CommitMode, open: bool) -> Result<(), StorageFault> {
    let transaction = begin_write(database, mode)?;
    transaction.open_table(META)?.insert(meta::OPEN, [u8::from(open)].as_slice())?;
    transaction.commit()?;
    Ok(())
}
