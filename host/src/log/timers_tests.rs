//! The timers of a lane against a model, and what people do to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::admission::block_on;
use super::error::{AdminError, ReadError};
use super::hash;
use super::lane_rows::{CameTimer, LaneCommit};
use super::memory_medium::MemoryMedium;
use super::registry::Position;
use super::store::Log;
use super::tests::{consumer, lane_commit, open, topic};
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::event::{Data, Event};
use crate::ids::LaneId;
use crate::limits::{READ_BYTES_MAX, TIMER_NAME_BYTES_MAX, TIMERS_MAX};
use crate::timer::{NewTimer, TIMER_NAME, TIMER_TYPE, TimerCounts, TimerError, TimerName, TimerPlace};

fn name(key: &str, name: &str) -> TimerName {
    TimerName { key: key.to_owned(), name: name.to_owned() }
}

fn event(name: &TimerName) -> Event {
    let event = Event::new("id", "/tests", TIMER_TYPE).subject(&name.key);
    event.extension(TIMER_NAME, name.name.as_str()).build().unwrap()
}

/// The number of a timer counts from the first of its commit.
pub(super) fn timer(of: &TimerName, due: i64, nth: u64) -> NewTimer {
    let place = TimerPlace { due: Timestamp(due), number: nth };
    NewTimer { place, event: Arc::new(event(of)) }
}

/// What a commit does to a lane's timers.
fn commit(
    log: &Log,
    lane: LaneId,
    came: Vec<TimerPlace>,
    changes: impl IntoIterator<Item = (TimerName, Option<NewTimer>)>,
) -> TimerCounts {
    let topic = log.topic_id("t").unwrap();
    let mut commit: LaneCommit = lane_commit(log, lane, 0, topic);
    // Every other one as the lane knows it, and the others as after a restart.
    let names: BTreeMap<_, _> = all(log, lane, 9).into_iter().collect();
    let named = |(at, place)| CameTimer { place, name: names.get(&place).cloned().filter(|_| at % 2 == 0) };
    commit.came = came.into_iter().enumerate().map(named).collect();
    for (name, mut timer) in changes {
        if let Some(timer) = &mut timer {
            timer.place.number += commit.progress.timers.next;
            commit.effects.timers_set += 1;
        }
        commit.effects.timers.insert(name, timer);
    }
    block_on(log.commit(commit)).unwrap()
}

/// The lane's timers by when they are due, with their names, read in pages of this size.
fn all(log: &Log, lane: LaneId, page: usize) -> Vec<(TimerPlace, TimerName)> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        assert!(found.len() < 1000, "the same timers are read again and again");
        let read = log.due_timers(lane, after, Timestamp(i64::MAX), (page, READ_BYTES_MAX)).unwrap();
        after = read.due.last().map(|timer| timer.place).or(after);
        found.extend(read.due.into_iter().map(|timer| (timer.place, timer.event.unwrap().name)));
        if read.next.is_none() {
            return found;
        }
    }
}

/// Changes of timers, and how many come before them.
type Run = (Vec<(u8, Option<i64>)>, usize);

