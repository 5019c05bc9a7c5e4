//! The journal: the commits that the database itself may not have made durable yet, so that a commit costs one write and one
//! sync, and not those of all the pages that it touches.
//!
//! A commit's changes are appended here and synced, and only then become visible in the database, which writes its pages
//! when it makes a *checkpoint*: a commit of its own, with all that came before it. One that is too large for a record is a
//! checkpoint itself. Opening does again what the journal has since the last checkpoint that is on the disk.
//!
//! ```text
//! journal := half half
//! half    := record*                      each begins on a block of 4096 bytes; what is behind the last one is older
//! record  := crc of the rest of the header u32, crc of the changes u32, checkpoint u64, number u64, before u64,
//!            length u32, count before u32, changes                                   (integers little-endian)
//! ```
//!
//! A checkpoint is written behind the committer's back (see `write_behind`), which goes on with the other half meanwhile: it
//! comes back to a half when the checkpoint is on the disk that has all that stands there. So at most the records of two
//! checkpoints are to be done again.
//!
//! `checkpoint` is the number in `meta` under which a checkpoint had the journal go on; `number` counts its records from 0;
//! `before` is the number of the checkpoint before that one, and `count before` how many records that had. What has another number
//! is of no meaning: each opening goes on with a number that chance has put far from those before it, so that the journal of
//! one database says nothing to a copy of it. No record shares a block with another, so that writing one never puts another at
//! risk. Changes are those of `redo`.
//!
//! A checkpoint says where the second half begins. The journal grows with the database, see [`JournalSize`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use redb::StorageBackend;

use super::schema;
use super::write_behind::{Moment, WriteBehind};
use crate::limits::{
    CHECKPOINT_IDLE, CHECKPOINT_LULL, CHECKPOINT_LULL_BYTES_MAX, CHECKPOINT_LULL_PART,
    JOURNAL_BYTES_GROWN_MAX, JOURNAL_RECORD_BYTES_MAX, JOURNAL_STEP_BYTES,
};

/// Bytes of a block.
const BLOCK: usize = 4096;
/// Bytes of a record's header.
const HEADER: usize = 40;

/// The journal, as the committer has it.
pub(super) struct Journal {
    file: Box<dyn StorageBackend>,
    disk: Arc<WriteBehind>,
    size: JournalSize,
    /// Where the second half begins.
    half_bytes: u64,
    /// Where it begins from the next turn of the first half on: what stands in it now may be needed until then, where it is.
    next_half_bytes: u64,
    /// Bytes that the half may have that it is in.
    room: u64,
    /// Bytes that the file has.
    len: u64,
    /// The half that it is in: 0 or 1.
    half: u64,
    /// Where the next record goes, from the beginning of its half.
    at: u64,
    /// What the records of this half follow.
    link: Link,
    /// How many of them there are.
    count: u64,
    /// When the newest checkpoint is on the disk.
    newest: Moment,
    /// When the one is that was the newest as it came to this half: the first record waits for that.
    free: Moment,
    /// The buffer of the record before.
    buffer: Vec<u8>,
}

/// How large a journal is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct JournalSize {
    /// Bytes that it has beside a small database.
    pub bytes: u64,
    /// The part of a large one's file that it has, up to [`JOURNAL_BYTES_GROWN_MAX`]; nothing where that is no matter.
    pub file_part: Option<u64>,
}

impl JournalSize {
    /// Bytes that it is to have beside a file of so many.
    fn beside(&self, file_bytes: u64) -> u64 {
        let grown = self.file_part.map_or(0, |part| file_bytes / part);
        self.bytes.max(grown.min(JOURNAL_BYTES_GROWN_MAX))
    }
}

/// What records follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    /// The number of the checkpoint that they follow.
    pub checkpoint: u64,
    /// The number of the checkpoint before that.
    pub before: u64,
    /// How many records that had.
    pub count_before: u64,
}

impl Journal {
    /// One without records, which goes on in this half. No other journal's records are needed, once the checkpoint is durable
    /// that this one says.
    ///
    /// # Errors
    ///
    /// Its file can't be written.
    pub fn new(
        file: Box<dyn StorageBackend>,
        disk: Arc<WriteBehind>,
        size: JournalSize,
        half: u64,
        link: Link,
    ) -> io::Result<Self> {
        let len = file.len()?;
        let half_bytes = half_bytes(size.beside(disk.bytes()));
        let mut journal = Self {
            file,
            disk,
            size,
            half_bytes,
            next_half_bytes: half_bytes,
            room: half_bytes,
            len,
            half,
            at: 0,
            link,
            count: 0,
            newest: Moment::default(),
            free: Moment::default(),
            buffer: Vec::new(),
        };
        if journal.len < BLOCK as u64 {
            // One that is empty counts as missing, see `is_missing`.
            journal.extend(BLOCK as u64)?;
            journal.file.sync_data()?;
        }
        Ok(journal)
    }

