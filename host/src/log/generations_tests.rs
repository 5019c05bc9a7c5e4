//! Generations: one takes the name of another over in one commit, and nothing is left of that.

use std::sync::Arc;

use redb::ReadableTableMetadata;

use super::tests::{append, consumer, held_reference, lane_commit, letter, open, topic};
use super::timers_tests::timer;
use super::*;
use crate::clock::Timestamp;
use crate::config::{Retention, TopicConfig};
use crate::event::Event;
use crate::handler::ProgramVersion;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{GENERATION_ROWS_MAX, QUESTION_LETTERS_MAX};
use crate::timer::TimerName;

fn rebuilding() -> Rebuilding {
    Rebuilding {
        program: ProgramVersion { version: "2.0.0".to_owned(), ..ProgramVersion::default() },
        state_version: 2,
        start: Position::Earliest,
        partial: false,
        allows_letters: false,
    }
}

/// A consumer `c` of topic `t`, done with three events, and a generation of it that has not begun.
fn generations(log: &Log, config: TopicConfig) -> (TopicId, LaneId, LaneId) {
    let topic = topic(log, "t", config);
    append(log, "t", &["a", "b", "c"]);
    let (live, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    let live = LaneId { consumer: live, partition: 0 };
    advance(log, live, topic, 3, "live");
    block_on(log.begin_generation("c", &["t".to_owned()], rebuilding())).unwrap();
    let (rebuilt, row) = log.consumer(&rebuilt_name("c")).unwrap();
    assert_eq!((row.generation, row.state_version), (1, Some(2)));
    (topic, live, LaneId { consumer: rebuilt, partition: 0 })
}

/// A commit of a lane: its progress, and what it has come to in its state.
fn advance(log: &Log, lane: LaneId, topic: TopicId, next: u64, state: &str) {
    block_on(log.commit(commit(log, lane, topic, next, state))).unwrap();
}

fn commit(log: &Log, lane: LaneId, topic: TopicId, next: u64, state: &str) -> LaneCommit {
    let mut commit = lane_commit(log, lane, next, topic);
    commit.effects.state.insert(b"state".to_vec(), Some(format!("{state} {next}").into_bytes()));
    commit
}

/// The consumer of this name: its number, and of its lane progress and state, as one moment has them.
fn seen(log: &Log, topic: TopicId) -> (ConsumerId, u64, String) {
    let moment = log.moment("c").unwrap().unwrap();
    let state = moment.state(0).unwrap().get(b"state").unwrap().unwrap_or_default();
    (moment.id, moment.lane(0).unwrap().next[&topic], String::from_utf8(state).unwrap())
}

fn switch(log: &Log) -> bool {
    block_on(log.switch_generation("c")).unwrap()
}

#[test]
fn a_generation_takes_the_name_over_once_it_is_where_the_one_before_is() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (topic, live, rebuilt) = generations(&log, TopicConfig::new(1));
    for next in [1, 2] {
        advance(&log, rebuilt, topic, next, "rebuilt");
        assert!(!switch(&log));
        assert_eq!(seen(&log, topic), (live.consumer, 3, "live 3".to_owned()));
    }
    advance(&log, rebuilt, topic, 3, "rebuilt");
    let late = commit(&log, live, topic, 4, "late");
    let moment = log.moment("c").unwrap().unwrap();
    assert!(switch(&log));
    assert_eq!(seen(&log, topic), (rebuilt.consumer, 3, "rebuilt 3".to_owned()));
    assert_eq!(
        moment.state(0).unwrap().get(b"state").unwrap().as_deref(),
        Some(&b"live 3"[..]),
        "a moment stays"
    );
    assert!(matches!(block_on(log.commit(late)), Err(CommitError::Stale)), "the one before comes no further");
    drop(moment);
    disk.cut_power();
    drop(log);
    let log = open(&disk);
    assert_eq!(seen(&log, topic), (rebuilt.consumer, 3, "rebuilt 3".to_owned()));
    assert!(log.consumer(&rebuilt_name("c")).is_none());
    let (_, row) = log.consumer("c").unwrap();
    assert_eq!((row.generation, row.reloads, row.state_version), (1, 1, Some(2)));
    advance(&log, rebuilt, topic, 4, "rebuilt");
}

#[test]
fn a_generation_that_holds_an_event_or_has_more_dead_letters_does_not_take_over() {
    let log = open(&MemoryMedium::new());
    let (topic, live, rebuilt) = generations(&log, TopicConfig::new(1));
    let mut holding = commit(&log, rebuilt, topic, 3, "rebuilt");
    holding.held.insert(7, Some(held_reference(topic, 2)));
    block_on(log.commit(holding)).unwrap();
    assert!(!switch(&log), "the one before reflects that event");
    let mut given_up = commit(&log, rebuilt, topic, 3, "rebuilt");
    given_up.held.insert(7, None);
    given_up.dead_letters.push(letter(topic, 2, None));
    block_on(log.commit(given_up)).unwrap();
    assert!(!switch(&log), "the one before has not given up on it");
    let mut alike = commit(&log, live, topic, 3, "live");
    alike.dead_letters.push(letter(topic, 1, None));
    block_on(log.commit(alike)).unwrap();
    assert!(switch(&log));
}

