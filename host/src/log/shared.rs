//! What the committer and the readers share: the database, and what memory knows of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::thread::{self, ThreadId};

use redb::{ReadTransaction, ReadableDatabase};
use tokio::sync::{Notify, watch};

use super::blobs::{self, BlobStore};
use super::error::ReadError;
use super::guard::OpenDatabase;
use super::journal::JournalSize;
use super::medium::Medium;
use super::memtable::{MemRows, Memtable};
use super::schema::{self, ConsumerRow};
use super::schemas::Subjects;
use super::topics::{Topic, Topics};
use super::visibility::Visibility;
use crate::clock::{Clock, Random};
use crate::config::CommitMode;
use crate::effects::TopicDirectory;
use crate::event::Event;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{EVENT_BYTES_CEILING, MEMTABLE_BYTES_KEPT, MEMTABLE_JOURNALS};
use crate::schema::SchemaRefusal;

/// Settings of the log.
#[derive(Clone, Debug)]
pub(crate) struct LogOptions {
    /// How commits reach the disk.
    pub commit: CommitMode,
    /// Largest event, in bytes of [`Event::size`](crate::event::Event::size).
    pub event_bytes_max: usize,
    /// The database's cache, in bytes.
    pub cache_bytes: usize,
    /// The journal, in bytes; 0 for none.
    pub journal_bytes: usize,
    /// The part of the database's file that it has beside a large one, see [`JOURNAL_FILE_PART`](crate::limits::JOURNAL_FILE_PART).
    pub journal_file_part: u64,
    /// Free space that publishing leaves on the disk, in bytes.
    pub free_bytes_min: u64,
    /// The most that the blob store takes, in bytes.
    pub blobs_bytes_max: u64,
    /// Whether the log has no threads of its own.
    pub is_stepped: bool,
}

impl LogOptions {
    /// How large the journal is to be.
    pub(super) fn journal_size(&self) -> JournalSize {
        // A commit in one phase has no map of the pages.
        let grows = self.commit == CommitMode::QuickRepair;
        JournalSize { bytes: self.journal_bytes as u64, file_part: grows.then_some(self.journal_file_part) }
    }

    /// How many bytes a commit leaves in the memtable.
    pub(super) fn memtable_bytes_kept(&self) -> usize {
        MEMTABLE_BYTES_KEPT.min(self.journal_bytes.saturating_mul(MEMTABLE_JOURNALS))
    }
}

/// Whether the database can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Usable,
    /// A commit failed; it is being opened anew.
    Reopening,
    Closed,
}

/// See the module.
pub(super) struct Shared {
    pub options: LogOptions,
    pub medium: Box<dyn Medium>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub seed: u128,
    pub hash_key: [u8; 16],
    pub blobs: Arc<BlobStore>,
    database: RwLock<Option<Arc<OpenDatabase>>>,
    health: watch::Sender<Health>,
    pub visibility: Visibility,
    /// What is in the log and not in its table yet.
    memtable: RwLock<Memtable>,
    /// A view of what is durable, while the database may have more than that.
    durable: RwLock<Option<Arc<ReadTransaction>>>,
    topics: RwLock<Topics>,
    subjects: RwLock<Subjects>,
    consumers: RwLock<BTreeMap<ConsumerId, ConsumerRow>>,
    lanes: Mutex<Lanes>,
    /// The thread that runs a transaction's closure at this moment.
    closure_runs_on: Mutex<Option<ThreadId>>,
}

/// The lanes that are watched, and their epochs.
#[derive(Default)]
struct Lanes {
    /// Counts up whenever every lane has to read itself back.
    generation: u64,
    by_id: BTreeMap<LaneId, LaneEntry>,
}

#[derive(Default)]
struct LaneEntry {
    changes: u64,
    watcher: Weak<Notify>,
}

/// The log at one moment.
#[derive(Clone)]
pub(super) struct View {
    pub transaction: Arc<ReadTransaction>,
    /// What was not in its table then.
    pub memtable: Arc<MemRows>,
}