    /// A buffer for a record's changes, and how many bytes it may have with its header.
    pub fn record(&mut self) -> (Vec<u8>, usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.resize(HEADER, 0);
        let room = usize::try_from(self.half_bytes).unwrap_or(usize::MAX);
        (buffer, room.min(JOURNAL_RECORD_BYTES_MAX))
    }

    /// Whether a record fits in what is left of this half.
    fn has_room_for(&self, record: &[u8]) -> bool {
        self.at + record.len() as u64 <= self.room
    }

    /// Makes a record durable, whose changes are in a buffer of [`record`](Self::record). Returns whether there was no room for
    /// it in this half, so that it went to the other one and is to be a checkpoint.
    ///
    /// # Errors
    ///
    /// It may be durable or not, and nothing can be appended any more.
    pub fn append(&mut self, mut record: Vec<u8>) -> io::Result<bool> {
        let is_full = !self.has_room_for(&record);
        if is_full {
            self.switch();
        }
        let header = Header {
            changes_crc: crc32fast::hash(&record[HEADER..]),
            link: self.link,
            number: self.count,
            len: record.len() - HEADER,
        };
        record[..HEADER].copy_from_slice(&header.encode());
        record.resize(record.len().next_multiple_of(BLOCK), 0);
        if self.is_empty() {
            // What stands here is needed until then.
            self.disk.wait_for(self.free)?;
        }
        let at = self.half * self.half_bytes + self.at;
        let end = at + record.len() as u64;
        if end > self.len {
            self.extend(end)?;
        }
        self.file.write(at, &record)?;
        self.file.sync_data()?;
        self.at += record.len() as u64;
        self.count += 1;
        self.buffer = record;
        Ok(is_full)
    }

    /// Goes on in the other half, with what comes behind the checkpoint of the next number. The first record there waits
    /// until the checkpoints that were made before this are on the disk: what is older stands there, and what a checkpoint
    /// has that was made without a record stands nowhere else.
    pub fn switch(&mut self) {
        self.free = self.newest;
        self.room = if self.half == 0 { self.next_half_bytes } else { self.half_bytes };
        self.half_bytes = self.half_bytes_after();
        self.next_half_bytes = self.half_bytes.max(half_bytes(self.size.beside(self.disk.bytes())));
        self.link = Link {
            checkpoint: self.next_checkpoint().number,
            before: self.link.checkpoint,
            count_before: self.count,
        };
        (self.half, self.at, self.count) = (1 - self.half, 0, 0);
    }

    /// From now on, what the database writes is written behind the committer's back.
    pub fn begin(&self) {
        self.disk.defer(true);
    }

    /// Makes a checkpoint. Returns when the disk will have it.
    pub fn behind<E>(&mut self, commit: impl FnOnce() -> Result<(), E>) -> Result<Moment, E> {
        let outcome = commit();
        self.newest = self.disk.moment();
        outcome.map(|()| self.newest)
    }

    /// Waits until the disk has all that was to be written before this moment.
    ///
    /// # Errors
    ///
    /// It has failed.
    pub fn wait_for(&self, moment: Moment) -> io::Result<()> {
        self.disk.wait_for(moment)
    }

    /// Whether the disk has all of that, or has failed.
    pub fn is_over(&self, moment: Moment) -> bool {
        self.disk.is_done(moment) || self.disk.check().is_err()
    }

    /// Told when that is so of the moment that was asked for last.
    pub fn over(&self) -> &Receiver<()> {
        self.disk.over()
    }

    /// Has [`over`](Self::over) be told of this moment.
    pub fn tell_of(&self, moment: Moment) {
        self.disk.tell_of(moment);
    }

