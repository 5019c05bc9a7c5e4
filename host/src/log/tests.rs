//! The log by itself, on a disk in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable};

use super::hash::{key_hash, partition_of};
use super::*;
use crate::clock::{SystemClock, SystemRandom, Timestamp};
use crate::config::{CommitMode, Dedup, Retention, TopicConfig};
use crate::effects::Effects;
use crate::event::Event;
use crate::handler::{Failure, FailureKind, ProgramVersion};
use crate::ids::{LaneId, TopicId};
use crate::limits::{BATCH_BYTES_MAX, CACHE_BYTES, EVENT_BYTES_MAX, JOURNAL_BYTES, JOURNAL_FILE_PART};

pub(super) fn open(disk: &MemoryMedium) -> Log {
    try_open(disk).unwrap()
}

pub(super) fn try_open(disk: &MemoryMedium) -> Result<Log, OpenError> {
    try_open_with(disk, JOURNAL_BYTES)
}

pub(super) fn try_open_with(disk: &MemoryMedium, journal_bytes: usize) -> Result<Log, OpenError> {
    try_open_as(disk, options(journal_bytes))
}

pub(super) fn options(journal_bytes: usize) -> LogOptions {
    LogOptions {
        commit: CommitMode::QuickRepair,
        event_bytes_max: EVENT_BYTES_MAX,
        cache_bytes: CACHE_BYTES,
        journal_bytes,
        journal_file_part: JOURNAL_FILE_PART,
        free_bytes_min: 1000,
        blobs_bytes_max: crate::limits::BLOBS_BYTES_MAX,
        is_stepped: false,
    }
}

pub(super) fn try_open_as(disk: &MemoryMedium, options: LogOptions) -> Result<Log, OpenError> {
    Log::open(options, Box::new(disk.clone()), Arc::new(SystemClock::new()), Arc::new(SystemRandom), None)
}

pub(super) fn event(id: &str, key: &str) -> Event {
    Event::new(id, "/tests", "Test.v1")
        .subject(key)
        .json_text(format!("{{\"id\":\"{id}\"}}"))
        .build()
        .unwrap()
}

pub(super) fn topic(log: &Log, name: &str, config: TopicConfig) -> TopicId {
    block_on(log.create_topic(name, config)).unwrap()
}

pub(super) fn append(log: &Log, topic: &str, ids: &[&str]) -> Vec<Published> {
    block_on(log.append(ids.iter().map(|id| (topic, event(id, "key"))).collect())).unwrap()
}

pub(super) fn ids(log: &Log, topic: TopicId, partition: u32, from: u64) -> Vec<(u64, String)> {
    let entries = log.read(topic, partition, from, 1000, 1 << 20).unwrap();
    entries
        .into_iter()
        .map(|entry| match entry {
            Entry::Event(stored) => (stored.offset, stored.event.id().to_owned()),
            Entry::Damaged { offset, reason, .. } => panic!("{offset}: {reason}"),
        })
        .collect()
}

/// A consumer `c` of topic `t` with one partition, and its lane.
pub(super) fn consumer(log: &Log) -> (TopicId, LaneId) {
    let topic = topic(log, "t", TopicConfig::new(1));
    let (consumer, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    (topic, LaneId { consumer, partition: 0 })
}

pub(super) fn lane_commit(log: &Log, lane: LaneId, next: u64, topic: TopicId) -> LaneCommit {
    let mut current = log.lane(lane).unwrap();
    current.progress.next.insert(topic, next);
    LaneCommit {
        lane,
        epoch: current.epoch,
        progress: current.progress,
        held: BTreeMap::new(),
        dead_letters: Vec::new(),
        came: Vec::new(),
        effects: Effects::default(),
    }
}

pub(super) fn letter(topic: TopicId, offset: u64, parked: Option<u64>) -> DeadLetter {
    DeadLetter {
        id: 0,
        at: Timestamp(5),
        topic: "t".to_owned(),
        topic_id: topic,
        partition: 0,
        offset,
        offset_last: offset,
        commit: 1,
        appended: Timestamp(1),
        event: Some(Arc::new(event("dead", "key"))),
        reason: Failure::permanent("poison", "it is poisoned"),
        attempts: Vec::new(),
        first_attempt: Timestamp(2),
        version: ProgramVersion::default(),
        redriven: false,
        key: key_hash("key"),
        parked,
    }
}

#[test]
fn acknowledged_events_survive_the_loss_of_power_and_offsets_are_dense() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let id = topic(&log, "t", TopicConfig::new(1));
    let published = append(&log, "t", &["a", "b"]);
    assert_eq!(published.iter().map(|published| published.offset).collect::<Vec<_>>(), [0, 1]);
    append(&log, "t", &["c"]);
    disk.cut_power();
    drop(log);
    let log = open(&disk);
    assert!(log.was_unclean());
    let expected = [(0, "a"), (1, "b"), (2, "c")].map(|(offset, id)| (offset, id.to_owned()));
    assert_eq!(ids(&log, id, 0, 0), expected);
    assert_eq!(append(&log, "t", &["d"])[0].offset, 3);
    log.close();
    assert!(!open(&disk).was_unclean());
}

