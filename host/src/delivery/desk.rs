//! What a lane works on between two durable states: its rows, what it has read ahead, and the effects of its batch.

mod timers;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::watch;

use super::interruption::Interruption;
use super::lane::{Control, Shared, topic_name};
use super::lifting::{Lifted, Lifting};
use super::machine::{Machine, Missing, Rest, Step, Subject};
use super::merge::{Item, Merge, Next};
use super::timers::Timers;
use crate::clock::Timestamp;
use crate::effects::Context;
use crate::event::Event;
use crate::handler::{Batch, Delivery, Failure, FailureKind, panic_message};
use crate::ids::{LaneId, TopicId};
use crate::limits::{LANE_BATCH_BYTES, LANE_BATCH_DELIVERIES, LANE_BATCH_TIME, READ_BYTES_MAX};
use crate::log::{
    BlobError, CameTimer, DueTimer, Entry, Held, Lane, LaneCommit, Marked, Stored, Target, key_hash,
};
use crate::timer::{TIMER_TOPIC, TIMER_TOPIC_ID, TimerName, TimerPlace};
use crate::upcast::{Lifts, Work};

/// See the module. Dropping it undoes all that was not committed.
pub(super) struct Desk {
    pub machine: Machine,
    shared: Arc<Shared>,
    lane: LaneId,
    epoch: u64,
    merge: Merge,
    timers: Timers,
    /// When the topics were read to their end for the sake of a timer.
    read_at: Timestamp,
    /// What those are known by that the batch has taken of them.
    came: BTreeMap<TimerPlace, TimerName>,
    lifting: Lifting,
    context: Option<Context>,
    /// What the lane is told, as of the batch's begin.
    control: watch::Receiver<Control>,
    /// Whether each delivery is marked before it is made.
    pub marks_each: bool,
    /// When the batch was begun.
    began: Timestamp,
    /// How many deliveries it has had, and how many it may have.
    deliveries: usize,
    deliveries_max: usize,
    /// The last one that has succeeded, and when it was begun.
    last: Option<(Target, Timestamp)>,
    under_way: Option<UnderWay>,
    /// What was to be done next where an instance has gone from one delivery to the next and could go no further.
    ahead: Option<Result<Ahead, Interruption>>,
    /// The topics' names, in memory of its own: each delivery counts who holds on to its name, and lanes on several threads
    /// would take that count from each other all the time.
    names: BTreeMap<TopicId, Arc<str>>,
}

/// A delivery that is under way.
struct UnderWay {
    /// With the event as it was published.
    subject: Subject,
    /// With the event as the consumer is to see it, once it is lifted.
    delivery: Delivery,
    /// What is to be done before it begins, or keeps it from that.
    lift: Lift,
    started: Timestamp,
}

/// What keeps a delivery from its begin.
enum Lift {
    /// Nothing.
    Settled,
    /// Its event is to be lifted.
    Wanted,
    /// Its event can't be lifted, or its data can't be had.
    Failed(Failure),
}

/// What a batch comes to next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// A delivery is under way.
    Delivery,
    /// One is to be marked, its event [lifted](Desk::lift), and it is to be [started](Desk::start) then.
    Mark,
    /// The event of one is to be [lifted](Desk::lift), and it is to be [started](Desk::start) then.
    Lift,
    /// The batch is at its bounds, or the lane was told something.
    Bound,
    /// There is nothing to do, until more events come or one of these moments does.
    Rest(Rest, Wake),
}

/// When there is something to do again, if no events come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wake {
    /// The next retry is due.
    pub retry: Option<Timestamp>,
    /// The next timer is.
    pub timer: Option<Timestamp>,
}

/// What to do next, with the event that it is about.
enum Task {
    /// Make an attempt.
    Deliver(Subject),
    /// Something was settled without a delivery.
    Settled,
    /// Nothing before the lane has committed, and heard what it was told.
    Bound,
    /// Nothing.
    Rest(Rest, Wake),
}

/// What could be delivered that is not held.
enum Fresh {
    Event,
    /// One that the log has.
    Timer(TimerPlace),
    /// One that the batch has set.
    NewTimer(TimerPlace),
}