impl Shared {
    pub fn new(
        options: LogOptions,
        medium: Box<dyn Medium>,
        blobs: Arc<BlobStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        (seed, hash_key): (u128, [u8; 16]),
        database: OpenDatabase,
    ) -> Self {
        Self {
            blobs,
            options,
            medium,
            clock,
            random,
            seed,
            hash_key,
            database: RwLock::new(Some(Arc::new(database))),
            health: watch::Sender::new(Health::Usable),
            visibility: Visibility::default(),
            memtable: RwLock::default(),
            durable: RwLock::default(),
            topics: RwLock::default(),
            subjects: RwLock::default(),
            consumers: RwLock::default(),
            lanes: Mutex::default(),
            closure_runs_on: Mutex::default(),
        }
    }

    /// The calling thread runs a transaction's closure from here on.
    pub fn enter_closure(&self) {
        *self.closure_runs_on.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
    }

    /// The closure has ended.
    pub fn leave_closure(&self) {
        *self.closure_runs_on.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the calling thread runs a transaction's closure: what waits for the committer would wait for itself.
    pub fn is_in_closure(&self) -> bool {
        let running = *self.closure_runs_on.lock().unwrap_or_else(PoisonError::into_inner);
        running.is_some_and(|thread| thread == thread::current().id())
    }

    /// The database, where it can be used.
    pub fn database(&self) -> Result<Arc<OpenDatabase>, ReadError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        database.clone().ok_or_else(|| match *self.health.borrow() {
            Health::Closed => ReadError::Closed,
            Health::Usable | Health::Reopening => ReadError::Reopening,
        })
    }

    /// A view of what is visible now.
    pub fn begin_read(&self) -> Result<ReadTransaction, ReadError> {
        Ok(self.database()?.begin_read()?)
    }

    /// What is in the log and not in its table yet. Who reads both takes this first: what was taken out of here by then, the
    /// table shows.
    pub fn memtable(&self) -> RwLockReadGuard<'_, Memtable> {
        self.memtable.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for the committer.
    pub fn memtable_mut(&self) -> RwLockWriteGuard<'_, Memtable> {
        self.memtable.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the database shows now that is durable.
    pub fn begin_durable_read(&self) -> Result<Arc<ReadTransaction>, ReadError> {
        // Held until the view is there: what comes after it is hidden first.
        match &*self.durable() {
            Some(read) => Ok(Arc::clone(read)),
            None => Ok(Arc::new(self.begin_read()?)),
        }
    }

    /// A view of what is visible and durable now, and its database.
    pub fn durable_view(&self) -> Result<(Arc<OpenDatabase>, View), ReadError> {
        // It is emptied only once the database is taken out, and nothing leaves it while something is hidden.
        let memtable = self.memtable();
        let database = self.database()?;
        let transaction = self.begin_durable_read()?;
        // Rows get there a moment before they are visible.
        let memtable = memtable.until(schema::last_commit(&transaction)?.number);
        Ok((database, View { transaction, memtable: Arc::new(memtable) }))
    }

