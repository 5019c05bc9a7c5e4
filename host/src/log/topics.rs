//! The topics as memory has them: names, settings, and how far each partition goes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use tokio::sync::Notify;

use super::record::bounded_u32;
use crate::clock::Timestamp;
use crate::config::{SchemaPolicy, TopicConfig};
use crate::ids::TopicId;

/// A topic.
#[derive(Debug)]
pub(super) struct Topic {
    pub id: TopicId,
    pub name: Arc<str>,
    pub created: Timestamp,
    pub partitions: Box<[Partition]>,
    /// Whether it numbers the events of each key: fixed when it is created.
    pub sequence: bool,
    /// Whether its events are held against their schemas, see `config`.
    requires_schemas: AtomicBool,
    /// Over how many bytes data goes to the blob store, see `config`; 0 where none does.
    claim_check_over: AtomicUsize,
    config: RwLock<TopicConfig>,
}

impl Topic {
    pub fn new(
        id: TopicId,
        name: Arc<str>,
        created: Timestamp,
        config: TopicConfig,
        ends: Vec<Ends>,
    ) -> Self {
        let partitions = ends.into_iter().map(Partition::new).collect();
        let requires_schemas = AtomicBool::new(config.schemas == SchemaPolicy::Required);
        let claim_check_over = AtomicUsize::new(config.claim_check_over.unwrap_or(0));
        let (sequence, config) = (config.sequence, RwLock::new(config));
        Self { id, name, created, partitions, sequence, requires_schemas, claim_check_over, config }
    }

    pub fn config(&self) -> TopicConfig {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn requires_schemas(&self) -> bool {
        self.requires_schemas.load(Ordering::Relaxed)
    }

    /// Over how many bytes data goes to the blob store, if any does.
    pub fn claim_check_over(&self) -> Option<usize> {
        Some(self.claim_check_over.load(Ordering::Relaxed)).filter(|over| *over > 0)
    }

    pub fn set_config(&self, config: TopicConfig) {
        self.claim_check_over.store(config.claim_check_over.unwrap_or(0), Ordering::Relaxed);
        self.requires_schemas.store(config.schemas == SchemaPolicy::Required, Ordering::Relaxed);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    pub fn partition_count(&self) -> u32 {
        bounded_u32(self.partitions.len())
    }
}

/// What of a partition is durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// The first offset that is retained.
    pub low: u64,
    /// The first offset that isn't there yet.
    pub next: u64,
    /// Bytes of all batches since the partition began.
    pub bytes_after: u64,
    /// Bytes of the batches that retention has removed.
    pub bytes_before: u64,
}

impl Ends {
    /// Bytes of the batches that are retained.
    pub fn bytes(self) -> u64 {
        self.bytes_after.saturating_sub(self.bytes_before)
    }
}

/// A partition.
#[derive(Debug)]
pub(super) struct Partition {
    low: AtomicU64,
    next: AtomicU64,
    bytes_after: AtomicU64,
    bytes_before: AtomicU64,
    watchers: Mutex<Vec<Weak<Notify>>>,
}

impl Partition {
    fn new(ends: Ends) -> Self {
        Self {
            low: AtomicU64::new(ends.low),
            next: AtomicU64::new(ends.next),
            bytes_after: AtomicU64::new(ends.bytes_after),
            bytes_before: AtomicU64::new(ends.bytes_before),
            watchers: Mutex::default(),
        }
    }

    pub fn ends(&self) -> Ends {
        Ends {
            low: self.low.load(Ordering::Acquire),
            next: self.next.load(Ordering::Acquire),
            bytes_after: self.bytes_after.load(Ordering::Acquire),
            bytes_before: self.bytes_before.load(Ordering::Acquire),
        }
    }

    /// The first offset that isn't there yet.
    pub fn next(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Shows what has become durable, and wakes who waits for it.
    pub fn advance(&self, next: u64, bytes_after: u64) {
        self.bytes_after.store(bytes_after, Ordering::Release);
        self.next.store(next, Ordering::Release);
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.upgrade().inspect(|watcher| watcher.notify_one()).is_some());
    }

    /// Shows what has been removed.
    pub fn trim(&self, low: u64, bytes_before: u64) {
        self.low.store(low, Ordering::Release);
        self.bytes_before.store(bytes_before, Ordering::Release);
    }

    /// From now on, `watcher` is woken when events become durable, until it is dropped.
    pub fn watch(&self, watcher: &Arc<Notify>) {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(watcher));
    }
}

/// All topics.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: HashMap<Arc<str>, Arc<Topic>>,
    by_id: BTreeMap<TopicId, Arc<Topic>>,
}

impl Topics {
    pub fn named(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name)
    }

    pub fn get(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.by_id.get(&id)
    }

    pub fn insert(&mut self, topic: Arc<Topic>) {
        self.by_name.insert(Arc::clone(&topic.name), Arc::clone(&topic));
        self.by_id.insert(topic.id, topic);
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// All of them, by name.
    pub fn sorted(&self) -> Vec<Arc<Topic>> {
        let mut topics: Vec<_> = self.by_id.values().cloned().collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        topics
    }
}