/// The timer that comes first, with the hash of its key.
enum FirstTimer {
    /// One that the log has. One whose row is damaged has no key.
    Stored(Option<u64>),
    /// One that the batch has set.
    New(u64),
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
        let topics = shared.topics.iter().map(|(topic, name)| (*topic, &**name));
        let names = topics.chain([(TIMER_TOPIC_ID, TIMER_TOPIC)]);
        let names = names.map(|(topic, name)| (topic, Arc::from(name))).collect();
        let (shared, merge) = (Arc::clone(shared), Merge::new([]));
        let mut desk = Self {
            machine,
            shared,
            lane,
            epoch,
            merge,
            timers: Timers::default(),
            read_at: Timestamp::default(),
            came: BTreeMap::new(),
            lifting: Lifting::default(),
            context: None,
            control,
            marks_each: false,
            began: Timestamp::default(),
            deliveries: 0,
            deliveries_max: LANE_BATCH_DELIVERIES,
            last: None,
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
        self.lifting.forget();
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
        let Some(subject) = self.subject_of(mark.target)? else { return Ok(()) };
        self.machine.crashed(subject, mark, now, chance);
        self.rewind();
        Ok(())
    }

    /// Goes over to these lifts.
    pub(super) fn adopt(&mut self, lifts: &Arc<Lifts>) {
        self.lifting.adopt(lifts);
    }

    /// Counts a delivery whose effects could not be committed as a failed attempt.
    pub(super) fn uncommitted(
        &mut self,
        (target, started): (Target, Timestamp),
        failure: Failure,
        chance: u64,
    ) -> Result<(), Interruption> {
        if let Some(subject) = self.subject_of(target)? {
            self.machine.failed(subject, failure, started, self.shared.log.clock().now(), chance);
            self.rewind();
        }
        Ok(())
    }

    /// What a delivery was about; `None` where that was moved over by hand since, or can't be read and will be found
    /// out for that.
    fn subject_of(&self, target: Target) -> Result<Option<Subject>, Interruption> {
        Ok(match target {
            Target::Held(id) => match self.machine.holds().get(id).cloned() {
                Some(held) => Some(self.held_subject(id, held)?.0),
                None => None,
            },
            Target::Fresh(topic, offset) => {
                let is_next = self.machine.next(topic) == Some(offset);
                let event = self.read_one(topic, offset)?.ok().filter(|_| is_next);
                event.map(|event| self.fresh_subject(topic, &event))
            }
            Target::Timer(place) => match self.shared.log.timer(self.lane, place)? {
                Some(DueTimer { event: Ok(timer), .. }) => {
                    Some(self.timer_subject(place, timer.key, timer.event))
                }
                _ => None,
            },
        })
    }

    /// Begins a batch of at most so many deliveries.
    pub(super) fn begin(&mut self, control: &watch::Receiver<Control>, deliveries_max: usize) {
        self.control = control.clone();
        self.began = self.shared.log.clock().now();
        self.deliveries = 0;
        self.deliveries_max = deliveries_max;
        self.last = None;
    }

    /// How many deliveries the batch has had, and the last one that has succeeded.
    pub(super) fn made(&self) -> (usize, Option<(Target, Timestamp)>) {
        (self.deliveries, self.last)
    }

    /// Goes on to what comes next, where no delivery is under way.
    pub(super) fn advance(&mut self) -> Result<Ahead, Interruption> {
        if let Some(ahead) = self.ahead.take() {
            return ahead;
        }
        loop {
            let now = self.shared.log.clock().now();
            let is_full = self.deliveries >= self.deliveries_max
                || self.bytes() >= LANE_BATCH_BYTES
                || now.since(self.began) >= LANE_BATCH_TIME;
            if is_full {
                return Ok(Ahead::Bound);
            }
            match self.next()? {
                Task::Deliver(subject) => {
                    self.deliveries += 1;
                    let is_marked = self.marks_each || self.machine.crashes(subject.target) > 0;
                    self.put(subject, now);
                    if is_marked {
                        return Ok(Ahead::Mark);
                    }
                    if self.wants_lift() {
                        return Ok(Ahead::Lift);
                    }
                    self.start()?;
                    return Ok(Ahead::Delivery);
                }
                Task::Settled => {}
                Task::Bound => return Ok(Ahead::Bound),
                Task::Rest(why, wake) => return Ok(Ahead::Rest(why, wake)),
            }
        }
    }

