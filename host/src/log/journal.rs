//! The journal: the commits since the last one that the database itself has made durable, so that a commit costs one write
//! and one sync, and not those of all the pages that it touches.
//!
//! A commit's changes are appended here and synced, and only then become visible in the database, which writes its pages
//! when it makes a *checkpoint*: a commit of its own, with all that came before it. Opening does again what the journal has
//! since the last checkpoint.
//!
//! ```text
//! journal := record*                      each begins on a block of 4096 bytes; what is behind the last one is older
//! record  := crc of the rest of the header u32, crc of the changes u32, checkpoint u64, number u64, before u64,
//!            length u32, 0 u32, changes                                              (integers little-endian)
//! ```
//!
//! `checkpoint` is the number in `meta` under which the last checkpoint had the journal begin anew, at its start; `number`
//! counts its records from 0; `before` is the number of the checkpoint before that one, by which a database is found out that
//! damage has put back to it. What has another number of a checkpoint is of no meaning: each opening goes on with a number that
//! chance has put far from those before it, so that the journal of one database says nothing to a copy of it. No record shares a block
//! with another, so that writing one never puts another at risk. Changes are those of `redo`.

use std::io;

use redb::StorageBackend;

use crate::limits::{JOURNAL_RECORD_BYTES_MAX, JOURNAL_STEP_BYTES};

/// Bytes of a block.
const BLOCK: usize = 4096;
/// Bytes of a record's header.
const HEADER: usize = 40;

/// The journal, as the committer has it.
pub(super) struct Journal {
    file: Box<dyn StorageBackend>,
    /// Bytes that it may have.
    bytes_max: u64,
    /// Bytes that the file has.
    len: u64,
    /// Where the next record goes.
    at: u64,
    checkpoint: u64,
    /// The number of the checkpoint before that.
    before: u64,
    /// The next record's number.
    number: u64,
    /// The buffer of the record before.
    buffer: Vec<u8>,
}

impl Journal {
    /// One without records, for what comes after a checkpoint of this number, which comes after another one.
    ///
    /// # Errors
    ///
    /// Its file can't be written.
    pub fn new(
        file: Box<dyn StorageBackend>,
        bytes_max: u64,
        before: u64,
        checkpoint: u64,
    ) -> io::Result<Self> {
        let len = file.len()?;
        let mut journal =
            Self { file, bytes_max, len, at: 0, checkpoint, before, number: 0, buffer: Vec::new() };
        if journal.len < BLOCK as u64 {
            // One that is empty counts as missing, see `is_missing`.
            journal.extend(BLOCK as u64)?;
            journal.file.sync_data()?;
        }
        Ok(journal)
    }

    /// A buffer for a record's changes, and how many bytes it may have: none where the next record doesn't fit.
    pub fn record(&mut self) -> (Vec<u8>, usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(HEADER, 0);
        let room = self.bytes_max.saturating_sub(self.at) / BLOCK as u64 * BLOCK as u64;
        (buffer, usize::try_from(room).unwrap_or(usize::MAX).min(JOURNAL_RECORD_BYTES_MAX))
    }

    /// Makes a record durable, whose changes are in a buffer of [`record`](Self::record).
    ///
    /// # Errors
    ///
    /// It may be durable or not, and nothing can be appended any more.
    pub fn append(&mut self, mut record: Vec<u8>) -> io::Result<()> {
        let header = Header {
            changes_crc: crc32fast::hash(&record[HEADER..]),
            checkpoint: self.checkpoint,
            number: self.number,
            before: self.before,
            len: record.len() - HEADER,
        };
        record[..HEADER].copy_from_slice(&header.encode());
        record.resize(record.len().next_multiple_of(BLOCK), 0);
        let end = self.at + record.len() as u64;
        if end > self.len {
            self.extend(end)?;
        }
        self.file.write(self.at, &record)?;
        self.file.sync_data()?;
        self.at = end;
        self.number += 1;
        self.buffer = record;
        Ok(())
    }

    /// Makes the file longer, some steps at a time and with zeros: then syncing a record has no length and no allocation of
    /// blocks to write down.
    fn extend(&mut self, end: u64) -> io::Result<()> {
        let len = end.next_multiple_of(JOURNAL_STEP_BYTES).min(self.bytes_max.max(end));
        self.file.set_len(len)?;
        let zeros = vec![0; usize::try_from(len - self.len).map_err(io::Error::other)?];
        self.file.write(self.len, &zeros)?;
        self.len = len;
        Ok(())
    }

