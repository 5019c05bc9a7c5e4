//! Small rows of many partitions on their way to their place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redb::{ReadableDatabase, ReadableTable, ReadableTableMetadata};

use super::batch::BatchBuilder;
use super::hash::{key_hash, partition_of};
use super::hidden_tests::{read as told_from, what};
use super::last_commit::LastCommit;
use super::memtable::{MemRow, Memtable};
use super::new_events::NewEvents;
use super::redo::Redo;
use super::schema::Tables;
use super::tests::{append, event, topic, try_open_with};
use super::*;
use crate::clock::Timestamp;
use crate::config::{Dedup, Retention, TopicConfig};
use crate::event::Event;
use crate::ids::TopicId;
use crate::limits::{
    JOURNAL_RECORD_BYTES_MAX, MEMTABLE_BYTES_KEPT, MEMTABLE_JOURNALS, MEMTABLE_PARTITIONS_MAX,
};

const PARTITIONS: u32 = 50;
/// Events of a commit.
const GROUP: usize = 50;
/// So many groups are more than is kept in memory.
const MANY: usize = 60;
/// Bytes of an event's data.
const EVENT: usize = 200;
/// A journal for which little is kept.
const JOURNAL: usize = 64 << 10;

/// A log with a topic of many partitions, and what it has to have of each.
struct Rig {
    disk: MemoryMedium,
    log: Arc<Log>,
    topic: TopicId,
    published: BTreeMap<u32, Vec<String>>,
    count: usize,
    /// Rows of batches that there are.
    rows: usize,
}

impl Rig {
    fn new(config: TopicConfig) -> Self {
        Self::with(config, JOURNAL)
    }

    fn with(config: TopicConfig, journal: usize) -> Self {
        let disk = MemoryMedium::new();
        let log = Arc::new(try_open_with(&disk, journal).unwrap());
        let topic = topic(&log, "t", config);
        Self { disk, log, topic, published: BTreeMap::new(), count: 0, rows: 0 }
    }

    /// Publishes groups of small events.
    fn publish(&mut self, groups: usize) {
        for _ in 0..groups {
            let ids: Vec<_> = (self.count..self.count + GROUP).map(|id| id.to_string()).collect();
            self.count += GROUP;
            let events = ids.iter().map(|id| {
                let event = Event::new(&**id, "/tests", "Test.v1").subject(&**id);
                ("t", event.text("text/plain", "x".repeat(EVENT)).build().unwrap())
            });
            block_on(self.log.append(events.collect())).unwrap();
            let mut partitions = BTreeSet::new();
            for id in ids {
                let partition = partition_of(key_hash(&id), PARTITIONS);
                partitions.insert(partition);
                self.published.entry(partition).or_default().push(id);
            }
            self.rows += partitions.len();
        }
    }

    /// Compares all that is read of some partitions, from somewhere, to what was published.
    fn check(&self, partitions: impl Iterator<Item = u32>) {
        for partition in partitions {
            let published = self.published.get(&partition).map(Vec::as_slice).unwrap_or_default();
            let from = self.log.low_offset(self.topic, partition);
            for from in [from, from.midpoint(published.len() as u64), published.len() as u64] {
                let found = self.read(partition, from);
                let expected = (0..).zip(published).skip(usize::try_from(from).unwrap());
                assert!(
                    found.iter().map(|(offset, id)| (*offset, id)).eq(expected),
                    "partition {partition} from {from}: {found:?}"
                );
            }
        }
    }

    fn check_all(&self) {
        self.check(0..PARTITIONS);
    }

    /// All that is there from an offset on, a little at a time.
    fn read(&self, partition: u32, from: u64) -> Vec<(u64, String)> {
        let mut found: Vec<(u64, String)> = Vec::new();
        loop {
            let from = found.last().map_or(from, |(offset, _)| offset + 1);
            let more = self.log.read(self.topic, partition, from, 1000, 2000).unwrap();
            if more.is_empty() {
                return found;
            }
            found.extend(more.into_iter().map(what));
        }
    }

