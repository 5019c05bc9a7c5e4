//! The blob store against crashes, and against those who need a blob while it is removed.

use std::sync::Arc;

use super::admission::block_on;
use super::blobs::{BlobStore, PutError, Removed, Usage};
use super::error::{AdminError, BlobError};
use super::lane_rows::DeadLetter;
use super::medium::Medium as _;
use super::memory_medium::MemoryMedium;
use super::read::Entry;
use super::registry::Position;
use super::store::Log;
use super::tests::{event, lane_commit, letter, open, options, topic, try_open_as};
use crate::aggregate::Streams as _;
use crate::config::{Dedup, Retention, TopicConfig};
use crate::event::{BlobRef, Data, Event};
use crate::ids::{LaneId, TopicId};
use crate::limits::{JOURNAL_BYTES, READ_BYTES_MAX};

/// What goes to the blob store.
const LARGE: usize = 20_000;

fn large(id: &str, content: char) -> Event {
    let data = content.to_string().repeat(LARGE);
    Event::new(id, "/tests", "Large.v1").text("text/plain", data).build().unwrap()
}

fn checked() -> TopicConfig {
    TopicConfig::new(1).claim_check_over(LARGE - 1)
}

fn publish(log: &Log, event: Event) -> bool {
    block_on(log.append(vec![("t", event)])).is_ok()
}

/// The events of a topic with their data, and whether each was in the blob store.
fn events(log: &Log, topic: TopicId) -> Vec<(Event, bool)> {
    let entries = log.read(topic, 0, 0, 1000, 1 << 20).unwrap();
    let event = |entry| match entry {
        Entry::Event(stored) => match log.with_data(&stored.event).unwrap() {
            Some(event) => (event, true),
            None => ((*stored.event).clone(), false),
        },
        Entry::Damaged { reason, .. } => panic!("{reason}"),
    };
    entries.into_iter().map(event).collect()
}

/// The names of the blobs that are on the disk.
fn on_disk(disk: &MemoryMedium) -> Vec<String> {
    disk.blobs().unwrap().into_iter().map(|(name, _)| name).collect()
}

/// The names of the blobs that somebody names.
fn named(log: &Log) -> Vec<String> {
    log.blobs(None, 1000).unwrap().into_iter().map(|blob| blob.digest.to_string()).collect()
}

fn collect(log: &Log) -> u64 {
    block_on(log.collect_blobs()).unwrap()
}

/// Publishes three events, two of which have the same data, and removes what is there, and the blobs after that. Returns those that
/// were acknowledged, whether that were all, and the operations of the disk at which each step began.
fn work(log: &Log, disk: &MemoryMedium) -> (Vec<Event>, bool, Vec<u64>) {
    let (mut acknowledged, mut begun) = (Vec::new(), Vec::new());
    for (id, content) in [("a", 'a'), ("b", 'b'), ("c", 'a')] {
        begun.push(disk.operations());
        if !publish(log, large(id, content)) {
            return (acknowledged, false, begun);
        }
        acknowledged.push(large(id, content));
    }
    if disk.is_frozen() {
        return (acknowledged, false, begun);
    }
    begun.push(disk.operations());
    if block_on(log.trim()).is_ok() {
        begun.push(disk.operations());
        let _ = block_on(log.collect_blobs());
    }
    begun.push(disk.operations());
    (acknowledged, true, begun)
}