#[test]
fn an_event_published_again_returns_its_first_place_also_after_a_restart() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let id = topic(&log, "t", TopicConfig::new(4));
    let first = append(&log, "t", &["a", "a", "b"]);
    assert_eq!((first[0].duplicate, first[1].duplicate, first[2].duplicate), (false, true, false));
    assert_eq!((first[1].partition, first[1].offset), (first[0].partition, first[0].offset));
    log.close();
    let log = open(&disk);
    let again = append(&log, "t", &["b", "c"]);
    assert_eq!((again[0].duplicate, again[0].offset), (true, first[2].offset));
    assert!(!again[1].duplicate);
    let partition = first[0].partition;
    assert_eq!(ids(&log, id, partition, 0).len(), 3);
}

#[test]
fn an_event_that_was_undone_with_its_transaction_is_not_known() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1));
    let undone = log.transact("app/", |transaction: &mut Transaction<'_>| {
        transaction.publish("t", event("a", "key")).unwrap();
        assert!(transaction.publish("t", event("a", "key")).unwrap().duplicate, "it is known meanwhile");
        Err::<(), _>("undone")
    });
    assert!(matches!(block_on(undone), Err(TransactionError::Refused("undone"))));
    assert!(!append(&log, "t", &["a"])[0].duplicate);
}

#[test]
fn an_event_that_is_twice_in_a_commit_has_the_number_of_its_first_place() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1).sequence(true));
    let published = append(&log, "t", &["a", "b", "a"]);
    let numbers: Vec<_> = published.iter().map(|published| published.sequence).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(1)]);
}

#[test]
fn the_deduplication_window_is_bounded_by_its_count() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1).dedup(Dedup { count: 3, ..Dedup::default() }));
    for id in ["a", "b", "c", "d"] {
        append(&log, "t", &[id]);
    }
    assert!(append(&log, "t", &["d"])[0].duplicate);
    assert!(!append(&log, "t", &["a"])[0].duplicate, "`a` has left the window");
    log.close();
    let log = open(&disk);
    assert!(!append(&log, "t", &["b"])[0].duplicate, "and so has `b`, on the disk as well");
    assert!(append(&log, "t", &["a"])[0].duplicate);
}

#[test]
fn a_topic_without_a_window_appends_every_event() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let id = topic(&log, "t", TopicConfig::new(1).dedup(Dedup { count: 0, ..Dedup::default() }));
    append(&log, "t", &["a", "a"]);
    append(&log, "t", &["a"]);
    log.close();
    let log = open(&disk);
    append(&log, "t", &["a"]);
    let offsets: Vec<_> = ids(&log, id, 0, 0).into_iter().map(|(offset, _)| offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3]);
}

