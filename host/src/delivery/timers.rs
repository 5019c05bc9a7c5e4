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
    waiting: BTreeMap<u64, BTreeMap<TimerPlace, TimerName>>,
    /// How many those are.
    waiting_count: usize,
    /// Those that wait no longer. They are read when they come next.
    freed: BTreeSet<TimerPlace>,
    /// The last one that was read: those up to it are here, or have come.
    read_to: Option<TimerPlace>,
    next: Next,
}

/// What a batch has changed, as far as it matters here: most timers are set for moments that nobody looks at yet.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// Those that are set anew or cancelled.
    gone: Vec<TimerPlace>,
    /// Those of them that wait, with the hashes of their keys.
    gone_waiting: Vec<(u64, TimerPlace)>,
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
        let may_be_due = match self.next {
            Next::Unknown => true,
            Next::At(due) => due <= now,
            Next::Never => false,
        };
        may_be_due && self.due.is_empty() && self.waiting_count < waiting_max
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
            self.waiting.entry(timer.key).or_default().insert(place, timer.name);
            self.waiting_count += 1;
        }
    }

    /// Those of this key that are due before this moment wait for no other event of it any more.
    pub fn free(&mut self, key: u64, until: Timestamp) {
        let Some(mut freed) = self.waiting.remove(&key) else { return };
        let rest = freed.split_off(&TimerPlace { due: until, number: 0 });
        if !rest.is_empty() {
            self.waiting.insert(key, rest);
        }
        self.waiting_count -= freed.len();
        self.freed.extend(freed.into_keys());
    }

    /// The one of those that wait no longer that is to be read anew, and [added](Self::add), as it comes before all that were read. It
    /// may have been cancelled meanwhile.
    pub fn take_freed(&mut self) -> Option<TimerPlace> {
        let first = self.freed.first()?;
        let is_next = self.due.first_key_value().is_none_or(|(place, _)| first < place);
        if is_next { self.freed.pop_first() } else { None }
    }

    /// When a timer is due that can't be looked at, as many wait for their keys as may: what comes after it has to wait.
    pub fn unseen(&self, now: Timestamp, waiting_max: usize) -> Option<Timestamp> {
        match self.next {
            Next::At(due) if due <= now && self.due.is_empty() && self.waiting_count >= waiting_max => {
                Some(due)
            }
            _ => None,
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
        for name in changes.keys().filter(|_| !self.waiting.is_empty()) {
            let key = key_hash(&name.key);
            let of_key = self.waiting.get(&key).into_iter().flatten();
            let gone = of_key.filter(|(_, other)| *other == name).map(|(place, _)| (key, *place));
            changed.gone_waiting.extend(gone);
        }
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
        for (key, place) in changed.gone_waiting {
            let Some(places) = self.waiting.get_mut(&key) else { continue };
            self.waiting_count -= usize::from(places.remove(&place).is_some());
            if places.is_empty() {
                self.waiting.remove(&key);
            }
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

    /// The hash of the key of all of them.
    fn key() -> u64 {
        key_hash("k")
    }

    fn place(due: i64) -> TimerPlace {
        TimerPlace { due: Timestamp(due), number: due.unsigned_abs() }
    }

    fn timer(name: &str) -> TimerEvent {
        let event = Event::new("id", "/tests", TIMER_TYPE).subject("k").extension(TIMER_NAME, name);
        let event = Arc::new(event.build().unwrap());
        TimerEvent { name: TimerName::of(&event), key: key(), event }
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
        timers.free(key() + 1, NOW); // Of another key.
        timers.free(key(), Timestamp(10));
        assert_eq!((timers.take_freed(), timers.waiting_count), (None, 3));
        timers.free(key(), Timestamp(30));
        assert_eq!((timers.take_freed(), timers.waiting_count), (Some(place(10)), 1));
        timers.free(key(), Timestamp(31));
        timers.fill(found(&[25], None));
        let freed = [timers.take_freed(), timers.take_freed()];
        assert_eq!((freed, timers.waiting_count), ([Some(place(20)), None], 0), "one comes before it");
        timers.take();
        assert_eq!(timers.take_freed(), Some(place(30)));
    }

    #[test]
    fn one_that_waits_and_is_cancelled_takes_no_place_any_more() {
        let mut timers = Timers::default();
        timers.fill(found(&[10, 20], None));
        timers.wait();
        timers.wait();
        let changed = timers.effect_of(&[(timer("10").name, None)].into());
        timers.changed(changed);
        assert_eq!(timers.waiting_count, 1);
        timers.free(key(), NOW);
        assert_eq!([timers.take_freed(), timers.take_freed()], [Some(place(20)), None]);
    }

    #[test]
    fn nothing_wakes_the_lane_for_more_while_as_many_wait_for_their_key_as_may() {
        let mut timers = Timers::default();
        timers.fill(found(&[10, 20], Some(30)));
        timers.wait();
        assert_eq!(timers.next_due(2), Some(Timestamp(30)));
        timers.wait();
        assert_eq!((timers.next_due(2), timers.wants_more(NOW, 2)), (None, false));
        assert_eq!((timers.unseen(NOW, 2), timers.unseen(Timestamp(29), 2)), (Some(Timestamp(30)), None));
        timers.free(key(), NOW);
        assert_eq!((timers.next_due(2), timers.wants_more(NOW, 2)), (Some(Timestamp(30)), true));
    }
}
