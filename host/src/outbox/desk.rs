//! What is done with an outbox beside its relay: each call has a connection of its own.

use std::sync::Arc;
use std::time::Duration;

use super::history::{Entry, compare};
use super::ledger::{Ledger, new_token};
use super::store::{self, Store, StoreError};
use super::{Backlog, FailedRow, FailedRows, OutboxCounts, OutboxError, OutboxState, OutboxStatus};
use crate::clock::{BoxFuture, Clock, SystemClock};
use crate::config::{OutboxConfig, OutboxDatabase};
use crate::limits::{OUTBOX_FAILED_ROWS_MAX, OUTBOX_STEP_MAX};
use crate::log::Log;

/// Makes the outbox in a database. Returns whether it did: one that is there stays as it is. It blocks for as long as the
/// database takes.
///
/// ```
/// # #[cfg(feature = "outbox-sqlite")] {
/// use tidegate::config::OutboxDatabase;
/// use tidegate::outbox::create_tables;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("shop.db");
/// let database = OutboxDatabase::Sqlite(path);
/// assert!(create_tables(&database)?);
/// assert!(!create_tables(&database)?, "it is there already");
/// # }
/// # Ok::<(), tidegate::outbox::OutboxError>(())
/// ```
///
/// # Errors
///
/// The database can't be used. Nothing was made then.
pub fn create_tables(database: &OutboxDatabase) -> Result<bool, OutboxError> {
    on_a_thread(database, |mut store| {
        Box::pin(async move { within(&SystemClock::new(), store.create()).await })
    })
}

/// The rows of an outbox that were set aside, the first of them, at most so many and at most 1000. It blocks for as long
/// as the database takes.
///
/// ```
/// # #[cfg(feature = "outbox-sqlite")] {
/// use tidegate::config::OutboxDatabase;
/// use tidegate::outbox::{FailedRows, create_tables, failed_rows, retry};
///
/// # let directory = tempfile::tempdir()?;
/// let database = OutboxDatabase::Sqlite(directory.path().join("shop.db"));
/// create_tables(&database)?;
/// for row in failed_rows(&database, 100)? {
///     println!("{}: {}", row.position, row.failed);
/// }
/// retry(&database, FailedRows::All)?;
/// # }
/// # Ok::<(), tidegate::outbox::OutboxError>(())
/// ```
///
/// # Errors
///
/// The database can't be used, or has no outbox.
pub fn failed_rows(database: &OutboxDatabase, rows_max: u32) -> Result<Vec<FailedRow>, OutboxError> {
    on_a_thread(database, move |mut store| {
        Box::pin(async move {
            let clock = SystemClock::new();
            within(&clock, store.connect()).await?;
            within(&clock, store.failed(rows_max)).await
        })
    })
}

/// Puts rows that were set aside back to work: they are published behind all that is committed by now. Returns how many.
/// It blocks for as long as the database takes.
///
/// ```no_run
/// use tidegate::config::{OutboxDatabase, Secret};
/// use tidegate::outbox::{FailedRows, retry};
///
/// let database = OutboxDatabase::Postgres(Secret::Env("SHOP_DATABASE_URL".to_owned()));
/// println!("{} rows are back at work", retry(&database, FailedRows::At(vec![17, 18]))?);
/// # Ok::<(), tidegate::outbox::OutboxError>(())
/// ```
///
/// # Errors
///
/// The database can't be used, or has no outbox. Of more than 1000 rows some may be back at work.
pub fn retry(database: &OutboxDatabase, which: FailedRows) -> Result<u64, OutboxError> {
    on_a_thread(database, move |mut store| {
        Box::pin(async move {
            let clock = SystemClock::new();
            within(&clock, store.connect()).await?;
            let mut retried = 0;
            match which {
                FailedRows::At(positions) => {
                    for some in positions.chunks(OUTBOX_FAILED_ROWS_MAX as usize) {
                        retried += within(&clock, store.retry(FailedRows::At(some.to_vec()))).await?;
                    }
                }
                FailedRows::All => loop {
                    let some = within(&clock, store.retry(FailedRows::All)).await?;
                    if some == 0 {
                        break;
                    }
                    retried += some;
                },
            }
            Ok(retried)
        })
    })
}