#[test]
fn a_batch_larger_than_a_row_is_split_and_read_from_any_offset() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let id = topic(&log, "t", TopicConfig::new(1));
    let large = "x".repeat(BATCH_BYTES_MAX / 10);
    let events = (0..35).map(|n| {
        let event = Event::new(format!("{n}"), "/s", "T").subject("k").text("text/plain", large.clone());
        ("t", event.build().unwrap())
    });
    block_on(log.append(events.collect())).unwrap();
    for from in [0, 9, 10, 11, 34] {
        let entries = log.read(id, 0, from, 2, 1 << 20).unwrap();
        assert_eq!(entries.first().map(Entry::offset_last), Some(from));
    }
    assert!(log.read(id, 0, 35, 2, 1 << 20).unwrap().is_empty());
    assert_eq!(log.read(id, 0, 0, 1000, 3 * large.len()).unwrap().len(), 3, "a read is bounded in bytes");
    log.close();
    let database = disk.open(&redb::Builder::new()).unwrap();
    let batches = database.begin_read().unwrap().open_table(schema::BATCHES).unwrap();
    let rows: Vec<_> = batches.iter().unwrap().map(|row| row.unwrap().1.value().len()).collect();
    assert!(rows.iter().all(|bytes| *bytes <= BATCH_BYTES_MAX), "{rows:?}");
    // The last one has what is left.
    assert!(
        rows[..rows.len() - 1].iter().all(|bytes| bytes + large.len() > BATCH_BYTES_MAX / 10 * 9),
        "{rows:?}"
    );
}

#[test]
fn reading_from_a_time_starts_at_the_first_event_of_then_or_later() {
    let log = open(&MemoryMedium::new());
    let id = topic(&log, "t", TopicConfig::new(1));
    for n in 0..20 {
        append(&log, "t", &[&n.to_string()]);
    }
    let entries = log.read(id, 0, 0, 100, 1 << 20).unwrap();
    let times: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Entry::Event(stored) => stored.appended,
            Entry::Damaged { .. } => unreachable!("nothing is damaged"),
        })
        .collect();
    for time in times.iter().flat_map(|time| [Timestamp(time.0 - 1), *time, Timestamp(time.0 + 1)]) {
        let expected = times.iter().position(|appended| *appended >= time).unwrap_or(times.len());
        assert_eq!(log.offset_at(id, 0, time).unwrap(), expected as u64, "{time}");
    }
}

#[test]
fn keys_keep_to_one_partition_and_spread_over_all() {
    let log = open(&MemoryMedium::new());
    topic(&log, "t", TopicConfig::new(8));
    let mut partitions = BTreeMap::<u32, u32>::new();
    for n in 0..200 {
        let key = format!("key-{n}");
        let publish = |id: String| block_on(log.append(vec![("t", event(&id, &key))])).unwrap()[0];
        let (first, second) = (publish(format!("{n}a")), publish(format!("{n}b")));
        assert_eq!(first.partition, second.partition);
        assert_eq!(first.partition, partition_of(key_hash(&key), 8));
        *partitions.entry(first.partition).or_default() += 1;
    }
    assert_eq!(partitions.len(), 8);
}

#[test]
fn progress_state_events_and_dead_letters_of_a_lane_commit_together() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (t, lane) = consumer(&log);
    let out = topic(&log, "out", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    let mut commit = lane_commit(&log, lane, 1, t);
    commit.effects.state.insert(b"k".to_vec(), Some(b"v".to_vec()));
    commit.effects.events.push((out, event("made", "key")));
    commit.dead_letters.push(letter(t, 0, None));
    block_on(log.commit(commit)).unwrap();
    disk.cut_power();
    let log = open(&disk);
    assert_eq!(log.lane(lane).unwrap().progress.next[&t], 1);
    assert_eq!(log.state(lane).unwrap().get(b"k").unwrap(), Some(b"v".to_vec()));
    assert_eq!(ids(&log, out, 0, 0), [(0, "made".to_owned())]);
    let letters = log.dead_letters(lane.consumer, 0, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].event.as_ref().unwrap().id(), "dead");
}

#[test]
fn a_commit_that_fails_leaves_nothing_behind_and_the_log_goes_on() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a"]);
    let epoch = log.lane(lane).unwrap().epoch;
    disk.fail_syncs(true);
    let mut commit = lane_commit(&log, lane, 1, t);
    commit.effects.state.insert(b"k".to_vec(), Some(b"v".to_vec()));
    // A checkpoint that the committer makes of its own accord may be the first to fail.
    let failed = block_on(log.commit(commit));
    assert!(matches!(failed, Err(CommitError::Failed(_) | CommitError::Reopening)), "{failed:?}");
    let refused = block_on(log.append(vec![("t", event("b", "key"))]));
    assert!(matches!(refused, Err(PublishError::Reopening | PublishError::InDoubt(_))), "{refused:?}");
    disk.fail_syncs(false);
    block_on(log.usable()).unwrap();
    let lane_now = log.lane(lane).unwrap();
    assert_ne!(lane_now.epoch, epoch, "every lane has to read itself back");
    append(&log, "t", &["b"]);
    disk.cut_power();
    let log = open(&disk);
    // What was in doubt is there as a whole or not at all.
    let done = log.lane(lane).unwrap().progress.next[&t] == 1;
    assert_eq!(log.state(lane).unwrap().get(b"k").unwrap().is_some(), done);
    assert_eq!(ids(&log, t, 0, 0).iter().filter(|(_, id)| id == "b").count(), 1);
}

