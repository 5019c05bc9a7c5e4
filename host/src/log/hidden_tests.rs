//! What opening finds out to be missing, where damage hides rows as if they had never been.

use std::collections::BTreeMap;
use std::time::Duration;

use redb::{ReadableTable, TableHandle, WriteTransaction};

use super::last_commit::LastCommit;
use super::redo::Redo;
use super::schema::{Tables, meta};
use super::tests::{append, consumer, open, topic, try_open};
use super::*;
use crate::config::{Dedup, Retention, TopicConfig};
use crate::ids::TopicId;

/// Changes the database behind the log's back.
fn change(disk: &MemoryMedium, change: impl FnOnce(&WriteTransaction)) {
    let database = disk.open(&redb::Builder::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

/// As damage within a table does it, which changes no count.
pub(super) fn hide(disk: &MemoryMedium, hide: impl FnOnce(&mut Tables<'_>)) {
    change(disk, |transaction| {
        let redo = Redo::off();
        let mut tables = Tables::open(transaction, &redo).unwrap();
        hide(&mut tables);
        let last = LastCommit::decode(tables.meta.get(meta::COMMIT).unwrap().unwrap().value()).unwrap();
        let last = LastCommit { rows: Some(tables.rows().unwrap()), ..last };
        tables.meta.insert(meta::COMMIT, last.encode().as_slice()).unwrap();
    });
}

fn hide_batches(disk: &MemoryMedium, topic: TopicId, partition: u32, firsts: &[u64]) {
    hide(disk, |tables| {
        for first in firsts {
            assert!(tables.batches.remove((topic.0, partition, *first)).unwrap());
        }
    });
}

fn hide_row(disk: &MemoryMedium, name: &str) {
    change(disk, |transaction| {
        assert!(transaction.open_table(schema::META).unwrap().remove(name).unwrap().is_some());
    });
}

/// What is read from an offset on: the ids of events, and how many are said to be missing.
pub(super) fn read(log: &Log, topic: TopicId, partition: u32, from: u64) -> Vec<(u64, String)> {
    let entries = log.read(topic, partition, from, 1000, 1 << 20).unwrap();
    entries.into_iter().map(what).collect()
}

/// The offset and the id of an event, or how many are missing from there.
pub(super) fn what(entry: Entry) -> (u64, String) {
    match entry {
        Entry::Event(stored) => (stored.offset, stored.event.id().to_owned()),
        Entry::Damaged { offset, offset_last, .. } => {
            (offset, format!("{} missing", offset_last - offset + 1))
        }
    }
}

pub(super) fn told(events: &[(u64, &str)]) -> Vec<(u64, String)> {
    events.iter().map(|(offset, what)| (*offset, (*what).to_owned())).collect()
}

/// A log of one partition with three batches, closed.
fn three(config: TopicConfig) -> (MemoryMedium, TopicId) {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let topic = topic(&log, "t", config);
    for id in ["a", "b", "c"] {
        append(&log, "t", &[id]);
    }
    log.close();
    (disk, topic)
}

#[test]
fn the_offsets_of_events_that_damage_hides_are_not_given_out_again_and_readers_are_told() {
    let (disk, t) = three(TopicConfig::new(1));
    hide_batches(&disk, t, 0, &[1, 2]);
    let log = open(&disk);
    assert_eq!(read(&log, t, 0, 0), told(&[(0, "a"), (1, "2 missing")]));
    assert!(append(&log, "t", &["c"])[0].duplicate, "the window still knows it");
    assert_eq!(append(&log, "t", &["d"])[0].offset, 3);
    log.close();
    let log = open(&disk);
    assert_eq!(read(&log, t, 0, 0), told(&[(0, "a"), (1, "2 missing"), (3, "d")]));
    assert_eq!(read(&log, t, 0, 2), told(&[(2, "1 missing"), (3, "d")]));
}

#[test]
fn without_a_window_the_sum_of_all_offsets_tells_and_no_partition_gives_one_out_again() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let none = || TopicConfig::new(1).dedup(Dedup::new(Duration::from_hours(1), 0));
    let (t, other) = (topic(&log, "t", none()), topic(&log, "other", none()));
    for id in ["a", "b", "c"] {
        append(&log, "t", &[id]);
    }
    append(&log, "other", &["x"]);
    log.close();
    hide_batches(&disk, t, 0, &[1, 2]);
    for _ in 0..2 {
        let log = open(&disk);
        assert_eq!(read(&log, t, 0, 0), told(&[(0, "a"), (1, "2 missing")]));
        assert_eq!(read(&log, other, 0, 0), told(&[(0, "x"), (1, "2 missing")]), "they may be its own");
        log.close();
    }
    let log = open(&disk);
    assert_eq!(append(&log, "t", &["d"])[0].offset, 3);
    assert_eq!(append(&log, "other", &["y"])[0].offset, 3);
}

#[test]
fn batches_hidden_in_the_middle_and_at_the_beginning_are_told_too() {
    let (disk, t) = three(TopicConfig::new(1));
    hide_batches(&disk, t, 0, &[1]);
    let log = open(&disk);
    assert_eq!(read(&log, t, 0, 0), told(&[(0, "a"), (1, "1 missing"), (2, "c")]));
    assert_eq!(read(&log, t, 0, 1), told(&[(1, "1 missing"), (2, "c")]));
    log.close();
    hide_batches(&disk, t, 0, &[0]);
    let log = open(&disk);
    assert_eq!(read(&log, t, 0, 0), told(&[(0, "2 missing"), (2, "c")]));
    assert_eq!(log.topics()[0].partitions[0].low, 0);
}

#[test]
fn what_retention_has_removed_is_not_missing_and_what_was_lost_goes_with_it() {
    let (disk, t) = three(TopicConfig::new(1).retention(Retention::keep_bytes(1)));
    let log = open(&disk);
    assert_eq!(block_on(log.trim()).unwrap().events, 3);
    append(&log, "t", &["d"]);
    append(&log, "t", &["e"]);
    log.close();
    let log = open(&disk);
    assert_eq!(read(&log, t, 0, 0), told(&[(3, "d"), (4, "e")]));
    log.close();
    hide_batches(&disk, t, 0, &[3]);
    let log = open(&disk);
    assert_eq!(read(&log, t, 0, 0), told(&[(3, "1 missing"), (4, "e")]));
    assert_eq!(block_on(log.trim()).unwrap().events, 2);
    assert_eq!(read(&log, t, 0, 0), []);
    assert_eq!(append(&log, "t", &["f"])[0].offset, 5);
}

#[test]
fn damage_after_opening_is_told_as_well_and_retention_is_no_damage() {
    let (disk, t) = three(TopicConfig::new(1));
    let log = open(&disk);
    let ends = topics::Ends { low: 0, next: 3, ..Default::default() };
    let read = |database: &redb::Database| {
        let read = redb::ReadableDatabase::begin_read(database).unwrap();
        read::events_in(&read, (t, 0), &[], ends, 0, 1000, 1 << 20).unwrap()
    };
    log.close();
    hide_batches(&disk, t, 0, &[0, 1, 2]);
    let database = disk.open(&redb::Builder::new()).unwrap();
    assert!(matches!(&read(&database)[..], [Entry::Damaged { offset: 0, offset_last: 2, .. }]));
    drop(database);
    hide(&disk, |tables| tables.floors.insert((t.0, 0), 2).unwrap());
    let database = disk.open(&redb::Builder::new()).unwrap();
    assert!(matches!(&read(&database)[..], [Entry::Damaged { offset: 2, offset_last: 2, .. }]));
}

#[test]
fn a_consumer_whose_lane_is_missing_does_not_begin_anew() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (_, lane) = consumer(&log);
    log.close();
    hide(&disk, |tables| assert!(tables.lanes.remove((lane.consumer.0, 0)).unwrap()));
    let log = open(&disk);
    let refused = block_on(log.register("c", &["t".to_owned()], Position::Earliest));
    assert!(refused.unwrap_err().to_string().contains("missing"));
}

#[test]
fn the_numbers_drawn_once_have_a_checksum_and_those_of_an_older_format_get_one() {
    let (disk, _) = three(TopicConfig::new(1));
    let row = |tables: &Tables<'_>| tables.meta.get(meta::HASH_KEY).unwrap().unwrap().value().to_vec();
    change(&disk, |transaction| {
        let redo = Redo::off();
        let mut tables = Tables::open(transaction, &redo).unwrap();
        let old = row(&tables)[..16].to_vec();
        tables.meta.insert(meta::HASH_KEY, old.as_slice()).unwrap();
    });
    let log = open(&disk);
    assert!(append(&log, "t", &["a"])[0].duplicate);
    log.close();
    change(&disk, |transaction| {
        let redo = Redo::off();
        let mut tables = Tables::open(transaction, &redo).unwrap();
        let mut bad = row(&tables);
        bad[3] ^= 1;
        tables.meta.insert(meta::HASH_KEY, bad.as_slice()).unwrap();
    });
    let refused = try_open(&disk).err().unwrap().to_string();
    assert!(refused.contains("hash-key"), "{refused}");
}

#[test]
fn a_table_that_has_not_as_many_rows_as_the_last_commit_says_is_damage() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let (_, lane) = consumer(&log);
    log.close();
    change(&disk, |transaction| {
        let mut lanes = transaction.open_table(schema::LANES).unwrap();
        assert!(lanes.remove((lane.consumer.0, 0)).unwrap().is_some());
    });
    let refused = try_open(&disk).err().unwrap().to_string();
    assert!(refused.contains("lanes") && refused.contains("there are 1"), "{refused}");
}

#[test]
fn a_row_or_a_table_that_is_always_there_is_missed() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    consumer(&log);
    append(&log, "t", &["a"]);
    log.close();
    let image = disk.image();
    let refused = |name: &str| {
        let error = try_open(&disk).err().unwrap_or_else(|| panic!("it was opened without `{name}`"));
        assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Storage { .. }), "{error:?}");
        error.to_string()
    };
    for row in [meta::FORMAT, meta::SEED, meta::HASH_KEY, meta::COMMIT, meta::NEXT_TOPIC, meta::NEXT_CONSUMER]
    {
        hide_row(&disk, row);
        refused(row);
        disk.set_image(image.clone());
    }
    for table in schema::names(schema::FORMAT) {
        change(&disk, |transaction| {
            let tables: BTreeMap<_, _> =
                transaction.list_tables().unwrap().map(|table| (table.name().to_owned(), table)).collect();
            assert!(transaction.delete_table(tables[table].clone()).unwrap());
        });
        let said = refused(table);
        assert!(said.contains(table) || table == schema::META.name(), "{said}");
        disk.set_image(image.clone());
    }
    open(&disk);
}
