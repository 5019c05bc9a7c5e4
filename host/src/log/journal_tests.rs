//! What the journal gives back when the process or the power ends, and what damage of it costs.

use std::collections::BTreeMap;

use super::hidden_tests::{read, told};
use super::tests::{
    append, consumer, event, held_reference, ids, lane_commit, letter, open, options, topic, try_open,
    try_open_as, try_open_with,
};
use super::*;
use crate::config::{CommitMode, Retention, TopicConfig};
use crate::event::Event;
use crate::ids::{LaneId, TopicId};
use crate::limits::{JOURNAL_BYTES, JOURNAL_RECORD_BYTES_MAX};

/// A journal that takes few commits.
const SMALL: usize = 16 << 10;

/// All that the log has of a lane and its topic.
fn all(log: &Log, topic: TopicId, lane: LaneId) -> impl PartialEq + std::fmt::Debug + use<> {
    let Lane { progress, held, .. } = log.lane(lane).unwrap();
    let state = log.state(lane).unwrap().scan(b"", None, 100).unwrap();
    let letters = log.dead_letters(lane.consumer, 0, 100).unwrap();
    (ids(log, topic, 0, 0), progress, held, state, letters, log.low_offset(topic, 0))
}

/// Has a lane of topic `t` commit something in each of its tables, and then take part of it back.
fn work(log: &Log, topic: TopicId, lane: LaneId) {
    append(log, "t", &["a", "b", "c"]);
    let mut first = lane_commit(log, lane, 2, topic);
    first.held = BTreeMap::from([(1, Some(held_reference(topic, 0))), (2, Some(held_reference(topic, 1)))]);
    first.dead_letters.extend([letter(topic, 0, None), letter(topic, 1, None)]);
    first.effects.state =
        [(b"kept".to_vec(), Some(b"1".to_vec())), (b"gone".to_vec(), Some(b"2".to_vec()))].into();
    first.effects.events.push((topic, event("of-the-lane", "key")));
    block_on(log.commit(first)).unwrap();
    let mut second = lane_commit(log, lane, 3, topic);
    second.held.insert(1, None);
    second.effects.state.insert(b"gone".to_vec(), None);
    block_on(log.commit(second)).unwrap();
    let letter = log.dead_letters(lane.consumer, 0, 1).unwrap()[0].id;
    block_on(log.discard("c", vec![letter])).unwrap();
}

/// Ends a log without closing it.
fn end(log: Log, disk: &MemoryMedium, how: impl Fn(&MemoryMedium)) {
    how(disk);
    drop(log);
}

#[test]
fn a_commit_is_one_sync() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(4));
    let syncs = disk.journal_syncs();
    append(&log, "t", &["a", "b"]);
    assert_eq!(disk.journal_syncs() - syncs, 1);
}

#[test]
fn what_was_committed_since_the_last_checkpoint_is_there_after_the_end_of_the_process_or_the_power() {
    for journal in [0, SMALL, 1 << 20] {
        for how in [MemoryMedium::end_process, MemoryMedium::cut_power] {
            let disk = MemoryMedium::new();
            let log = try_open_with(&disk, journal).unwrap();
            let (t, lane) = consumer(&log);
            work(&log, t, lane);
            let before = all(&log, t, lane);
            end(log, &disk, how);
            let log = try_open_with(&disk, journal).unwrap();
            assert_eq!(all(&log, t, lane), before);
            assert!(append(&log, "t", &["c"])[0].duplicate, "identities are back");
            assert_eq!(append(&log, "t", &["d"])[0].offset, 4);
            block_on(log.forget("c")).unwrap();
            end(log, &disk, how);
            let log = try_open_with(&disk, journal).unwrap();
            assert!(log.consumer("c").is_none());
            assert_eq!(ids(&log, t, 0, 3).len(), 2);
        }
    }
}