    fn durable(&self) -> RwLockReadGuard<'_, Option<Arc<ReadTransaction>>> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, nobody who asks for what is durable is shown what comes after this view.
    pub fn hide_what_comes_after(&self, view: ReadTransaction) {
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(view));
    }

    /// All that the database has is durable now, or it is taken out.
    pub fn hide_nothing(&self) {
        self.durable.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    #[cfg(test)]
    pub fn hides_something(&self) -> bool {
        self.durable().is_some()
    }

    /// Takes the database out: nobody begins to read or write any more. Its file is closed, and its lock let go of, when
    /// those who have begun are done with what they hold of it.
    pub fn take_database(&self, health: Health) -> Option<Arc<OpenDatabase>> {
        self.health.send_replace(health);
        self.database.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts the database back that was opened anew.
    pub fn put_database(&self, database: OpenDatabase) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(database));
        self.health.send_replace(Health::Usable);
    }

    /// Follows whether the database can be used.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn topics_mut(&self) -> RwLockWriteGuard<'_, Topics> {
        self.topics.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn subjects(&self) -> RwLockReadGuard<'_, Subjects> {
        self.subjects.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn subjects_mut(&self) -> RwLockWriteGuard<'_, Subjects> {
        self.subjects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds an event against the schema of its type, where the topic requires that.
    pub fn check_schema(&self, topic: &Topic, event: &Event) -> Result<(), SchemaRefusal> {
        if topic.requires_schemas() {
            crate::schema::check(&topic.name, event, |name| self.subjects().named(name).cloned())
        } else {
            Ok(())
        }
    }

    pub fn topic(&self, id: TopicId) -> Option<Arc<Topic>> {
        self.topics().get(id).cloned()
    }

    /// A topic that numbers the events of its keys.
    pub fn sequenced(&self, name: &str) -> Result<Arc<Topic>, ReadError> {
        let topic = self.topics().named(name).cloned();
        let topic = topic.ok_or_else(|| ReadError::UnknownTopic(name.to_owned()))?;
        if topic.sequence { Ok(topic) } else { Err(ReadError::NotSequenced(name.to_owned())) }
    }

    pub fn consumers(&self) -> RwLockReadGuard<'_, BTreeMap<ConsumerId, ConsumerRow>> {
        self.consumers.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn consumers_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<ConsumerId, ConsumerRow>> {
        self.consumers.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer of this name.
    pub fn consumer(&self, name: &str) -> Option<(ConsumerId, ConsumerRow)> {
        let consumers = self.consumers();
        consumers.iter().find(|(_, row)| &*row.name == name).map(|(id, row)| (*id, row.clone()))
    }

    /// The lane's epoch, see [`Lane`](super::lane_rows::Lane).
    pub fn lane_epoch(&self, lane: LaneId) -> u64 {
        let lanes = self.lanes();
        let changes = lanes.by_id.get(&lane).map_or(0, |entry| entry.changes);
        // Both count what happens by hand or by accident, so neither comes near 32 bits.
        (lanes.generation << 32) + changes
    }

    /// Makes the lane read itself back.
    pub fn change_lane(&self, lane: LaneId) {
        let mut lanes = self.lanes();
        let entry = lanes.by_id.entry(lane).or_default();
        entry.changes += 1;
        if let Some(watcher) = entry.watcher.upgrade() {
            watcher.notify_one();
        }
    }

    /// Makes every lane read itself back.
    pub fn change_all_lanes(&self) {
        let mut lanes = self.lanes();
        lanes.generation += 1;
        for watcher in lanes.by_id.values().filter_map(|entry| entry.watcher.upgrade()) {
            watcher.notify_one();
        }
    }

    /// From now on, `watcher` is woken when the lane has to read itself back, until it is dropped.
    pub fn watch_lane(&self, lane: LaneId, watcher: &Arc<Notify>) {
        self.lanes().by_id.entry(lane).or_default().watcher = Arc::downgrade(watcher);
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TopicDirectory for Shared {
    fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topics().named(name).map(|topic| topic.id)
    }

    fn is_sequenced(&self, topic: TopicId) -> bool {
        self.topic(topic).is_some_and(|topic| topic.sequence)
    }

    fn event_bytes_max(&self, topic: TopicId, event: &Event) -> usize {
        let max = self.options.event_bytes_max;
        let topic = self.topic(topic);
        let without_data = topic.and_then(|topic| blobs::checked_in_size(self, &topic, event));
        if without_data.is_some_and(|size| size <= max) { EVENT_BYTES_CEILING } else { max }
    }

    fn check_schema(&self, topic: TopicId, event: &Event) -> Result<(), SchemaRefusal> {
        self.topic(topic).map_or(Ok(()), |topic| Self::check_schema(self, &topic, event))
    }
}
