//! Changes by hand: to topics, schemas, consumers and dead letters.

use tokio::sync::oneshot;

use super::claims;
use super::error::{AdminError, StorageFault};
use super::generations::{self, Rebuilding};
use super::letters::{self, Fate};
use super::registry::{self, Position};
use super::retention::{self, Trimmed};
use super::schema::ConsumerRow;
use super::schemas;
use super::store::Log;
use super::timers;
use super::txn::{Change, Txn, Verdict};
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::event::Data;
use crate::handler::ProgramVersion;
use crate::ids::{ConsumerId, TopicId};
use crate::limits::LETTERS_MAX;
use crate::schema::{Compatibility, Schema, SchemaVersion, SubjectStatus, VersionedType};
use crate::timer::{TimerName, check_timer};

/// What a change of bookkeeping weighs on the way to the committer, in bytes: about a row for each of many lanes.
const ADMIN_BYTES: usize = 16 << 10;

/// A change that a closure makes.
///
/// The closure refuses (`Err`) before it has written anything, or not at all; a fault of the storage that it meets while
/// it reads or writes is told apart from that by its type, and fails the group.
pub(super) struct Admin<T, F> {
    run: Option<F>,
    bytes: usize,
    adds: bool,
    answer: Option<Result<T, AdminError>>,
    reply: oneshot::Sender<Result<T, AdminError>>,
}

/// What a closure of [`Admin`] answers: the storage's fault, or else what the caller gets.
pub(super) type AdminResult<T> = Result<Result<T, AdminError>, StorageFault>;

impl<T, F> Admin<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Txn<'_>) -> AdminResult<T> + Send + 'static,
{
    /// A change that weighs `bytes`.
    pub fn new(run: F, bytes: usize, adds: bool, reply: oneshot::Sender<Result<T, AdminError>>) -> Self {
        Self { run: Some(run), bytes, adds, answer: None, reply }
    }
}

impl<T, F> Change for Admin<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Txn<'_>) -> AdminResult<T> + Send + 'static,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn adds(&self) -> bool {
        self.adds
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageFault> {
        if let Some(run) = self.run.take() {
            let answer = run(txn)?;
            if answer.is_err() {
                txn.wrote_nothing();
            }
            self.answer = Some(answer);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, verdict: &Verdict) {
        let answer = match (verdict, self.answer) {
            (Verdict::Durable, Some(answer)) => answer,
            // What was refused was refused whatever became of its neighbours.
            (_, Some(Err(refused))) => Err(refused),
            (Verdict::InDoubt(fault), _) => Err(AdminError::InDoubt(fault.clone())),
            (Verdict::DiskFull { free, min }, _) => Err(AdminError::DiskFull { free: *free, min: *min }),
            (Verdict::Closed, _) => Err(AdminError::Closed),
            (Verdict::Reopening | Verdict::Durable, _) => Err(AdminError::Reopening),
        };
        // Who doesn't wait any more gets no answer; the change is made all the same.
        drop(self.reply.send(answer));
    }
}

/// Each is durable when it returns.
impl Log {
    async fn administer<T, F>(&self, bytes: usize, adds: bool, run: F) -> Result<T, AdminError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Txn<'_>) -> AdminResult<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let change = Box::new(Admin::new(run, bytes, adds, reply));
        self.admit(change).await?;
        answer.await.unwrap_or(Err(AdminError::Closed))
    }

