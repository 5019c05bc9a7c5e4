//! The application's own tables and its events in one commit.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use redb::{
    Key, MultimapTable, MultimapTableDefinition, MultimapTableHandle, Table, TableDefinition, TableError,
    TableHandle, Value, WriteTransaction,
};
use tokio::sync::oneshot;

use super::blobs;
use super::error::{PublishError, StorageFault, TransactionError};
use super::new_events::{NewEvent, NewEvents};
use super::publish::{self, Published};
use super::topics::Topic;
use super::txn::{Txn, Verdict};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::handler::panic_message;
use crate::limits::{COMMIT_BYTES_MAX, PUBLISH_EVENTS_MAX, TRANSACTION_TIME_MAX};

/// What the names of an application's own tables begin with in the database, where the bus's own never have a `/`.
pub(crate) const APPLICATION: &str = "app/";

/// What [`Bus::transaction`](crate::Bus::transaction) hands to its closure: the application's own tables, and publishing.
///
/// Nothing of it is durable before the closure has returned `Ok` and the commit is on the disk; then all of it is. Reads
/// see the transaction's own writes.
///
/// The tables are redb's, see [`redb`]. They lie apart from the bus's own: no name can collide.
///
/// ```
/// use tidegate::config::TopicConfig;
/// use tidegate::redb::{ReadableTable, TableDefinition};
/// use tidegate::{Bus, Event};
///
/// const STOCK: TableDefinition<&str, u64> = TableDefinition::new("stock");
///
/// # let directory = tempfile::tempdir()?;
/// let bus = Bus::open(directory.path())?.blocking();
/// bus.create_topic("stock", TopicConfig::new(4).sequence(true))?;
/// let left = bus.transaction(|transaction| {
///     let mut stock = transaction.open_table(STOCK)?;
///     let left = stock.get("teapot")?.map_or(10, |row| row.value()) - 1;
///     stock.insert("teapot", left)?;
///     let sold = Event::new("sale-1", "/shop", "TeapotSold.v1").subject("teapot").build()?;
///     let published = transaction.publish("stock", sold)?;
///     assert_eq!(published.sequence, Some(1));
///     assert_eq!(transaction.version("stock", "teapot")?, 1);
///     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(left)
/// })?;
/// assert_eq!(left, 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Transaction<'t> {
    redb: &'t WriteTransaction,
    txn: Txn<'t>,
    /// What the names of its tables begin with in the database.
    space: &'static str,
    /// Free bytes and their floor, where the disk is too full to publish.
    full: Option<(u64, u64)>,
    begun: Timestamp,
    events: usize,
    bytes: usize,
    /// Whether anything may have been written: then undoing it takes another transaction.
    is_dirty: Cell<bool>,
    /// The storage failed under it.
    fault: Option<StorageFault>,
}

