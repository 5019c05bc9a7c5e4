//! The log as the layers above see it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use tokio::sync::oneshot;

use super::admission::{self, Admission, Refusal};
use super::blobs::{self, BlobStore, Usage};
use super::claims::{self, ListedBlob};
use super::committer::{Closing, Committer, Never};
use super::error::{
    AdminError, BlobError, CommitError, OpenError, PublishError, ReadError, TransactionError,
};
use super::generations::is_generation;
use super::guard::reading;
use super::hash;
use super::lane_commit::CommitLane;
use super::lane_rows::{DeadLetter, Lane, LaneCommit};
use super::letters;
use super::load;
use super::medium::Medium;
#[cfg(test)]
use super::memtable::Memtable;
use super::new_events::NewEvents;
use super::open;
use super::publish::{self, Expected, Publish, Published};
use super::read::{self, Entry, Numbered, StateSnapshot};
use super::schema::ConsumerRow;
use super::shared::{Health, LogOptions, Shared};
use super::snapshot::LogSnapshot;
use super::steps::Steps;
use super::timer_changes::TimerChanges;
use super::topics::Topic;
use super::transaction::{Transaction, Work};
use super::txn::Change;
use super::watcher::Watcher;
use crate::clock::{Clock, Random, Timestamp};
use crate::config::TopicConfig;
use crate::effects::{StateRead, TopicDirectory};
use crate::event::{BlobDigest, Event};
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{COMMIT_BYTES_MAX, LETTERS_MAX, PUBLISH_EVENTS_MAX};
use crate::timer::TimerCounts;

/// A topic, for people.
#[derive(Clone, Debug)]
pub(crate) struct TopicInfo {
    pub name: Arc<str>,
    pub created: Timestamp,
    pub config: TopicConfig,
    pub partitions: Vec<PartitionInfo>,
}

/// A partition, for people.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionInfo {
    /// The first offset that is retained.
    pub low: u64,
    /// The first offset that isn't there yet.
    pub next: u64,
    /// Bytes of the batches that are retained.
    pub bytes: u64,
}

/// The log. One for each database; it is shared by reference.
pub(crate) struct Log {
    pub(super) shared: Arc<Shared>,
    admission: Mutex<Option<Admission>>,
    /// Dropped to end the committer.
    end: Mutex<Option<Sender<Never>>>,
    committer: Mutex<Option<Worker>>,
    /// Held by who removes blobs that nobody needs: one at a time.
    pub(super) collecting: tokio::sync::Mutex<()>,
    unclean: bool,
}

/// Who has the committer work.
enum Worker {
    Thread(JoinHandle<Closing>),
    Steps(Steps),
}

impl Worker {
    /// Has what was admitted written and the database closed.
    fn finish(self) -> Closing {
        match self {
            // The committer catches what panics in it; should one come through all the same, the log is closed.
            Self::Thread(thread) => thread.join().unwrap_or(Closing::Failing),
            Self::Steps(steps) => steps.finish().unwrap_or(Closing::Failing),
        }
    }
}