/// The outbox as it is while no relay of it runs here.
pub(crate) async fn inspect(
    log: &Arc<Log>,
    name: &str,
    config: &OutboxConfig,
) -> Result<OutboxStatus, OutboxError> {
    let entry = Ledger::new(Arc::clone(log), name.to_owned()).read()?;
    let position = entry.as_ref().map_or(0, |entry| entry.position);
    let clock = log.clock();
    let (database, backlog) = measure(&config.database, position, &**clock).await;
    let trouble = match &backlog {
        Err(error) => Some(error.to_string()),
        Ok(_) => compared(entry.as_ref(), config, &**clock).await?,
    };
    Ok(OutboxStatus {
        name: name.to_owned(),
        database,
        state: OutboxState::Stopped,
        trouble,
        position,
        backlog: backlog.ok(),
        counts: OutboxCounts::default(),
        last_published: None,
    })
}

/// Why a relay would not publish from the outbox.
async fn compared(
    entry: Option<&Entry>,
    config: &OutboxConfig,
    clock: &dyn Clock,
) -> Result<Option<String>, OutboxError> {
    let mut store = store::open(&config.database)?;
    let history = async {
        within(clock, store.connect()).await?;
        within(clock, store.history()).await
    };
    Ok(match history.await {
        Ok(history) => compare(entry, &history).err().map(|mismatch| mismatch.to_string()),
        Err(error) => Some(error.to_string()),
    })
}

/// Takes an outbox over as it is, whatever this bus or another one did with it. One whose two sides share their past is
/// left alone: its relay goes on where it is.
pub(crate) async fn adopt(log: &Arc<Log>, name: &str, config: &OutboxConfig) -> Result<(), OutboxError> {
    let ledger = Ledger::new(Arc::clone(log), name.to_owned());
    // Before the table is looked at: a relay that commits meanwhile makes the commit below fail.
    let known = ledger.read().map_err(|error| OutboxError::of_ledger(&error.into(), name))?;
    let mut store = store::open(&config.database)?;
    let clock = Arc::clone(log.clock());
    let failed = |error, store: &dyn Store| OutboxError::of_store(error, name, store.describe());
    let history = async {
        within(&*clock, store.connect()).await?;
        within(&*clock, store.history()).await
    };
    let history = match history.await {
        Ok(history) => history,
        Err(error) => return Err(failed(error, &*store)),
    };
    if compare(known.as_ref(), &history).is_ok() {
        return Ok(());
    }
    let token = new_token(&**log.random());
    let entry = Entry { outbox: history.outbox, token: token.clone(), position: history.position };
    // First the bus: should this be cut off here, both differ, which is found out and can be done again.
    let before = known.map(|entry| entry.token);
    ledger
        .commit(before, entry, Arc::default())
        .await
        .map_err(|error| OutboxError::of_ledger(&error, name))?;
    match within(&*clock, store.adopt(token)).await {
        Ok(()) => Ok(()),
        Err(error) => Err(failed(error, &*store)),
    }
}

/// What a database is, for people, and what waits in its outbox.
pub(super) async fn measure(
    database: &OutboxDatabase,
    after: u64,
    clock: &dyn Clock,
) -> (String, Result<Backlog, StoreError>) {
    let mut store = match store::open(database) {
        Ok(store) => store,
        Err(error) => return (String::new(), Err(StoreError::away(error))),
    };
    let backlog = async {
        within(clock, store.connect()).await?;
        within(clock, store.backlog(after)).await
    };
    let backlog = backlog.await;
    (store.describe(), backlog)
}

/// A step on a database, which may take only so long.
pub(super) async fn within<T>(
    clock: &dyn Clock,
    step: BoxFuture<'_, Result<T, StoreError>>,
) -> Result<T, StoreError> {
    tokio::select! {
        biased;
        outcome = step => outcome,
        () = clock.sleep_until(clock.now().after(OUTBOX_STEP_MAX)) => {
            let seconds = OUTBOX_STEP_MAX.as_secs();
            Err(StoreError::away_because(format!("the database hasn't answered within {seconds} seconds")))
        }
    }
}

/// Does something on a thread with a runtime of its own, as the caller may be of any runtime, or none.
fn on_a_thread<T: Send>(
    database: &OutboxDatabase,
    work: impl FnOnce(Box<dyn Store>) -> BoxFuture<'static, Result<T, StoreError>> + Send,
) -> Result<T, OutboxError> {
    let store = store::open(database)?;
    let shown = store.describe();
    let run = move || -> Result<Result<T, StoreError>, std::io::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let outcome = runtime.block_on(work(store));
        runtime.shutdown_timeout(Duration::ZERO);
        Ok(outcome)
    };
    let outcome = std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("tidegate-outbox-desk".to_owned()).spawn_scoped(scope, run)?;
        match thread.join() {
            Ok(outcome) => outcome,
            Err(_) => Err(std::io::Error::other("it has panicked")),
        }
    })?;
    outcome.map_err(|error| OutboxError::of_store(error, "NAME", shown))
}