#[test]
fn wherever_the_power_goes_every_event_has_its_data_and_nothing_else_is_left() {
    for journal in [JOURNAL_BYTES, 0] {
        let begin = |disk: &MemoryMedium| {
            let log = try_open_as(disk, options(journal)).unwrap();
            let t = topic(&log, "t", checked().retention(Retention::keep_bytes(1)));
            assert!(publish(&log, large("old", 'o')));
            (log, t)
        };
        let begun = {
            let disk = MemoryMedium::new();
            let (log, _) = begin(&disk);
            let first = disk.operations();
            work(&log, &disk).2.into_iter().map(|operation| operation - first).collect::<Vec<_>>()
        };
        // Blobs are written, and removed, where a step begins; most of the rest are pages of the database.
        let at_begin = begun.iter().flat_map(|operation| *operation..operation + 10);
        let end = begun.last().copied().unwrap();
        let between = (0..=end).step_by(usize::try_from(end / 30).unwrap().max(1));
        for operation in at_begin.chain(between) {
            let disk = MemoryMedium::new();
            let (log, t) = begin(&disk);
            disk.freeze_at(disk.operations() + operation);
            let (mut acknowledged, were_published, _) = work(&log, &disk);
            acknowledged.push(large("old", 'o'));
            disk.cut_power();
            drop(log);
            let log = try_open_as(&disk, options(journal)).unwrap();
            let (found, were_aside): (Vec<_>, Vec<_>) = events(&log, t).into_iter().unzip();
            assert!(were_aside.into_iter().all(|was_aside| was_aside), "operation {operation}");
            let is_there = acknowledged.iter().all(|event| found.contains(event));
            assert!(is_there || were_published, "operation {operation}: {found:?}");
            collect(&log);
            assert_eq!(on_disk(&disk), named(&log), "operation {operation}");
        }
    }
}

#[test]
fn a_blob_whose_name_was_not_durable_when_its_process_ended_is_durable_before_who_publishes_it_again_is_told()
{
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", checked());
    // Frozen between the write that gives it its name and the sync.
    disk.freeze_at(disk.operations() + 1);
    assert!(!publish(&log, large("a", 'a')));
    disk.end_process();
    drop(log);
    let log = open(&disk);
    assert_eq!(on_disk(&disk).len(), 1, "the name is there, until the power goes");
    assert!(publish(&log, large("a", 'a')));
    disk.cut_power();
    drop(log);
    assert_eq!(events(&open(&disk), t), [(large("a", 'a'), true)]);
}

#[test]
fn what_a_commit_in_doubt_has_let_go_of_is_removed_once_the_storage_is_opened_anew() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", checked().retention(Retention::keep_bytes(1)));
    let (consumer, _) = block_on(log.register("c", &["t".to_owned()], Position::Earliest)).unwrap();
    assert!(publish(&log, large("a", 'a')));
    let stored = match &log.read(t, 0, 0, 1, 1 << 20).unwrap()[..] {
        [Entry::Event(stored)] => Arc::clone(&stored.event),
        other => panic!("{other:?}"),
    };
    // A dead letter has it, once its event is gone.
    let mut given_up = lane_commit(&log, LaneId { consumer, partition: 0 }, 1, t);
    given_up.dead_letters.push(DeadLetter { event: Some(stored), ..letter(t, 0, None) });
    block_on(log.commit(given_up)).unwrap();
    assert_eq!(block_on(log.trim()).unwrap().events, 1);
    assert_eq!((collect(&log), on_disk(&disk).len()), (0, 1), "nobody looks at it from here on");
    let letter = log.dead_letters(consumer, 0, 1).unwrap()[0].id;
    loop {
        disk.fail_syncs(true);
        let discarded = block_on(log.discard("c", vec![letter]));
        disk.fail_syncs(false);
        block_on(log.usable()).unwrap();
        match discarded {
            Err(AdminError::InDoubt(_)) => break,
            // A checkpoint of the committer's own accord was the first to fail.
            Err(AdminError::Reopening) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(named(&log).is_empty(), "it has come to be");
    collect(&log);
    assert_eq!(on_disk(&disk), named(&log));
}

#[test]
fn a_blob_that_is_named_anew_while_it_is_removed_stays() {
    let disk = MemoryMedium::new();
    let store = BlobStore::open(&disk, u64::MAX).unwrap();
    let data = Data::Text("x".repeat(LARGE));
    let blob = BlobRef::to(&data);
    let put = || store.put(&disk, 0, blob, data.as_bytes()).ok().unwrap();
    drop(put());
    // Whoever looks at it finds that nobody names it; meanwhile somebody publishes it again, and has done so by then.
    let condemned = store.condemn();
    assert_eq!(condemned, [blob.digest]);
    drop(put());
    assert_eq!(store.remove(&disk, &condemned), Removed::default());
    assert!(disk.read_blob(&blob.digest.to_string()).unwrap().is_some());
    // Whoever has it at the moment isn't disturbed.
    let kept = put();
    assert!(store.condemn().is_empty());
    drop(kept);
    let condemned = store.condemn();
    assert_eq!((store.remove(&disk, &condemned).blobs, store.usage().bytes), (1, 0));
    // Who publishes it after that writes it again.
    let _kept = put();
    assert!(disk.read_blob(&blob.digest.to_string()).unwrap().is_some());
    assert_eq!((store.usage().blobs, store.usage().bytes), (1, LARGE as u64));
}

#[test]
fn publishers_of_the_same_data_and_who_removes_it_do_not_disturb_each_other() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let config = checked().retention(Retention::keep_bytes(4000)).dedup(Dedup::new(<_>::default(), 0));
    let t = topic(&log, "t", config);
    std::thread::scope(|threads| {
        for thread in 0..3 {
            let log = &log;
            threads.spawn(move || {
                for at in 0..40 {
                    let content = if at % 2 == 0 { 'x' } else { 'y' };
                    assert!(publish(log, large(&format!("{thread}-{at}"), content)));
                }
            });
        }
        let log = &log;
        threads.spawn(move || {
            for _ in 0..60 {
                block_on(log.trim()).unwrap();
                collect(log);
            }
        });
    });
    assert!(!events(&log, t).is_empty());
    collect(&log);
    assert_eq!(on_disk(&disk), named(&log));
}

