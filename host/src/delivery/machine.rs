//! What a lane does next, and what an attempt's outcome changes: decided here, done in `lane.rs`.
//!
//! The machine is a function of the lane's durable rows, the events it is shown, and the time and chance handed in. It
//! keeps nothing that the rows don't have, so a lane that is cut off anywhere goes on from its last commit as if it
//! had never been further.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use super::holds::Holds;
use super::retry::{crashes, next_attempt};
use crate::clock::Timestamp;
use crate::config::{ConsumerConfig, OnDeadLetter, Order};
use crate::event::Event;
use crate::handler::{Failure, FailureKind, ProgramVersion};
use crate::ids::TopicId;
use crate::limits::HELD_IN_A_ROW;
use crate::log::{Attempt, DeadLetter, Held, LaneCounts, Marked, Progress, REDRIVEN, Target, Wait};
use crate::timer::{TimerCounts, TimerPlace};

/// A lane's durable rows as they will be after the next commit, and what that commit has to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Machine {
    config: Arc<ConsumerConfig>,
    partition: u32,
    progress: Progress,
    holds: Holds,
    pending: Pending,
}

/// What has changed since the last commit.
#[derive(Clone, Debug, Default, PartialEq)]
struct Pending {
    progress: bool,
    held: BTreeSet<u64>,
    dead_letters: Vec<DeadLetter>,
    fired: Vec<TimerPlace>,
    bytes: usize,
}

/// What a commit has to write of the lane's rows.
#[derive(Debug)]
pub(super) struct Changes {
    pub progress: Progress,
    pub held: BTreeMap<u64, Option<Held>>,
    pub dead_letters: Vec<DeadLetter>,
    pub fired: Vec<TimerPlace>,
}

/// An event that a lane works on.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub target: Target,
    pub topic: TopicId,
    pub topic_name: Arc<str>,
    pub offset: u64,
    pub commit: u64,
    pub appended: Timestamp,
    pub key: u64,
    /// `None` where it can't be read.
    pub event: Option<Arc<Event>>,
}

/// Events that are not there to be delivered: damaged, or removed before the lane had them.
#[derive(Clone, Debug)]
pub(super) struct Missing {
    /// The last of them.
    pub target: Target,
    pub topic: TopicId,
    pub topic_name: Arc<str>,
    pub offset: u64,
    pub offset_last: u64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Make an attempt at this held event.
    DeliverHeld(u64),
    /// Make the first attempt at the fresh event.
    DeliverFresh,
    /// Hold the fresh event behind its key.
    Hold,
    /// Nothing, until more events come or this moment does.
    Rest(Rest, Option<Timestamp>),
}

/// Why there is nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is no fresh event.
    Empty,
    /// As many events are held as may be.
    Stalled,
    /// Under the order of the partition, the fresh event waits for a held one.
    Blocked,
}

/// What a delivery says of its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timing {
    pub attempt: u32,
    pub first_attempt: Timestamp,
    pub now: Timestamp,
    pub redriven: bool,
}

impl Machine {
    pub(super) fn new(
        config: Arc<ConsumerConfig>,
        partition: u32,
        progress: Progress,
        held: BTreeMap<u64, Held>,
    ) -> Self {
        let holds = Holds::new(config.order, held);
        Self { config, partition, progress, holds, pending: Pending::default() }
    }

    /// What to do next, where `fresh` is the key of the next event that is not held, and the first timer is due at this moment.
    pub(super) fn step(&self, now: Timestamp, fresh: Option<u64>, timer: Option<Timestamp>) -> Step {
        let fresh = fresh.map_or(Step::Rest(Rest::Empty, None), |key| self.fresh_step(key));
        self.choose(now, fresh, timer)
    }

    /// What to do next, where that is a timer of this key which is due at this moment and doesn't [wait](Self::holds_timer). Where
    /// held events of its key are behind it, it is delivered even if as many are held as may be.
    pub(super) fn step_with_timer(&self, now: Timestamp, key: u64, due: Timestamp) -> Step {
        let timer = if self.is_held(key) { Step::DeliverFresh } else { self.fresh_step(key) };
        self.choose(now, timer, Some(due))
    }