    /// Ends the log without closing it, and opens it anew.
    fn crash(self, how: impl Fn(&MemoryMedium)) -> Self {
        how(&self.disk);
        drop(self.log);
        Self { log: Arc::new(try_open_with(&self.disk, JOURNAL).unwrap()), ..self }
    }

    /// The same, and changes the database in between.
    fn crash_and(self, damage: impl Fn(&redb::WriteTransaction)) -> Self {
        self.disk.end_process();
        drop(self.log);
        let database = self.disk.open(&redb::Builder::new()).unwrap();
        let transaction = database.begin_write().unwrap();
        damage(&transaction);
        transaction.commit().unwrap();
        drop(database);
        Self { log: Arc::new(try_open_with(&self.disk, JOURNAL).unwrap()), ..self }
    }
}

/// How many rows the tables of batches and of those that are spilled have, once the log is closed.
fn rows_of_closed(disk: &MemoryMedium) -> (u64, u64) {
    let database = disk.open(&redb::Builder::new()).unwrap();
    let read = database.begin_read().unwrap();
    let batches = read.open_table(schema::BATCHES).unwrap().len().unwrap();
    (batches, read.open_table(schema::SPILL).unwrap().len().unwrap())
}

#[test]
fn each_event_is_read_in_its_order_while_rows_wait_are_spilled_and_are_flushed() {
    let mut rig = Rig::new(TopicConfig::new(PARTITIONS));
    for round in 0..MANY {
        rig.publish(1);
        rig.check((0..PARTITIONS).filter(|partition| *partition as usize % MANY == round % MANY));
    }
    rig.check_all();
    let memtable = rig.log.memtable();
    let bytes_max = MEMTABLE_JOURNALS * JOURNAL;
    assert!((1..=bytes_max).contains(&memtable.bytes()), "{} bytes wait", memtable.bytes());
    assert!((1..rig.rows).contains(&memtable.len()), "{} of {} rows wait", memtable.len(), rig.rows);
    let rows = |memtable: &Memtable| {
        let of = |partition| memtable.all((rig.topic, partition));
        (0..PARTITIONS).flat_map(of).collect::<Vec<_>>().into_iter()
    };
    let newest = rows(&memtable).map(|row| row.commit).max().unwrap();
    let in_turn = rows(&memtable).all(|row| row.commit + MANY as u64 * 3 / 4 > newest);
    assert!(in_turn, "each partition has its turn, before long");
    rig.log.close();
    let last = rig.log.next_offset(rig.topic, 0) - 1;
    assert!(matches!(rig.log.read(rig.topic, 0, last, 1, 1), Err(ReadError::Closed)));
    assert_eq!(rows_of_closed(&rig.disk), (rig.rows as u64, 0));
}

#[test]
fn what_waits_is_bounded_where_no_checkpoint_comes() {
    let mut rig = Rig::with(TopicConfig::new(PARTITIONS), 256 << 20);
    while rig.count * EVENT < MEMTABLE_BYTES_KEPT * 5 / 4 {
        rig.publish(1);
        assert!(rig.log.memtable().bytes() <= MEMTABLE_BYTES_KEPT + JOURNAL_RECORD_BYTES_MAX);
    }
    rig.check_all();
    let rig = rig.crash(MemoryMedium::cut_power);
    rig.check_all();
}

#[test]
fn no_more_partitions_have_rows_that_wait_than_can_be_put_in_place_on_a_full_disk() {
    let log = try_open_with(&MemoryMedium::new(), 1 << 20).unwrap();
    let partitions = 2 * u32::try_from(MEMTABLE_PARTITIONS_MAX).unwrap();
    let topic = topic(&log, "t", TopicConfig::new(partitions));
    for id in 0..8 {
        let ids = (0..1000).map(|number| format!("{id}-{number}"));
        block_on(log.append(ids.map(|id| ("t", event(&id, &id))).collect())).unwrap();
    }
    let waiting = |memtable: &Memtable| {
        (0..partitions).filter(|partition| memtable.len_of((topic, *partition)) > 0).count()
    };
    assert!(!log.read(topic, 0, 0, 10, 10_000).unwrap().is_empty());
    assert_eq!(waiting(&log.memtable()), MEMTABLE_PARTITIONS_MAX);
}