    /// Creates a topic. One of the same name and partition count takes over the other settings.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn create_topic(&self, name: &str, config: TopicConfig) -> Result<TopicId, AdminError> {
        let name = name.to_owned();
        self.administer(ADMIN_BYTES, true, move |txn| registry::create_topic(txn, &name, config)).await
    }

    /// Registers a version of a subject.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn register_schema(
        &self,
        event_type: &VersionedType,
        schema: &Schema,
        compatibility: Option<Compatibility>,
    ) -> Result<SchemaVersion, AdminError> {
        loop {
            let standing = self.shared.subjects().standing(event_type.subject());
            let plan = standing.plan(event_type, schema.clone(), compatibility)?;
            let is_done = plan.is_empty() || {
                let bytes = ADMIN_BYTES + plan.bytes();
                self.administer(bytes, true, move |txn| schemas::register(txn, plan)).await?
            };
            let subject = self.shared.subjects().named(event_type.subject()).cloned();
            let there = subject.and_then(|subject| subject.version_status(event_type.version()));
            // Where somebody else was faster, it is decided anew.
            if let (true, Some(there)) = (is_done, there) {
                return Ok(there);
            }
        }
    }

    /// All subjects, by name.
    pub fn subjects(&self) -> Vec<SubjectStatus> {
        self.shared.subjects().sorted().iter().map(|subject| subject.status()).collect()
    }

    /// Removes what the topics' retention says.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn trim(&self) -> Result<Trimmed, AdminError> {
        self.administer(ADMIN_BYTES, false, retention::trim).await
    }

    /// Removes what the blob store has that nobody names any more. Returns how many blobs. Where one can't be removed, it and the
    /// rest are left to the next call.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn collect_blobs(&self) -> Result<u64, AdminError> {
        let _turn = self.collecting.lock().await;
        let (shared, mut removed) = (&self.shared, 0);
        loop {
            let condemned = shared.blobs.condemn();
            if condemned.is_empty() {
                return Ok(removed);
            }
            let look = move |txn: &mut Txn<'_>| {
                txn.wrote_nothing();
                claims::unclaimed(txn, condemned).map(Ok)
            };
            // Its answer is durable, with all that was committed before it.
            let unclaimed = self.administer(ADMIN_BYTES, false, look).await?;
            let of_these = shared.blobs.remove(&*shared.medium, &unclaimed);
            removed += of_these.blobs;
            if of_these.failed > 0 {
                return Ok(removed);
            }
        }
    }

    /// Registers a consumer, or brings one up to its configuration. See [`registry::register`].
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn register(
        &self,
        name: &str,
        topics: &[String],
        start: Position,
    ) -> Result<(ConsumerId, ConsumerRow), AdminError> {
        let topics = topics.iter().map(|topic| self.named(topic)).collect::<Result<Vec<_>, _>>()?;
        let name = name.to_owned();
        // One that is known needs no room, and a full disk is no reason to keep it from freeing some.
        let is_new = self.shared.consumer(&name).is_none();
        self.administer(ADMIN_BYTES, is_new, move |txn| registry::register(txn, &name, &topics, start)).await
    }

    /// Checks, as far as it can be known before, that [`register`](Self::register) would not refuse.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub fn check_registration(&self, name: &str, topics: &[String]) -> Result<(), AdminError> {
        let topics = topics.iter().map(|topic| self.named(topic)).collect::<Result<Vec<_>, _>>()?;
        registry::check(&self.shared, name, &topics)
    }

    /// Pauses a consumer, or lets it go on.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn set_paused(&self, consumer: &str, paused: bool) -> Result<(), AdminError> {
        self.change(consumer, move |row, _| row.paused = paused).await.map(drop)
    }

    /// Notes that no configuration names the consumer any more.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn detach(&self, consumer: &str) -> Result<(), AdminError> {
        self.change(consumer, |row, now| row.detached = row.detached.or(Some(now))).await.map(drop)
    }

    /// Accepts a version of what runs a consumer.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn accept_program(
        &self,
        consumer: &str,
        program: ProgramVersion,
        state_version: u32,
    ) -> Result<ConsumerRow, AdminError> {
        let accept = move |row: &mut ConsumerRow, _| {
            if row.state_version.is_some() && row.program != program {
                row.reloads += 1;
            }
            row.program = program;
            row.state_version = Some(state_version);
        };
        self.change(consumer, accept).await
    }

    async fn change(
        &self,
        consumer: &str,
        change: impl FnOnce(&mut ConsumerRow, Timestamp) + Send + 'static,
    ) -> Result<ConsumerRow, AdminError> {
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| registry::change(txn, &consumer, change)).await
    }

    /// Moves a consumer to another place, in all of its topics or in one, on all lanes or on one.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn seek(
        &self,
        consumer: &str,
        topic: Option<&str>,
        partition: Option<u32>,
        to: Position,
    ) -> Result<(), AdminError> {
        let topic = topic.map(|topic| self.named(topic)).transpose()?;
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| {
            registry::seek(txn, &consumer, topic.as_ref(), partition, to)
        })
        .await
    }

    /// Removes a consumer with all that it has.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn forget(&self, consumer: &str) -> Result<(), AdminError> {
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| registry::forget(txn, &consumer)).await
    }

    /// Sets a timer.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn set_timer(
        &self,
        consumer: &str,
        key: &str,
        name: &str,
        due: Timestamp,
        data: Option<Data>,
        correlation: Option<&str>,
    ) -> Result<(), AdminError> {
        check_timer(name, Some((due, data.as_ref())))?;
        let bytes = ADMIN_BYTES + data.as_ref().map_or(0, |data| data.as_bytes().len());
        let (consumer, name) =
            (consumer.to_owned(), TimerName { key: key.to_owned(), name: name.to_owned() });
        let correlation = correlation.map(str::to_owned);
        let set = move |txn: &mut Txn<'_>| timers::set_by_hand(txn, &consumer, &name, due, data, correlation);
        self.administer(bytes, true, set).await
    }

    /// Cancels a timer.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn cancel_timer(&self, consumer: &str, key: &str, name: &str) -> Result<(), AdminError> {
        let (consumer, name) =
            (consumer.to_owned(), TimerName { key: key.to_owned(), name: name.to_owned() });
        self.administer(ADMIN_BYTES, false, move |txn| timers::cancel_by_hand(txn, &consumer, &name)).await
    }

    /// Begins a generation of a consumer's state. See [`generations::begin`].
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn begin_generation(
        &self,
        consumer: &str,
        topics: &[String],
        rebuilding: Rebuilding,
    ) -> Result<(), AdminError> {
        let topics = topics.iter().map(|topic| self.named(topic)).collect::<Result<Vec<_>, _>>()?;
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, true, move |txn| generations::begin(txn, &consumer, &topics, rebuilding))
            .await
    }

    /// Has the generation that is being made take the consumer's name, if it has come so far. See [`generations::switch`].
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn switch_generation(&self, consumer: &str) -> Result<bool, AdminError> {
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| generations::switch(txn, &consumer)).await
    }

    /// Gives up the generation that is being made, if there is one.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn give_up_generation(&self, consumer: &str) -> Result<(), AdminError> {
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| generations::give_up(txn, &consumer)).await
    }

    /// Removes some of what a consumer's replaced generations have. Whether there is more.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn sweep_generations(&self, consumer: &str) -> Result<bool, AdminError> {
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| generations::sweep(txn, &consumer)).await
    }

    /// Puts dead letters back to work: all of them or none.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn redrive(&self, consumer: &str, letters: Vec<u64>) -> Result<(), AdminError> {
        self.settle(consumer, letters, Fate::Redrive).await
    }

    /// Discards dead letters: all of them or none.
    ///
    /// # Errors
    ///
    /// See [`AdminError`].
    pub async fn discard(&self, consumer: &str, letters: Vec<u64>) -> Result<(), AdminError> {
        self.settle(consumer, letters, Fate::Discard).await
    }

    async fn settle(&self, consumer: &str, letters: Vec<u64>, fate: Fate) -> Result<(), AdminError> {
        if letters.len() > LETTERS_MAX {
            return Err(AdminError::TooMany {
                what: format!("{} dead letters", letters.len()),
                max: LETTERS_MAX,
            });
        }
        let consumer = consumer.to_owned();
        self.administer(ADMIN_BYTES, false, move |txn| letters::settle(txn, &consumer, &letters, fate)).await
    }
}
