//! Commits of large batches while the disk works on them.

use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use super::tests::{append, event, ids, topic, try_open_with};
use super::*;
use crate::config::TopicConfig;
use crate::event::Event;
use crate::ids::{LaneId, TopicId};

/// A journal that doesn't take a large event.
const JOURNAL: usize = 16 << 10;

/// How often it is looked whether something has come about: far more often than it takes.
const PATIENCE: usize = 10_000_000;

struct Rig {
    disk: MemoryMedium,
    log: Arc<Log>,
    topic: TopicId,
}

fn rig() -> Rig {
    let disk = MemoryMedium::new();
    let log = Arc::new(try_open_with(&disk, JOURNAL).unwrap());
    let topic = topic(&log, "t", TopicConfig::new(1).sequence(true));
    Rig { disk, log, topic }
}

fn large(id: &str) -> Event {
    Event::new(id, "/tests", "Test.v1")
        .subject("key")
        .text("text/plain", "x".repeat(2 * JOURNAL))
        .build()
        .unwrap()
}

fn publish(log: &Log, event: Event) -> Result<Published, PublishError> {
    Ok(block_on(log.append(vec![("t", event)]))?.remove(0))
}

/// Lets go of the syncs that are held, also where the test fails.
struct Held<'r>(&'r MemoryMedium);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.hold_syncs(false);
    }
}

impl Rig {
    /// Has the disk hold its syncs, and publishes a large event, which is on its way to the disk when this returns.
    fn publish_held<'s>(
        &'s self,
        scope: &'s thread::Scope<'s, '_>,
        id: &'static str,
    ) -> (Held<'s>, ScopedJoinHandle<'s, Result<Published, PublishError>>) {
        self.disk.hold_syncs(true);
        let held = Held(&self.disk);
        let publisher = scope.spawn(move || publish(&self.log, large(id)));
        let is_there = |_| {
            thread::yield_now();
            self.log.has_in_flight()
        };
        assert!((0..PATIENCE).any(is_there), "it doesn't get there");
        (held, publisher)
    }

    fn reopened(self) -> Self {
        self.disk.cut_power();
        let Self { disk, log, topic } = self;
        drop(log);
        let log = Arc::new(try_open_with(&disk, JOURNAL).unwrap());
        Self { disk, log, topic }
    }

    fn ids(&self) -> Vec<String> {
        ids(&self.log, self.topic, 0, 0).into_iter().map(|(_, id)| id).collect()
    }
}

/// Gives a thread that is to wait time to show that it doesn't.
fn waits<T>(thread: &ScopedJoinHandle<'_, T>) -> bool {
    for _ in 0..1000 {
        thread::yield_now();
    }
    !thread.is_finished()
}

#[test]
fn nobody_is_told_of_a_large_batch_before_the_disk_has_it() {
    let rig = rig();
    append(&rig.log, "t", &["small"]);
    thread::scope(|scope| {
        let (held, publisher) = rig.publish_held(scope, "large");
        assert_eq!(rig.ids(), ["small"]);
        assert_eq!(rig.log.key_events("t", "key", 0).unwrap().len(), 1);
        assert_eq!(rig.log.version("t", "key").unwrap(), 1);
        let snapshot = rig.log.snapshot("").unwrap();
        let duplicate = scope.spawn(|| publish(&rig.log, large("large")).unwrap());
        assert!(waits(&publisher) && waits(&duplicate));
        assert_eq!(rig.log.version("t", "key").unwrap(), 1, "the database has it by now");
        drop(held);
        let published = publisher.join().unwrap().unwrap();
        assert_eq!((published.offset, published.duplicate), (1, false));
        let again = duplicate.join().unwrap();
        assert_eq!((again.offset, again.duplicate), (1, true));
        assert_eq!(snapshot.offsets(rig.topic, 0).unwrap(), (0, 1), "a snapshot stays as it is");
        assert_eq!(rig.log.snapshot("").unwrap().offsets(rig.topic, 0).unwrap(), (0, 2));
        assert_eq!(rig.log.version("t", "key").unwrap(), 2);
    });
    assert_eq!(rig.ids(), ["small", "large"]);
}