#[test]
fn an_event_that_waits_is_told_with_its_number_where_it_is_published_again() {
    let rig = Rig::new(TopicConfig::new(1).sequence(true));
    for duplicate in [false, true] {
        let published = append(&rig.log, "t", &["a", "b"]);
        assert!(published.iter().all(|published| published.duplicate == duplicate));
        assert!(published.iter().map(|published| published.sequence).eq([Some(1), Some(2)]));
        assert_eq!(rig.log.memtable().len(), 1);
    }
}

#[test]
fn one_that_is_published_again_in_its_own_commit_is_told_with_its_number_wherever_its_row_is() {
    let rig = Rig::with(TopicConfig::new(1).sequence(true), 4 << 20);
    let small = |round: usize, id: usize| event(&format!("{round}-{id}"), "key");
    // What does not fill a page of 128 KiB is a row of its own, and some of these are small.
    let record = {
        let before = rig.log.topics()[0].partitions[0].bytes;
        let events = (0..100).map(|id| ("t", small(1000, id)));
        block_on(rig.log.append(events.collect())).unwrap();
        usize::try_from(rig.log.topics()[0].partitions[0].bytes - before).unwrap() / 100
    };
    for round in 0..20 {
        let count = (128 << 10) / record + 5 * round;
        let large = Event::new(format!("large-{round}"), "/tests", "Test.v1").subject("key");
        let large = large.text("text/plain", "x".repeat(200 << 10)).build().unwrap();
        let events = (0..count).map(|id| small(round, id)).chain([large]);
        let events = events.chain((count - 5..count).map(|id| small(round, id)));
        let published = block_on(rig.log.append(events.map(|event| ("t", event)).collect())).unwrap();
        let numbers = |published: &[Published]| -> Vec<_> {
            published.iter().map(|published| published.sequence).collect()
        };
        assert!(published[count + 1..].iter().all(|published| published.duplicate));
        assert_eq!(numbers(&published[count + 1..]), numbers(&published[count - 5..count]), "{count} events");
    }
    assert!(rig.log.memtable().len() > 0, "none of the rows was small");
}

#[test]
fn a_damaged_floor_costs_no_row_that_is_spilled() {
    let mut rig = Rig::new(TopicConfig::new(PARTITIONS).retention(Retention::keep_bytes(1)));
    rig.publish(10);
    while block_on(rig.log.trim()).unwrap().more {}
    rig.publish(MANY);
    let rig = rig.crash_and(|transaction| {
        let mut floors = transaction.open_table(schema::FLOORS).unwrap();
        let keys: Vec<_> = floors.iter().unwrap().map(|floor| floor.unwrap().0.value()).collect();
        assert_eq!(keys.len(), PARTITIONS as usize);
        for key in keys {
            floors.insert(key, 1 << 40).unwrap();
        }
    });
    rig.check_all();
}

#[test]
fn no_row_is_lost_or_there_twice_after_the_end_of_the_process_or_the_power() {
    for how in [MemoryMedium::end_process, MemoryMedium::cut_power] {
        let mut rig = Rig::new(TopicConfig::new(PARTITIONS));
        for groups in [1, MANY, 3] {
            rig.publish(groups);
            rig = rig.crash(how);
            assert_eq!(rig.log.memtable().len(), 0);
            rig.check_all();
        }
        rig.publish(1);
        rig.check_all();
        rig.log.close();
        assert_eq!(rows_of_closed(&rig.disk).1, 0);
    }
}