    /// Makes a checkpoint that is on the disk when this returns, if it has succeeded.
    pub fn at_once<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.disk.defer(false);
        let outcome = commit();
        self.disk.defer(true);
        outcome
    }

    /// Takes back a buffer that was not used, if it is one of [`record`](Self::record).
    pub fn give_back(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > self.buffer.capacity() {
            self.buffer = buffer;
        }
    }

    /// Whether a checkpoint has failed that was written behind the committer's back.
    ///
    /// # Errors
    ///
    /// It has: the database is to be opened anew.
    pub fn check(&self) -> io::Result<()> {
        self.disk.check()
    }

    /// Does some of what is to be written, where no thread does.
    pub fn work(&self, operations: usize) {
        self.disk.work(operations);
    }

    /// Makes the file longer, some steps at a time and with zeros: then syncing a record has no length and no allocation of
    /// blocks to write down.
    fn extend(&mut self, end: u64) -> io::Result<()> {
        let len = end.next_multiple_of(JOURNAL_STEP_BYTES).min((2 * self.half_bytes).max(end));
        self.file.set_len(len)?;
        let zeros = vec![0; usize::try_from(len - self.len).map_err(io::Error::other)?];
        self.file.write(self.len, &zeros)?;
        self.len = len;
        Ok(())
    }

    /// How long nothing has to come until a checkpoint is made of the committer's own accord.
    ///
    /// It takes the committer's time, a millisecond where it is made of a whole half. So one is made in the first lull that
    /// comes once there is something to write, and not in the middle of what comes then.
    pub fn checkpoint_after(&self) -> Duration {
        if self.is_empty() {
            return Duration::MAX;
        }
        let worth = self.half_bytes / CHECKPOINT_LULL_PART..=CHECKPOINT_LULL_BYTES_MAX;
        // It would be waited for otherwise.
        if worth.contains(&self.at) && self.disk.is_done(self.newest) {
            CHECKPOINT_LULL
        } else {
            CHECKPOINT_IDLE
        }
    }

    /// Whether nothing was appended since the last checkpoint.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Where the second half begins, once the journal goes on in the other one.
    fn half_bytes_after(&self) -> u64 {
        if self.half == 1 { self.next_half_bytes } else { self.half_bytes }
    }

    /// The checkpoint that its records follow.
    pub fn checkpoint(&self) -> Checkpoint {
        Checkpoint { number: self.link.checkpoint, journal_bytes: 2 * self.half_bytes }
    }

    /// The next checkpoint.
    pub fn next_checkpoint(&self) -> Checkpoint {
        Checkpoint {
            number: self.link.checkpoint.wrapping_add(1),
            journal_bytes: 2 * self.half_bytes_after(),
        }
    }
}

/// What a checkpoint says of the journal, in `meta`.
///
/// ```text
/// row := number u64, bytes of the journal u64      (little-endian)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// The number under which the journal goes on.
    pub number: u64,
    /// How many bytes the journal has at most: where its second half begins.
    pub journal_bytes: u64,
}

impl Checkpoint {
    /// The row of it.
    pub fn encode(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.number.to_le_bytes());
        row[8..].copy_from_slice(&self.journal_bytes.to_le_bytes());
        row
    }

    /// Reads its row.
    pub fn decode(row: &[u8]) -> Self {
        let (number, bytes) = row.split_at_checked(8).unwrap_or_default();
        Self { number: schema::number(number), journal_bytes: schema::number(bytes) }
    }
}

/// Bytes of a half of a journal of so many bytes.
fn half_bytes(bytes_max: u64) -> u64 {
    bytes_max / (2 * BLOCK as u64) * BLOCK as u64
}

/// Whether a file is none that a [`Journal`] has ever had.
pub(super) fn is_missing(file: &dyn StorageBackend) -> io::Result<bool> {
    Ok(file.len()? < BLOCK as u64)
}

/// What begins a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    changes_crc: u32,
    link: Link,
    number: u64,
    /// Bytes of the changes.
    len: usize,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[4..8].copy_from_slice(&self.changes_crc.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.link.checkpoint.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.link.before.to_le_bytes());
        // What is appended is no longer than `JOURNAL_RECORD_BYTES_MAX`.
        bytes[32..36].copy_from_slice(&u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes());
        // A half has no more blocks than that.
        bytes[36..].copy_from_slice(&u32::try_from(self.link.count_before).unwrap_or(u32::MAX).to_le_bytes());
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
        let (len, rest) = rest.split_first_chunk()?;
        let (count_before, _) = rest.split_first_chunk()?;
        let link = Link {
            checkpoint: u64::from_le_bytes(*checkpoint),
            before: u64::from_le_bytes(*before),
            count_before: u64::from(u32::from_le_bytes(*count_before)),
        };
        (crc32fast::hash(&bytes[4..]) == u32::from_le_bytes(*crc)).then_some(Self {
            changes_crc: u32::from_le_bytes(*changes_crc),
            link,
            number: u64::from_le_bytes(*number),
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
        /// How many.
        count: u64,
    },
}

/// Reads the records since a checkpoint, and those since the next one.
///
/// The first block where no record begins that can be read is the end of a half, unless a later one begins behind it: that was
/// only written once those before it were durable. So of a damaged journal the last record alone may be taken for one that
/// the power has cut short.
pub(super) struct Records<'f> {
    file: &'f dyn StorageBackend,
    /// Where the halves begin.
    starts: [u64; 2],
    /// Where the half ends that is read.
    end: u64,
    /// The half that is read; nothing where there is none.
    half: Option<usize>,
    checkpoint: u64,
    at: u64,
    number: u64,
    /// How many records there are, those that are lost among them.
    count: u64,
    is_next_read: bool,
}

