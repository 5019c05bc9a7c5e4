//! What a lane works on between two durable states: its rows, what it has read ahead, and the effects of its batch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::interruption::Interruption;
use super::lane::{Shared, topic_name};
use super::machine::{Machine, Missing, Step, Subject};
use super::merge::{Item, Merge, Next};
use crate::clock::Timestamp;
use crate::effects::{Context, LaneContext};
use crate::handler::{Failure, FailureKind};
use crate::ids::{LaneId, TopicId};
use crate::limits::{LANE_BATCH_DELIVERIES, READ_BYTES_MAX};
use crate::log::{Entry, Held, Lane, LaneCommit, Marked, Stored, Target};

/// See the module. Dropping it undoes all that was not committed.
pub(super) struct Desk {
    pub machine: Machine,
    shared: Arc<Shared>,
    lane: LaneId,
    epoch: u64,
    merge: Merge,
    context: Option<LaneContext>,
    /// The topics' names, in memory of its own: each delivery counts who holds on to its name, and lanes on several threads
    /// would take that count from each other all the time.
    names: BTreeMap<TopicId, Arc<str>>,
}

/// What to do next, with the event that it is about.
pub(super) enum Task {
    /// Make an attempt.
    Deliver(Subject),
    /// Something was settled without a delivery.
    Settled,
    /// Nothing, as the machine says.
    Rest(Step),
}

impl Desk {
    /// Reads the lane back.
    pub(super) fn open(shared: &Arc<Shared>, lane: LaneId) -> Result<Self, Interruption> {
        let Lane { epoch, progress, held } = shared.log.lane(lane)?;
        let machine = Machine::new(Arc::clone(&shared.config), lane.partition, progress, held);
        let names = shared.topics.iter().map(|(topic, name)| (*topic, Arc::from(&**name))).collect();
        let (shared, merge) = (Arc::clone(shared), Merge::new([]));
        let mut desk = Self { machine, shared, lane, epoch, merge, context: None, names };
        desk.rewind();
        Ok(desk)
    }

    /// Lets go of what was read ahead.
    pub(super) fn rewind(&mut self) {
        // A topic without a place is none of the consumer's any more, as its rows know and this task not yet.
        let place = |topic: &TopicId| Some((*topic, Some(self.machine.next(*topic)?)));
        self.merge = Merge::new(self.shared.topics.keys().filter_map(place));
    }

    /// Has the topics read again where they were read to their end.
    pub(super) fn wake(&mut self) {
        self.merge.wake();
    }

    /// The epoch of the rows that it works on.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether something else has changed the lane's rows since they were read.
    pub(super) fn is_stale(&self) -> bool {
        self.shared.log.lane_epoch(self.lane) != self.epoch
    }

    /// Counts the delivery that was under way when the process before ended as a failed attempt.
    pub(super) fn recover(&mut self, mark: &Marked, now: Timestamp, chance: u64) -> Result<(), Interruption> {
        let subject = match mark.target {
            Target::Held(id) => match self.machine.holds().get(id).cloned() {
                Some(held) => self.held_subject(id, held)?.0,
                None => return Ok(()),
            },
            Target::Fresh(topic, offset) => {
                let is_next = self.machine.next(topic) == Some(offset);
                match self.read_one(topic, offset)? {
                    Ok(event) if is_next => self.fresh_subject(topic, &event),
                    // What was marked was moved over by hand since, or can't be read and will be found out for that.
                    _ => return Ok(()),
                }
            }
        };
        self.machine.crashed(subject, mark, now, chance);
        self.rewind();
        Ok(())
    }

    /// What to do next; what needs no delivery is done here.
    pub(super) fn next(&mut self, now: Timestamp) -> Result<Task, Interruption> {
        self.read_ahead()?;
        let key = match self.merge.next() {
            Next::Item(Item::Event(event)) => Some(event.key),
            Next::Item(Item::Missing { .. }) => {
                self.settle_missing(now);
                return Ok(Task::Settled);
            }
            Next::Read(..) | Next::Nothing => None,
        };
        match self.machine.step(now, key) {
            Step::DeliverHeld(id) => self.next_held(id, now),
            step @ (Step::DeliverFresh | Step::Hold) => {
                let Some((topic, Item::Event(event))) = self.merge.take() else {
                    unreachable!("the machine was shown an event");
                };
                let subject = self.fresh_subject(topic, &event);
                if step == Step::DeliverFresh {
                    return Ok(Task::Deliver(subject));
                }
                self.machine.hold(&subject);
                Ok(Task::Settled)
            }
            step @ Step::Rest(..) => Ok(Task::Rest(step)),
        }
    }