#[test]
fn a_lane_that_was_changed_from_outside_cannot_commit_over_the_change() {
    let log = open(&MemoryMedium::new());
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a", "b", "c"]);
    let stale = lane_commit(&log, lane, 3, t);
    block_on(log.seek("c", None, None, Position::Offset(1))).unwrap();
    assert!(matches!(block_on(log.commit(stale)), Err(CommitError::Stale)));
    assert_eq!(log.lane(lane).unwrap().progress.next[&t], 1);
    block_on(log.commit(lane_commit(&log, lane, 2, t))).unwrap();
}

#[test]
fn a_dead_letter_is_redriven_once_into_its_consumers_held_events() {
    let log = open(&MemoryMedium::new());
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a"]);
    let mut commit = lane_commit(&log, lane, 1, t);
    commit.dead_letters.push(letter(t, 0, None));
    block_on(log.commit(commit)).unwrap();
    let id = log.dead_letters(lane.consumer, 0, 10).unwrap()[0].id;
    block_on(log.redrive("c", vec![id])).unwrap();
    let held = log.lane(lane).unwrap().held;
    let (_, held) = held.first_key_value().unwrap();
    assert!(held.redriven && held.attempts.is_empty());
    assert_eq!(held.event.as_ref().unwrap().id(), "dead");
    assert!(log.dead_letters(lane.consumer, 0, 10).unwrap().is_empty());
    assert!(matches!(block_on(log.redrive("c", vec![id])), Err(AdminError::UnknownDeadLetter { .. })));
    assert_eq!(ids(&log, t, 0, 0).len(), 1, "the topic has nothing new");
}

#[test]
fn redriving_letters_of_which_one_is_not_there_redrives_none() {
    let log = open(&MemoryMedium::new());
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a"]);
    let mut commit = lane_commit(&log, lane, 1, t);
    commit.dead_letters.push(letter(t, 0, None));
    block_on(log.commit(commit)).unwrap();
    let id = log.dead_letters(lane.consumer, 0, 10).unwrap()[0].id;
    assert!(block_on(log.redrive("c", vec![id, id + 7])).is_err());
    assert_eq!(log.dead_letters(lane.consumer, 0, 10).unwrap().len(), 1);
    assert!(log.lane(lane).unwrap().held.is_empty());
}