#[test]
fn retention_removes_rows_that_wait_and_none_of_them_comes_back() {
    let config = TopicConfig::new(PARTITIONS).dedup(Dedup { count: 0, ..Dedup::default() });
    let mut rig = Rig::new(config.retention(Retention::keep_bytes(1)));
    rig.publish(MANY / 10);
    assert!(rig.log.memtable().len() > 0);
    while block_on(rig.log.trim()).unwrap().more {}
    let ends: Vec<_> = (0..PARTITIONS).map(|partition| rig.log.next_offset(rig.topic, partition)).collect();
    let lows = |rig: &Rig| -> Vec<_> {
        (0..PARTITIONS).map(|partition| rig.log.low_offset(rig.topic, partition)).collect()
    };
    assert_eq!(lows(&rig), ends);
    assert_eq!(rig.log.memtable().len(), 0);
    rig = rig.crash(MemoryMedium::cut_power);
    assert_eq!(lows(&rig), ends);
    rig.publish(1);
    rig.check_all();
}

#[test]
fn a_snapshot_has_the_rows_of_its_moment_wherever_they_get_to() {
    let mut rig = Rig::new(TopicConfig::new(PARTITIONS));
    rig.publish(3);
    let snapshot = rig.log.snapshot("").unwrap();
    let before = rig.published.clone();
    rig.publish(MANY);
    let of = |partition| {
        let entries = snapshot.events(rig.topic, partition, 0, 1000, 1 << 20).unwrap();
        entries.into_iter().map(|entry| match entry {
            Entry::Event(stored) => stored.event.id().to_owned(),
            Entry::Damaged { reason, .. } => panic!("{reason}"),
        })
    };
    for (partition, ids) in before {
        assert_eq!(snapshot.offsets(rig.topic, partition).unwrap(), (0, ids.len() as u64));
        assert!(of(partition).eq(ids), "partition {partition}");
    }
    let entries = snapshot.events(rig.topic, 0, 0, 1000, 1 << 20).unwrap();
    let times = entries.iter().filter_map(|entry| match entry {
        Entry::Event(stored) => Some(stored.appended),
        Entry::Damaged { .. } => None,
    });
    let times: Vec<_> = times.collect();
    assert!(!times.is_empty());
    for time in times.iter().flat_map(|time| [*time, Timestamp(time.0 + 1)]) {
        let expected = times.iter().position(|appended| *appended >= time).unwrap_or(times.len());
        assert_eq!(snapshot.offset_at(rig.topic, 0, time).unwrap(), expected as u64);
    }
}

#[test]
fn damage_of_what_is_spilled_is_told_and_costs_no_more_than_it_hits() {
    let mut rig = Rig::new(TopicConfig::new(PARTITIONS));
    rig.publish(MANY);
    let before = rig.published.clone();
    // The first byte of the second row's place: from there on, nothing says where a row begins.
    let damage = |transaction: &redb::WriteTransaction| {
        let mut spill = transaction.open_table(schema::SPILL).unwrap();
        let (number, mut bytes) = {
            let first = spill.first().unwrap().expect("something is spilled");
            (first.0.value(), first.1.value().to_vec())
        };
        let second = 20 + u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        bytes[second + 16] ^= 1;
        spill.insert(number, bytes.as_slice()).unwrap();
    };
    let rig = rig.crash_and(damage);
    let mut missing = 0;
    for (partition, ids) in before {
        let found = rig.read(partition, 0);
        let told = found.iter().filter(|(_, what)| what.ends_with("missing")).count();
        missing += told;
        let kept = found.iter().filter(|(_, what)| ids.contains(what)).count();
        assert!(told > 0 || kept == ids.len(), "partition {partition}: {kept} of {}", ids.len());
        assert!(
            rig.log.next_offset(rig.topic, partition) >= ids.len() as u64,
            "no offset is given out twice"
        );
    }
    assert!(missing > 0);
}