#[test]
fn one_generation_is_made_at_a_time_and_none_of_a_consumer_that_is_not_there() {
    let log = open(&MemoryMedium::new());
    generations(&log, TopicConfig::new(1));
    let again = block_on(log.begin_generation("c", &["t".to_owned()], rebuilding()));
    assert!(matches!(again, Err(AdminError::Rebuilding(name)) if name == "c"));
    let unknown = block_on(log.begin_generation("d", &["t".to_owned()], rebuilding()));
    assert!(matches!(unknown, Err(AdminError::UnknownConsumer(name)) if name == "d"));
    assert!(log.moment(&rebuilt_name("c")).unwrap().is_none(), "nobody outside is shown it");
}

#[test]
fn what_a_replaced_generation_has_is_removed_in_bounded_steps_and_holds_nothing_back() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let config = TopicConfig::new(1).retention(Retention::keep_bytes(1));
    let (topic, live, rebuilt) = generations(&log, config);
    let mut large = commit(&log, live, topic, 3, "live");
    for n in 0..2 * GENERATION_ROWS_MAX + 10 {
        large.effects.state.insert(format!("key-{n}").into_bytes(), Some(b"value".to_vec()));
    }
    // Of a version that was no projection.
    for n in 0..GENERATION_ROWS_MAX as u64 {
        let name = TimerName { key: "k".to_owned(), name: n.to_string() };
        let set = timer(&name, 9, n);
        large.effects.timers.insert(name, Some(set));
    }
    block_on(log.commit(large)).unwrap();
    assert_eq!(block_on(log.trim()).unwrap().events, 0, "the one that is made needs all of it");
    advance(&log, rebuilt, topic, 3, "rebuilt");
    assert!(switch(&log));
    append(&log, "t", &["d", "e"]);
    advance(&log, rebuilt, topic, 5, "rebuilt");
    assert_eq!(block_on(log.trim()).unwrap().events, 5, "the one that is replaced needs nothing");
    let rows = |log: &Log| {
        let read = log.shared.begin_read().unwrap();
        read.open_table(schema::STATE).unwrap().len().unwrap()
            + read.open_table(schema::TIMERS).unwrap().len().unwrap()
            + read.open_table(schema::TIMERS_BY_NAME).unwrap().len().unwrap()
    };
    let (mut before, mut steps) = (rows(&log), 0);
    while block_on(log.sweep_generations("c")).unwrap() {
        let after = rows(&log);
        assert!(before - after <= GENERATION_ROWS_MAX as u64, "{before} {after}");
        (before, steps) = (after, steps + 1);
    }
    assert!(steps > 4, "{steps}");
    assert_eq!((rows(&log), log.generations().len()), (1, 1));
    assert_eq!(seen(&log, topic), (rebuilt.consumer, 5, "rebuilt 5".to_owned()));
}

#[test]
fn what_the_dead_letters_of_a_replaced_generation_have_in_the_blob_store_is_let_go() {
    let log = open(&MemoryMedium::new());
    let config = TopicConfig::new(1).claim_check_over(20_000).retention(Retention::keep_bytes(1));
    let (topic, live, rebuilt) = generations(&log, config);
    let large = Event::new("large", "/tests", "T.v1").text("text/plain", "x".repeat(20_001)).build().unwrap();
    block_on(log.append(vec![("t", large)])).unwrap();
    let read = log.read(topic, 0, 3, 1, 1 << 20).unwrap();
    let Entry::Event(stored) = &read[0] else { panic!("{read:?}") };
    let mut dead = commit(&log, live, topic, 4, "live");
    dead.dead_letters.push(DeadLetter { event: Some(Arc::clone(&stored.event)), ..letter(topic, 3, None) });
    block_on(log.commit(dead)).unwrap();
    advance(&log, rebuilt, topic, 4, "rebuilt");
    assert!(switch(&log));
    block_on(log.trim()).unwrap();
    block_on(log.collect_blobs()).unwrap();
    assert_eq!(log.blob_usage().0.blobs, 1, "the dead letter is there yet");
    while block_on(log.sweep_generations("c")).unwrap() {}
    block_on(log.collect_blobs()).unwrap();
    assert_eq!(log.blob_usage().0.blobs, 0);
}

