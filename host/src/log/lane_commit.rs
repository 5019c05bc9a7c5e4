//! A lane's batch on its way into a commit: progress, held events, dead letters, state and events, all or nothing.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::claims::{self, Holder};
use super::error::{CommitError, StorageFault};
use super::lane_rows::LaneCommit;
use super::new_events::NewEvents;
use super::schema::{self, meta};
use super::timer_changes::TimerChanges;
use super::timers;
use super::txn::{Change, Txn, Verdict};
use crate::limits::{COMMIT_BYTES_MAX, LANE_COMMIT_LARGE};
use crate::timer::TimerCounts;

/// What a row of bookkeeping weighs, in bytes, beside what a delivery wrote: its key, its numbers, redb's own.
const ROW_BYTES: usize = 64;

/// The answer to a lane.
pub(super) type CommitReply = oneshot::Sender<Result<TimerCounts, CommitError>>;

/// See the module.
pub(super) struct CommitLane {
    commit: LaneCommit,
    /// What its deliveries have published.
    events: Arc<NewEvents>,
    /// What they have done to timers.
    timers: TimerChanges,
    refused: Option<Refused>,
    /// The timers that the lane had before it.
    timers_before: TimerCounts,
    reply: CommitReply,
}

/// Why nothing is written.
#[derive(Clone, Copy)]
enum Refused {
    Stale,
    Conflict,
}

impl CommitLane {
    pub fn new(commit: LaneCommit, events: NewEvents, timers: TimerChanges, reply: CommitReply) -> Self {
        let timers_before = commit.progress.timers;
        Self { commit, events: Arc::new(events), timers, refused: None, timers_before, reply }
    }

    fn refusal(&self, txn: &mut Txn<'_>) -> Result<Option<Refused>, StorageFault> {
        let lane = self.commit.lane;
        if txn.has_changed(lane) || txn.shared.lane_epoch(lane) != self.commit.epoch {
            return Ok(Some(Refused::Stale));
        }
        Ok(self.is_in_conflict(txn)?.then_some(Refused::Conflict))
    }

    /// Whether somebody else has appended to a key that this is to follow on, or an event is there already: then the
    /// key's numbers aren't those that were counted on.
    fn is_in_conflict(&self, txn: &mut Txn<'_>) -> Result<bool, StorageFault> {
        let expected = &self.commit.effects.expected;
        for ((topic, key), number) in expected {
            let topic = txn.shared.topic(*topic);
            if let Some(topic) = topic
                && txn.version(&topic, key)? != *number
            {
                return Ok(true);
            }
        }
        if !expected.is_empty() {
            for event in self.events.iter() {
                let is_expected = expected.keys().any(|(topic, _)| *topic == event.topic().id);
                if is_expected && txn.known(event)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Change for CommitLane {
    fn bytes(&self) -> usize {
        let letters: usize = self
            .commit
            .dead_letters
            .iter()
            .filter_map(|letter| letter.event.as_ref())
            .map(|event| event.size())
            .sum();
        let rows = 1 + self.commit.held.len() + self.commit.dead_letters.len() + 2 * self.timers.came().len();
        (self.commit.effects.bytes + letters + rows * ROW_BYTES).min(COMMIT_BYTES_MAX)
    }

    fn adds(&self) -> bool {
        !self.events.is_empty() || self.timers.sets_any()
    }

    /// A lane waits for its answer before it goes on, so no other commit of it is overtaken.
    fn takes_turns(&self) -> bool {
        self.bytes() >= LANE_COMMIT_LARGE
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageFault> {
        let lane = self.commit.lane;
        let row_key = (lane.consumer.0, lane.partition);
        self.refused = self.refusal(txn)?;
        if self.refused.is_some() {
            txn.wrote_nothing();
            return Ok(());
        }
        // From what it began with: a group that is built anew does this again.
        self.commit.progress.timers = timers::change(txn, lane, self.timers_before, &self.timers)?;
        txn.tables.lanes.insert(row_key, schema::encode(row_key, &self.commit.progress).as_slice())?;
        for (id, held) in &self.commit.held {
            let key = (lane.consumer.0, lane.partition, *id);
            if let Some(held) = held {
                txn.tables.held.insert(key, schema::encode(key, held).as_slice())?;
                claims::add_of(&mut txn.tables, Holder::Held(lane, *id), held.event.as_deref())?;
            } else {
                txn.tables.held.remove(key)?;
                claims::release(txn, Holder::Held(lane, *id))?;
            }
        }
        for letter in &mut self.commit.dead_letters {
            letter.id = txn.tables.take_number(meta::NEXT_LETTER)?;
            let key = (lane.consumer.0, letter.id);
            txn.tables.dead_letters.insert(key, schema::encode(key, letter).as_slice())?;
            let holder = Holder::Letter(lane.consumer, letter.id);
            claims::add_of(&mut txn.tables, holder, letter.event.as_deref())?;
        }
        let prefix = schema::state_prefix(lane.consumer, lane.partition);
        for (key, value) in &self.commit.effects.state {
            let key = [prefix.as_slice(), key].concat();
            match value {
                Some(value) => txn.tables.state.insert(key.as_slice(), value.as_slice())?,
                None => _ = txn.tables.state.remove(key.as_slice())?,
            }
        }
        for event in self.events.iter() {
            txn.append(event)?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, verdict: &Verdict) {
        let answer = match verdict {
            Verdict::Durable => match self.refused {
                None => Ok(self.commit.progress.timers),
                Some(Refused::Stale) => Err(CommitError::Stale),
                Some(Refused::Conflict) => Err(CommitError::Conflict),
            },
            Verdict::InDoubt(fault) => Err(CommitError::Failed(fault.clone())),
            Verdict::DiskFull { free, min } => Err(CommitError::DiskFull { free: *free, min: *min }),
            Verdict::Reopening => Err(CommitError::Reopening),
            Verdict::Closed => Err(CommitError::Closed),
        };
        // A lane that was aborted gets no answer; its next run reads back what is durable.
        drop(self.reply.send(answer));
    }
}
