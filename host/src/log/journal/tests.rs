//! What a journal gives back, and when it makes a checkpoint.

use std::collections::BTreeSet;

use redb::backends::InMemoryBackend;

use super::*;

const CHECKPOINT: u64 = 7;

const BYTES: u64 = 64 * BLOCK as u64;

/// One that doesn't grow.
fn size(bytes: u64) -> JournalSize {
    JournalSize { bytes, file_part: None }
}

/// A journal with these changes.
fn journal(records: &[&[u8]]) -> Journal {
    let (disk, _) = WriteBehind::new(Box::new(InMemoryBackend::new()), false).unwrap();
    let link = Link { checkpoint: CHECKPOINT, before: CHECKPOINT - 1, count_before: 0 };
    let mut journal = Journal::new(Box::new(InMemoryBackend::new()), disk, size(BYTES), 0, link).unwrap();
    for changes in records {
        append(&mut journal, changes);
    }
    journal
}

fn append(journal: &mut Journal, changes: &[u8]) {
    let (mut record, _) = journal.record();
    record.extend_from_slice(changes);
    journal.append(record).unwrap();
}

fn found(journal: &Journal, number: u64) -> Vec<Found> {
    let mut records = Records::new(&*journal.file, Checkpoint { number, journal_bytes: BYTES }).unwrap();
    std::iter::from_fn(|| records.read_next().unwrap()).collect()
}

fn flip(journal: &Journal, bit: usize) {
    let mut byte = [0];
    journal.file.read(bit as u64 / 8, &mut byte).unwrap();
    byte[0] ^= 1 << (bit % 8);
    journal.file.write(bit as u64 / 8, &byte).unwrap();
}

fn record(changes: &[u8]) -> Found {
    Found::Record(changes.to_vec())
}

#[test]
fn records_come_back_from_the_checkpoint_that_is_on_the_disk() {
    let long = vec![5; 2 * BLOCK];
    let mut journal = journal(&[b"one", &long, b""]);
    let first = [record(b"one"), record(&long), record(b"")];
    assert_eq!(found(&journal, CHECKPOINT), first);
    assert_eq!(found(&journal, CHECKPOINT + 1), []);
    journal.switch();
    assert!(journal.is_empty());
    append(&mut journal, b"two");
    let [one, two, three] = first;
    assert_eq!(
        found(&journal, CHECKPOINT),
        [one, two, three, record(b"two")],
        "the next one is not there yet"
    );
    assert_eq!(found(&journal, CHECKPOINT + 1), [record(b"two")]);
    journal.switch();
    append(&mut journal, b"three");
    assert_eq!(found(&journal, CHECKPOINT + 1), [record(b"two"), record(b"three")]);
    assert_eq!(found(&journal, CHECKPOINT + 2), [record(b"three")], "and none of the older ones behind it");
}

#[test]
fn records_that_are_gone_before_the_next_checkpoint_are_counted() {
    let mut journal = journal(&[b"one", b"two"]);
    journal.switch();
    append(&mut journal, b"three");
    flip(&journal, BLOCK * 8);
    let lost = Found::Lost { count: 1 };
    assert_eq!(found(&journal, CHECKPOINT), [record(b"one"), lost, record(b"three")]);
    flip(&journal, 0);
    assert_eq!(found(&journal, CHECKPOINT), [Found::Lost { count: 2 }, record(b"three")]);
    flip(&journal, BLOCK * 8);
    let lost = Found::Lost { count: 1 };
    assert_eq!(found(&journal, CHECKPOINT), [lost, record(b"two"), record(b"three")]);
}

#[test]
fn a_half_is_not_used_again_before_the_disk_has_what_stands_there() {
    let (disk, database) = WriteBehind::new(Box::new(InMemoryBackend::new()), false).unwrap();
    let mut journal = Journal { disk: Arc::clone(&disk), ..journal(&[b"one"]) };
    journal.switch();
    journal.begin();
    let queued = journal.behind(|| {
        database.set_len(8)?;
        database.sync_data()
    });
    queued.unwrap();
    append(&mut journal, b"two");
    assert!(disk.work(1), "its checkpoint is queued");
    journal.switch();
    append(&mut journal, b"three");
    assert!(!disk.work(1), "and has been waited for");
}

#[test]
fn a_flipped_bit_costs_its_record_and_is_told_unless_that_is_the_last() {
    let lost = || Found::Lost { count: 1 };
    for bit in 0..(HEADER + 3) * 8 {
        let journal = journal(&[b"one", b"two", b"end"]);
        flip(&journal, bit);
        assert_eq!(found(&journal, CHECKPOINT), [lost(), record(b"two"), record(b"end")], "bit {bit}");
        flip(&journal, bit);
        flip(&journal, BLOCK * 8 + bit);
        assert_eq!(found(&journal, CHECKPOINT), [record(b"one"), lost(), record(b"end")], "bit {bit}");
        flip(&journal, BLOCK * 8 + bit);
        flip(&journal, 2 * BLOCK * 8 + bit);
        assert_eq!(found(&journal, CHECKPOINT), [record(b"one"), record(b"two")], "bit {bit}");
    }
}

#[test]
fn records_that_are_damaged_in_a_row_are_counted() {
    let journal = journal(&[b"one", b"two", b"three", b"four"]);
    flip(&journal, BLOCK * 8);
    flip(&journal, 2 * BLOCK * 8);
    let expected = [record(b"one"), Found::Lost { count: 2 }, record(b"four")];
    assert_eq!(found(&journal, CHECKPOINT), expected);
}