#[test]
fn what_comes_meanwhile_comes_behind_it_and_all_of_it_is_durable() {
    let rig = rig();
    thread::scope(|scope| {
        let (held, first) = rig.publish_held(scope, "first");
        let log = &rig.log;
        let others =
            ["second", "third"].map(|id| scope.spawn(move || publish(log, large(id)).unwrap().offset));
        let small = scope.spawn(|| publish(&rig.log, event("small", "key")).unwrap().offset);
        assert!(others.iter().all(waits) && waits(&small));
        drop(held);
        assert_eq!(first.join().unwrap().unwrap().offset, 0);
        let mut offsets = others.map(|other| other.join().unwrap()).to_vec();
        offsets.push(small.join().unwrap());
        offsets.sort_unstable();
        assert_eq!(offsets, [1, 2, 3]);
    });
    let before = rig.ids();
    assert_eq!(before.len(), 4);
    let rig = rig.reopened();
    assert_eq!(rig.ids(), before);
    assert_eq!(rig.log.version("t", "key").unwrap(), 4);
}

#[test]
fn who_asks_memory_where_a_partition_ends_waits_for_it() {
    let rig = rig();
    thread::scope(|scope| {
        let (held, publisher) = rig.publish_held(scope, "large");
        let latest = scope.spawn(|| {
            let (consumer, _) =
                block_on(rig.log.register("c", &["t".to_owned()], Position::Offset(1))).unwrap();
            rig.log.lane(LaneId { consumer, partition: 0 }).unwrap().progress.next[&rig.topic]
        });
        assert!(waits(&latest));
        drop(held);
        publisher.join().unwrap().unwrap();
        assert_eq!(latest.join().unwrap(), 1);
    });
}

#[test]
fn one_that_the_power_cuts_off_was_never_there_and_costs_nothing_that_was() {
    let rig = rig();
    for id in ["a", "b", "c"] {
        append(&rig.log, "t", &[id]);
    }
    thread::scope(|scope| {
        let (held, publisher) = rig.publish_held(scope, "large");
        rig.disk.cut_power();
        drop(held);
        assert!(matches!(publisher.join().unwrap(), Err(PublishError::InDoubt(_))));
    });
    let rig = rig.reopened();
    assert_eq!(rig.ids(), ["a", "b", "c"]);
}

#[test]
fn one_that_the_disk_fails_is_in_doubt_and_the_log_goes_on() {
    let rig = rig();
    append(&rig.log, "t", &["small"]);
    thread::scope(|scope| {
        let (held, publisher) = rig.publish_held(scope, "large");
        let conflict =
            scope.spawn(|| block_on(rig.log.append_expecting("t", 1, vec![event("other", "key")])));
        assert!(waits(&conflict));
        rig.disk.fail_syncs(true);
        // They have failed: letting go of them would have the later ones work.
        std::mem::forget(held);
        assert!(matches!(publisher.join().unwrap(), Err(PublishError::InDoubt(_))));
        // That somebody was faster is as much in doubt, if it was looked at.
        let conflict = conflict.join().unwrap();
        assert!(matches!(conflict, Err(PublishError::InDoubt(_) | PublishError::Reopening)), "{conflict:?}");
    });
    rig.disk.fail_syncs(false);
    block_on(rig.log.usable()).unwrap();
    assert_eq!(publish(&rig.log, large("large")).unwrap().offset, 1, "whether or not it was there");
    assert_eq!(rig.ids(), ["small", "large"]);
}

#[test]
fn a_log_whose_disk_fails_with_one_in_flight_ends_all_the_same() {
    let rig = rig();
    let closing = thread::scope(|scope| {
        let (held, publisher) = rig.publish_held(scope, "large");
        let closing = scope.spawn(|| rig.log.close());
        assert!(waits(&closing));
        rig.disk.fail_syncs(true);
        std::mem::forget(held);
        assert!(matches!(publisher.join().unwrap(), Err(PublishError::InDoubt(_))));
        closing.join().unwrap()
    });
    assert!(matches!(closing, Some((Closing::Failing, 0))), "{closing:?}");
}
