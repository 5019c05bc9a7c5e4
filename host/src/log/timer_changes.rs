//! What a lane's batch does to its timers, as a commit takes it.
//!
//! As with events, see `new_events`: all that doesn't depend on the commit (rows, keys, the order in which they go into the
//! tables) is made by the lane, on a thread of its own. The tables get theirs in ascending order of their keys, as that finds
//! the page that is at hand.

use std::collections::BTreeMap;
use std::ops::Range;

use super::lane_rows::CameTimer;
use super::{timer_names, timers};
use crate::ids::LaneId;
use crate::timer::{NewTimer, TimerName, TimerPlace};

/// See the module.
pub(super) struct TimerChanges {
    /// Keys of names and rows of timers, one after the other.
    bytes: Vec<u8>,
    /// Those that have come.
    came: Vec<TimerPlace>,
    /// The names of those, where they are known, and nothing else is done to them.
    came_names: Vec<Named<TimerPlace>>,
    /// Those of which they are not.
    came_unnamed: Vec<TimerPlace>,
    /// Names that are set or cancelled, with where they are then.
    names: Vec<Named<Option<TimerPlace>>>,
    /// Those that are set.
    rows: Vec<(TimerPlace, Range<usize>)>,
    /// How many numbers are used up.
    numbers: u64,
}

struct Named<T> {
    key: Range<usize>,
    what: T,
}

impl TimerChanges {
    /// Those that have come, and what is done to others: they are set, or cancelled, and so many numbers are used up. `hash_key`
    /// is the bus's.
    pub fn new(
        hash_key: [u8; 16],
        lane: LaneId,
        came: Vec<CameTimer>,
        changed: BTreeMap<TimerName, Option<NewTimer>>,
        numbers: u64,
    ) -> Self {
        let mut bytes = Vec::new();
        let key_of = |bytes: &mut Vec<u8>, name: &TimerName| {
            let start = bytes.len();
            timer_names::push_key(hash_key, lane, name, bytes);
            start..bytes.len()
        };
        let (mut came_names, mut came_unnamed) = (Vec::new(), Vec::new());
        for timer in &came {
            match &timer.name {
                Some(name) if changed.contains_key(name) => {}
                Some(name) => came_names.push(Named { key: key_of(&mut bytes, name), what: timer.place }),
                None => came_unnamed.push(timer.place),
            }
        }
        let (mut names, mut rows) = (Vec::with_capacity(changed.len()), Vec::with_capacity(changed.len()));
        for (name, timer) in changed {
            let place = timer.as_ref().map(|timer| timer.place);
            names.push(Named { key: key_of(&mut bytes, &name), what: place });
            if let Some(timer) = timer {
                let start = bytes.len();
                timers::push_row(timer.event, &mut bytes);
                rows.push((timer.place, start..bytes.len()));
            }
        }
        let mut came: Vec<_> = came.into_iter().map(|timer| timer.place).collect();
        came.sort_unstable();
        came_names.sort_unstable_by_key(|named| &bytes[named.key.clone()]);
        names.sort_unstable_by_key(|named| &bytes[named.key.clone()]);
        rows.sort_unstable_by_key(|(place, _)| *place);
        Self { bytes, came, came_names, came_unnamed, names, rows, numbers }
    }

    /// Whether any are set.
    pub fn sets_any(&self) -> bool {
        !self.rows.is_empty()
    }

    /// How many numbers of the lane's timers are used up.
    pub fn numbers(&self) -> u64 {
        self.numbers
    }

    /// Those that have come, in ascending order.
    pub fn came(&self) -> &[TimerPlace] {
        &self.came
    }

    /// Those of them whose names are not known.
    pub fn came_unnamed(&self) -> impl Iterator<Item = TimerPlace> {
        self.came_unnamed.iter().copied()
    }

    /// The keys of the names of the others, unless they are set or cancelled as well, in ascending order.
    pub fn came_names(&self) -> impl Iterator<Item = (&[u8], TimerPlace)> {
        self.came_names.iter().map(|named| (&self.bytes[named.key.clone()], named.what))
    }

    /// The keys of the names that are set or cancelled, in ascending order, with where they are then.
    pub fn names(&self) -> impl Iterator<Item = (&[u8], Option<TimerPlace>)> {
        self.names.iter().map(|named| (&self.bytes[named.key.clone()], named.what))
    }

    /// Where timers are set, in ascending order, with their rows as far as they are [made](timers::push_row).
    pub fn rows(&self) -> impl Iterator<Item = (TimerPlace, &[u8])> {
        self.rows.iter().map(|(place, row)| (*place, &self.bytes[row.clone()]))
    }
}