#[test]
fn a_record_that_does_not_fit_any_more_is_told_beforehand() {
    let mut journal = journal(&[]);
    let mut count = 0;
    while journal.has_room_for(&[0; BLOCK + 1]) {
        append(&mut journal, &[3; BLOCK]);
        count += 1;
    }
    assert_eq!((count, journal.at), (16, BYTES / 2));
    assert_eq!(found(&journal, CHECKPOINT).len(), 16);
    journal.switch();
    assert!(journal.has_room_for(&[0; BLOCK + 1]));
}

#[test]
fn a_checkpoint_is_made_in_a_lull_once_it_is_worth_one_and_the_one_before_is_on_the_disk() {
    let (disk, backend) = WriteBehind::new(Box::new(InMemoryBackend::new()), false).unwrap();
    let link = Link { checkpoint: CHECKPOINT, before: CHECKPOINT - 1, count_before: 0 };
    let file = Box::new(InMemoryBackend::new());
    let mut journal = Journal::new(file, Arc::clone(&disk), size(BYTES), 0, link).unwrap();
    let part = usize::try_from(BYTES / 2 / CHECKPOINT_LULL_PART).unwrap();
    assert_eq!(journal.checkpoint_after(), Duration::MAX, "there is nothing to write");
    append(&mut journal, &vec![1; part - BLOCK - HEADER]);
    assert_eq!(journal.checkpoint_after(), CHECKPOINT_IDLE);
    append(&mut journal, b"one more");
    assert_eq!(journal.checkpoint_after(), CHECKPOINT_LULL);
    journal.switch();
    journal.begin();
    journal.behind(|| backend.sync_data()).unwrap();
    append(&mut journal, &vec![1; part]);
    assert_eq!(journal.checkpoint_after(), CHECKPOINT_IDLE, "the one before is still to be written");
    journal.work(1);
    assert_eq!(journal.checkpoint_after(), CHECKPOINT_LULL);
}

#[test]
fn a_journal_grows_with_the_database_and_keeps_what_may_be_needed() {
    const PART: u64 = 4;
    /// The largest file has so many blocks.
    const LARGE: u64 = 700;
    let (disk, backend) = WriteBehind::new(Box::new(InMemoryBackend::new()), false).unwrap();
    let link = Link { checkpoint: CHECKPOINT, before: CHECKPOINT - 1, count_before: 0 };
    let size = JournalSize { bytes: BYTES, file_part: Some(PART) };
    let mut journal = Journal::new(Box::new(InMemoryBackend::new()), disk, size, 0, link).unwrap();
    // What each checkpoint says of the journal, and what was appended since.
    let mut turns = vec![(journal.checkpoint(), Vec::new())];
    for number in 0_u64..1000 {
        // It becomes smaller at the end, as it does where it is compacted.
        backend.set_len(BLOCK as u64 * if number <= LARGE { number } else { 1 }).unwrap();
        let changes = number.to_le_bytes();
        let (mut record, _) = journal.record();
        record.extend_from_slice(&changes);
        let next = journal.next_checkpoint();
        if journal.append(record).unwrap() {
            turns.push((next, Vec::new()));
        }
        assert_eq!(journal.checkpoint(), turns[turns.len() - 1].0);
        turns.last_mut().unwrap().1.push(Found::Record(changes.to_vec()));
        // What the disk has is the last checkpoint, or the one before.
        for at in turns.len().saturating_sub(2)..turns.len() {
            let mut records = Records::new(&*journal.file, turns[at].0).unwrap();
            let found: Vec<_> = std::iter::from_fn(|| records.read_next().unwrap()).collect();
            let there: Vec<_> = turns[at..].iter().flat_map(|(_, records)| records).collect();
            assert!(found.iter().eq(there), "since checkpoint {at} of {}, record {number}", turns.len());
        }
    }
    let sizes: Vec<_> = turns.iter().map(|(checkpoint, _)| checkpoint.journal_bytes).collect();
    assert!(sizes.is_sorted() && sizes.iter().collect::<BTreeSet<_>>().len() > 3, "{sizes:?}");
    assert!(*sizes.last().unwrap() <= LARGE * BLOCK as u64 / PART, "{sizes:?}");
}

#[test]
fn a_journal_grows_no_further_than_its_bound() {
    let grown = |size: JournalSize| size.beside(u64::MAX);
    assert_eq!(grown(JournalSize { bytes: BYTES, file_part: Some(1) }), JOURNAL_BYTES_GROWN_MAX);
    assert_eq!(grown(size(BYTES)), BYTES);
    let large = 2 * JOURNAL_BYTES_GROWN_MAX;
    assert_eq!(grown(JournalSize { bytes: large, file_part: Some(1) }), large, "as it was configured");
}

#[test]
fn what_a_large_journal_has_is_no_matter_of_a_lull() {
    let (disk, _) = WriteBehind::new(Box::new(InMemoryBackend::new()), false).unwrap();
    let link = Link { checkpoint: CHECKPOINT, before: CHECKPOINT - 1, count_before: 0 };
    let bytes = 2 * CHECKPOINT_LULL_PART * (CHECKPOINT_LULL_BYTES_MAX - BLOCK as u64);
    let mut journal = Journal::new(Box::new(InMemoryBackend::new()), disk, size(bytes), 0, link).unwrap();
    append(&mut journal, &vec![1; usize::try_from(CHECKPOINT_LULL_BYTES_MAX).unwrap() - BLOCK - HEADER]);
    assert_eq!(journal.checkpoint_after(), CHECKPOINT_LULL);
    append(&mut journal, &[1; BLOCK]);
    assert_eq!(journal.checkpoint_after(), CHECKPOINT_IDLE);
}
