//! What the bus knows of an outbox: it commits with the events.

use std::sync::Arc;

use thiserror::Error;

use super::history::Entry;
use super::row::{Failure, Outbound};
use crate::clock::Random;
use crate::log::redb::{ReadableTable, TableDefinition, TableError};
use crate::log::{Log, PublishError, Published, ReadError, TransactionError};

/// Tables of outboxes in the bus's database: apart from its own and from the application's.
const SPACE: &str = "outbox/";

/// An entry for each outbox, by its name.
const ENTRIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("entries");

/// Why a batch was not committed.
#[derive(Debug, Error)]
pub(super) enum LedgerError {
    /// One row's event was refused; nothing is committed.
    #[error("{}", .0.reason)]
    Row(Failure),
    /// The entry could not be written or read back; nothing is committed.
    #[error("{0}")]
    Storage(String),
    /// The bus takes nothing now, or may have taken it.
    #[error("{0}")]
    Bus(String),
    /// The entry is not the one that was expected: another relay of this bus was faster. Nothing is committed.
    #[error("another relay of this bus has published from it meanwhile")]
    Overtaken,
    /// The bus is shut down.
    #[error("the bus is shut down")]
    Closed,
}

impl From<TransactionError<Refused>> for LedgerError {
    fn from(error: TransactionError<Refused>) -> Self {
        match error {
            TransactionError::Refused(Refused::Row(failure)) => Self::Row(failure),
            TransactionError::Refused(Refused::Bus(error)) => Self::Bus(error.to_string()),
            TransactionError::Refused(Refused::Storage(what)) => Self::Storage(what),
            TransactionError::Refused(Refused::Overtaken) => Self::Overtaken,
            TransactionError::Closed => Self::Closed,
            other => Self::Bus(describe(&other)),
        }
    }
}

impl From<ReadError> for LedgerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Closed => Self::Closed,
            other => Self::Storage(other.to_string()),
        }
    }
}

/// The bus's side of one outbox.
#[derive(Clone)]
pub(super) struct Ledger {
    log: Arc<Log>,
    name: String,
}

/// Why the closure gave up.
enum Refused {
    Row(Failure),
    Bus(PublishError),
    Storage(String),
    Overtaken,
}

