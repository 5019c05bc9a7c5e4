//! An outbox in a database: what a relay asks of it, whichever database it is.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use super::history::History;
use super::row::{Failure, Row};
use super::{Backlog, FailedRow, FailedRows};
use crate::clock::{BoxFuture, Timestamp};
use crate::config::{AfterPublish, ConfigError, OutboxDatabase};

/// An outbox in a database. Each call is one transaction at most, and none is left open.
pub(super) trait Store: Send + Sync {
    /// What it is, for people, without what is secret.
    fn describe(&self) -> String;

    /// Connects, anew where it was connected.
    fn connect(&mut self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Makes the tables. Says whether it did: they may be there.
    fn create(&mut self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Reads how far the relay is.
    fn history(&mut self) -> BoxFuture<'_, Result<History, StoreError>>;

    /// Writes that a bus has begun with it.
    fn introduce(&mut self, token: String) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether there can be rows that the last [`read`](Self::read) hasn't seen.
    fn has_changed(&mut self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Reads the rows behind a position, in order, that were not set aside.
    fn read(&mut self, after: u64, bounds: ReadBounds) -> BoxFuture<'_, Result<Vec<Row>, StoreError>>;

    /// Sets rows aside and notes the batch. Once this returns, all that was read survives a crash.
    fn claim(&mut self, claim: Claim) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Marks or deletes the rows of the batch, which the bus has committed.
    fn settle(&mut self, settle: Settle) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes published rows that were marked before a moment, the oldest first, at most so many.
    fn purge(&mut self, before: Timestamp, rows_max: u32) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Measures what waits behind a position.
    fn backlog(&mut self, after: u64) -> BoxFuture<'_, Result<Backlog, StoreError>>;

    /// The first rows that were set aside.
    fn failed(&mut self, rows_max: u32) -> BoxFuture<'_, Result<Vec<FailedRow>, StoreError>>;

    /// Gives rows that were set aside new positions, at the end. Returns how many.
    fn retry(&mut self, which: FailedRows) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Takes the outbox over as it is: what it has marked counts as published.
    fn adopt(&mut self, token: String) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// How much is read at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadBounds {
    pub rows: u32,
    /// Bytes after which no other row is read.
    pub bytes: usize,
    /// Bytes above which a row isn't fetched.
    pub row_bytes: usize,
}

/// A batch that the bus is about to commit.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// The batch before, which has to be settled.
    pub settled: String,
    /// The batch that was claimed last: nobody else may have claimed one meanwhile, not even a call of this relay's that
    /// was given up and is late.
    pub claimed: String,
    pub token: String,
    pub failures: Vec<Failure>,
}

/// A batch that the bus has committed.
#[derive(Clone, Debug)]
pub(super) struct Settle {
    pub token: String,
    /// The position up to which rows were marked before.
    pub from: u64,
    pub position: u64,
    pub after: AfterPublish,
    pub now: Timestamp,
}

/// Why an outbox could not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The database can't be reached or is busy, for now.
    #[error("{0}")]
    Away(DatabaseFault),
    /// It has no outbox.
    #[error("it has no outbox: `tidegate outbox init` makes one, or `create_tables`")]
    NoTables,
    /// Its outbox is of a newer version.
    #[error("its outbox has format {found}, and this tidegate knows up to {known}: use a newer tidegate")]
    NewerFormat { found: i64, known: i64 },
    /// The last batch is another one than this relay's: somebody else has taken the outbox over.
    #[error("another bus has taken the outbox over, or its table was put back to an earlier state")]
    Overtaken,
}

impl StoreError {
    pub fn away(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Away(DatabaseFault(Arc::new(error)))
    }

    /// Where there is no error of the database's own.
    pub fn away_because(what: impl Into<String>) -> Self {
        Self::away(Because(what.into()))
    }
}

/// What a database or its driver said. Its [`Display`](fmt::Display) is the error with its causes.
///
/// ```
/// use std::error::Error;
///
/// # fn show(fault: &tidegate::outbox::DatabaseFault) {
/// println!("{fault}; the driver's own error is {:?}", fault.source());
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct DatabaseFault(Arc<dyn Error + Send + Sync>);

impl fmt::Display for DatabaseFault {
    /// The error and its causes, as drivers keep what matters in those.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !said.contains(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

impl Error for DatabaseFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Because(String);

/// The format of the tables that this version makes, and the newest that it knows.
pub(super) const FORMAT: i64 = 1;

/// A number of a database, which has no unsigned ones.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number for a database; no position is larger than it can say.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The store of a database. It isn't connected yet.
///
/// # Errors
///
/// The database's settings are wrong, or this build knows no such database.
pub(super) fn open(database: &OutboxDatabase) -> Result<Box<dyn Store>, ConfigError> {
    database.validate()?;
    if let Some(unsupported) = database.unsupported() {
        return Err(unsupported);
    }
    match database {
        #[cfg(feature = "outbox-sqlite")]
        OutboxDatabase::Sqlite(path) => Ok(Box::new(super::sqlite::Sqlite::new(path.clone()))),
        #[cfg(feature = "outbox-postgres")]
        OutboxDatabase::Postgres(url) => Ok(Box::new(super::postgres::Postgres::new(url.clone()))),
        #[cfg(not(all(feature = "outbox-sqlite", feature = "outbox-postgres")))]
        _ => unreachable!("all that this build supports are above"),
    }
}