#[test]
fn what_comes_to_nothing_leaves_no_blob() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", checked().sequence(true));
    assert!(publish(&log, large("a", 'a')));
    // The same event with other data: it is recognized, and the data is nobody's.
    assert!(publish(&log, large("a", 'b')));
    // A condition that doesn't hold.
    assert!(block_on(log.append_expecting("t", 7, vec![large("k", 'c')])).is_err());
    assert_eq!(on_disk(&disk).len(), 3);
    assert_eq!((collect(&log), on_disk(&disk)), (2, named(&log)));
    assert_eq!(collect(&log), 0);
}

#[test]
fn a_store_that_would_be_too_large_refuses_and_says_so() {
    let disk = MemoryMedium::new();
    let store = BlobStore::open(&disk, 2 * LARGE as u64).unwrap();
    let put = |content: char| {
        let data = Data::Text(content.to_string().repeat(LARGE));
        store.put(&disk, 0, BlobRef::to(&data), data.as_bytes())
    };
    let (_first, _second) = (put('a').ok().unwrap(), put('b').ok().unwrap());
    assert!(put('a').is_ok(), "what is there takes no more room");
    let Err(PutError::Full { bytes, max }) = put('c') else { panic!("there is no room") };
    assert_eq!((bytes, max), (3 * LARGE as u64, 2 * LARGE as u64));
    assert_eq!(store.usage().blobs, 2);
}

#[test]
fn a_disk_that_would_be_too_full_refuses_and_says_so() {
    let disk = MemoryMedium::new();
    let store = BlobStore::open(&disk, u64::MAX).unwrap();
    let data = Data::Text("x".repeat(LARGE));
    let free = LARGE as u64 + 9;
    disk.set_free_bytes(Some(free));
    let refused = store.put(&disk, 10, BlobRef::to(&data), data.as_bytes());
    let Err(PutError::DiskFull { free: is, min }) = refused else { panic!("there is no room") };
    assert_eq!((is, min, store.usage().bytes), (free, LARGE as u64 + 10, 0));
    assert!(store.put(&disk, 9, BlobRef::to(&data), data.as_bytes()).is_ok());
}

#[test]
fn a_disk_that_fails_costs_the_event_and_no_other() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    let t = topic(&log, "t", checked());
    disk.fail_syncs(true);
    let failed = block_on(log.append(vec![("t", large("a", 'a'))]));
    disk.fail_syncs(false);
    assert!(matches!(failed, Err(super::PublishError::Blob { .. })), "{failed:?}");
    assert!(publish(&log, event("small", "k")) && publish(&log, large("a", 'a')));
    assert_eq!(events(&log, t).iter().map(|(_, was_aside)| *was_aside).collect::<Vec<_>>(), [false, true]);
    assert_eq!(log.blob_usage().0.blobs, 1, "what was not written doesn't count");
}