    /// Whether nothing was appended since the last checkpoint.
    pub fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// The number of the checkpoint that it follows.
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint
    }

    /// The number of the next checkpoint.
    pub fn next_checkpoint(&self) -> u64 {
        self.checkpoint.wrapping_add(1)
    }

    /// Begins anew: the checkpoint of the next number is durable. Takes back a buffer that was not used.
    pub fn begin(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
        (self.before, self.checkpoint) = (self.checkpoint, self.next_checkpoint());
        (self.number, self.at) = (0, 0);
    }
}

/// Whether a file is none that a [`Journal`] has ever had.
pub(super) fn is_missing(file: &dyn StorageBackend) -> io::Result<bool> {
    Ok(file.len()? < BLOCK as u64)
}

/// What begins a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    changes_crc: u32,
    checkpoint: u64,
    number: u64,
    before: u64,
    /// Bytes of the changes.
    len: usize,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[4..8].copy_from_slice(&self.changes_crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.checkpoint.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.before.to_le_bytes());
        // What is appended is no longer than `JOURNAL_RECORD_BYTES_MAX`.
        bytes[32..36].copy_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        let crc = crc32fast::hash(&bytes[4..]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let (crc, rest) = bytes.split_first_chunk()?;
        let (changes_crc, rest) = rest.split_first_chunk()?;
        let (checkpoint, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let (before, rest) = rest.split_first_chunk()?;
        let (len, _) = rest.split_first_chunk()?;
        (crc32fast::hash(&bytes[4..]) == u32::from_le_bytes(*crc)).then_some(Self {
            changes_crc: u32::from_le_bytes(*changes_crc),
            checkpoint: u64::from_le_bytes(*checkpoint),
            number: u64::from_le_bytes(*number),
            before: u64::from_le_bytes(*before),
            len: usize::try_from(u32::from_le_bytes(*len)).ok()?,
        })
    }
}

/// What is found in a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A record: its changes.
    Record(Vec<u8>),
    /// So many records are damaged that were durable, since others came after them.
    Lost {
        /// The number of the first.
        first: u64,
        /// How many.
        count: u64,
    },
}

/// Reads the records since a checkpoint.
///
/// The first block where no record begins that can be read is the end, unless a later one begins behind it: that was only
/// written once those before it were durable. So of a damaged journal the last record alone may be taken for one that the
/// power has cut short.
pub(super) struct Records<'f> {
    file: &'f dyn StorageBackend,
    len: u64,
    checkpoint: u64,
    at: u64,
    number: u64,
}

impl<'f> Records<'f> {
    /// Those since the checkpoint of this number.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn new(file: &'f dyn StorageBackend, checkpoint: u64) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, checkpoint, at: 0, number: 0 })
    }

    /// Whether there are records of the next checkpoint: then it was durable, and the database has lost it.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn are_of_next(&self) -> io::Result<bool> {
        let first = header_at(self.file, self.len, 0)?;
        Ok(first.is_some_and(|first| first.checkpoint != self.checkpoint && first.before == self.checkpoint))
    }

    /// The next one; nothing at the end.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn read_next(&mut self) -> io::Result<Option<Found>> {
        if let Some(header) = self.header(self.at)?.filter(|header| header.number == self.number)
            && let Some(changes) = self.changes(header)?
        {
            self.at += (HEADER + changes.len()).next_multiple_of(BLOCK) as u64;
            self.number += 1;
            return Ok(Some(Found::Record(changes)));
        }
        let mut at = self.at + BLOCK as u64;
        while at < self.len {
            if let Some(header) = self.header(at)?
                && let Some(count) = header.number.checked_sub(self.number).filter(|count| *count > 0)
            {
                let first = std::mem::replace(&mut self.number, header.number);
                self.at = at;
                return Ok(Some(Found::Lost { first, count }));
            }
            at += BLOCK as u64;
        }
        Ok(None)
    }

    /// The header of a record of this checkpoint that begins there.
    fn header(&self, at: u64) -> io::Result<Option<Header>> {
        let header = header_at(self.file, self.len, at)?;
        Ok(header.filter(|header| header.checkpoint == self.checkpoint))
    }

    /// The changes of the record that begins here, where they are whole.
    fn changes(&self, header: Header) -> io::Result<Option<Vec<u8>>> {
        let at = self.at + HEADER as u64;
        if header.len > JOURNAL_RECORD_BYTES_MAX || self.len.saturating_sub(at) < header.len as u64 {
            return Ok(None);
        }
        let mut changes = vec![0; header.len];
        self.file.read(at, &mut changes)?;
        Ok(Some(changes).filter(|changes| crc32fast::hash(changes) == header.changes_crc))
    }
}