    /// The context of the batch, on the state as it was when the batch's first delivery began.
    pub(super) fn context(&mut self, version: &str) -> Result<&mut LaneContext, Interruption> {
        if self.context.is_none() {
            let state = self.shared.log.state(self.lane)?;
            let owner = self.shared.owner.clone();
            self.context = Some(LaneContext::new(Context::new(owner, version.into(), state)));
        }
        match &mut self.context {
            Some(context) => Ok(context),
            None => unreachable!("it was just made"),
        }
    }

    /// What the batch weighs so far, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.machine.pending_bytes() + self.context.as_ref().map_or(0, |context| context.kept_bytes())
    }

    /// Makes the batch durable: effects, progress, held events and dead letters at once.
    ///
    /// The context goes with it, so that no lane that rests keeps an old view of the database alive.
    pub(super) async fn commit(&mut self) -> Result<(), Interruption> {
        let context = self.context.take();
        let Some(changes) = self.machine.take_changes() else {
            return Ok(());
        };
        let commit = LaneCommit {
            lane: self.lane,
            epoch: self.epoch,
            progress: changes.progress,
            held: changes.held,
            dead_letters: changes.dead_letters,
            effects: context.map(|mut context| context.take()).unwrap_or_default(),
        };
        Ok(self.shared.log.commit(commit).await?)
    }

    /// Reads until the merge knows what comes next.
    fn read_ahead(&mut self) -> Result<(), Interruption> {
        let log = &self.shared.log;
        // All topics together may take what one read may.
        let bytes_max = READ_BYTES_MAX / self.shared.topics.len().max(1);
        while let Next::Read(topic, from) = self.merge.next() {
            let (entries, end) =
                log.read_visible(topic, self.lane.partition, from, LANE_BATCH_DELIVERIES, bytes_max)?;
            self.merge.fill(topic, entries, end);
        }
        Ok(())
    }

    fn next_held(&mut self, id: u64, now: Timestamp) -> Result<Task, Interruption> {
        let Some(held) = self.machine.holds().get(id).cloned() else {
            unreachable!("the machine names what it holds");
        };
        let (subject, unreadable) = self.held_subject(id, held)?;
        match unreadable {
            None => Ok(Task::Deliver(subject)),
            Some(failure) => {
                self.machine.unreadable(subject, failure, now);
                Ok(Task::Settled)
            }
        }
    }

    fn settle_missing(&mut self, now: Timestamp) {
        if let Some((topic, Item::Missing { offset, offset_last, failure })) = self.merge.take() {
            let missing = Missing { topic, topic_name: self.topic_name(topic), offset, offset_last };
            self.machine.missing(&missing, failure, now);
        }
    }

    /// A topic's name. A held event may be of one that is none of the consumer's any more.
    fn topic_name(&self, topic: TopicId) -> Arc<str> {
        self.names.get(&topic).cloned().unwrap_or_else(|| topic_name(&self.shared.log, topic))
    }

    fn fresh_subject(&self, topic: TopicId, event: &Stored) -> Subject {
        Subject {
            target: Target::Fresh(topic, event.offset),
            topic,
            topic_name: self.topic_name(topic),
            offset: event.offset,
            commit: event.commit,
            appended: event.appended,
            key: event.key,
            event: Some(Arc::clone(&event.event)),
        }
    }

    /// A held event, read back from the log where the row doesn't carry it, or why it can't be.
    fn held_subject(&self, id: u64, held: Held) -> Result<(Subject, Option<Failure>), Interruption> {
        let (event, unreadable) = match held.event {
            Some(event) => (Some(event), None),
            None => match self.read_one(held.topic, held.offset)? {
                Ok(event) => (Some(event.event), None),
                Err(failure) => (None, Some(failure)),
            },
        };
        let subject = Subject {
            target: Target::Held(id),
            topic: held.topic,
            topic_name: self.topic_name(held.topic),
            offset: held.offset,
            commit: held.commit,
            appended: held.appended,
            key: held.key,
            event,
        };
        Ok((subject, unreadable))
    }

    fn read_one(&self, topic: TopicId, offset: u64) -> Result<Result<Stored, Failure>, Interruption> {
        let (entries, _) = self.shared.log.read_visible(topic, self.lane.partition, offset, 1, 1)?;
        Ok(match entries.into_iter().next() {
            Some(Entry::Event(event)) if event.offset == offset => Ok(event),
            Some(Entry::Damaged { offset: first, reason, .. }) if first == offset => {
                Err(Failure::new(FailureKind::Damaged, "damaged", reason))
            }
            _ => {
                let message = "retention removed the event while it was held";
                Err(Failure::new(FailureKind::Gap, "gap", message))
            }
        })
    }
}