impl From<TableError> for Refused {
    fn from(error: TableError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl Ledger {
    pub fn new(log: Arc<Log>, name: String) -> Self {
        Self { log, name }
    }

    /// A token for the next batch.
    pub fn token(&self) -> String {
        new_token(&**self.log.random())
    }

    /// Ends when the bus has ended.
    pub async fn closed(&self) {
        self.log.closed().await;
    }

    /// Ends when all commits are decided that were handed over before, such as one of a relay that was cut off and doesn't
    /// wait for it any more.
    pub async fn decided(&self) -> Result<(), LedgerError> {
        // Transactions take place one after the other; one that writes nothing costs no sync.
        let outcome = self.log.transact(SPACE, |_| Ok::<_, Refused>(())).await;
        outcome.map_err(LedgerError::from)
    }

    /// What is durable of the outbox.
    pub fn read(&self) -> Result<Option<Entry>, ReadError> {
        let snapshot = self.log.snapshot(SPACE)?;
        let Some(table) = snapshot.open_table(ENTRIES)? else { return Ok(None) };
        let Some(row) = table.get(self.name.as_str())? else { return Ok(None) };
        rmp_serde::from_slice(row.value()).map(Some).map_err(|error| ReadError::Damaged {
            what: format!("what the bus knows of outbox `{}`", self.name),
            reason: error.to_string(),
        })
    }

    /// Makes events and the entry durable together, in the place of the entry with the token `before`, or of none.
    pub async fn commit(
        &self,
        before: Option<String>,
        entry: Entry,
        events: Arc<Vec<Outbound>>,
    ) -> Result<Vec<Published>, LedgerError> {
        let name = self.name.clone();
        let outcome = self.log.transact(SPACE, move |transaction| {
            let mut table = transaction.open_table(ENTRIES)?;
            let stored = table.get(name.as_str()).map_err(|error| Refused::Storage(error.to_string()))?;
            let stored: Option<Entry> = stored
                .map(|row| rmp_serde::from_slice(row.value()))
                .transpose()
                .map_err(|error| Refused::Storage(error.to_string()))?;
            if stored.map(|entry| entry.token) != before {
                return Err(Refused::Overtaken);
            }
            let mut published = Vec::with_capacity(events.len());
            for outbound in events.iter() {
                let place = transaction.publish(&outbound.topic, outbound.event.clone());
                published.push(place.map_err(|error| refused(outbound, error))?);
            }
            let row = rmp_serde::to_vec(&entry).map_err(|error| Refused::Storage(error.to_string()))?;
            table
                .insert(name.as_str(), row.as_slice())
                .map_err(|error| Refused::Storage(error.to_string()))?;
            Ok(published)
        });
        outcome.await.map_err(LedgerError::from)
    }
}

/// Whether it is the row's fault or the bus's: the one is set aside, the other waits.
fn refused(outbound: &Outbound, error: PublishError) -> Refused {
    match error {
        PublishError::Schema(refusal) if !refusal.is_of_event() => Refused::Bus(refusal.into()),
        PublishError::UnknownTopic(_)
        | PublishError::EventSize { .. }
        | PublishError::Invalid(_)
        | PublishError::Schema(_) => Refused::Row(Failure::new(outbound.position, error.to_string())),
        other => Refused::Bus(other),
    }
}

fn describe(error: &TransactionError<Refused>) -> String {
    match error {
        TransactionError::InDoubt(fault) => {
            format!("the commit failed and may still have reached the disk: {fault}")
        }
        TransactionError::Reopening => "the storage failed and is being opened anew".to_owned(),
        TransactionError::TooSlow { .. } => "the transaction took too long".to_owned(),
        _ => "the transaction was not committed".to_owned(),
    }
}

/// A token that no other batch has.
pub(super) fn new_token(random: &dyn Random) -> String {
    format!("{:016x}{:016x}", random.next_u64(), random.next_u64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{SystemClock, SystemRandom};
    use crate::config::{CommitMode, TopicConfig};
    use crate::event::Event;
    use crate::ids::TopicId;
    use crate::limits::{CACHE_BYTES, EVENT_BYTES_MAX, JOURNAL_BYTES, JOURNAL_FILE_PART};
    use crate::log::{LogOptions, MemoryMedium, block_on};

    /// A log with topic `t`.
    fn log() -> (Arc<Log>, TopicId) {
        let options = LogOptions {
            commit: CommitMode::QuickRepair,
            event_bytes_max: EVENT_BYTES_MAX,
            cache_bytes: CACHE_BYTES,
            journal_bytes: JOURNAL_BYTES,
            journal_file_part: JOURNAL_FILE_PART,
            free_bytes_min: 0,
            blobs_bytes_max: crate::limits::BLOBS_BYTES_MAX,
            is_stepped: false,
        };
        let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let log = Log::open(options, Box::new(MemoryMedium::new()), clock, random, None).unwrap();
        let topic = block_on(log.create_topic("t", TopicConfig::new(1))).unwrap();
        (Arc::new(log), topic)
    }

    fn entry(token: &str) -> Entry {
        Entry { outbox: "o".to_owned(), token: token.to_owned(), position: 1 }
    }

    #[test]
    fn a_commit_that_nobody_waits_for_any_more_is_decided_before_the_next_relay_looks() {
        let (log, _) = log();
        let ledger = Ledger::new(Arc::clone(&log), "shop".to_owned());
        let (inside, is_inside) = std::sync::mpsc::sync_channel(1);
        let (go, on) = std::sync::mpsc::sync_channel::<()>(1);
        let busy = Arc::clone(&log);
        let committer = std::thread::spawn(move || {
            let wait = move |_: &mut crate::log::Transaction<'_>| {
                inside.send(()).unwrap();
                on.recv().unwrap();
                Ok::<_, ()>(())
            };
            block_on(busy.transact(SPACE, wait)).unwrap();
        });
        is_inside.recv().unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut late = Box::pin(ledger.commit(None, entry("late"), Arc::default()));
        assert!(late.as_mut().poll(&mut context).is_pending());
        drop(late);
        let mut decided = Box::pin(ledger.decided());
        assert!(decided.as_mut().poll(&mut context).is_pending());
        assert_eq!(ledger.read().unwrap(), None);
        go.send(()).unwrap();
        block_on(decided).unwrap();
        assert_eq!(ledger.read().unwrap(), Some(entry("late")));
        committer.join().unwrap();
        log.close();
    }

    #[test]
    fn of_two_relays_that_go_on_from_the_same_batch_one_publishes() {
        let (log, topic) = log();
        let ledger = Ledger::new(Arc::clone(&log), "shop".to_owned());
        let commit = |before: Option<&str>, token: &str| {
            let event = Event::new(token, "/s", "T").build().unwrap();
            let outbound = Outbound { position: 1, topic: "t".to_owned(), event };
            block_on(ledger.commit(before.map(str::to_owned), entry(token), Arc::new(vec![outbound])))
        };
        commit(None, "a").unwrap();
        commit(Some("a"), "b").unwrap();
        for before in [None, Some("a"), Some("c")] {
            assert!(matches!(commit(before, "other"), Err(LedgerError::Overtaken)), "{before:?}");
        }
        assert_eq!(log.next_offset(topic, 0), 2);
        assert_eq!(ledger.read().unwrap().unwrap().token, "b");
        log.close();
    }
}
