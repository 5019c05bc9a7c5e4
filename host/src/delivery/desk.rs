//! What a lane works on between two durable states: its rows, what it has read ahead, and the effects of its batch.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::watch;

use super::interruption::Interruption;
use super::lane::{Control, Shared, topic_name};
use super::machine::{Machine, Missing, Rest, Step, Subject};
use super::merge::{Item, Merge, Next};
use crate::clock::Timestamp;
use crate::effects::Context;
use crate::handler::{Batch, Delivery, Failure, FailureKind, panic_message};
use crate::ids::{LaneId, TopicId};
use crate::limits::{LANE_BATCH_BYTES, LANE_BATCH_DELIVERIES, LANE_BATCH_TIME, READ_BYTES_MAX};
use crate::log::{Entry, Held, Lane, LaneCommit, Marked, Stored, Target};

/// See the module. Dropping it undoes all that was not committed.
pub(super) struct Desk {
    pub machine: Machine,
    shared: Arc<Shared>,
    lane: LaneId,
    epoch: u64,
    merge: Merge,
    context: Option<Context>,
    /// What the lane is told, as of the batch's begin.
    control: watch::Receiver<Control>,
    /// Whether each delivery is marked before it is made.
    pub marks_each: bool,
    /// When the batch was begun.
    began: Timestamp,
    /// How many deliveries it has had.
    deliveries: usize,
    under_way: Option<UnderWay>,
    /// What was to be done next where an instance has gone from one delivery to the next and could go no further.
    ahead: Option<Result<Ahead, Interruption>>,
    /// The topics' names, in memory of its own: each delivery counts who holds on to its name, and lanes on several threads
    /// would take that count from each other all the time.
    names: BTreeMap<TopicId, Arc<str>>,
}

/// A delivery that is under way.
struct UnderWay {
    subject: Subject,
    delivery: Delivery,
    started: Timestamp,
}

/// What a batch comes to next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A delivery is under way.
    Delivery,
    /// One is to be marked, and [started](Desk::start) then.
    Mark,
    /// The batch is at its bounds, or the lane was told something.
    Bound,
    /// There is nothing to do, until more events come or this moment does.
    Rest(Rest, Option<Timestamp>),
}

/// What to do next, with the event that it is about.
enum Task {
    /// Make an attempt.
    Deliver(Subject),
    /// Something was settled without a delivery.
    Settled,
    /// Nothing.
    Rest(Rest, Option<Timestamp>),
}