    /// What goes first: what is fresh, or the held event that may run. One that nobody has tried gives way to a timer that is due before
    /// the log accepted it.
    fn choose(&self, now: Timestamp, fresh: Step, timer: Option<Timestamp>) -> Step {
        let gives_way =
            |held: &Held| held.wait == Wait::Behind && timer.is_some_and(|due| held.appended > due);
        let ready = self.holds.ready(now).and_then(|id| Some((id, self.holds.get(id)?)));
        match (ready, fresh) {
            (Some((id, _)), Step::Rest(..)) => Step::DeliverHeld(id),
            (Some((id, held)), _) if !self.is_turn_of_fresh() && !gives_way(held) => Step::DeliverHeld(id),
            (_, Step::Rest(why, _)) => Step::Rest(why, self.holds.next_due()),
            (_, step) => step,
        }
    }

    /// Whether a timer of this key that is due at this moment waits for what is held: for all that the log had accepted by then, and
    /// for what has been tried.
    pub(super) fn holds_timer(&self, key: u64, due: Timestamp) -> bool {
        self.timers_until(key).is_none_or(|until| due >= until)
    }

    /// The moment before which a timer of this key is due that doesn't wait for what is held; `None` where all wait.
    pub(super) fn timers_until(&self, key: u64) -> Option<Timestamp> {
        if self.is_held(key) { self.holds.untried(key) } else { Some(Timestamp(i64::MAX)) }
    }

    fn fresh_step(&self, key: u64) -> Step {
        // Even the first attempt needs a place to be held at if it fails.
        if self.holds.len() >= self.config.held_max {
            return Step::Rest(Rest::Stalled, None);
        }
        match (self.holds.is_ahead_of(key), self.config.order) {
            (false, _) => Step::DeliverFresh,
            (true, Order::Partition) => Step::Rest(Rest::Blocked, None),
            (true, Order::Key | Order::None) => Step::Hold,
        }
    }

    /// Held events go first, but not for ever: at times a fresh one does. The turn follows from durable counts, each of
    /// which one step moves on, so that it is the same after a restart.
    fn is_turn_of_fresh(&self) -> bool {
        let LaneCounts { handled, retries, dead_letters } = self.progress.counts;
        let steps =
            handled.wrapping_add(retries).wrapping_add(dead_letters).wrapping_add(self.progress.held_next);
        steps % (HELD_IN_A_ROW + 1) == HELD_IN_A_ROW
    }

    /// What the next attempt at the event is to be told, if it is made at this moment.
    pub(super) fn timing(&self, subject: &Subject, started: Timestamp) -> Timing {
        let first = Timing { attempt: 1, first_attempt: started, now: subject.appended, redriven: false };
        let Some(held) = self.held_of(subject.target) else {
            return first;
        };
        let made = u32::try_from(held.attempts.len()).unwrap_or(u32::MAX);
        Timing {
            attempt: made.saturating_add(1),
            first_attempt: if made == 0 { started } else { held.first_attempt },
            now: match held.wait {
                Wait::Until(due) => due,
                Wait::Behind | Wait::Operator => held.appended,
            },
            redriven: held.redriven,
        }
    }

    /// Holds the fresh event behind its key.
    pub(super) fn hold(&mut self, fresh: &Subject) {
        self.pass(fresh.target);
        let id = self.next_id();
        self.put(id, Held::waiting(fresh));
    }

    /// The delivery succeeded.
    pub(super) fn succeeded(&mut self, target: Target) {
        self.pass(target);
        if let Target::Held(id) = target {
            self.remove(id);
        }
        self.progress.counts.handled += 1;
    }

    /// The delivery, begun at `started`, failed: it is tried again or given up on.
    pub(super) fn failed(
        &mut self,
        subject: Subject,
        failure: Failure,
        started: Timestamp,
        now: Timestamp,
        chance: u64,
    ) {
        let mut held = self.held_of(subject.target).cloned().unwrap_or_else(|| Held::waiting(&subject));
        if held.attempts.is_empty() {
            held.first_attempt = started;
        }
        let mut attempt =
            Attempt { at: started, failure: failure.clone(), version: self.progress.version.clone() };
        // Backtraces are the bulk of what a held event keeps, and most attempts fail like the one before.
        if held.attempts.iter().any(|before| before.failure.backtrace == attempt.failure.backtrace) {
            attempt.failure.backtrace = None;
        }
        held.attempts.push(attempt);
        match next_attempt(&self.config.retry, &held, now, chance) {
            None => self.bury(subject, held, failure, now),
            Some(due) => {
                self.pass(subject.target);
                held.wait = Wait::Until(due);
                self.put_in_place(&subject, held);
                self.progress.counts.retries += 1;
            }
        }
    }