#[test]
fn what_a_growing_journal_has_is_there_whenever_the_power_ends() {
    // The file has some megabytes soon.
    let options = LogOptions { journal_file_part: 50, ..options(SMALL) };
    let started = |freeze_at: Option<u64>| {
        let disk = MemoryMedium::new();
        let log = try_open_as(&disk, options.clone()).unwrap();
        let topic = topic(&log, "t", TopicConfig::new(1));
        if let Some(behind) = freeze_at {
            disk.freeze_at(disk.operations() + behind);
        }
        (disk, log, topic)
    };
    // Publishes until the disk stands still, or to the end. Returns how many were acknowledged.
    let publish = |log: &Log| {
        let acknowledged = (0..600).take_while(|number| {
            // Now and then one that no record takes.
            let bytes = if number % 50 == 49 { JOURNAL_RECORD_BYTES_MAX } else { 3000 };
            let event =
                Event::new(number.to_string(), "/tests", "Test.v1").text("text/plain", "x".repeat(bytes));
            block_on(log.append(vec![("t", event.build().unwrap())])).is_ok()
        });
        acknowledged.count()
    };
    let (disk, log, _) = started(None);
    let before = disk.operations();
    assert_eq!(publish(&log), 600);
    let operations = disk.operations() - before;
    assert!(disk.journal_image().len() > 10 * SMALL, "{}", disk.journal_image().len());
    for behind in (0..operations).step_by(usize::try_from(operations / 60).unwrap()) {
        let (disk, log, topic) = started(Some(behind));
        let count = publish(&log);
        end(log, &disk, MemoryMedium::cut_power);
        let log = try_open_as(&disk, options.clone()).unwrap();
        let mut there = Vec::new();
        loop {
            let more = ids(&log, topic, 0, there.len() as u64);
            if more.is_empty() {
                break;
            }
            there.extend(more.into_iter().map(|(_, id)| id));
        }
        // The one that was under way may be there.
        assert!(
            (count..=count + 1).contains(&there.len()),
            "{} of {count}, {behind} operations",
            there.len()
        );
        assert!(
            there.iter().enumerate().all(|(number, id)| *id == number.to_string()),
            "{behind} operations"
        );
    }
}

#[test]
fn a_journal_grows_only_beside_commits_that_write_the_map_of_pages() {
    for (commit, grows) in [(CommitMode::QuickRepair, true), (CommitMode::OnePhase, false)] {
        let disk = MemoryMedium::new();
        let log = try_open_as(&disk, LogOptions { commit, journal_file_part: 1, ..options(SMALL) }).unwrap();
        topic(&log, "t", TopicConfig::new(1));
        for number in 0..20 {
            append(&log, "t", &[&number.to_string()]);
        }
        assert_eq!(disk.journal_image().len() > SMALL, grows, "{commit:?}");
    }
}

#[test]
fn a_full_journal_makes_room_by_a_checkpoint_and_what_does_not_fit_goes_to_the_database() {
    let disk = MemoryMedium::new();
    let log = try_open_with(&disk, SMALL).unwrap();
    let t = topic(&log, "t", TopicConfig::new(1));
    let large = "x".repeat(2 * SMALL);
    for n in 0..20 {
        append(&log, "t", &[&format!("{n}")]);
        if n % 7 == 0 {
            let large = Event::new(format!("large-{n}"), "/tests", "Test.v1")
                .subject("key")
                .text("text/plain", &*large);
            block_on(log.append(vec![("t", large.build().unwrap())])).unwrap();
        }
    }
    assert!(disk.journal_image().len() <= SMALL);
    let before = ids(&log, t, 0, 0);
    assert_eq!(before.len(), 23);
    end(log, &disk, MemoryMedium::cut_power);
    assert_eq!(ids(&try_open_with(&disk, SMALL).unwrap(), t, 0, 0), before);
}

#[test]
fn retention_is_done_again_as_well() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1).sequence(true).retention(Retention::keep_bytes(1)));
    for id in ["a", "b", "c"] {
        append(&log, "t", &[id]);
    }
    while block_on(log.trim()).unwrap().more {}
    let low = log.low_offset(t, 0);
    assert!(low > 0);
    end(log, &disk, MemoryMedium::cut_power);
    let log = open(&disk);
    assert_eq!((log.low_offset(t, 0), log.version("t", "key").unwrap()), (low, 3));
    assert_eq!(append(&log, "t", &["d"])[0].sequence, Some(4));
}

