//! Giving commands to aggregates.

use std::future::poll_fn;
use std::time::Duration;

use thiserror::Error;

use super::Bus;
use super::aggregates::{AggregateError, RunningAggregate};
use crate::aggregate::{Outcome, OutcomeRow, outcome_key};
use crate::clock::Timestamp;
use crate::event::{Data, Event};
use crate::handler::Failure;
use crate::ids::TopicId;
use crate::limits::AGGREGATE_ID_BYTES_MAX;
use crate::log::{DeadLetter, Entry, Held, Lane, PublishError, Published, ReadError, Wait};

/// Why it can't be said what became of a command.
///
/// ```no_run
/// # fn example(bus: tidegate::Blocking, command: tidegate::Event) -> Result<(), tidegate::ExecuteError> {
/// use std::time::Duration;
/// use tidegate::ExecuteError;
///
/// match bus.execute("accounts", command, Duration::from_secs(5)) {
///     Ok(outcome) => println!("{outcome:?}"),
///     Err(ExecuteError::Expired { .. }) => println!("ask again, with the same command"),
///     Err(ExecuteError::GivenUp { letter, .. }) => println!("an operator looks into dead letter {letter}"),
///     Err(other) => return Err(other),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The aggregate isn't there. Nothing is durable.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// The command's key is too long for an aggregate's id. Nothing is durable.
    #[error("the command's key has {len} bytes: the id of an aggregate has at most {max}")]
    IdSize {
        /// Its length in bytes.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// The command was not published. As [`PublishError`] says, with `InDoubt` it may be durable; giving it again is
    /// safe.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The wait is over. The command is durable, and may still take effect.
    #[error(
        "command `{id}` wasn't decided within {wait:?}{}: it is durable and may still take effect; ask again with the same id",
        if *.is_held { ", and waits for a retry" } else { "" }
    )]
    Expired {
        /// The command.
        id: String,
        /// The wait.
        wait: Duration,
        /// Whether an attempt has failed that is to be made again.
        is_held: bool,
    },
    /// The aggregate's program failed at it for the last time: the command is a dead letter, and has changed nothing.
    #[error("command `{id}` was given up on, see dead letter {letter}: {failure}")]
    GivenUp {
        /// The command.
        id: String,
        /// The id of the dead letter.
        letter: u64,
        /// The last failure.
        failure: Box<Failure>,
    },
    /// The consumer was stopped meanwhile. The command is durable, and will be decided when it runs again.
    #[error(
        "the consumer was stopped before command `{0}` was decided: it is durable; ask again with the same id"
    )]
    Stopped(String),
    /// The id was given to another command before: to another aggregate, or of another type or with other data. This one is
    /// not durable.
    #[error(
        "command `{0}` has the id of an earlier command that says something else: give each command an id of its own"
    )]
    IdReused(String),
    /// The command was given before, and nobody knows its outcome any more: it was decided too long ago, its dead letter was
    /// discarded, or the consumer was moved past it.
    #[error(
        "the outcome of command `{0}`, which was given before, is no longer there: look at the aggregate's events for what came \
         of it"
    )]
    NotKept(String),
    /// The log can't be read. The command is durable.
    #[error("the outcome of command `{id}`, which is durable, can't be read: {source}")]
    Read {
        /// The command.
        id: String,
        /// Why.
        source: ReadError,
    },
}

/// What a look at a command's lane has found.
type Found = Result<Outcome, ExecuteError>;

impl Bus {
    /// Gives a command to an aggregate and waits for what becomes of it, at most so long. The command's key
    /// (`partitionkey`, else `subject`) is the id of the aggregate.
    ///
    /// The command is an event of the consumer's topic, and durable before it is decided on. Commands to one aggregate
    /// are decided one after the other, in the order in which they became durable. A command of the same source and id
    /// is given once within the topic's deduplication window: whoever gives it again, after an error or a restart, gets
    /// the outcome of the first, and nothing takes effect twice. Of each partition the outcomes of the latest 10,000
    /// commands are kept: whoever asks for an older one gets [`ExecuteError::NotKept`].
    ///
    /// The wait counts from the call. Publishing isn't cut off by it, since nobody would know then whether it took place.
    ///
    /// Dropping the future takes nothing back: the command may be durable, and is decided then.
    ///
    /// ```no_run
    /// # async fn example(bus: tidegate::Bus) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use tidegate::{Event, Outcome};
    ///
    /// let withdraw = Event::new("withdrawal-17", "/teller/3", "Withdraw.v1")
    ///     .subject("account-9")
    ///     .json_text(r#"{"cents": 500}"#)
    ///     .build()?;
    /// match bus.execute("accounts", withdraw, Duration::from_secs(5)).await? {
    ///     Outcome::Accepted { version, .. } => println!("done: the account is at version {version}"),
    ///     Outcome::Rejected(rejection) => println!("no: {rejection}"),
    ///     other => println!("{other:?}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ExecuteError`], which says whether the command is durable.
    pub async fn execute(
        &self,
        aggregate: &str,
        command: Event,
        wait: Duration,
    ) -> Result<Outcome, ExecuteError> {
        let (id, key) = (command.id().to_owned(), command.key().to_owned());
        if key.len() > AGGREGATE_ID_BYTES_MAX {
            return Err(ExecuteError::IdSize { len: key.len(), max: AGGREGATE_ID_BYTES_MAX });
        }
        let running = self.running_aggregate(aggregate, &key)?;
        let end = self.clock().now().after(wait);
        let published = self.publish(&running.commands.1, command.clone()).await?;
        if published.partition != running.partition || !self.is_first(&running, published, &command) {
            return Err(ExecuteError::IdReused(id));
        }
        let (topic, offset) = (running.commands.0, published.offset);
        let mut is_held = false;
        let decided = running.lane.past(topic, offset, || {
            let found = self.outcome(&running, published, &id, &key);
            is_held = found.is_none();
            found
        });
        let decided = tokio::select! {
            biased;
            decided = decided => decided,
            () = self.passes(end) => return Err(ExecuteError::Expired { id, wait, is_held }),
        };
        decided.unwrap_or(Err(ExecuteError::Stopped(id)))
    }