#[test]
fn a_damaged_dead_letter_costs_itself_alone_and_can_be_discarded() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a", "b"]);
    let mut commit = lane_commit(&log, lane, 2, t);
    commit.dead_letters.extend([letter(t, 0, None), letter(t, 1, None)]);
    block_on(log.commit(commit)).unwrap();
    let id = log.dead_letters(lane.consumer, 0, 10).unwrap()[0].id;
    log.close();
    let database = disk.open(&redb::Builder::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut letters = transaction.open_table(schema::DEAD_LETTERS).unwrap();
        let mut row = letters.remove((lane.consumer.0, id)).unwrap().unwrap().value().to_vec();
        *row.last_mut().unwrap() ^= 1;
        letters.insert((lane.consumer.0, id), row.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
    drop(database);
    let log = open(&disk);
    let letters = log.dead_letters(lane.consumer, 0, 10).unwrap();
    let kinds: Vec<_> = letters.iter().map(|letter| letter.reason.kind).collect();
    assert_eq!(kinds, [FailureKind::Damaged, FailureKind::Permanent]);
    assert_eq!(log.dead_letter(lane.consumer, id).unwrap().as_ref(), Some(&letters[0]));
    let refused = block_on(log.redrive("c", vec![id]));
    assert!(matches!(refused, Err(AdminError::NothingToRedrive { kind: FailureKind::Damaged, .. })));
    block_on(log.discard("c", vec![id])).unwrap();
    assert_eq!(log.dead_letters(lane.consumer, 0, 10).unwrap(), letters[1..]);
}

#[test]
fn retention_removes_the_oldest_batches_but_never_what_a_consumer_has_not_finished() {
    let log = open(&MemoryMedium::new());
    let config = TopicConfig::new(1).retention(Retention::keep_bytes(1));
    let t = topic(&log, "t", config);
    let (id, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    let lane = LaneId { consumer: id, partition: 0 };
    for id in ["a", "b", "c"] {
        append(&log, "t", &[id]);
    }
    assert_eq!(block_on(log.trim()).unwrap().events, 0);
    block_on(log.commit(lane_commit(&log, lane, 2, t))).unwrap();
    assert_eq!(block_on(log.trim()).unwrap().events, 2);
    assert_eq!(ids(&log, t, 0, 0), [(2, "c".to_owned())]);
    let mut commit = lane_commit(&log, lane, 3, t);
    commit.held.insert(0, Some(held_reference(t, 2)));
    block_on(log.commit(commit)).unwrap();
    assert_eq!(block_on(log.trim()).unwrap().events, 0, "a held event is still needed");
}

pub(super) fn held_reference(topic: TopicId, offset: u64) -> Held {
    Held {
        key: 0,
        topic,
        offset,
        commit: 1,
        appended: Timestamp(0),
        event: None,
        wait: Wait::Until(Timestamp(i64::MAX)),
        attempts: Vec::new(),
        first_attempt: Timestamp(0),
        redriven: false,
    }
}

#[test]
fn retention_by_force_leaves_a_gap_record_in_the_dead_letter_queue() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1).retention(Retention::keep_bytes(1).force(true)));
    let (id, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    let lane = LaneId { consumer: id, partition: 0 };
    append(&log, "t", &["a"]);
    append(&log, "t", &["b"]);
    let stale = lane_commit(&log, lane, 1, t);
    assert_eq!(block_on(log.trim()).unwrap().events, 2);
    assert!(matches!(block_on(log.commit(stale)), Err(CommitError::Stale)));
    let letters = log.dead_letters(id, 0, 10).unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.kind, letters[0].offset, letters[0].offset_last), (FailureKind::Gap, 0, 1));
    assert_eq!(log.lane(lane).unwrap().progress.next[&t], 2);
    log.close();
    let log = open(&disk);
    assert_eq!(append(&log, "t", &["c"])[0].offset, 2, "an empty partition doesn't give an offset out twice");
}

#[test]
fn a_full_disk_refuses_events_and_still_allows_progress() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a"]);
    disk.set_free_bytes(Some(999));
    let refused = block_on(log.append(vec![("t", event("b", "key"))]));
    assert!(matches!(refused, Err(PublishError::DiskFull { free: 999, min: 1000 })), "{refused:?}");
    block_on(log.commit(lane_commit(&log, lane, 1, t))).unwrap();
    let mut publishing = lane_commit(&log, lane, 1, t);
    publishing.effects.events.push((t, event("c", "key")));
    assert!(matches!(block_on(log.commit(publishing)), Err(CommitError::DiskFull { .. })));
    disk.set_free_bytes(Some(1000));
    append(&log, "t", &["b"]);
}