#[test]
fn what_a_transaction_publishes_has_its_place_and_what_waits_is_durable_with_it() {
    let mut rig = Rig::new(TopicConfig::new(PARTITIONS));
    rig.publish(1);
    let waited = rig.log.memtable().len();
    assert!(waited > 0);
    let done = rig.log.transact("app/", |transaction: &mut Transaction<'_>| {
        transaction.publish("t", event("of-the-transaction", "key"))
    });
    let published = block_on(done).unwrap();
    assert_eq!(rig.log.memtable().len(), waited, "its own events have their place at once");
    rig.published.entry(published.partition).or_default().push("of-the-transaction".to_owned());
    rig.check_all();
    rig = rig.crash(MemoryMedium::cut_power);
    rig.check_all();
}

#[test]
fn who_reads_beside_the_committer_finds_no_gap_and_sees_whole_commits() {
    let mut rig = Rig::new(TopicConfig::new(PARTITIONS));
    let is_done = AtomicBool::new(false);
    let (log, topic) = (Arc::clone(&rig.log), rig.topic);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                for partition in 0..PARTITIONS {
                    // Those that come to their place meanwhile are among them.
                    let from = log.next_offset(topic, partition).saturating_sub(20);
                    for (expected, (offset, what)) in (from..).zip(told_from(&log, topic, partition, from)) {
                        let is_right = offset == expected && !what.ends_with("missing");
                        assert!(is_right, "{what} at {offset} of {partition}");
                    }
                }
                let snapshot = log.snapshot("").unwrap();
                let ends = (0..PARTITIONS).map(|partition| snapshot.offsets(topic, partition).unwrap().1);
                assert_eq!(ends.sum::<u64>() % GROUP as u64, 0, "a part of a commit");
            }
        });
        for _ in 0..5 * MANY {
            rig.publish(1);
            if reader.is_finished() {
                break;
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
    rig.check_all();
}

#[test]
fn what_retention_has_removed_is_not_put_back_in_its_place() {
    let database = MemoryMedium::new().open(&redb::Builder::new()).unwrap();
    let transaction = database.begin_write().unwrap();
    let redo = Redo::off();
    let mut memtable = Memtable::default();
    let keys = [(1, 0, 4), (1, 0, 5), (2, 0, 4)];
    for (topic, partition, first) in keys {
        let events = NewEvents::alone(&event(&first.to_string(), "key"));
        let mut builder = BatchBuilder::default();
        builder.push(events.only(), None);
        let mut row = Vec::new();
        builder.rows().next().unwrap().write((topic, partition, first), 1, Timestamp(1), 0, &mut row);
        memtable.extend([((TopicId(topic), partition), MemRow::new(first, first + 1, 1, &row))]);
    }
    let flush = memtable.flush_excess(&transaction, 1 << 20).unwrap();
    let flush = memtable.spill(&transaction, flush).unwrap();
    memtable.flushed(flush);
    let mut tables = Tables::open(&transaction, &redo).unwrap();
    tables.floors.insert((1, 0), 5).unwrap();
    let found = |tables: &Tables<'_>| -> Vec<_> {
        tables.batches.iter().unwrap().map(|row| row.unwrap().0.value()).collect()
    };
    let unspilled = memtable::unspill(&transaction, &mut tables).unwrap();
    assert!(unspilled.is_whole);
    assert_eq!(found(&tables), keys[1..]);
    for (counted, expected) in [(2, &keys[1..]), (3, &keys[..])] {
        let mut rows = tables.rows().unwrap();
        rows[schema::BATCHES_COUNTED] = counted;
        let last = LastCommit { rows: Some(rows), ..LastCommit::default() };
        tables.meta.insert(schema::meta::COMMIT, last.encode().as_slice()).unwrap();
        unspilled.put_back_missing(&mut tables).unwrap();
        assert_eq!(found(&tables), expected, "{counted} rows are said to be there");
    }
}