#[test]
fn a_generation_that_is_given_up_is_removed_and_another_can_be_made() {
    let log = open(&MemoryMedium::new());
    let (topic, live, rebuilt) = generations(&log, TopicConfig::new(1));
    advance(&log, rebuilt, topic, 2, "rebuilt");
    let late = commit(&log, rebuilt, topic, 3, "rebuilt");
    block_on(log.give_up_generation("c")).unwrap();
    assert!(matches!(block_on(log.commit(late)), Err(CommitError::Stale)));
    block_on(log.begin_generation("c", &["t".to_owned()], rebuilding())).unwrap();
    while block_on(log.sweep_generations("c")).unwrap() {}
    assert_eq!(log.generations().len(), 2);
    assert_eq!(seen(&log, topic), (live.consumer, 3, "live 3".to_owned()));
    let (id, _) = log.consumer(&rebuilt_name("c")).unwrap();
    assert_ne!(id, rebuilt.consumer);
}

#[test]
fn the_lanes_of_a_generation_that_is_given_up_end_and_leave_nothing_behind_it() {
    let log = open(&MemoryMedium::new());
    let (topic, _, rebuilt) = generations(&log, TopicConfig::new(1));
    let mut late = commit(&log, rebuilt, topic, 3, "rebuilt");
    late.held.insert(7, Some(held_reference(topic, 2)));
    block_on(log.give_up_generation("c")).unwrap();
    assert!(matches!(log.lane(rebuilt), Err(ReadError::UnknownConsumer(_))), "that ends a lane");
    // As one that has read its epoch by then, and commits once nothing of it is left.
    late.epoch = log.shared.lane_epoch(rebuilt);
    while block_on(log.sweep_generations("c")).unwrap() {}
    assert!(matches!(block_on(log.commit(late)), Err(CommitError::Stale)));
    let read = log.shared.begin_read().unwrap();
    assert_eq!(
        read.open_table(schema::LANES).unwrap().len().unwrap(),
        1,
        "that of the one that has the name"
    );
    for rows in [
        read.open_table(schema::HELD).unwrap().len().unwrap(),
        read.open_table(schema::STATE).unwrap().len().unwrap() - 1,
    ] {
        assert_eq!(rows, 0);
    }
}

#[test]
fn a_generation_is_not_begun_at_a_time_whose_events_may_be_gone() {
    let log = open(&MemoryMedium::new());
    topic(&log, "t", TopicConfig::new(1).retention(Retention::keep_bytes(1)));
    append(&log, "t", &["a", "b", "c"]);
    let (live, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    let live = LaneId { consumer: live, partition: 0 };
    advance(&log, live, log.topic_id("t").unwrap(), 3, "live");
    append(&log, "t", &["d"]);
    assert_eq!(block_on(log.trim()).unwrap().events, 3);
    let begin = |time| {
        let start = Position::Time(Timestamp(time));
        block_on(log.begin_generation("c", &["t".to_owned()], Rebuilding { start, ..rebuilding() }))
    };
    let refused = begin(0);
    assert!(matches!(refused, Err(AdminError::Truncated { first: 3, .. })), "{refused:?}");
    assert!(log.consumer(&rebuilt_name("c")).is_none());
    begin(i64::MAX).unwrap();
}

#[test]
fn a_moment_does_not_say_of_an_event_that_it_is_no_dead_letter_where_it_has_not_looked_at_all() {
    let log = open(&MemoryMedium::new());
    let (topic, lane) = consumer(&log);
    let letter_of = |offset| log.moment("c").unwrap().unwrap().letter_of(0, topic, offset).unwrap();
    let given_up = |offsets: std::ops::Range<u64>| {
        let mut commit = lane_commit(&log, lane, 3, topic);
        commit.dead_letters.extend(offsets.map(|offset| letter(topic, offset, None)));
        block_on(log.commit(commit)).unwrap();
    };
    let count = QUESTION_LETTERS_MAX as u64;
    given_up(1..count + 1);
    assert_eq!(letter_of(0), LetterOf::No);
    assert!(matches!(letter_of(1), LetterOf::Letter(_)));
    given_up(count + 1..count + 2);
    assert_eq!([letter_of(0), letter_of(1)], [LetterOf::Unknown; 2], "there is one behind those looked at");
    assert!(matches!(letter_of(2), LetterOf::Letter(_)));
}

#[test]
fn a_moment_has_progress_and_state_of_the_same_commit() {
    const COMMITS: u64 = 300;
    let log = Arc::new(open(&MemoryMedium::new()));
    let (topic, lane, _) = generations(&log, TopicConfig::new(1));
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut next = 0;
            while next < COMMITS {
                let (_, at, state) = seen(&log, topic);
                assert_eq!(state, format!("live {at}"));
                assert!(at >= next);
                next = at;
            }
        });
        for next in 4..=COMMITS {
            advance(&log, lane, topic, next, "live");
        }
        looking.join().unwrap();
    });
}