impl<'t> Transaction<'t> {
    /// Opens one of the application's own tables, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// The table has other types, or is open already; or the storage failed.
    pub fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Table<'t, K, V>, TableError> {
        self.is_dirty.set(true);
        self.redb.open_table(TableDefinition::new(&self.own_name(definition.name())))
    }

    /// Opens one of the application's own multimap tables, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// As [`open_table`](Self::open_table).
    pub fn open_multimap_table<K: Key + 'static, V: Key + 'static>(
        &self,
        definition: MultimapTableDefinition<'_, K, V>,
    ) -> Result<MultimapTable<'t, K, V>, TableError> {
        self.is_dirty.set(true);
        self.redb.open_multimap_table(MultimapTableDefinition::new(&self.own_name(definition.name())))
    }

    /// Deletes one of the application's own tables. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// It is open, or a multimap table; or the storage failed.
    pub fn delete_table(&self, name: &str) -> Result<bool, TableError> {
        self.is_dirty.set(true);
        self.redb.delete_table(TableDefinition::<&[u8], &[u8]>::new(&self.own_name(name)))
    }

    /// Deletes one of the application's own multimap tables. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// It is open, or no multimap table; or the storage failed.
    pub fn delete_multimap_table(&self, name: &str) -> Result<bool, TableError> {
        self.is_dirty.set(true);
        self.redb.delete_multimap_table(MultimapTableDefinition::<&[u8], &[u8]>::new(&self.own_name(name)))
    }

    /// The names of the application's own tables, multimap tables among them, in ascending order.
    ///
    /// # Errors
    ///
    /// The storage failed.
    pub fn tables(&self) -> Result<Vec<String>, TableError> {
        let plain = self.redb.list_tables()?.map(|table| table.name().to_owned());
        let multimap = self.redb.list_multimap_tables()?.map(|table| table.name().to_owned());
        Ok(own_names(plain.chain(multimap), self.space))
    }

    /// Publishes an event: durable with the transaction, or not at all. Returns the place that it then has, or the place
    /// of the first event with its source and id, if the topic's deduplication window knows one; then nothing is appended.
    ///
    /// Data that goes to the blob store is written there now, while everybody who publishes waits.
    ///
    /// # Errors
    ///
    /// See [`PublishError`]. The event is not published then; whether the rest is, is for the closure to say: it goes on,
    /// or hands the error back and has all of it undone.
    pub fn publish(&mut self, topic: &str, event: Event) -> Result<Published, PublishError> {
        let new = self.admit(topic, event)?;
        self.append(new.only())
    }

    /// Publishes an event on condition that the last event of its key has this number, 0 where there is to be none: what
    /// this transaction has published counts. An event that the topic knows by its source and id meets any condition.
    ///
    /// # Errors
    ///
    /// [`VersionConflict`](PublishError::VersionConflict) if it has another number, and as [`publish`](Self::publish).
    pub fn publish_expecting(
        &mut self,
        topic: &str,
        expected: u64,
        event: Event,
    ) -> Result<Published, PublishError> {
        let key = event.key().to_owned();
        let new = self.admit(topic, event)?;
        let new = new.only();
        publish::check_sequenced(new.topic())?;
        let known = self.txn.known(new).map_err(|fault| self.fail(fault))?;
        if known.is_none() {
            let actual = self.txn.version(new.topic(), &key).map_err(|fault| self.fail(fault))?;
            publish::check_version(new.topic(), &key, expected, actual)?;
        }
        self.append(new)
    }

    /// The number of the last event of a key, 0 where there is none: what this transaction has published counts.
    ///
    /// # Errors
    ///
    /// There is no such topic, or it doesn't [number its events](crate::config::TopicConfig::sequence); or the storage
    /// failed.
    pub fn version(&mut self, topic: &str, key: &str) -> Result<u64, PublishError> {
        let topic = self.topic(topic)?;
        publish::check_sequenced(&topic)?;
        self.txn.version(&topic, key).map_err(|fault| self.fail(fault))
    }

    /// The time that the commit's events get.
    pub fn now(&self) -> Timestamp {
        self.txn.now
    }

    fn own_name(&self, name: &str) -> String {
        [self.space, name].concat()
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, PublishError> {
        let topic = self.txn.shared.topics().named(name).cloned();
        topic.ok_or_else(|| PublishError::UnknownTopic(name.to_owned()))
    }

    /// Checks what has to hold before anything is written.
    fn admit(&mut self, topic: &str, event: Event) -> Result<Arc<NewEvents>, PublishError> {
        let topic = self.topic(topic)?;
        let size = publish::check_event(self.txn.shared, &topic, &event)?;
        if let Some((free, min)) = self.full {
            return Err(PublishError::DiskFull { free, min });
        }
        if self.events == PUBLISH_EVENTS_MAX {
            let what = format!("{} events", self.events + 1);
            return Err(PublishError::TooMany { what, max: PUBLISH_EVENTS_MAX });
        }
        let bytes = self.bytes + size;
        if self.events > 0 && bytes > COMMIT_BYTES_MAX {
            return Err(PublishError::TooMany { what: format!("{bytes} bytes"), max: COMMIT_BYTES_MAX });
        }
        let (event, blob) = blobs::check_in(self.txn.shared, &topic, event)?;
        self.events += 1;
        self.bytes = bytes;
        Ok(NewEvents::of(self.txn.shared.hash_key, topic, &event, blob))
    }

    fn append(&mut self, event: NewEvent<'_>) -> Result<Published, PublishError> {
        let appended = self.txn.append(event).map_err(|fault| self.fail(fault))?;
        if !appended.duplicate {
            self.is_dirty.set(true);
        }
        Ok(appended.into())
    }

    /// The transaction can't be kept any more, whatever the closure makes of the error.
    fn fail(&mut self, fault: StorageFault) -> PublishError {
        self.fault = Some(fault.clone());
        PublishError::Storage(fault)
    }

    fn took(&self) -> Duration {
        self.txn.shared.clock.now().since(self.begun)
    }
}

impl std::fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("events", &self.events).finish_non_exhaustive()
    }
}