#[test]
fn a_consumer_of_topics_with_unequal_partition_counts_is_refused() {
    let log = open(&MemoryMedium::new());
    topic(&log, "two", TopicConfig::new(2));
    topic(&log, "three", TopicConfig::new(3));
    let refused = block_on(log.register("c", &["two".to_owned(), "three".to_owned()], Position::Earliest));
    let message = refused.unwrap_err().to_string();
    for part in ["`c`", "`two` with 2", "`three` with 3"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(log.consumers().is_empty());
}

#[test]
fn a_topic_keeps_its_number_of_partitions() {
    let log = open(&MemoryMedium::new());
    let id = topic(&log, "t", TopicConfig::new(2));
    assert_eq!(topic(&log, "t", TopicConfig::new(2).retention(Retention::keep_bytes(5))), id);
    assert_eq!(log.topics()[0].config.retention.bytes, Some(5));
    assert!(block_on(log.create_topic("t", TopicConfig::new(3))).is_err());
}

#[test]
fn forgetting_a_consumer_removes_all_that_it_has() {
    let log = open(&MemoryMedium::new());
    let (t, lane) = consumer(&log);
    append(&log, "t", &["a"]);
    let mut commit = lane_commit(&log, lane, 1, t);
    commit.effects.state.insert(b"k".to_vec(), Some(b"v".to_vec()));
    commit.dead_letters.push(letter(t, 0, None));
    block_on(log.commit(commit)).unwrap();
    block_on(log.forget("c")).unwrap();
    assert!(matches!(log.lane(lane), Err(ReadError::UnknownConsumer(_))));
    assert_eq!(log.state(lane).unwrap().scan(b"", None, 10).unwrap(), []);
    assert_eq!(log.dead_letter_count(lane.consumer).unwrap(), 0);
    let (again, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    assert_ne!(again, lane.consumer, "a number is never used again");
}

/// The rows of the index of keys in a closed database, with the number of events that each tells of.
fn key_rows(disk: &MemoryMedium) -> Vec<(u64, usize)> {
    let database = disk.open(&redb::Builder::new()).unwrap();
    let table = database.begin_read().unwrap().open_table(schema::KEYS).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap());
    rows.map(|(key, row)| (key.value().2, row.value().len() / 8)).collect()
}

/// A log whose topic `t` numbers its keys and keeps nothing for long, with so many events of one key.
fn numbered(disk: &MemoryMedium, events: usize) -> Log {
    let log = open(disk);
    let bound = Retention::keep_bytes(1);
    topic(&log, "t", TopicConfig::new(1).sequence(true).retention(bound));
    for number in 0..events {
        append(&log, "t", &[&format!("{number}")]);
    }
    log
}

#[test]
fn a_key_is_read_without_the_batches_of_others() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1).sequence(true));
    for (id, key) in [("a", "key"), ("x", "other"), ("b", "key")] {
        block_on(log.append(vec![("t", event(id, key))])).unwrap();
    }
    log.close();
    // Whoever read it would be told that it is damaged.
    let database = disk.open(&redb::Builder::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(schema::BATCHES).unwrap().insert((t.0, 0, 1), b"no batch".as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let log = open(&disk);
    let found = log.key_events("t", "key", 0).unwrap();
    let found: Vec<_> = found
        .into_iter()
        .map(|(number, entry)| match entry {
            Entry::Event(stored) => (number, stored.event.id().to_owned()),
            Entry::Damaged { offset, .. } => panic!("offset {offset} was read"),
        })
        .collect();
    assert_eq!(found, [(1, "a".to_owned()), (2, "b".to_owned())]);
    assert_eq!(log.read(t, 0, 0, 10, 1 << 20).unwrap().len(), 3, "and the whole partition has it");
}

#[test]
fn retention_leaves_of_a_keys_rows_its_last_number() {
    let disk = MemoryMedium::new();
    let log = numbered(&disk, 130);
    log.close();
    assert_eq!(key_rows(&disk), [(1, 64), (65, 64), (129, 2)]);
    let log = open(&disk);
    while block_on(log.trim()).unwrap().more {}
    log.close();
    assert_eq!(key_rows(&disk), [(130, 1)]);
    let log = open(&disk);
    assert_eq!(log.version("t", "key").unwrap(), 130);
    assert_eq!(append(&log, "t", &["next"])[0].sequence, Some(131));
    log.close();
    assert_eq!(key_rows(&disk), [(130, 2)]);
}

#[test]
fn a_reader_of_a_key_is_given_no_other_event_for_one_that_retention_has_just_removed() {
    let disk = MemoryMedium::new();
    let log = numbered(&disk, 3);
    while block_on(log.trim()).unwrap().more {}
    block_on(log.append(vec![("t", event("other", "another key"))])).unwrap();
    log.close();
    let database = disk.open(&redb::Builder::new()).unwrap();
    let read = database.begin_read().unwrap();
    let meta = read.open_table(schema::META).unwrap();
    let hash_key = *meta.get("hash-key").unwrap().unwrap().value().first_chunk().unwrap();
    // As they were before retention: the reader has looked at them just before it.
    let before = topics::Ends { low: 0, next: 4, ..Default::default() };
    let place = (TopicId(1), 0);
    let found = read::key_events_in(&read, place, &[], before, (hash_key, "key"), 0).unwrap();
    assert!(found.is_empty(), "{found:?}");
}

/// Has a closed database say that it has this format.
fn write_format(disk: &MemoryMedium, format: u32, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = disk.open(&redb::Builder::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    let format = format.to_le_bytes();
    transaction.open_table(schema::META).unwrap().insert("format", format.as_slice()).unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_database_of_a_newer_format_is_refused_and_not_changed() {
    let disk = MemoryMedium::new();
    open(&disk).close();
    let newer = schema::FORMAT + 1;
    write_format(&disk, newer, |_| ());
    let refused = try_open(&disk).map(drop);
    assert!(
        matches!(refused, Err(OpenError::NewerFormat { found, known: schema::FORMAT, .. }) if found == newer),
        "{refused:?}"
    );
}

#[test]
fn a_database_of_format_1_is_opened_and_brought_up_to_date() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let old = topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    log.close();
    // Format 1 had no index of keys.
    write_format(&disk, 1, |transaction| assert!(transaction.delete_table(schema::KEYS).unwrap()));
    let log = open(&disk);
    assert_eq!(ids(&log, old, 0, 0), [(0, "a".to_owned())]);
    topic(&log, "numbered", TopicConfig::new(1).sequence(true));
    assert_eq!(append(&log, "numbered", &["a"])[0].sequence, Some(1));
    assert_eq!(log.version("numbered", "key").unwrap(), 1);
    log.close();
    let database = disk.open(&redb::Builder::new()).unwrap();
    let format = database.begin_read().unwrap().open_table(schema::META).unwrap().get("format").unwrap();
    assert_eq!(format.unwrap().value(), schema::FORMAT.to_le_bytes());
}

#[test]
fn a_database_cut_short_or_overwritten_is_refused_with_its_name() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["a"]);
    log.close();
    let image = disk.image();
    for bad in [image[..image.len() / 2].to_vec(), image[..1000].to_vec(), vec![7; 10_000]] {
        disk.set_image(bad);
        let error = try_open(&disk).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
        assert!(error.to_string().contains("memory can't be opened"), "{error}");
    }
    disk.set_image(image);
    open(&disk);
}