#[test]
fn a_damaged_blob_that_is_lost_as_it_is_replaced_does_not_count() {
    let disk = MemoryMedium::new();
    let data = Data::Text("x".repeat(LARGE));
    let blob = BlobRef::to(&data);
    let put = |store: &Arc<BlobStore>| store.put(&disk, 0, blob, data.as_bytes()).map(drop);
    assert!(put(&BlobStore::open(&disk, u64::MAX).unwrap()).is_ok());
    disk.set_blob(&blob.digest.to_string(), Some("y".repeat(LARGE).as_bytes()));
    let store = BlobStore::open(&disk, u64::MAX).unwrap();
    disk.fail_syncs(true);
    assert!(matches!(put(&store), Err(PutError::Io(_))));
    disk.fail_syncs(false);
    assert_eq!((on_disk(&disk).len(), store.usage()), (0, Usage::default()));
    assert!(put(&store).is_ok());
    assert_eq!(store.usage(), Usage { blobs: 1, bytes: LARGE as u64 });
}

#[test]
fn who_has_closed_the_log_changes_nothing_that_another_one_has_by_now() {
    let disk = MemoryMedium::new();
    let store = BlobStore::open(&disk, u64::MAX).unwrap();
    let data = Data::Text("x".repeat(LARGE));
    let blob = BlobRef::to(&data);
    drop(store.put(&disk, 0, blob, data.as_bytes()).ok().unwrap());
    let condemned = store.condemn();
    store.close();
    let next = BlobStore::open(&disk, u64::MAX).unwrap();
    let _kept = next.put(&disk, 0, blob, data.as_bytes()).ok().unwrap();
    assert_eq!(store.remove(&disk, &condemned), Removed::default());
    assert!(disk.read_blob(&blob.digest.to_string()).unwrap().is_some());
    let other = Data::Text("y".repeat(LARGE));
    assert!(matches!(store.put(&disk, 0, BlobRef::to(&other), other.as_bytes()), Err(PutError::Closed)));
    assert_eq!(on_disk(&disk), [blob.digest.to_string()]);
}

#[test]
fn who_verifies_blobs_says_nothing_of_one_that_is_removed_meanwhile() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", checked().retention(Retention::keep_bytes(1)));
    assert!(publish(&log, large("a", 'a')) && publish(&log, large("b", 'b')));
    let [first, second] = log.blobs(None, 10).unwrap()[..] else { panic!("two are there") };
    disk.remove_blob(&first.digest.to_string()).unwrap();
    assert!(matches!(log.verify_blob(first), Ok(Some(Err(BlobError::Missing { .. })))), "it is named");
    block_on(log.trim()).unwrap();
    collect(&log);
    assert!(matches!(log.verify_blob(second), Ok(None)), "nobody names it any more");
}

#[test]
fn a_stream_is_read_in_pieces_that_count_what_the_blob_store_has_of_it() {
    const EACH: usize = READ_BYTES_MAX / 3 * 2;
    let log = open(&MemoryMedium::new());
    topic(&log, "t", checked().sequence(true));
    for n in 0..5 {
        let data = n.to_string().repeat(EACH);
        let event = Event::new(n.to_string(), "/tests", "Large.v1").subject("k").text("text/plain", data);
        assert!(publish(&log, event.build().unwrap()));
    }
    let mut read = Vec::new();
    let mut pieces = 0;
    loop {
        let piece = log.events("t", "k", read.last().copied().unwrap_or(0)).unwrap();
        if piece.is_empty() {
            break;
        }
        assert!(piece.len() <= 2, "{} at once", piece.len());
        pieces += 1;
        for entry in piece {
            let (_, event) = entry.event.unwrap();
            assert_eq!(event.data().unwrap().as_bytes().len(), EACH);
            read.push(entry.number);
        }
    }
    assert_eq!((read, pieces), (vec![1, 2, 3, 4, 5], 3));
}
