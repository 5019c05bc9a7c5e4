//! What has to be true of timers: each that was set and not cancelled comes once, at the moment for which it was set last, in the
//! order in which they are due; and those that haven't come are there.

use std::collections::BTreeMap;

use tidegate::TIMER_TOPIC;
use tidegate::config::Order;

use super::super::script::TIMER_LISTS;
use super::Standing;

/// Timers, by lane, key and name, with when they are due.
type Timers = BTreeMap<(u32, String, String), Vec<i64>>;

/// What a consumer has listed of its timers, played again.
struct Replay {
    set: Timers,
    /// Those that were set again or cancelled: one that had come by then, and waited, may still do so.
    replaced: Timers,
    /// Whether none can wait while something else of its key goes on.
    is_strict: bool,
}

/// Plays again what a consumer has listed of its timers, and looks at what is left. `had_letters` is whether a timer was ever put
/// back to work from the dead letters, which is by its nature out of order.
///
/// # Errors
///
/// The first promise that is broken.
pub fn check(standing: &Standing, had_letters: bool) -> Result<(), String> {
    let letters = standing.letters.iter().filter(|letter| letter.topic == TIMER_TOPIC).count();
    let is_strict = standing.plan.order != Order::None && letters == 0 && !had_letters;
    let mut replay = Replay { set: Timers::new(), replaced: Timers::new(), is_strict };
    for (lane, lists) in (0..).zip(&standing.lists) {
        for (list, lines) in lists.range(TIMER_LISTS.to_vec()..) {
            let Some(key) = list.strip_prefix(TIMER_LISTS) else { break };
            let key = String::from_utf8_lossy(key).into_owned();
            for line in lines {
                replay
                    .step(lane, &key, line)
                    .map_err(|broken| format!("timer of key {key}, {line}: {broken}"))?;
            }
        }
    }
    for timer in &standing.timers {
        let name = (timer.partition, timer.key.clone(), timer.name.clone());
        if !take(&mut replay.set, &name, timer.due.0) {
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
    fn step(&mut self, lane: u32, key: &str, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split(' ').collect();
        let [what, name, due] = words[..] else { return Err("it is no line of a list".to_owned()) };
        let due: i64 = due.parse().map_err(|_| "it has no time".to_owned())?;
        let timer = (lane, key.to_owned(), name.to_owned());
        if what == "came" {
            let earlier = self.earlier(lane, key, due);
            if !take(&mut self.set, &timer, due) && (self.is_strict || !take(&mut self.replaced, &timer, due))
            {
                return Err("it was not set for then, or has come before".to_owned());
            }
            return match earlier {
                Some(earlier) if self.is_strict => {
                    Err(format!("one is set for {earlier}, which is before it"))
                }
                _ => Ok(()),
            };
        }
        let before = self.set.remove(&timer).unwrap_or_default();
        self.replaced.entry(timer.clone()).or_default().extend(before);
        if what == "set" {
            self.set.insert(timer, vec![due]);
        }
        Ok(())
    }

    /// When the key's first timer is due that is set, if it is before this moment.
    fn earlier(&self, lane: u32, key: &str, due: i64) -> Option<i64> {
        let of_key = self.set.range((lane, key.to_owned(), String::new())..);
        let of_key = of_key.take_while(|((of, other, _), _)| (*of, other.as_str()) == (lane, key));
        of_key.flat_map(|(_, dues)| dues.iter().copied()).filter(|other| *other < due).min()
    }
}

/// Takes out a timer that is due at this moment. Returns whether there was one.
fn take(timers: &mut Timers, name: &(u32, String, String), due: i64) -> bool {
    let Some(dues) = timers.get_mut(name) else { return false };
    let Some(at) = dues.iter().position(|other| *other == due) else { return false };
    dues.swap_remove(at);
    true
}