impl<'f> Records<'f> {
    /// Those since this checkpoint.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn new(file: &'f dyn StorageBackend, checkpoint: Checkpoint) -> io::Result<Self> {
        let mut records = Self {
            file,
            starts: [0, half_bytes(checkpoint.journal_bytes)],
            end: 0,
            half: None,
            checkpoint: checkpoint.number,
            at: 0,
            number: 0,
            count: 0,
            is_next_read: false,
        };
        records.find_half(|link| link.checkpoint == checkpoint.number)?;
        Ok(records)
    }

    /// Goes to the half of which some record says what is looked for. Returns what its records follow.
    fn find_half(&mut self, is_it: impl Fn(Link) -> bool) -> io::Result<Option<Link>> {
        let len = self.file.len()?;
        for half in 0..2 {
            let (start, end) = (self.starts[half], if half == 0 { self.starts[1].min(len) } else { len });
            for at in (start..end).step_by(BLOCK) {
                // The first may be damaged.
                if let Some(header) = header_at(self.file, end, at)?.filter(|header| is_it(header.link)) {
                    (self.half, self.at, self.end, self.number) = (Some(half), start, end, 0);
                    self.checkpoint = header.link.checkpoint;
                    return Ok(Some(header.link));
                }
            }
        }
        Ok(None)
    }

    /// The half in which a journal goes on: not the one that was read last.
    pub fn next_half(&self) -> u64 {
        u64::from(self.half == Some(0))
    }

    /// How many records there were, once all are read.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The next one; nothing at the end.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn read_next(&mut self) -> io::Result<Option<Found>> {
        if let Some(found) = self.read_half()? {
            self.count += match &found {
                Found::Record(_) => 1,
                Found::Lost { count } => *count,
            };
            return Ok(Some(found));
        }
        if self.is_next_read {
            return Ok(None);
        }
        self.is_next_read = true;
        let (before, count) = (self.checkpoint, self.count);
        let next = self.find_half(|link| link.before == before && link.checkpoint != before)?;
        let missing = next.map_or(0, |link| link.count_before.saturating_sub(count));
        if next.is_some() && missing > 0 {
            self.count += missing;
            return Ok(Some(Found::Lost { count: missing }));
        }
        if next.is_some() { self.read_next() } else { Ok(None) }
    }

    /// The next one of this half.
    fn read_half(&mut self) -> io::Result<Option<Found>> {
        if self.half.is_none() {
            return Ok(None);
        }
        if let Some(header) = self.header(self.at)?.filter(|header| header.number == self.number)
            && let Some(changes) = self.changes(header)?
        {
            self.at += (HEADER + changes.len()).next_multiple_of(BLOCK) as u64;
            self.number += 1;
            return Ok(Some(Found::Record(changes)));
        }
        let mut at = self.at + BLOCK as u64;
        while at < self.end {
            if let Some(header) = self.header(at)?
                && let Some(count) = header.number.checked_sub(self.number).filter(|count| *count > 0)
            {
                (self.number, self.at) = (header.number, at);
                return Ok(Some(Found::Lost { count }));
            }
            at += BLOCK as u64;
        }
        Ok(None)
    }

    /// The header of a record of this checkpoint that begins there.
    fn header(&self, at: u64) -> io::Result<Option<Header>> {
        let header = header_at(self.file, self.end, at)?;
        Ok(header.filter(|header| header.link.checkpoint == self.checkpoint))
    }

    /// The changes of the record that begins here, where they are whole.
    fn changes(&self, header: Header) -> io::Result<Option<Vec<u8>>> {
        let at = self.at + HEADER as u64;
        if header.len > JOURNAL_RECORD_BYTES_MAX || self.end.saturating_sub(at) < header.len as u64 {
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

/// Where the records of each half of a journal of so many bytes are, in bytes: those of the checkpoint that the first one
/// names.
pub(super) fn places(image: &[u8], bytes_max: usize) -> [Vec<std::ops::Range<usize>>; 2] {
    let header = |at: usize| image.get(at..)?.first_chunk().and_then(Header::decode);
    let half = usize::try_from(half_bytes(bytes_max as u64)).unwrap_or(usize::MAX);
    [0, half].map(|start| {
        let mut places = Vec::new();
        let checkpoint = header(start).map(|first| first.link.checkpoint);
        let mut at = start;
        while let Some(header) = header(at) {
            if Some(header.link.checkpoint) != checkpoint || header.number != places.len() as u64 {
                break;
            }
            let end = at + HEADER + header.len;
            places.push(at..end);
            at = end.next_multiple_of(BLOCK);
        }
        places
    })
}

#[cfg(test)]
mod tests;