/// What each of some commits does: timers by the number of their name that are set for a moment, or cancelled; and how many of
/// those that are due first have come.
fn runs() -> impl Strategy<Value = Vec<Run>> {
    let change = (0_u8..6, proptest::option::of(0_i64..20));
    proptest::collection::vec((proptest::collection::vec(change, 0..5), 0_usize..3), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_lane_has_each_timer_once_where_it_was_set_last(runs in runs(), page in 1_usize..4) {
        let log = open(&MemoryMedium::new());
        let (_, lane) = consumer(&log);
        let mut model: BTreeMap<TimerName, TimerPlace> = BTreeMap::new();
        let mut number = 0;
        for (changes, come) in runs {
            let mut places: Vec<_> = model.values().copied().collect();
            places.sort();
            let fired: Vec<_> = places.into_iter().take(come).collect();
            model.retain(|_, place| !fired.contains(place));
            let (mut last, mut nth) = (BTreeMap::new(), 0);
            for (of, due) in changes {
                let of = name(&format!("key {}", of % 2), &format!("name {}", of / 2));
                // The change of a timer counts that came last; one of its numbers is used up with each.
                if last.contains_key(&of) {
                    continue;
                }
                model.remove(&of);
                if let Some(due) = due {
                    model.insert(of.clone(), TimerPlace { due: Timestamp(due), number: number + nth });
                }
                last.insert(of.clone(), due.map(|due| timer(&of, due, nth)));
                nth += u64::from(due.is_some());
            }
            number += nth;
            let counts = commit(&log, lane, fired, last);
            prop_assert_eq!(counts, TimerCounts { next: number, set: model.len() as u64 });
            let mut expected: Vec<_> = model.iter().map(|(of, place)| (*place, of.clone())).collect();
            expected.sort();
            prop_assert_eq!(all(&log, lane, page), expected);
        }
    }
}

#[test]
fn a_timer_that_is_set_again_comes_at_its_last_moment_though_its_first_one_comes_in_the_same_batch() {
    let log = open(&MemoryMedium::new());
    let (_, lane) = consumer(&log);
    let of = name("k", "a");
    commit(&log, lane, Vec::new(), [(of.clone(), Some(timer(&of, 10, 0)))]);
    let first = TimerPlace { due: Timestamp(10), number: 0 };
    let counts = commit(&log, lane, vec![first], [(of.clone(), Some(timer(&of, 30, 0)))]);
    let second = TimerPlace { due: Timestamp(30), number: 1 };
    assert_eq!((counts, all(&log, lane, 9)), (TimerCounts { next: 2, set: 1 }, vec![(second, of.clone())]));
    // Its name leads to where it is now, and one that comes at a place where it has been doesn't take that along.
    let mut late: LaneCommit = lane_commit(&log, lane, 0, log.topic_id("t").unwrap());
    late.came = vec![CameTimer { place: first, name: Some(of.clone()) }];
    assert_eq!(block_on(log.commit(late)).unwrap(), counts);
    assert_eq!(all(&log, lane, 9), [(second, of.clone())]);
    let counts = commit(&log, lane, Vec::new(), [(of, None)]);
    assert_eq!((counts, all(&log, lane, 9)), (TimerCounts { next: 2, set: 0 }, vec![]));
}

#[test]
fn those_that_come_leave_those_between_them_that_wait() {
    let log = open(&MemoryMedium::new());
    let (_, lane) = consumer(&log);
    let names: Vec<_> = (0..200).map(|at| name("k", &format!("{at}"))).collect();
    let set = (0_u64..).zip(&names).map(|(at, of)| (of.clone(), Some(timer(of, at.cast_signed(), at))));
    commit(&log, lane, Vec::new(), set);
    let (wait, come): (Vec<_>, Vec<_>) =
        all(&log, lane, 99).into_iter().partition(|(place, _)| place.number % 7 == 3);
    let counts = commit(&log, lane, come.into_iter().map(|(place, _)| place).collect(), []);
    assert_eq!((counts.set, all(&log, lane, 99)), (wait.len() as u64, wait));
}

#[test]
fn a_timer_is_due_at_its_moment_and_not_before() {
    let log = open(&MemoryMedium::new());
    let (_, lane) = consumer(&log);
    let (a, b) = (name("k", "a"), name("k", "b"));
    commit(
        &log,
        lane,
        Vec::new(),
        [(a.clone(), Some(timer(&a, 10, 0))), (b.clone(), Some(timer(&b, 20, 1)))],
    );
    let due = |now| {
        let read = log.due_timers(lane, None, Timestamp(now), (9, READ_BYTES_MAX)).unwrap();
        (read.due.len(), read.next.map(|next| next.0))
    };
    assert_eq!([due(9), due(10), due(19), due(20)], [(0, Some(10)), (1, Some(20)), (1, Some(20)), (2, None)]);
    let at = |due, number| log.timer(lane, TimerPlace { due: Timestamp(due), number }).unwrap();
    assert_eq!(at(20, 1).unwrap().event.unwrap().name, b);
    commit(&log, lane, Vec::new(), [(name("k", "c"), Some(timer(&name("k", "c"), 5, 0)))]);
    assert_eq!(at(10, 0).unwrap().event.unwrap().name, a);
    assert!(at(20, 0).is_none() && at(21, 1).is_none());
}

#[test]
fn people_see_what_is_due_first_of_all_lanes_and_can_cancel_it() {
    let log = open(&MemoryMedium::new());
    topic(&log, "t", TopicConfig::new(2));
    let (id, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    let partition = |key: &str| hash::partition_of(hash::key_hash(key), 2);
    let of =
        |wanted: u32| (0..100).map(|at| format!("key{at}")).find(|key| partition(key) == wanted).unwrap();
    let keys = [of(0), of(1)];
    for (lane, key) in (0..).zip(&keys) {
        let lane = LaneId { consumer: id, partition: lane };
        let names = [name(key, "late"), name(key, "early")];
        let due = i64::from(lane.partition);
        let [late, early] = [timer(&names[0], 100 + due, 0), timer(&names[1], 10 + due, 1)];
        commit(&log, lane, Vec::new(), names.into_iter().zip([Some(late), Some(early)]));
    }
    let list = |partition, key: Option<&str>, count| -> Vec<(i64, String)> {
        let found = log.timers("c", partition, key, count).unwrap();
        found.into_iter().map(|timer| (timer.due.0, timer.name)).collect()
    };
    let expected = [(10, "early"), (11, "early"), (100, "late"), (101, "late")];
    let expected: Vec<_> = expected.into_iter().map(|(due, name)| (due, name.to_owned())).collect();
    assert_eq!(list(None, None, 9), expected);
    assert_eq!(list(None, None, 3), expected[..3]);
    assert_eq!(list(Some(1), None, 9), [expected[1].clone(), expected[3].clone()]);
    assert_eq!(list(None, Some(&keys[0]), 1), expected[..1]);
    assert_eq!(list(Some(1), Some(&keys[0]), 9), []);
    assert!(matches!(log.timers("c", Some(2), None, 9), Err(ReadError::UnknownLane { .. })));
    assert!(matches!(log.timers("d", None, None, 9), Err(ReadError::UnknownConsumer(_))));

    let lane = LaneId { consumer: id, partition: 0 };
    let before = log.lane(lane).unwrap();
    block_on(log.cancel_timer("c", &keys[0], "early")).unwrap();
    assert_eq!(list(Some(0), None, 9), [expected[2].clone()]);
    let after = log.lane(lane).unwrap();
    assert_eq!((before.progress.timers.set, after.progress.timers.set), (2, 1));
    assert!(after.epoch > before.epoch, "the lane has to hear of it");
    let again = block_on(log.cancel_timer("c", &keys[0], "early"));
    assert!(matches!(again, Err(AdminError::UnknownTimer { .. })), "{again:?}");

    block_on(log.forget("c")).unwrap();
    for lane in [lane, LaneId { partition: 1, ..lane }] {
        assert_eq!(all(&log, lane, 9), []);
    }
}

#[test]
fn people_can_set_a_timer_and_replace_it() {
    let log = open(&MemoryMedium::new());
    let (_, lane) = consumer(&log);
    let key = "k";
    let set = |name: &str, due, data: Option<&str>| {
        let data = data.map(|json| Data::Json(json.to_owned()));
        block_on(log.set_timer("c", key, name, Timestamp(due), data, None))
    };
    let before = log.lane(lane).unwrap();
    let now = log.clock().now().0;
    let later = now + 3_600_000_000;
    set("a", later + 20, None).unwrap();
    set("b", later + 10, Some("{}")).unwrap();
    set("a", later + 30, None).unwrap();
    let after = log.lane(lane).unwrap();
    assert_eq!(after.progress.timers, TimerCounts { next: before.progress.timers.next + 3, set: 2 });
    assert!(after.epoch > before.epoch, "the lane has to hear of it");
    let read = log.due_timers(lane, None, Timestamp(i64::MAX), (9, READ_BYTES_MAX)).unwrap();
    let due: Vec<_> = read.due.into_iter().map(|timer| (timer.place.due.0, timer.event.unwrap())).collect();
    let names: Vec<_> = due.iter().map(|(due, timer)| (*due - later, &*timer.name.name)).collect();
    assert_eq!(names, [(10, "b"), (30, "a")]);
    assert_eq!(due[0].1.event.key(), key);
    assert_ne!(due[0].1.event.id(), due[1].1.event.id());

    // What is past is now, so that its delivery has no time of long ago.
    set("past", 0, None).unwrap();
    assert!(log.timers("c", None, Some(key), 9).unwrap()[0].due.0 >= now);

    let long = "n".repeat(TIMER_NAME_BYTES_MAX + 1);
    for refused in [set("", now, None), set(&long, now, None), set("n", -1, None), set("n", now, Some("{"))] {
        assert!(matches!(refused, Err(AdminError::Timer(_))), "{refused:?}");
    }
    let unknown = block_on(log.set_timer("d", key, "n", Timestamp(now), None, None));
    assert!(matches!(unknown, Err(AdminError::UnknownConsumer(_))), "{unknown:?}");
    assert_eq!(log.lane(lane).unwrap().progress.timers.set, 3, "nothing was changed");
}

#[test]
fn people_set_no_more_timers_than_a_lane_may_have() {
    let log = open(&MemoryMedium::new());
    let (topic, lane) = consumer(&log);
    // As if it had so many.
    let mut many = lane_commit(&log, lane, 0, topic);
    many.progress.timers = TimerCounts { next: TIMERS_MAX, set: TIMERS_MAX - 1 };
    block_on(log.commit(many)).unwrap();
    let set = |name: &str| block_on(log.set_timer("c", "k", name, Timestamp(0), None, None));
    set("a").unwrap();
    let refused = set("b");
    assert!(
        matches!(refused, Err(AdminError::Timer(TimerError::TooMany { max: TIMERS_MAX }))),
        "{refused:?}"
    );
    assert_eq!(log.lane(lane).unwrap().progress.timers.set, TIMERS_MAX);
}