    /// The whole process ended during the delivery that was marked.
    pub(super) fn crashed(&mut self, subject: Subject, mark: &Marked, now: Timestamp, chance: u64) {
        let times = mark.crashes.saturating_add(1);
        let message = format!("the process ended during this delivery, {times} times in a row");
        self.failed(
            subject,
            Failure::new(FailureKind::HostCrash, "host-crash", message),
            mark.at,
            now,
            chance,
        );
    }

    /// A held event can't be read any more: given up on at once, with the attempts made so far.
    pub(super) fn unreadable(&mut self, subject: Subject, failure: Failure, now: Timestamp) {
        let held = self.held_of(subject.target).cloned().unwrap_or_else(|| Held::waiting(&subject));
        self.bury(subject, held, failure, now);
    }

    /// Fresh events are not there to be delivered.
    pub(super) fn missing(&mut self, missing: &Missing, failure: Failure, now: Timestamp) {
        self.pass(missing.target);
        self.add_dead_letter(DeadLetter {
            id: 0,
            at: now,
            topic: missing.topic_name.as_ref().to_owned(),
            topic_id: missing.topic,
            partition: self.partition,
            offset: missing.offset,
            offset_last: missing.offset_last,
            commit: 0,
            appended: Timestamp::default(),
            event: None,
            reason: failure,
            attempts: Vec::new(),
            first_attempt: now,
            version: self.progress.version.clone(),
            redriven: false,
            key: 0,
            parked: None,
        });
    }

    /// Records durably that the delivery has begun.
    pub(super) fn mark(&mut self, target: Target, started: Timestamp) {
        let crashes = self.crashes(target);
        self.progress.marked = Some(Marked { target, at: started, crashes });
        self.pending.progress = true;
    }

    /// Forgets the mark of a delivery that did not end the process.
    pub(super) fn unmark(&mut self) -> Option<Marked> {
        let mark = self.progress.marked.take();
        self.pending.progress |= mark.is_some();
        mark
    }

    /// How often in a row the whole process has ended during this delivery.
    pub(super) fn crashes(&self, target: Target) -> u32 {
        self.held_of(target).map_or(0, |held| crashes(&held.attempts))
    }

    /// The version that makes the attempts from here on. It is durable with the next commit.
    pub(super) fn set_version(&mut self, version: ProgramVersion) {
        self.progress.version = version;
    }

    /// Where to read on: the first offset of the topic that is neither finished nor held.
    pub(super) fn next(&self, topic: TopicId) -> Option<u64> {
        self.progress.next.get(&topic).copied()
    }

    /// Whether what is fresh and of this key would be held.
    pub(super) fn is_held(&self, key: u64) -> bool {
        self.config.order == Order::Key && self.holds.is_ahead_of(key)
    }

    /// What the log says of its timers, after a commit.
    pub(super) fn set_timers(&mut self, timers: TimerCounts) {
        self.progress.timers = timers;
    }

    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    pub(super) fn holds(&self) -> &Holds {
        &self.holds
    }