/// The header that stands there, in a file of this length.
fn header_at(file: &dyn StorageBackend, len: u64, at: u64) -> io::Result<Option<Header>> {
    if len.saturating_sub(at) < HEADER as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEADER];
    file.read(at, &mut bytes)?;
    Ok(Header::decode(&bytes))
}

/// Where the records of a journal are, in bytes: those since the checkpoint that the first one names.
pub(super) fn places(image: &[u8]) -> Vec<std::ops::Range<usize>> {
    let header = |at: usize| image.get(at..)?.first_chunk().and_then(Header::decode);
    let mut places: Vec<std::ops::Range<usize>> = Vec::new();
    let checkpoint = header(0).map(|first| first.checkpoint);
    let mut at = 0;
    while let Some(header) = header(at) {
        if Some(header.checkpoint) != checkpoint || header.number != places.len() as u64 {
            break;
        }
        let end = at + HEADER + header.len;
        places.push(at..end);
        at = end.next_multiple_of(BLOCK);
    }
    places
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    const CHECKPOINT: u64 = 7;

    /// A journal with these changes.
    fn journal(records: &[&[u8]]) -> Journal {
        let file = Box::new(InMemoryBackend::new());
        let mut journal = Journal::new(file, 64 * BLOCK as u64, CHECKPOINT - 1, CHECKPOINT).unwrap();
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

    fn found(journal: &Journal, checkpoint: u64) -> Vec<Found> {
        let mut records = Records::new(&*journal.file, checkpoint).unwrap();
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
    fn records_come_back_until_the_next_checkpoint() {
        let long = vec![5; 2 * BLOCK];
        let mut journal = journal(&[b"one", &long, b""]);
        assert_eq!(found(&journal, CHECKPOINT), [record(b"one"), record(&long), record(b"")]);
        assert_eq!(found(&journal, CHECKPOINT + 1), []);
        journal.begin(Vec::new());
        assert!(journal.is_empty());
        assert_eq!(found(&journal, CHECKPOINT + 1), []);
        assert!(!Records::new(&*journal.file, CHECKPOINT).unwrap().are_of_next().unwrap());
        append(&mut journal, b"two");
        assert_eq!(found(&journal, CHECKPOINT + 1), [record(b"two")], "and none of the older ones behind it");
        assert!(Records::new(&*journal.file, CHECKPOINT).unwrap().are_of_next().unwrap());
    }

    #[test]
    fn a_flipped_bit_costs_its_record_and_is_told_unless_that_is_the_last() {
        let lost = |first| Found::Lost { first, count: 1 };
        for bit in 0..(HEADER + 3) * 8 {
            let journal = journal(&[b"one", b"two", b"end"]);
            flip(&journal, bit);
            assert_eq!(found(&journal, CHECKPOINT), [lost(0), record(b"two"), record(b"end")], "bit {bit}");
            flip(&journal, bit);
            flip(&journal, BLOCK * 8 + bit);
            assert_eq!(found(&journal, CHECKPOINT), [record(b"one"), lost(1), record(b"end")], "bit {bit}");
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
        let expected = [record(b"one"), Found::Lost { first: 1, count: 2 }, record(b"four")];
        assert_eq!(found(&journal, CHECKPOINT), expected);
    }

    #[test]
    fn a_record_that_does_not_fit_any_more_is_told_beforehand() {
        let mut journal = journal(&[]);
        let mut count = 0;
        while journal.record().1 > HEADER {
            append(&mut journal, &[3; BLOCK]);
            count += 1;
        }
        assert_eq!((count, journal.at), (32, 64 * BLOCK as u64));
        assert_eq!(found(&journal, CHECKPOINT).len(), 32);
        journal.begin(Vec::new());
        assert!(journal.record().1 > HEADER);
    }
}