    /// Makes an attempt the next thing to do.
    fn put(&mut self, subject: Subject, started: Timestamp) {
        let Some(event) = &subject.event else {
            unreachable!("events that can't be read are not delivered");
        };
        let timing = self.machine.timing(&subject, started);
        let is_lifted = event.blob().is_some() && self.lifting.lifts().has(event.kind());
        let (event, lift) = match self.fetched(event, is_lifted) {
            Err(error) => (Arc::clone(event), Lift::Failed(error.into())),
            // It was not lifted ahead, for which its data would have had to be in memory for longer.
            Ok(Some(event)) if is_lifted => (Arc::new(event), Lift::Wanted),
            Ok(Some(event)) => (Arc::new(event), Lift::Settled),
            Ok(None) => match self.lifting.take(subject.topic, subject.offset, event) {
                Lifted::Event(event) => (event, Lift::Settled),
                Lifted::Wanted => (Arc::clone(event), Lift::Wanted),
                Lifted::Failed(failure) => (Arc::clone(event), Lift::Failed(failure)),
            },
        };
        let delivery = Delivery {
            topic: Arc::clone(&subject.topic_name),
            partition: self.lane.partition,
            offset: subject.offset,
            appended: subject.appended,
            attempt: timing.attempt,
            first_attempt: timing.first_attempt,
            now: timing.now,
            redriven: timing.redriven,
            event,
        };
        self.under_way = Some(UnderWay { subject, delivery, lift, started });
    }

    /// The event with its data, where that is in the blob store and the consumer is to get it. Who lifts an event needs its data.
    fn fetched(&self, event: &Event, is_lifted: bool) -> Result<Option<Event>, BlobError> {
        let over = self.shared.config.dataref_over;
        match event.blob() {
            Some(blob) if is_lifted || over.is_none_or(|over| blob.bytes <= over) => {
                self.shared.log.with_data(event)
            }
            _ => Ok(None),
        }
    }