impl Desk {
    /// Reads the lane back.
    pub(super) fn open(
        shared: &Arc<Shared>,
        lane: LaneId,
        control: watch::Receiver<Control>,
    ) -> Result<Self, Interruption> {
        let Lane { epoch, progress, held } = shared.log.lane(lane)?;
        let machine = Machine::new(Arc::clone(&shared.config), lane.partition, progress, held);
        let names = shared.topics.iter().map(|(topic, name)| (*topic, Arc::from(&**name))).collect();
        let (shared, merge) = (Arc::clone(shared), Merge::new([]));
        let mut desk = Self {
            machine,
            shared,
            lane,
            epoch,
            merge,
            context: None,
            control,
            marks_each: false,
            began: Timestamp::default(),
            deliveries: 0,
            under_way: None,
            ahead: None,
            names,
        };
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

    /// Begins a batch.
    pub(super) fn begin(&mut self, control: &watch::Receiver<Control>) {
        self.control = control.clone();
        self.began = self.shared.log.clock().now();
        self.deliveries = 0;
    }

    /// Goes on to what comes next, where no delivery is under way.
    pub(super) fn advance(&mut self) -> Result<Ahead, Interruption> {
        if let Some(ahead) = self.ahead.take() {
            return ahead;
        }
        loop {
            let now = self.shared.log.clock().now();
            let is_full = self.deliveries >= LANE_BATCH_DELIVERIES
                || self.bytes() >= LANE_BATCH_BYTES
                || now.since(self.began) >= LANE_BATCH_TIME;
            // What the lane is told takes effect between two deliveries, after a commit.
            if is_full || self.control.has_changed().unwrap_or(true) {
                return Ok(Ahead::Bound);
            }
            match self.next(now)? {
                Task::Deliver(subject) => {
                    self.deliveries += 1;
                    let is_marked = self.marks_each || self.machine.crashes(subject.target) > 0;
                    self.put(subject, now);
                    if is_marked {
                        return Ok(Ahead::Mark);
                    }
                    self.start()?;
                    return Ok(Ahead::Delivery);
                }
                Task::Settled => {}
                Task::Rest(why, until) => return Ok(Ahead::Rest(why, until)),
            }
        }
    }

    /// Makes an attempt the next thing to do.
    fn put(&mut self, subject: Subject, started: Timestamp) {
        let Some(event) = &subject.event else {
            unreachable!("events that can't be read are not delivered");
        };
        let timing = self.machine.timing(&subject, started);
        let delivery = Delivery {
            topic: Arc::clone(&subject.topic_name),
            partition: self.lane.partition,
            offset: subject.offset,
            appended: subject.appended,
            attempt: timing.attempt,
            first_attempt: timing.first_attempt,
            now: timing.now,
            redriven: timing.redriven,
            event: Arc::clone(event),
        };
        self.under_way = Some(UnderWay { subject, delivery, started });
    }

    /// Marks the delivery that is to be made.
    pub(super) fn mark(&mut self) {
        if let Some(UnderWay { subject, started, .. }) = &self.under_way {
            self.machine.mark(subject.target, *started);
        }
    }

    /// Has the delivery that is to be made begin.
    pub(super) fn start(&mut self) -> Result<(), Interruption> {
        let context = match &mut self.context {
            Some(context) => context,
            // On the state as it was when the batch's first delivery began.
            none => {
                let state = self.shared.log.state(self.lane)?;
                let version = self.machine.progress().version.version.as_str().into();
                none.insert(Context::new(self.shared.owner.clone(), version, state))
            }
        };
        if let Some(UnderWay { delivery, .. }) = &self.under_way {
            context.begin(delivery);
        }
        Ok(())
    }

    /// When the delivery under way was begun.
    pub(super) fn started(&self) -> Option<Timestamp> {
        self.under_way.as_ref().map(|under_way| under_way.started)
    }

    /// The delivery under way has succeeded: what it did is kept for the batch's commit.
    fn succeeded(&mut self) {
        if let (Some(UnderWay { subject, .. }), Some(context)) = (&self.under_way, &mut self.context) {
            context.keep();
            self.machine.succeeded(subject.target);
        }
        self.under_way = None;
    }

    /// The delivery under way has failed: what it did is undone.
    pub(super) fn failed(&mut self, failure: Failure, now: Timestamp, chance: u64) {
        if let (Some(UnderWay { subject, started, .. }), Some(context)) =
            (self.under_way.take(), &mut self.context)
        {
            context.discard();
            self.machine.failed(subject, failure, started, now, chance);
        }
    }

    /// What the batch weighs so far, in bytes.
    fn bytes(&self) -> usize {
        self.machine.pending_bytes() + self.context.as_ref().map_or(0, Context::kept_bytes)
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

    /// What to do next; what needs no delivery is done here.
    fn next(&mut self, now: Timestamp) -> Result<Task, Interruption> {
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
            Step::Rest(why, until) => Ok(Task::Rest(why, until)),
        }
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

impl Batch for Desk {
    fn delivery(&self) -> &Delivery {
        match &self.under_way {
            Some(under_way) => &under_way.delivery,
            None => unreachable!("an instance works on a delivery that is under way"),
        }
    }

    fn context(&self) -> &Context {
        match &self.context {
            Some(context) => context,
            None => unreachable!("it is made before a delivery begins"),
        }
    }

    fn parts(&mut self) -> (&Delivery, &mut Context) {
        match (&self.under_way, &mut self.context) {
            (Some(under_way), Some(context)) => (&under_way.delivery, context),
            _ => unreachable!("an instance works on a delivery that is under way"),
        }
    }

    fn proceed(&mut self) -> bool {
        // A panic is our own fault, not that of the program which is called from here.
        let ahead = catch_unwind(AssertUnwindSafe(|| {
            self.succeeded();
            self.advance()
        }))
        .unwrap_or_else(|panic| Err(Interruption::panicked(panic_message(&*panic))));
        let is_under_way = matches!(ahead, Ok(Ahead::Delivery));
        if !is_under_way {
            self.ahead = Some(ahead);
        }
        is_under_way
    }
}