    /// Whether a command that was published is the first one of its id, or says what that did. One that can't be read any
    /// more may be the same.
    fn is_first(&self, running: &RunningAggregate, at: Published, command: &Event) -> bool {
        if !at.duplicate {
            return true;
        }
        let entries = self.inner.log.read(running.commands.0, at.partition, at.offset, 1, 1);
        match entries.ok().and_then(|entries| entries.into_iter().next()) {
            Some(Entry::Event(first)) if first.offset == at.offset => {
                match self.inner.log.with_data(&first.event) {
                    Ok(Some(first)) => says_the_same(&first, command),
                    Ok(None) => says_the_same(&first.event, command),
                    Err(_) => true,
                }
            }
            _ => true,
        }
    }

    /// What has become of a command that its lane has come past; `None` while it is held, or to be delivered again.
    fn outcome(&self, running: &RunningAggregate, at: Published, id: &str, key: &str) -> Option<Found> {
        let read = |source| ExecuteError::Read { id: id.to_owned(), source };
        match self.read_outcome(running, running.commands.0, at.offset) {
            Err(source) => Some(Err(read(source))),
            Ok(Seen::Decided(row)) => Some(row.of(key).ok_or_else(|| ExecuteError::IdReused(id.to_owned()))),
            Ok(Seen::Ahead) => None,
            Ok(Seen::GivenUp(letter)) => {
                let is_another = letter.event.as_ref().is_some_and(|event| event.key() != key);
                let id = id.to_owned();
                Some(Err(if is_another {
                    ExecuteError::IdReused(id)
                } else {
                    ExecuteError::GivenUp { id, letter: letter.id, failure: Box::new(letter.reason) }
                }))
            }
            Ok(Seen::Nothing) => Some(Err(ExecuteError::NotKept(id.to_owned()))),
        }
    }

    /// Looks twice where there is nothing: what is held may have been decided since it was looked for among the
    /// outcomes, and a dead letter put back to work since it was looked for among what is held.
    fn read_outcome(
        &self,
        running: &RunningAggregate,
        topic: TopicId,
        offset: u64,
    ) -> Result<Seen, ReadError> {
        for _ in 0..2 {
            let log = &self.inner.log;
            let row = log.state(running.lane.id)?.get(&outcome_key(offset));
            let row = row.map_err(|error| ReadError::Damaged {
                what: "the outcome of a command".to_owned(),
                reason: error.0,
            })?;
            if let Some(row) = row.as_deref().and_then(OutcomeRow::decode) {
                return Ok(Seen::Decided(row));
            }
            let Lane { progress, held, .. } = log.lane(running.lane.id)?;
            // Somebody has moved the consumer back since the lane last said how far it is.
            if progress.next.get(&topic).is_none_or(|next| *next <= offset) {
                return Ok(Seen::Ahead);
            }
            let is_it = |held: &Held| held.topic == topic && held.offset == offset;
            // What parks its key waits for an operator: its letter says so.
            let is_at_work = |held: &Held| held.wait != Wait::Operator;
            if held.values().any(|held| is_it(held) && is_at_work(held)) {
                return Ok(Seen::Ahead);
            }
            let consumer = running.lane.id.consumer;
            if let Some(letter) = log.dead_letter_of(consumer, (topic, running.partition, offset))? {
                return Ok(Seen::GivenUp(Box::new(letter)));
            }
        }
        Ok(Seen::Nothing)
    }

    /// Ends at a moment, wherever it is waited for: timers are those of the bus's own threads.
    async fn passes(&self, end: Timestamp) {
        let clock = self.clock();
        let mut sleep = clock.sleep_until(end);
        poll_fn(|cx| {
            let _entered = self.inner.handle.enter();
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}

/// Whether two commands ask for the same. When they were made, and what traces them, may differ.
fn says_the_same(one: &Event, other: &Event) -> bool {
    let asks = |event: &Event| (event.kind().to_owned(), event.key().to_owned());
    asks(one) == asks(other)
        && match (one.data(), other.data()) {
            // Who writes the same JSON again may order its members otherwise.
            (Some(Data::Json(one)), Some(Data::Json(other))) if one != other => {
                let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
                read(one).is_some_and(|one| Some(one) == read(other))
            }
            (one, other) => one == other,
        }
}

/// What there is of a command.
enum Seen {
    Decided(OutcomeRow),
    /// It is held, or to be delivered yet.
    Ahead,
    GivenUp(Box<DeadLetter>),
    Nothing,
}
