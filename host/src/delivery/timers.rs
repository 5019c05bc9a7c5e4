//! The timers of a lane that are due, as far as they were read ahead, and when there are more.
//!
//! One that is due stays in the log until it comes: while an event of its key is held that has its place before it, it waits here,
//! and what that event does when it is delivered at last may still cancel it.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::log::{DueTimer, DueTimers, TimerEvent, key_hash};
use crate::timer::{NewTimer, TimerName, TimerPlace};

/// What a batch has changed of its lane's timers, see `Effects`.
pub(super) type Changes = BTreeMap<TimerName, Option<NewTimer>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Timers {
    /// In the order in which they come.
    due: BTreeMap<TimerPlace, Result<TimerEvent, String>>,
    /// Those that wait for their key, by its hash.
    waiting: BTreeMap<u64, BTreeSet<TimerPlace>>,
    /// How many those are.
    waiting_count: usize,
    /// The last one that was read: those up to it are here, or have come.
    read_to: Option<TimerPlace>,
    next: Next,
}

/// What a batch has changed, as far as it matters here: most timers are set for moments that nobody looks at yet.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Those that are set anew or cancelled.
    gone: Vec<TimerPlace>,
    /// Those that are set for moments that were read already.
    added: Vec<DueTimer>,
    /// When the first one of the others is due.
    next: Option<Timestamp>,
}

/// When there are more than were read.
#[derive(Clone, Copy, Debug, Default)]
enum Next {
    /// Nobody has looked.
    #[default]
    Unknown,
    At(Timestamp),
    Never,
}

impl Timers {
    /// Whether to read those that are due: there may be some, none are left here to come, and fewer wait than may.
    pub fn wants_more(&self, now: Timestamp, waiting_max: usize) -> bool {
        self.may_be_due(now) && self.due.is_empty() && self.waiting_count < waiting_max
    }

    /// The one behind which to read on.
    pub fn read_to(&self) -> Option<TimerPlace> {
        self.read_to
    }

    /// Adds what a read has found.
    pub fn fill(&mut self, found: DueTimers) {
        self.next = found.next.map_or(Next::Never, Next::At);
        self.read_to = found.due.last().map(|timer| timer.place).or(self.read_to);
        found.due.into_iter().for_each(|timer| self.add(timer));
    }

    /// Adds one that waited.
    pub fn add(&mut self, timer: DueTimer) {
        self.due.insert(timer.place, timer.event);
    }

    /// The one that comes next.
    pub fn first(&self) -> Option<(TimerPlace, &Result<TimerEvent, String>)> {
        self.due.first_key_value().map(|(place, event)| (*place, event))
    }

    /// Takes it out.
    pub fn take(&mut self) -> Option<DueTimer> {
        self.due.pop_first().map(|(place, event)| DueTimer { place, event })
    }

    /// Has it wait until its key is [free](Self::free).
    pub fn wait(&mut self) {
        if let Some(DueTimer { place, event: Ok(timer) }) = self.take() {
            self.waiting.entry(timer.key).or_default().insert(place);
            self.waiting_count += 1;
        }
    }

    /// Those of this key that are due before this moment: they wait for no other event of it any more. They are to be read anew, and
    /// [added](Self::add): they may have been cancelled meanwhile.
    pub fn free(&mut self, key: u64, until: Timestamp) -> Vec<TimerPlace> {
        let Some(mut freed) = self.waiting.remove(&key) else { return Vec::new() };
        let rest = freed.split_off(&TimerPlace { due: until, number: 0 });
        if !rest.is_empty() {
            self.waiting.insert(key, rest);
        }
        self.waiting_count -= freed.len();
        freed.into_iter().collect()
    }

    /// Whether nobody knows which timer comes next, since as many wait for their keys as may: what comes after it has to wait.
    pub fn is_full(&self, now: Timestamp, waiting_max: usize) -> bool {
        self.may_be_due(now) && self.due.is_empty() && self.waiting_count >= waiting_max
    }

    fn may_be_due(&self, now: Timestamp) -> bool {
        match self.next {
            Next::Unknown => true,
            Next::At(due) => due <= now,
            Next::Never => false,
        }
    }