/// Flips a bit within a record of the journal that has these bytes.
fn damage(disk: &MemoryMedium, with: &[u8]) {
    let image = disk.journal_image();
    let records = journal::places(&image, JOURNAL_BYTES).concat();
    let record =
        records.into_iter().find(|at| image[at.clone()].windows(with.len()).any(|part| part == with));
    disk.flip_journal(record.unwrap().start as u64 * 8 + 100);
}

#[test]
fn a_damaged_commit_costs_its_events_which_is_told_and_lanes_go_on_from_before() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (t, lane) = consumer(&log);
    append(&log, "t", &["first"]);
    block_on(log.commit(lane_commit(&log, lane, 1, t))).unwrap();
    append(&log, "t", &["second"]);
    append(&log, "t", &["third"]);
    block_on(log.commit(lane_commit(&log, lane, 3, t))).unwrap();
    append(&log, "t", &["fourth"]);
    end(log, &disk, MemoryMedium::end_process);
    damage(&disk, b"second");
    for _ in 0..2 {
        let log = open(&disk);
        let expected = told(&[(0, "first"), (1, "1 missing"), (2, "third"), (3, "fourth")]);
        assert_eq!(read(&log, t, 0, 0), expected);
        assert_eq!(log.lane(lane).unwrap().progress.next[&t], 1, "the lane handles the third again");
        assert!(append(&log, "t", &["fourth"])[0].duplicate);
        log.close();
    }
    assert_eq!(append(&open(&disk), "t", &["fifth"])[0].offset, 4, "no offset is given out twice");
}

#[test]
fn the_loss_of_a_topic_in_the_journal_is_refused() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    end(log, &disk, MemoryMedium::end_process);
    disk.flip_journal(100);
    let refused = try_open(&disk).err().unwrap().to_string();
    assert!(refused.contains("topics"), "{refused}");
}

#[test]
fn a_journal_that_is_missing_after_the_end_of_the_process_is_refused_and_after_a_close_made_anew() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    end(log, &disk, MemoryMedium::end_process);
    let image = disk.journal_image();
    disk.set_journal_image(Vec::new());
    let refused = try_open(&disk).err().unwrap();
    assert!(
        matches!(&refused, OpenError::Damaged { reason, .. } if reason.contains("journal is missing")),
        "{refused}"
    );
    disk.set_journal_image(image);
    let log = open(&disk);
    assert_eq!(ids(&log, t, 0, 0).len(), 1);
    log.close();
    disk.set_journal_image(Vec::new());
    let log = open(&disk);
    append(&log, "t", &["b"]);
    end(log, &disk, MemoryMedium::cut_power);
    assert_eq!(ids(&open(&disk), t, 0, 0).len(), 2);
}

#[test]
fn the_journal_of_what_came_later_says_nothing_to_an_older_copy_of_the_database() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    log.close();
    let copy = disk.image();
    for id in ["b", "c"] {
        let log = open(&disk);
        append(&log, "t", &[id]);
        end(log, &disk, MemoryMedium::end_process);
    }
    disk.set_image(copy);
    for _ in 0..2 {
        let log = open(&disk);
        assert_eq!(ids(&log, t, 0, 0).len(), 1);
        end(log, &disk, MemoryMedium::end_process);
    }
}

#[test]
fn a_bus_that_is_to_have_no_journal_any_more_does_again_what_its_journal_has() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    end(log, &disk, MemoryMedium::end_process);
    let log = try_open_with(&disk, 0).unwrap();
    append(&log, "t", &["b"]);
    end(log, &disk, MemoryMedium::cut_power);
    disk.set_journal_image(Vec::new());
    let log = try_open_with(&disk, 0).unwrap();
    assert_eq!(ids(&log, t, 0, 0).len(), 2);
    assert!(disk.journal_image().is_empty(), "it isn't even opened");
}