    /// Whether something keeps the delivery that is to be made from its begin.
    fn wants_lift(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| !matches!(under_way.lift, Lift::Settled))
    }

    /// Lifts the event of the delivery that is to be made, where that is needed, and with it what was read ahead: as much of it
    /// as goes into the batch's time. Returns whether an upcaster was cut off in what was read ahead.
    ///
    /// # Errors
    ///
    /// It can't be lifted, which counts as a failed attempt.
    pub(super) async fn lift(&mut self) -> Result<bool, Failure> {
        let Some(under_way) = &mut self.under_way else { return Ok(false) };
        match std::mem::replace(&mut under_way.lift, Lift::Settled) {
            Lift::Settled => return Ok(false),
            Lift::Failed(failure) => return Err(failure),
            Lift::Wanted => {}
        }
        // Where the process ends in this, the mark is to say in which event.
        let is_alone = self.machine.progress().marked.is_some();
        let UnderWay { subject, delivery, .. } = &*under_way;
        let first = Work::new(subject.topic, subject.offset, Arc::clone(&delivery.event));
        let mut works = self.lifting.works(first, &self.merge, is_alone);
        let (clock, began, before) = (self.shared.log.clock(), self.began, self.lifting.bytes());
        let goes_on = |bytes: usize| {
            before.saturating_add(bytes) < READ_BYTES_MAX && clock.now().since(began) < LANE_BATCH_TIME
        };
        let lifts = Arc::clone(self.lifting.lifts());
        lifts.lift_all(&*self.shared.owner.topics, &mut works, goes_on).await;
        let (first, has_trapped) = self.lifting.keep(works);
        match first {
            Lifted::Event(event) => {
                under_way.delivery.event = event;
                Ok(has_trapped)
            }
            Lifted::Failed(failure) => Err(failure),
            Lifted::Wanted => unreachable!("the first one is lifted for certain"),
        }
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
                let timers = self.machine.progress().timers;
                none.insert(Context::new(self.shared.owner.clone(), version, state, timers))
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
        if let (Some(UnderWay { subject, started, .. }), Some(context)) =
            (self.under_way.take(), &mut self.context)
        {
            context.keep();
            self.machine.succeeded(subject.target);
            self.last = Some((subject.target, started));
            if let Target::Held(_) = subject.target {
                self.free(subject.key);
            }
        }
    }

    /// The delivery under way has failed: what it did is undone.
    pub(super) fn failed(&mut self, failure: Failure, now: Timestamp, chance: u64) {
        let Some(UnderWay { subject, started, .. }) = self.under_way.take() else { return };
        // One whose event could not be lifted has none yet, where it is the batch's first.
        if let Some(context) = &mut self.context {
            context.discard();
        }
        let key = subject.key;
        self.machine.failed(subject, failure, started, now, chance);
        // It may have been given up on.
        self.free(key);
    }

    /// What the batch weighs so far, in bytes.
    fn bytes(&self) -> usize {
        self.machine.pending_bytes() + self.context.as_ref().map_or(0, Context::kept_bytes)
    }

    /// Makes the batch durable: effects, progress, held events and dead letters at once.
    ///
    /// The context goes with it, so that no lane that rests keeps an old view of the database alive. Returns whether timers
    /// were set or cancelled, so that nobody knows yet when the next one is due.
    pub(super) async fn commit(&mut self) -> Result<bool, Interruption> {
        let context = self.context.take();
        let Some(changes) = self.machine.take_changes() else {
            return Ok(false);
        };
        let effects = context.map(|mut context| context.take()).unwrap_or_default();
        let (changed, changes_timers) = (self.timers.effect_of(&effects.timers), !effects.timers.is_empty());
        let mut names = std::mem::take(&mut self.came);
        let came = changes.fired.into_iter().map(|place| CameTimer { place, name: names.remove(&place) });
        let commit = LaneCommit {
            lane: self.lane,
            epoch: self.epoch,
            progress: changes.progress,
            held: changes.held,
            dead_letters: changes.dead_letters,
            came: came.collect(),
            effects,
        };
        self.machine.set_timers(self.shared.log.commit(commit).await?);
        self.timers.changed(changed);
        Ok(changes_timers)
    }

    /// What to do next; what needs no delivery is done here.
    fn next(&mut self) -> Result<Task, Interruption> {
        let now = self.look_ahead()?;
        // What the lane is told takes effect between two deliveries, after a commit. Looked at after reading, so that it is
        // told before it delivers what was published since.
        if self.control.has_changed().unwrap_or(true) {
            return Ok(Task::Bound);
        }
        let event = match self.merge.next() {
            Next::Item(Item::Event(event)) => Some(event),
            Next::Item(Item::Missing { .. }) => {
                self.settle_missing(now);
                return Ok(Task::Settled);
            }
            Next::Read(..) | Next::Nothing => None,
        };
        if let Some(due) = self.timers.unseen(now, self.shared.config.held_max) {
            // One that the batch has set may come before it, and is known once the log has it.
            if self.context.as_ref().is_some_and(|context| context.due_timer(now).is_some()) {
                return Ok(Task::Bound);
            }
            let holds = self.machine.holds();
            return match holds.ready_before(now, due) {
                Some(id) => self.next_held(id, now),
                // Not the next that may run: what gives way may already, and would wake the lane again and again.
                None => Ok(Task::Rest(Rest::Stalled, Wake { retry: holds.due_after(now), timer: None })),
            };
        }
        let timer = self.first_timer(now);
        let timer_due = timer.as_ref().map(|(place, _)| place.due);
        let fresh = match (event, timer) {
            // A timer comes after what the log had accepted before it was due.
            (Some(event), Some((place, _))) if place.due >= event.appended => Some((event.key, Fresh::Event)),
            (_, Some((_, FirstTimer::Stored(None)))) => {
                self.settle_damaged_timer(now);
                return Ok(Task::Settled);
            }
            // A mark leads to what the log has, and so does a place to wait at.
            (_, Some((_, FirstTimer::New(key)))) if self.marks_each || self.machine.is_held(key) => {
                return Ok(Task::Bound);
            }
            (_, Some((place, FirstTimer::New(key)))) => Some((key, Fresh::NewTimer(place))),
            (_, Some((place, FirstTimer::Stored(Some(key))))) if self.machine.holds_timer(key, place.due) => {
                self.timers.wait();
                return Ok(Task::Settled);
            }
            (_, Some((place, FirstTimer::Stored(Some(key))))) => Some((key, Fresh::Timer(place))),
            (Some(event), None) => Some((event.key, Fresh::Event)),
            (None, None) => None,
        };
        let step = match &fresh {
            Some((key, Fresh::Timer(place) | Fresh::NewTimer(place))) => {
                self.machine.step_with_timer(now, *key, place.due)
            }
            fresh => self.machine.step(now, fresh.as_ref().map(|(key, _)| *key), timer_due),
        };
        match (step, fresh) {
            (Step::DeliverHeld(id), _) => self.next_held(id, now),
            (step @ (Step::DeliverFresh | Step::Hold), Some((_, fresh))) => {
                let subject = self.take_fresh(&fresh);
                if step == Step::DeliverFresh {
                    return Ok(Task::Deliver(subject));
                }
                self.lifting.pass(subject.topic, subject.offset);
                self.machine.hold(&subject);
                Ok(Task::Settled)
            }
            (Step::DeliverFresh | Step::Hold, None) => unreachable!("the machine was shown nothing"),
            (Step::Rest(why, retry), _) => {
                // Where something else keeps the lane from what is there, a timer would have to wait as well.
                let timer = self.timers.next_due(self.shared.config.held_max).filter(|_| why == Rest::Empty);
                Ok(Task::Rest(why, Wake { retry, timer }))
            }
        }
    }

    /// Takes out what the machine was shown.
    fn take_fresh(&mut self, fresh: &Fresh) -> Subject {
        let taken = match fresh {
            Fresh::Event => match self.merge.take() {
                Some((topic, Item::Event(event))) => Some(self.fresh_subject(topic, &event)),
                _ => None,
            },
            Fresh::Timer(_) => match self.timers.take() {
                Some(DueTimer { place, event: Ok(timer) }) => {
                    self.came.insert(place, timer.name);
                    Some(self.timer_subject(place, timer.key, timer.event))
                }
                _ => None,
            },
            Fresh::NewTimer(place) => {
                let timer = self.context.as_mut().and_then(|context| context.take_timer(*place));
                timer.map(|event| self.timer_subject(*place, key_hash(event.key()), event))
            }
        };
        taken.unwrap_or_else(|| unreachable!("the machine was shown it"))
    }

    /// The timer that comes first of those that are due, of the log's and of those that the batch has set.
    fn first_timer(&self, now: Timestamp) -> Option<(TimerPlace, FirstTimer)> {
        let stored = self
            .timers
            .first()
            .map(|(place, event)| (place, FirstTimer::Stored(event.as_ref().ok().map(|timer| timer.key))));
        let new = self.context.as_ref().and_then(|context| context.due_timer(now));
        let new = new.map(|(place, event)| (place, FirstTimer::New(key_hash(event.key()))));
        stored.into_iter().chain(new).min_by_key(|(place, _)| *place)
    }

    /// A timer whose row can't be read is given up on.
    fn settle_damaged_timer(&mut self, now: Timestamp) {
        if let Some(DueTimer { place, event: Err(reason) }) = self.timers.take() {
            let missing = Missing {
                target: Target::Timer(place),
                topic: TIMER_TOPIC_ID,
                topic_name: self.topic_name(TIMER_TOPIC_ID),
                offset: place.number,
                offset_last: place.number,
            };
            self.machine.missing(&missing, Failure::new(FailureKind::Damaged, "damaged", reason), now);
        }
    }

    fn timer_subject(&self, place: TimerPlace, key: u64, event: Arc<Event>) -> Subject {
        Subject {
            target: Target::Timer(place),
            topic: TIMER_TOPIC_ID,
            topic_name: self.topic_name(TIMER_TOPIC_ID),
            offset: place.number,
            commit: 0,
            appended: place.due,
            key,
            event: Some(event),
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
                let key = subject.key;
                self.machine.unreadable(subject, failure, now);
                self.free(key);
                Ok(Task::Settled)
            }
        }
    }

    fn settle_missing(&mut self, now: Timestamp) {
        if let Some((topic, Item::Missing { offset, offset_last, failure })) = self.merge.take() {
            let target = Target::Fresh(topic, offset_last);
            let missing = Missing { target, topic, topic_name: self.topic_name(topic), offset, offset_last };
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