    /// What changes will come to, for what is known here.
    pub fn effect_of(&self, changes: &Changes) -> Changed {
        let mut changed = Changed::default();
        if changes.is_empty() {
            return changed;
        }
        let is_gone = |event: &Result<TimerEvent, String>| {
            event.as_ref().is_ok_and(|timer| changes.contains_key(&timer.name))
        };
        changed.gone.extend(self.due.iter().filter(|(_, event)| is_gone(event)).map(|(place, _)| *place));
        for (name, timer) in changes {
            let Some(NewTimer { place, event }) = timer else { continue };
            if self.read_to.is_some_and(|read_to| *place <= read_to) {
                let (name, key, event) = (name.clone(), key_hash(&name.key), Arc::clone(event));
                changed.added.push(DueTimer { place: *place, event: Ok(TimerEvent { name, key, event }) });
            } else {
                changed.next = changed.next.into_iter().chain([place.due]).min();
            }
        }
        changed
    }

    /// Takes note of changes that were committed.
    pub fn changed(&mut self, changed: Changed) {
        for place in changed.gone {
            self.due.remove(&place);
        }
        for timer in changed.added {
            self.add(timer);
        }
        self.next = match (mem::take(&mut self.next), changed.next) {
            (Next::At(due), Some(new)) => Next::At(due.min(new)),
            (Next::Never, Some(new)) => Next::At(new),
            (next, _) => next,
        };
    }

    /// When the next one is due that is not here, unless as many wait as may: then none is read before a key is free.
    pub fn next_due(&self, waiting_max: usize) -> Option<Timestamp> {
        match self.next {
            Next::At(due) if self.waiting_count < waiting_max => Some(due),
            Next::At(_) | Next::Unknown | Next::Never => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::timer::{TIMER_NAME, TIMER_TYPE};

    const NOW: Timestamp = Timestamp(100);

    fn place(due: i64) -> TimerPlace {
        TimerPlace { due: Timestamp(due), number: due.unsigned_abs() }
    }

    fn timer(name: &str) -> TimerEvent {
        let event = Event::new("id", "/tests", TIMER_TYPE).subject("k").extension(TIMER_NAME, name);
        let event = Arc::new(event.build().unwrap());
        TimerEvent { name: TimerName::of(&event), key: 1, event }
    }

    /// What a read has found that are due then, and when the next one is.
    fn found(dues: &[i64], next: Option<i64>) -> DueTimers {
        let due = dues.iter().map(|due| DueTimer { place: place(*due), event: Ok(timer(&due.to_string())) });
        DueTimers { due: due.collect(), next: next.map(Timestamp) }
    }

    #[test]
    fn one_that_is_set_for_a_moment_that_was_read_already_comes_in_its_place() {
        let mut timers = Timers::default();
        timers.fill(found(&[10, 20], None));
        let TimerEvent { name, event, .. } = timer("15");
        let new = NewTimer { place: place(15), event };
        let changed = timers.effect_of(&[(name, Some(new)), (timer("10").name, None)].into());
        timers.changed(changed);
        let come: Vec<_> = std::iter::from_fn(|| timers.take()).map(|timer| timer.place).collect();
        assert_eq!(come, [place(15), place(20)]);
    }

    #[test]
    fn those_that_are_due_before_a_later_event_of_their_key_are_free_before_it() {
        let mut timers = Timers::default();
        timers.fill(found(&[10, 20, 30], None));
        for _ in 0..3 {
            timers.wait();
        }
        assert_eq!(timers.free(2, NOW), [], "of another key");
        assert_eq!(timers.free(1, Timestamp(10)), []);
        assert_eq!(timers.free(1, Timestamp(30)), [place(10), place(20)]);
        assert_eq!(timers.waiting_count, 1);
        assert_eq!((timers.free(1, Timestamp(31)), timers.waiting_count), (vec![place(30)], 0));
    }

    #[test]
    fn nothing_wakes_the_lane_for_more_while_as_many_wait_for_their_key_as_may() {
        let mut timers = Timers::default();
        timers.fill(found(&[10, 20], Some(30)));
        timers.wait();
        assert_eq!(timers.next_due(2), Some(Timestamp(30)));
        timers.wait();
        assert_eq!((timers.next_due(2), timers.wants_more(NOW, 2)), (None, false));
        assert!(timers.is_full(NOW, 2) && !timers.is_full(Timestamp(29), 2));
        assert_eq!(timers.free(1, NOW), [place(10), place(20)]);
        assert_eq!((timers.next_due(2), timers.wants_more(NOW, 2)), (Some(Timestamp(30)), true));
    }
}