/// The names that begin with `space`, without it, in ascending order.
pub(super) fn own_names(names: impl Iterator<Item = String>, space: &str) -> Vec<String> {
    let mut own: Vec<_> = names.filter_map(|name| name.strip_prefix(space).map(str::to_owned)).collect();
    own.sort();
    own
}

/// A transaction's closure on its way to the committer.
///
/// redb can't take back a part of a transaction. So a commit takes one closure, runs it before all else, and begins anew
/// without it where it fails.
pub(super) trait Closure: Send {
    /// Runs it in a transaction of which nothing else is written yet. `full` is set where the disk is too full to publish.
    fn run<'t>(
        &mut self,
        txn: Txn<'t>,
        redb: &'t WriteTransaction,
        full: Option<(u64, u64)>,
    ) -> (Ran, Txn<'t>);

    /// Answers whoever waits.
    fn finish(self: Box<Self>, verdict: &Verdict);
}

/// What has become of a closure.
pub(super) enum Ran {
    /// What it wrote is to become durable.
    Kept,
    /// It wrote nothing.
    Nothing,
    /// What it wrote has to be undone.
    Undo,
    /// The storage failed under it.
    Failed(StorageFault),
}

/// The answer to whoever waits for a transaction.
pub(super) type TransactionReply<T, E> = oneshot::Sender<Result<T, TransactionError<E>>>;

/// See [`Closure`].
pub(super) struct Work<T, E, F> {
    space: &'static str,
    run: Option<F>,
    answer: Option<Result<T, TransactionError<E>>>,
    reply: TransactionReply<T, E>,
}

impl<T, E, F> Work<T, E, F> {
    pub fn new(space: &'static str, work: F, reply: TransactionReply<T, E>) -> Self {
        Self { space, run: Some(work), answer: None, reply }
    }
}

impl<T, E, F> Closure for Work<T, E, F>
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
{
    fn run<'t>(
        &mut self,
        txn: Txn<'t>,
        redb: &'t WriteTransaction,
        full: Option<(u64, u64)>,
    ) -> (Ran, Txn<'t>) {
        let Some(work) = self.run.take() else {
            return (Ran::Nothing, txn);
        };
        let (space, begun) = (self.space, txn.shared.clock.now());
        let mut transaction = Transaction {
            redb,
            txn,
            space,
            full,
            begun,
            events: 0,
            bytes: 0,
            is_dirty: Cell::new(false),
            fault: None,
        };
        let shared = transaction.txn.shared;
        shared.enter_closure();
        // What the closure leaves half-done within the transaction is undone with it.
        let result = catch_unwind(AssertUnwindSafe(|| work(&mut transaction)));
        shared.leave_closure();
        let answer = match result {
            Err(panic) => Err(TransactionError::Panicked(panic_message(&*panic).to_owned())),
            Ok(Err(refused)) => Err(TransactionError::Refused(refused)),
            Ok(Ok(_)) if transaction.took() > TRANSACTION_TIME_MAX => {
                Err(TransactionError::TooSlow { took: transaction.took(), max: TRANSACTION_TIME_MAX })
            }
            Ok(Ok(value)) => Ok(value),
        };
        // A failed storage is the answer, whatever the closure made of it.
        if let Some(fault) = transaction.fault.take() {
            return (Ran::Failed(fault), transaction.txn);
        }
        let ran = match (transaction.is_dirty.get(), &answer) {
            (false, _) => Ran::Nothing,
            (true, Ok(_)) => Ran::Kept,
            (true, Err(_)) => Ran::Undo,
        };
        self.answer = Some(answer);
        (ran, transaction.txn)
    }

    fn finish(self: Box<Self>, verdict: &Verdict) {
        let answer = match (self.answer, verdict) {
            // What was refused was refused, whatever became of its neighbours.
            (Some(Err(refused)), _) => Err(refused),
            (Some(answer), Verdict::Durable) => answer,
            (_, Verdict::InDoubt(fault)) => Err(TransactionError::InDoubt(fault.clone())),
            (_, Verdict::DiskFull { free, min }) => {
                Err(TransactionError::DiskFull { free: *free, min: *min })
            }
            (_, Verdict::Closed) => Err(TransactionError::Closed),
            (_, Verdict::Durable | Verdict::Reopening) => Err(TransactionError::Reopening),
        };
        // Whoever doesn't wait any more gets no answer; what was done is done all the same.
        drop(self.reply.send(answer));
    }
}