    /// What the changes since the last commit weigh, in bytes.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.bytes
    }

    /// Takes out what has changed since the last commit; `None` where nothing has.
    pub(super) fn take_changes(&mut self) -> Option<Changes> {
        if self.pending == Pending::default() {
            return None;
        }
        let pending = mem::take(&mut self.pending);
        let held = pending.held.into_iter().map(|id| (id, self.holds.get(id).cloned())).collect();
        let Pending { dead_letters, fired, .. } = pending;
        Some(Changes { progress: self.progress.clone(), held, dead_letters, fired })
    }

    /// Gives up on an event.
    fn bury(&mut self, subject: Subject, held: Held, reason: Failure, now: Timestamp) {
        self.pass(subject.target);
        let parked = self.parks(subject.target).then(|| {
            let place = Held { wait: Wait::Operator, attempts: Vec::new(), event: None, ..held.clone() };
            self.put_in_place(&subject, place)
        });
        if parked.is_some() {
            // Its place is kept.
        } else if let Target::Held(id) = subject.target {
            self.remove(id);
        }
        let first_attempt = if held.attempts.is_empty() { now } else { held.first_attempt };
        self.add_dead_letter(DeadLetter {
            id: 0,
            at: now,
            topic: subject.topic_name.as_ref().to_owned(),
            topic_id: subject.topic,
            partition: self.partition,
            offset: subject.offset,
            offset_last: subject.offset,
            commit: subject.commit,
            appended: subject.appended,
            event: subject.event.or(held.event),
            reason,
            attempts: held.attempts,
            first_attempt,
            version: self.progress.version.clone(),
            redriven: held.redriven,
            key: subject.key,
            parked,
        });
    }

    /// Whether later events of the key are to wait behind the dead letter. Behind a redriven event that had left its
    /// place in the order none wait, and without an order none do.
    fn parks(&self, target: Target) -> bool {
        let in_order = !matches!(target, Target::Held(id) if id >= REDRIVEN);
        self.config.on_dead_letter == OnDeadLetter::Park && self.config.order != Order::None && in_order
    }

    fn held_of(&self, target: Target) -> Option<&Held> {
        match target {
            Target::Fresh(..) | Target::Timer(_) => None,
            Target::Held(id) => self.holds.get(id),
        }
    }

    /// Moves the cursor over a fresh event, takes a timer from those that are set, and forgets the mark of a delivery.
    fn pass(&mut self, target: Target) {
        self.progress.marked = None;
        self.pending.progress = true;
        match target {
            Target::Fresh(topic, offset) => {
                let next = self.progress.next.entry(topic).or_default();
                assert!(offset >= *next, "offset {offset} of topic {topic} was passed before");
                *next = offset + 1;
            }
            Target::Timer(place) => self.pending.fired.push(place),
            Target::Held(_) => {}
        }
    }

    /// Holds what was tried, in its place: a timer before those of its key that nobody has tried and that the log accepted after it was
    /// due. These go back by a place each. Returns the number of its place.
    fn put_in_place(&mut self, subject: &Subject, held: Held) -> u64 {
        let place = match subject.target {
            Target::Held(id) => id,
            Target::Fresh(..) => self.next_id(),
            Target::Timer(_) => {
                let behind = self.holds.untried_after(subject.key, subject.appended);
                let mut before: Option<Held> = None;
                for id in &behind {
                    let held = self.holds.get(*id).cloned();
                    if let Some(before) = mem::replace(&mut before, held) {
                        self.put(*id, before);
                    }
                }
                let last = self.next_id();
                if let Some(before) = before {
                    self.put(last, before);
                }
                behind.first().copied().unwrap_or(last)
            }
        };
        self.put(place, held);
        place
    }

    fn next_id(&mut self) -> u64 {
        let id = self.progress.held_next;
        self.progress.held_next += 1;
        id
    }

    fn put(&mut self, id: u64, held: Held) {
        self.pending.held.insert(id);
        self.pending.bytes += ROW_BYTES + attempts_bytes(&held.attempts) + event_bytes(held.event.as_deref());
        self.holds.put(id, held);
    }

    fn remove(&mut self, id: u64) {
        self.pending.held.insert(id);
        self.holds.remove(id);
    }

    fn add_dead_letter(&mut self, letter: DeadLetter) {
        self.pending.bytes +=
            ROW_BYTES + attempts_bytes(&letter.attempts) + event_bytes(letter.event.as_deref());
        self.pending.dead_letters.push(letter);
        self.progress.counts.dead_letters += 1;
    }
}

impl Held {
    fn waiting(fresh: &Subject) -> Self {
        Self {
            key: fresh.key,
            topic: fresh.topic,
            offset: fresh.offset,
            commit: fresh.commit,
            appended: fresh.appended,
            // The log keeps an event for as long as it is held, and a timer only until it comes.
            event: fresh.event.clone().filter(|_| matches!(fresh.target, Target::Timer(_))),
            wait: Wait::Behind,
            attempts: Vec::new(),
            first_attempt: Timestamp::default(),
            redriven: false,
        }
    }
}

/// About what a row takes beside its attempts and its event.
const ROW_BYTES: usize = 128;

fn attempts_bytes(attempts: &[Attempt]) -> usize {
    let failure = |Attempt { failure, .. }: &Attempt| {
        ROW_BYTES
            + failure.code.len()
            + failure.message.len()
            + failure.backtrace.as_ref().map_or(0, String::len)
    };
    attempts.iter().map(failure).sum()
}

fn event_bytes(event: Option<&Event>) -> usize {
    event.map_or(0, Event::size)
}

#[cfg(test)]
mod tests;
