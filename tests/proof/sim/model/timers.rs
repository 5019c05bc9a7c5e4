//! What has to be true of timers: each that was set and not cancelled comes once, at the moment for which it was set last, in the
//! order in which they are due, after the events of its key that the log had accepted before that and before those that it accepted
//! later; and those that haven't come are there.

use std::collections::BTreeMap;

use tidegate::TIMER_TOPIC;
use tidegate::config::Order;

use super::super::script::TIMER_LISTS;
use super::Standing;

/// Timers, by lane, key and name.
type Timers = BTreeMap<(u32, String, String), Vec<Set>>;

/// A timer that is set.
#[derive(Clone, Copy, Debug)]
struct Set {
    due: i64,
    /// When the log had accepted the newest event that came since. Those count that came in their order; and none do where the
    /// delivery that set it was out of it.
    newest: Option<i64>,
    is_in_order: bool,
}

/// Where a key's list is.
#[derive(Debug, Default)]
struct Place {
    /// Whether the event that came last is in its order.
    is_in_order: bool,
    /// The timer that came and was due last.
    came: Option<i64>,
}

/// What a consumer has listed of its timers, played again.
struct Replay {
    set: Timers,
    /// Those that were set again or cancelled: one that had come by then, and waited, may still do so.
    replaced: Timers,
    /// Whether none can wait while something else of its key goes on.
    is_strict: bool,
    /// Whether all come in their place among the events of their key.
    has_places: bool,
}

/// Plays again what a consumer has listed of its timers, and looks at what is left. `had_letters` is whether a timer was ever put
/// back to work from the dead letters, which is by its nature out of order. `has_room` is whether a lane can hold all that there is:
/// what a full one has no place for waits for one.
///
/// # Errors
///
/// The first promise that is broken.
pub fn check(standing: &Standing, had_letters: bool, has_room: bool) -> Result<(), String> {
    let letters = standing.letters.iter().filter(|letter| letter.topic == TIMER_TOPIC).count();
    let is_strict = standing.plan.order != Order::None && letters == 0 && !had_letters;
    let has_places = is_strict && has_room;
    let mut replay = Replay { set: Timers::new(), replaced: Timers::new(), is_strict, has_places };
    for (lane, lists) in (0..).zip(&standing.lists) {
        for (list, lines) in lists.range(TIMER_LISTS.to_vec()..) {
            let Some(key) = list.strip_prefix(TIMER_LISTS) else { break };
            let key = String::from_utf8_lossy(key).into_owned();
            let mut place = Place::default();
            for line in lines {
                replay
                    .step(lane, &key, line, &mut place)
                    .map_err(|broken| format!("timer of key {key}, {line}: {broken}"))?;
            }
        }
    }
    for timer in &standing.timers {
        let name = (timer.partition, timer.key.clone(), timer.name.clone());
        if take(&mut replay.set, &name, timer.due.0).is_none() {
            return Err(format!("{timer:?} is set, and was not"));
        }
    }
    let held = standing.lanes.iter().flat_map(|lane| &lane.held);
    let held = held.filter(|((topic, _), held)| topic == TIMER_TOPIC && !held.is_letter).count();
    let (gone, away) = (replay.set.values().map(Vec::len).sum::<usize>(), held + letters);
    if gone == away || (gone < away && !is_strict) {
        Ok(())
    } else {
        Err(format!("{away} timers have come and wait, and these are not set: {:?}", replay.set))
    }
}

impl Replay {
    fn step(&mut self, lane: u32, key: &str, line: &str, place: &mut Place) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, name, moment] = words[..] else { return Err("it is no line of a list".to_owned()) };
        let moment: i64 = moment.parse().map_err(|_| "it has no time".to_owned())?;
        let timer = (lane, key.to_owned(), name.to_owned());
        match what {
            "came" => return self.come(&timer, moment, place),
            "saw" => {
                place.is_in_order = true;
                for (_, timers) in self.of_key(lane, key) {
                    for timer in timers {
                        timer.newest = timer.newest.max(Some(moment));
                    }
                }
                return match place.came {
                    Some(due) if due > moment && self.has_places => {
                        Err(format!("a timer that was due at {due} has come before it"))
                    }
                    _ => Ok(()),
                };
            }
            "redriven" => {
                place.is_in_order = false;
                return Ok(());
            }
            _ => {}
        }
        let before = self.set.remove(&timer).unwrap_or_default();
        self.replaced.entry(timer.clone()).or_default().extend(before);
        if what == "set" {
            let is_in_order = place.is_in_order;
            self.set.insert(timer, vec![Set { due: moment, newest: None, is_in_order }]);
        }
        Ok(())
    }

    fn come(&mut self, timer: &(u32, String, String), due: i64, place: &mut Place) -> Result<(), String> {
        let earlier = self.earlier(timer.0, &timer.1, due);
        let mut set = take(&mut self.set, timer, due);
        if set.is_none() && !self.is_strict {
            set = take(&mut self.replaced, timer, due);
        }
        let Some(set) = set else { return Err("it was not set for then, or has come before".to_owned()) };
        place.came = place.came.max(Some(due));
        if let Some(earlier) = earlier.filter(|_| self.is_strict) {
            return Err(format!("one is set for {earlier}, which is before it"));
        }
        match set.newest {
            Some(newest) if newest > due && set.is_in_order && self.has_places => {
                Err(format!("an event has come before it that was accepted at {newest}"))
            }
            _ => Ok(()),
        }
    }

    fn of_key(
        &mut self,
        lane: u32,
        key: &str,
    ) -> impl Iterator<Item = (&(u32, String, String), &mut Vec<Set>)> {
        let of_key = self.set.range_mut((lane, key.to_owned(), String::new())..);
        of_key.take_while(move |((of, other, _), _)| (*of, other.as_str()) == (lane, key))
    }

    /// When the key's first timer is due that is set, if it is before this moment.
    fn earlier(&self, lane: u32, key: &str, due: i64) -> Option<i64> {
        let of_key = self.set.range((lane, key.to_owned(), String::new())..);
        let of_key = of_key.take_while(|((of, other, _), _)| (*of, other.as_str()) == (lane, key));
        of_key.flat_map(|(_, timers)| timers.iter().map(|timer| timer.due)).filter(|other| *other < due).min()
    }
}

/// Takes out a timer that is due at this moment, if there is one.
fn take(timers: &mut Timers, name: &(u32, String, String), due: i64) -> Option<Set> {
    let timers = timers.get_mut(name)?;
    let at = timers.iter().position(|other| other.due == due)?;
    Some(timers.swap_remove(at))
}