impl Log {
    /// Opens the log, makes one where there is none, and starts its committer: on a thread of its own, unless it is to work
    /// in steps.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub fn open(
        options: LogOptions,
        medium: Box<dyn Medium>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        steps: Option<Steps>,
    ) -> Result<Self, OpenError> {
        let opened = open::open(&options, &*medium, &*random)?;
        let path = medium.path().to_owned();
        // By now nobody else has them.
        let blobs = BlobStore::open(&*medium, options.blobs_bytes_max)
            .map_err(|source| OpenError::Io { path: path.clone(), source: Arc::new(source) })?;
        let (unclean, journal) = (opened.unclean, opened.journal);
        let shared = Arc::new(Shared::new(
            options,
            medium,
            blobs,
            clock,
            random,
            (opened.seed, opened.hash_key),
            opened.database,
        ));
        let loaded = shared.database().and_then(|database| {
            let loaded = open::guarded(&*shared.medium, || load::load(&shared, &database));
            loaded.map_err(|error| ReadError::Damaged {
                what: "the database".to_owned(),
                reason: error.to_string(),
            })?
        });
        let loaded =
            loaded.map_err(|error| OpenError::Damaged { path: path.clone(), reason: error.to_string() })?;
        let (admission, waiting) = admission::queues();
        let (end, ended) = crossbeam_channel::bounded(0);
        let committer = Committer::new(Arc::clone(&shared), waiting, ended, journal, loaded);
        let worker = if let Some(steps) = steps {
            steps.put(committer);
            Worker::Steps(steps)
        } else {
            let thread = std::thread::Builder::new().name("tidegate-commit".to_owned());
            let thread = thread.spawn(move || committer.run());
            Worker::Thread(thread.map_err(|source| OpenError::Io { path, source: Arc::new(source) })?)
        };
        Ok(Self {
            shared,
            admission: Mutex::new(Some(admission)),
            end: Mutex::new(Some(end)),
            committer: Mutex::new(Some(worker)),
            collecting: tokio::sync::Mutex::default(),
            unclean,
        })
    }

    /// Commits what has been admitted, marks the database as closed in good order and closes it. Blocks for that long.
    /// Whatever comes later is refused, and so is what waits to be admitted: says how many calls that were. Closed for a
    /// second time, it has nothing to say.
    pub fn close(&self) -> Option<(Closing, u64)> {
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(admission) = &admission {
            admission.close();
        }
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let closing = committer.finish();
        self.shared.take_database(Health::Closed);
        Some((closing, admission.map_or(0, |admission| admission.refused())))
    }

    /// Has the log end by itself: what has been admitted is committed, whatever comes later is refused. Doesn't wait.
    pub fn let_go(&self) {
        if let Some(admission) = self.admission.lock().unwrap_or_else(PoisonError::into_inner).take() {
            admission.close();
        }
        self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What has no place in its table yet.
    #[cfg(test)]
    pub(super) fn memtable(&self) -> Memtable {
        self.shared.memtable().clone()
    }

    /// Whether a commit is on its way to the disk that the database has.
    #[cfg(test)]
    pub fn has_in_flight(&self) -> bool {
        self.shared.hides_something()
    }

    /// The bus's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// The bus's source of chance.
    pub fn random(&self) -> &Arc<dyn Random> {
        &self.shared.random
    }

    /// The bus's own seed: what its plugins' random numbers come from.
    pub fn seed(&self) -> u128 {
        self.shared.seed
    }

    /// Whether the process before ended without [`close`](Self::close).
    pub fn was_unclean(&self) -> bool {
        self.unclean
    }

    /// Ends once the storage can be used: at once, or when it has been opened anew after a failure.
    ///
    /// # Errors
    ///
    /// The log is closed.
    pub async fn usable(&self) -> Result<(), ReadError> {
        let mut health = self.shared.health();
        let state = health.wait_for(|health| *health != Health::Reopening).await;
        match state.map(|state| *state) {
            Ok(Health::Usable) => Ok(()),
            _ => Err(ReadError::Closed),
        }
    }

    /// Ends when the log is closed.
    pub async fn closed(&self) {
        // A sender that is gone says the same.
        drop(self.shared.health().wait_for(|health| *health == Health::Closed).await);
    }

    /// Publishes events of any topics: all become durable in one commit, or none.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub async fn append(&self, events: Vec<(&str, Event)>) -> Result<Vec<Published>, PublishError> {
        self.append_checked(self.checked(events)?, None).await
    }

    /// Publishes events of one key on condition that the last one of the key has this number, 0 where there is to be none.
    ///
    /// # Errors
    ///
    /// See [`PublishError`].
    pub async fn append_expecting(
        &self,
        topic: &str,
        expected: u64,
        events: Vec<Event>,
    ) -> Result<Vec<Published>, PublishError> {
        let Some(key) = events.first().map(|first| first.key().to_owned()) else { return Ok(Vec::new()) };
        let other = events.iter().find(|event| event.key() != key).map(|other| other.key().to_owned());
        let events = self.checked(events.into_iter().map(|event| (topic, event)).collect())?;
        if let Some(first) = events.topics().next() {
            publish::check_sequenced(first)?;
        }
        if let Some(other) = other {
            return Err(PublishError::MixedKeys { first: key, other });
        }
        self.append_checked(events, Some(Expected { key, number: expected })).await
    }

    async fn append_checked(
        &self,
        events: NewEvents,
        expected: Option<Expected>,
    ) -> Result<Vec<Published>, PublishError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        self.admit(Box::new(Publish::new(events, expected, reply))).await?;
        let (answer, _) = answer.await.map_err(|_| PublishError::Closed)?;
        Ok(answer?.into_iter().map(Published::from).collect())
    }

    /// Runs a closure on own tables, whose names in the database begin with `space`, and on events: all of it becomes
    /// durable in one commit, or none.
    ///
    /// # Errors
    ///
    /// See [`TransactionError`].
    pub async fn transact<T, E, F>(&self, space: &'static str, work: F) -> Result<T, TransactionError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.admission()?.admit_closure(Box::new(Work::new(space, work, reply))).await?;
        answer.await.unwrap_or(Err(TransactionError::Closed))
    }

    /// The application's tables and the log as they are now.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn snapshot(&self, space: &'static str) -> Result<LogSnapshot, ReadError> {
        self.shared.visibility.wait();
        reading(|| LogSnapshot::new(Arc::clone(&self.shared), space))
    }

    /// The number of the last event of a key, 0 where there is none.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn version(&self, topic: &str, key: &str) -> Result<u64, ReadError> {
        self.shared.visibility.wait();
        reading(|| read::version(&self.shared, &*self.shared.sequenced(topic)?, key))
    }

    /// The next events of a key behind number `after`, some at a time. Empty at the end.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn key_events(&self, topic: &str, key: &str, after: u64) -> Result<Vec<Numbered>, ReadError> {
        self.shared.visibility.wait();
        reading(|| read::key_events(&self.shared, &*self.shared.sequenced(topic)?, key, after))
    }

    fn checked(&self, events: Vec<(&str, Event)>) -> Result<NewEvents, PublishError> {
        if events.len() > PUBLISH_EVENTS_MAX {
            return Err(PublishError::TooMany {
                what: format!("{} events", events.len()),
                max: PUBLISH_EVENTS_MAX,
            });
        }
        let mut bytes = 0;
        let mut topics: Vec<Arc<Topic>> = Vec::with_capacity(events.len());
        for (name, event) in &events {
            // Most calls name one topic.
            let topic = match topics.last() {
                Some(topic) if &*topic.name == *name => Arc::clone(topic),
                _ => self.topic(name).ok_or_else(|| PublishError::UnknownTopic((*name).to_owned()))?,
            };
            bytes += publish::check_event(&self.shared, &topic, event)?;
            topics.push(topic);
        }
        if topics.len() > 1 && bytes > COMMIT_BYTES_MAX {
            return Err(PublishError::TooMany { what: format!("{bytes} bytes"), max: COMMIT_BYTES_MAX });
        }
        let mut checked = NewEvents::with_capacity(events.len(), bytes);
        for (topic, (_, event)) in topics.into_iter().zip(events) {
            let (event, blob) = blobs::check_in(&self.shared, &topic, event)?;
            checked.push(self.shared.hash_key, topic, &event, blob);
        }
        Ok(checked)
    }

    /// Makes a lane's batch durable: all of it or nothing. Returns how many timers the lane has then.
    ///
    /// # Errors
    ///
    /// See [`CommitError`].
    pub async fn commit(&self, mut commit: LaneCommit) -> Result<TimerCounts, CommitError> {
        let published = std::mem::take(&mut commit.effects.events);
        let mut events =
            NewEvents::with_capacity(published.len(), published.iter().map(|(_, event)| event.size()).sum());
        for (topic, event) in published {
            // Topics are never removed while a bus is open, so what was there when the plugin asked still is.
            if let Some(topic) = self.shared.topic(topic) {
                let (event, blob) = blobs::check_in(&self.shared, &topic, event)?;
                let was_written = blob.is_some();
                events.push(self.shared.hash_key, topic, &event, blob);
                if was_written {
                    // After two syncs, others have the thread for once.
                    tokio::task::yield_now().await;
                }
            }
        }
        let (came, effects) = (std::mem::take(&mut commit.came), &mut commit.effects);
        let (changed, numbers) = (std::mem::take(&mut effects.timers), effects.timers_set);
        let timers = TimerChanges::new(self.shared.hash_key, commit.lane, came, changed, numbers);
        let (reply, answer) = oneshot::channel();
        let change = Box::new(CommitLane::new(commit, events, timers, reply));
        // Lanes run on threads of their own, so a refusal means that the log is closed.
        let admitted = async { self.admission()?.enqueue(change).await };
        admitted.await.map_err(|_| CommitError::Closed)?;
        answer.await.unwrap_or(Err(CommitError::Closed))
    }

    pub(super) async fn admit(&self, change: Box<dyn Change>) -> Result<(), Refusal> {
        self.admission()?.admit(change).await
    }

    fn admission(&self) -> Result<Admission, Refusal> {
        if self.shared.is_in_closure() {
            return Err(Refusal::InTransaction);
        }
        let admission = self.admission.lock().unwrap_or_else(PoisonError::into_inner).clone();
        admission.ok_or(Refusal::Closed)
    }

    /// Whether the calling thread runs a transaction's closure: what waits for others there waits for itself.
    pub fn is_in_closure(&self) -> bool {
        self.shared.is_in_closure()
    }

    /// Dead letters of a consumer with ids above `after`, ascending, at most `limit` of them.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn dead_letters(
        &self,
        consumer: ConsumerId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, ReadError> {
        reading(|| letters::list(&self.shared, consumer, after, limit.min(LETTERS_MAX)))
    }

    /// A dead letter of a consumer.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn dead_letter(&self, consumer: ConsumerId, letter: u64) -> Result<Option<DeadLetter>, ReadError> {
        reading(|| letters::get(&self.shared, consumer, letter))
    }

    /// The newest dead letter of a consumer that is of the event at this place.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn dead_letter_of(
        &self,
        consumer: ConsumerId,
        place: (TopicId, u32, u64),
    ) -> Result<Option<DeadLetter>, ReadError> {
        reading(|| letters::of_event(&self.shared, consumer, place))
    }

    /// Free bytes on the disk, where it says so.
    pub fn free_bytes(&self) -> Option<u64> {
        self.shared.medium.free_bytes().ok()
    }

    /// How many dead letters a consumer has.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn dead_letter_count(&self, consumer: ConsumerId) -> Result<u64, ReadError> {
        self.dead_letter_count_up_to(consumer, u64::MAX)
    }

    /// The same, but no further than to `max`.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn dead_letter_count_up_to(&self, consumer: ConsumerId, max: u64) -> Result<u64, ReadError> {
        reading(|| letters::count(&self.shared, consumer, max))
    }

    /// Reads events from `from` on, or from the first retained one where that is later: at most so many, and about so
    /// many bytes. Empty at the end of what is durable.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn read(
        &self,
        topic: TopicId,
        partition: u32,
        from: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        self.shared.visibility.wait();
        Ok(self.read_visible(topic, partition, from, events_max, bytes_max)?.0)
    }

    /// As [`read`](Self::read), for a lane, and where the partition ends. It takes what is visible now: it is woken when there
    /// is more.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn read_visible(
        &self,
        topic: TopicId,
        partition: u32,
        from: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<(Vec<Entry>, u64), ReadError> {
        let end = self.visible_end(topic, partition);
        let read = || read::events(&self.shared, topic, partition, from, events_max, bytes_max);
        Ok((reading(read)?, end))
    }

    /// The first offset whose event was appended at `time` or later; the next offset where there is none.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn offset_at(&self, topic: TopicId, partition: u32, time: Timestamp) -> Result<u64, ReadError> {
        self.shared.visibility.wait();
        reading(|| read::offset_at(&self.shared, topic, partition, time))
    }

    /// The first offset that isn't there yet.
    pub fn next_offset(&self, topic: TopicId, partition: u32) -> u64 {
        self.shared.visibility.wait();
        self.visible_end(topic, partition)
    }

    fn visible_end(&self, topic: TopicId, partition: u32) -> u64 {
        let topic = self.shared.topic(topic);
        topic
            .and_then(|topic| topic.partitions.get(partition as usize).map(super::topics::Partition::next))
            .unwrap_or(0)
    }

    /// Reads a lane back.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn lane(&self, lane: LaneId) -> Result<Lane, ReadError> {
        reading(|| read::lane(&self.shared, lane))
    }

    /// The lane's epoch as it is now, see [`Lane`].
    pub fn lane_epoch(&self, lane: LaneId) -> u64 {
        self.shared.lane_epoch(lane)
    }

    /// An event with its data, where that is in the blob store; `None` where it isn't.
    ///
    /// # Errors
    ///
    /// See [`BlobError`].
    pub fn with_data(&self, event: &Event) -> Result<Option<Event>, BlobError> {
        blobs::check_out(&self.shared, event)
    }

    /// What the blob store has, and the most bytes that it may have.
    pub fn blob_usage(&self) -> (Usage, u64) {
        (self.shared.blobs.usage(), self.shared.blobs.bytes_max())
    }

    /// The blobs behind this one that somebody names, by their digests, at most so many.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn blobs(&self, after: Option<BlobDigest>, limit: usize) -> Result<Vec<ListedBlob>, ReadError> {
        self.shared.visibility.wait();
        reading(|| claims::list(&self.shared, after, limit))
    }

    /// Reads a blob, and finds out whether it is as it was written. `None` where nobody names it any more, so that it has been
    /// removed since it was listed.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn verify_blob(&self, blob: ListedBlob) -> Result<Option<Result<(), BlobError>>, ReadError> {
        let found = blobs::read(&*self.shared.medium, blob.digest, blob.bytes).map(drop);
        let is_gone = matches!(found, Err(BlobError::Missing { .. }))
            && !reading(|| claims::is_claimed(&self.shared, blob.digest))?;
        Ok((!is_gone).then_some(found))
    }

    /// A lane's state as it is now.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn state(&self, lane: LaneId) -> Result<Box<dyn StateRead>, ReadError> {
        reading(|| Ok(Box::new(StateSnapshot::new(&self.shared, lane)?) as Box<dyn StateRead>))
    }

    /// Watches a lane and its partition of some topics.
    pub fn watch(&self, lane: LaneId, topics: impl Iterator<Item = TopicId>) -> Watcher {
        let watcher = self.watch_partitions(topics.map(|topic| (topic, lane.partition)));
        self.shared.watch_lane(lane, &watcher.0);
        watcher
    }

    /// Watches partitions.
    pub fn watch_partitions(&self, partitions: impl Iterator<Item = (TopicId, u32)>) -> Watcher {
        let watcher = Watcher::new();
        for (topic, partition) in partitions {
            if let Some(topic) = self.shared.topic(topic)
                && let Some(partition) = topic.partitions.get(partition as usize)
            {
                partition.watch(&watcher.0);
            }
        }
        watcher
    }

    /// All topics, by name.
    pub fn topics(&self) -> Vec<TopicInfo> {
        self.shared.visibility.wait();
        self.shared.topics().sorted().iter().map(|topic| info(topic)).collect()
    }

    /// The number of a topic.
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.topic(name).map(|topic| topic.id)
    }

    /// A topic's name.
    pub fn topic_name(&self, topic: TopicId) -> Option<Arc<str>> {
        self.shared.topic(topic).map(|topic| Arc::clone(&topic.name))
    }

    /// A topic's number of partitions.
    pub fn partition_count(&self, topic: TopicId) -> Option<u32> {
        self.shared.topic(topic).map(|topic| topic.partition_count())
    }

    /// The partition of a key whose events are numbered.
    ///
    /// # Errors
    ///
    /// There is no such topic, or it doesn't number its events.
    pub fn partition_of(&self, topic: &str, key: &str) -> Result<u32, ReadError> {
        let topic = self.shared.sequenced(topic)?;
        Ok(hash::partition_of(hash::key_hash(key), topic.partition_count()))
    }

    /// The first offset that a partition retains.
    pub fn low_offset(&self, topic: TopicId, partition: u32) -> u64 {
        let topic = self.shared.topic(topic);
        topic.and_then(|topic| Some(topic.partitions.get(partition as usize)?.ends().low)).unwrap_or(0)
    }

    /// All consumers, each by its generation that has the name.
    pub fn consumers(&self) -> BTreeMap<ConsumerId, ConsumerRow> {
        let mut consumers = self.generations();
        consumers.retain(|_, row| !is_generation(&row.name));
        consumers
    }

    /// The same, and the generations that are being made or are to be removed.
    pub fn generations(&self) -> BTreeMap<ConsumerId, ConsumerRow> {
        self.shared.consumers().clone()
    }

    /// The consumer of this name.
    pub fn consumer(&self, name: &str) -> Option<(ConsumerId, ConsumerRow)> {
        self.shared.consumer(name)
    }

    /// Finds topics for those who publish from a delivery.
    pub fn directory(&self) -> Arc<dyn TopicDirectory> {
        Arc::clone(&self.shared) as Arc<dyn TopicDirectory>
    }

    fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.shared.topics().named(name).cloned()
    }

    pub(super) fn named(&self, name: &str) -> Result<Arc<Topic>, AdminError> {
        self.topic(name).ok_or_else(|| AdminError::UnknownTopic(name.to_owned()))
    }
}

impl Drop for Log {
    /// A log that is dropped without [`close`](Log::close) lets its committer end by itself, and doesn't wait.
    fn drop(&mut self) {
        self.let_go();
    }
}

fn info(topic: &Topic) -> TopicInfo {
    let partitions = topic.partitions.iter().map(|partition| {
        let ends = partition.ends();
        PartitionInfo { low: ends.low, next: ends.next, bytes: ends.bytes() }
    });
    TopicInfo {
        name: Arc::clone(&topic.name),
        created: topic.created,
        config: topic.config(),
        partitions: partitions.collect(),
    }
}
