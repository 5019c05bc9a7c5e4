//! Why an outbox could not be used.

use thiserror::Error;

use super::ledger::LedgerError;
use super::store::{DatabaseFault, StoreError};
use crate::config::{ConfigError, NameError};
use crate::log::ReadError;

/// Why an outbox could not be started or changed. Nothing was published by the call.
///
/// ```
/// use tidegate::Bus;
/// use tidegate::config::OutboxConfig;
/// use tidegate::outbox::OutboxError;
///
/// # let directory = tempfile::tempdir()?;
/// let bus = Bus::open(directory.path())?;
/// let wrong = bus.start_outbox("shop", OutboxConfig::sqlite("shop.db", "not a URI"));
/// assert!(matches!(wrong, Err(OutboxError::Config(error)) if error.key() == "source"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The name is none that an outbox can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is out of its bounds, or needs a cargo feature that this build doesn't have.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An outbox of this name is running already.
    #[error("outbox `{0}` is running already: stop it first")]
    Running(String),
    /// No outbox of this name is running in this process.
    #[error("outbox `{0}` isn't running")]
    NotRunning(String),
    /// More outboxes than a bus runs.
    #[error(
        "the bus runs {max} outboxes already, which is all that it can: stop one first, or use one for several topics"
    )]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The database can't be used. Nothing was changed, unless the connection broke while it was.
    #[error("{database}: {fault}")]
    Database {
        /// The database, without what is secret.
        database: String,
        /// What the database or its driver said.
        #[source]
        fault: DatabaseFault,
    },
    /// The database has no outbox. Nothing was changed.
    #[error("{database}: there is no outbox: `tidegate outbox init` makes one, or `create_tables`")]
    NoTables {
        /// The database.
        database: String,
    },
    /// The outbox was made by a newer version. Nothing was changed.
    #[error(
        "{database}: the outbox has format {found}, and this tidegate knows up to {known}: use a newer tidegate"
    )]
    NewerFormat {
        /// The database.
        database: String,
        /// The format of its tables.
        found: i64,
        /// The newest that this build knows.
        known: i64,
    },
    /// The outbox and the bus don't share their past, so that publishing could lose rows or repeat them.
    #[error("{database}: {reason}. `tidegate outbox adopt {outbox}` publishes from it as it is")]
    Parted {
        /// The outbox's name.
        outbox: String,
        /// The database.
        database: String,
        /// What doesn't fit.
        reason: String,
    },
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The bus didn't note the outbox. With a commit that failed it may have.
    #[error("the bus could not note outbox `{outbox}`: {reason}")]
    Bus {
        /// The outbox's name.
        outbox: String,
        /// Why.
        reason: String,
    },
    /// The system gives no thread.
    #[error("a thread can't be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl OutboxError {
    pub(super) fn of_store(error: StoreError, outbox: &str, database: String) -> Self {
        match error {
            StoreError::Away(fault) => Self::Database { database, fault },
            StoreError::NoTables => Self::NoTables { database },
            StoreError::NewerFormat { found, known } => Self::NewerFormat { database, found, known },
            StoreError::Overtaken => {
                Self::Parted { outbox: outbox.to_owned(), database, reason: error.to_string() }
            }
        }
    }

    pub(super) fn of_ledger(error: &LedgerError, outbox: &str) -> Self {
        Self::Bus { outbox: outbox.to_owned(), reason: error.to_string() }
    }
}