#[test]
fn a_damaged_record_costs_itself_and_its_neighbours_are_read() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", TopicConfig::new(1));
    append(&log, "t", &["first-event", "second-event", "third-event"]);
    log.close();
    let mut image = disk.image();
    let damaged: Vec<_> =
        (0..image.len() - 12).filter(|at| &image[*at..*at + 12] == b"second-event").collect();
    assert!(!damaged.is_empty());
    for at in damaged {
        image[at] ^= 1;
    }
    disk.set_image(image);
    let log = open(&disk);
    let entries = log.read(t, 0, 0, 10, 1 << 20).unwrap();
    assert_eq!(entries.len(), 3);
    assert!(matches!(&entries[0], Entry::Event(stored) if stored.event.id() == "first-event"));
    assert!(matches!(&entries[1], Entry::Damaged { offset: 1, offset_last: 1, .. }));
    assert!(matches!(&entries[2], Entry::Event(stored) if stored.event.id() == "third-event"));
}

#[test]
fn many_publishers_share_their_commits() {
    let disk = MemoryMedium::new();
    let log = Arc::new(open(&disk));
    topic(&log, "t", TopicConfig::new(4));
    let before = disk.journal_syncs();
    std::thread::scope(|scope| {
        for publisher in 0..16 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..50 {
                    append(log, "t", &[&format!("{publisher}-{n}")]);
                }
            });
        }
    });
    let total: u64 = log.topics()[0].partitions.iter().map(|partition| partition.next).sum();
    assert_eq!(total, 800);
    let commits = disk.journal_syncs() - before;
    assert!((1..800).contains(&commits), "{commits} commits");
}

#[test]
fn what_writes_nothing_costs_no_commit() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1).retention(Retention::keep_bytes(1 << 20)));
    append(&log, "t", &["a"]);
    let syncs = disk.journal_syncs();
    assert!(append(&log, "t", &["a"])[0].duplicate);
    block_on(log.trim()).unwrap();
    assert!(block_on(log.set_paused("nobody", true)).is_err());
    assert_eq!(disk.journal_syncs(), syncs);
    append(&log, "t", &["b"]);
    assert!(disk.journal_syncs() > syncs);
}
