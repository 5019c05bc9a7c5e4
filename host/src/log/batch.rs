//! The row of a batch: what one commit appended to one partition.
//!
//! ```text
//! batch := version u8 = 2, codec u8 = 0, flags u16 = 0, count u32, commit u64, appended i64 (microseconds),
//!          key_id u32 = 0, bytes_before u64, count * end u32, header_crc u32, count * record
//!                                                                              (integers little-endian)
//! ```
//!
//! `end` is where the record ends, counted from the first record's start. `header_crc` is the CRC-32 of all before it and of
//! the row's key (`topic u32, partition u32, first offset u64`), so that a fault within one record costs that record and no
//! other, and a batch that damage has moved elsewhere is none. In the same way the checksums of each record begin with its
//! place (`topic u32, partition u32, offset u64`). Version 1, of formats 1 and 2, leaves both out. `bytes_before` is what
//! the partition's batches before this one took since the partition began: the size of what is retained follows from the
//! first and the last batch.
//!
//! Where opening finds events missing, this takes their place:
//!
//! ```text
//! lost := version u8 = 3, 0 u8, 0 u16, 0 u32, count u64, bytes_before u64, crc u32 (of all before it, and the row's key)
//! ```

use std::num::NonZeroU64;
use std::sync::Arc;

use thiserror::Error;

use super::new_events::{NewEvent, NewEvents};
use super::record::{self, RecordError, bounded_u32};
use crate::clock::Timestamp;
use crate::event::Event;
use crate::limits::{BATCH_BYTES_MAX, BATCH_PAGE_BYTES_MIN};

/// The version that is written.
const VERSION: u8 = 2;
/// The version whose checksum doesn't cover the row's key.
const VERSION_WITHOUT_KEY: u8 = 1;
/// The version of a row in the place of events that are missing.
const VERSION_LOST: u8 = 3;
/// The size of such a row.
pub(super) const LOST_BYTES: usize = 28;
/// Bytes of a record's end.
const END: usize = 4;
const FIXED: usize = 1 + 1 + 2 + 4 + 8 + 8 + 4 + 8;
/// The most bytes that a page of redb has beside the one row in it: its head, the row's key, and where both end.
const PAGE_OVERHEAD: usize = 64;

/// The key of a batch's row: topic, partition, first offset.
pub(super) type BatchKey = (u32, u32, u64);

/// Why bytes are no batch.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum BatchError {
    /// The batch ends before its header does.
    #[error("the batch is cut short")]
    Short,
    /// The checksum of its header is wrong, or it is not where it was written.
    #[error("the checksum of the batch's header is wrong")]
    Checksum,
    /// Written by a later version.
    #[error("the batch has format {0}, which this tidegate doesn't know")]
    Version(u8),
    /// Compressed or encrypted in a way that this version doesn't know.
    #[error("the batch uses codec {0}, which this tidegate doesn't know")]
    Codec(u8),
    /// Opening has found that events are missing, or may be.
    #[error("damage of the file hides what was here, up to {count} events")]
    Lost {
        /// How many at most.
        count: u64,
        /// Bytes of the partition's batches before them.
        bytes_before: u64,
    },
}

/// The row of this key that takes the place of events which are missing.
pub(super) fn lost(key: BatchKey, count: u64, bytes_before: u64) -> [u8; LOST_BYTES] {
    let mut row = [0; LOST_BYTES];
    row[0] = VERSION_LOST;
    row[8..16].copy_from_slice(&count.to_le_bytes());
    row[16..24].copy_from_slice(&bytes_before.to_le_bytes());
    let crc = checksum(VERSION_LOST, &row[..24], key);
    row[24..].copy_from_slice(&crc.to_le_bytes());
    row
}

/// Reads such a row: what it says is an error whatever it is.
fn parse_lost(key: BatchKey, row: &[u8]) -> BatchError {
    let Some(fixed) = row.first_chunk::<LOST_BYTES>() else { return BatchError::Short };
    let (count, bytes_before) = (u64::from_le_bytes(field(fixed, 8)), u64::from_le_bytes(field(fixed, 16)));
    if row == lost(key, count, bytes_before) {
        BatchError::Lost { count, bytes_before }
    } else {
        BatchError::Checksum
    }
}

/// Events on their way into batches of one partition. Their records are copied once, into their row.
#[derive(Default)]
pub(super) struct BatchBuilder {
    /// What they are among.
    sources: Vec<Arc<NewEvents>>,
    events: Vec<Staged>,
    /// Bytes of their records.
    bytes: usize,
}

/// One of them.
struct Staged {
    /// Which source.
    source: u32,
    /// Where it is in there.
    index: u32,
    /// Its number among the events of its key, where their topic keeps one.
    number: Option<NonZeroU64>,
}

impl BatchBuilder {
    /// Adds an event, with its number among the events of its key where the topic keeps one.
    pub fn push(&mut self, event: NewEvent<'_>, number: Option<u64>) {
        let (source, index) = event.place();
        // Most come many at a time.
        if self.sources.last().is_none_or(|last| !Arc::ptr_eq(last, source)) {
            self.sources.push(Arc::clone(source));
        }
        self.bytes += event.record().len();
        self.events.push(Staged {
            source: bounded_u32(self.sources.len() - 1),
            index: bounded_u32(index),
            number: number.and_then(NonZeroU64::new),
        });
    }

    /// Whether the event may go into the same row. Into an empty one each may, however large.
    pub fn has_room_for(&self, event: NewEvent<'_>) -> bool {
        let count = self.events.len() + 1;
        count == 1 || row_bytes(count, self.bytes + event.record().len()) <= BATCH_BYTES_MAX
    }

    /// The number that the event at `index`, counted from 0, has among those of its key.
    pub fn number(&self, index: u64) -> Option<u64> {
        Some(self.events.get(usize::try_from(index).ok()?)?.number?.get())
    }

    /// The rows to make of them.
    pub fn rows(&self) -> impl Iterator<Item = BatchRow<'_>> {
        let mut rest = BatchRow { sources: &self.sources, events: &self.events, bytes: self.bytes };
        std::iter::from_fn(move || {
            let row = rest.first()?;
            rest =
                BatchRow { events: &rest.events[row.events.len()..], bytes: rest.bytes - row.bytes, ..rest };
            Some(row)
        })
    }
}

/// The events of one row.
#[derive(Clone, Copy)]
pub(super) struct BatchRow<'a> {
    sources: &'a [Arc<NewEvents>],
    events: &'a [Staged],
    /// Bytes of their records.
    bytes: usize,
}

impl<'a> BatchRow<'a> {
    /// The first of its events, as many as fill a page well: a page of redb that holds a row is a power of two, and all of
    /// it is written. All of them, where that wastes little or none of them fill a smaller one.
    fn first(self) -> Option<Self> {
        if self.len() <= BATCH_PAGE_BYTES_MIN || self.fills(self.page()) {
            return (!self.events.is_empty()).then_some(self);
        }
        let page = self.page() / 2;
        let mut fitting = Self { events: &[], bytes: 0, ..self };
        for (count, event) in (1..).zip(self.events) {
            let bytes = fitting.bytes + self.record(event).len();
            let more = Self { events: &self.events[..count], bytes, ..self };
            if more.page() > page {
                break;
            }
            fitting = more;
        }
        Some(if fitting.fills(page) { fitting } else { self })
    }

    fn record(self, event: &Staged) -> &'a [u8] {
        self.sources[event.source as usize].record(event.index as usize)
    }

    /// The size of the page that it takes, in bytes.
    fn page(&self) -> usize {
        (self.len() + PAGE_OVERHEAD).next_power_of_two()
    }

    /// Whether it leaves little of such a page empty.
    fn fills(&self, page: usize) -> bool {
        self.len() >= page / 8 * 7
    }

    /// How many events it has.
    pub fn count(&self) -> u32 {
        bounded_u32(self.events.len())
    }

    /// Its size, in bytes.
    pub fn len(&self) -> usize {
        row_bytes(self.events.len(), self.bytes)
    }

    /// Appends it to `out`, as that of this key.
    pub fn write(
        &self,
        key: BatchKey,
        commit: u64,
        appended: Timestamp,
        bytes_before: u64,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.count().to_le_bytes());
        out.extend_from_slice(&commit.to_le_bytes());
        out.extend_from_slice(&appended.0.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&bytes_before.to_le_bytes());
        let mut end = 0;
        for event in self.events {
            end += self.record(event).len();
            out.extend_from_slice(&bounded_u32(end).to_le_bytes());
        }
        let crc = checksum(VERSION, &out[start..], key);
        out.extend_from_slice(&crc.to_le_bytes());
        for (offset, event) in (key.2..).zip(self.events) {
            let at = out.len();
            out.extend_from_slice(self.record(event));
            let number = event.number.and_then(|number| {
                let digits = self.sources[event.source as usize].digits(event.index as usize)?;
                Some((digits, number.get()))
            });
            record::settle(&mut out[at..], &place_bytes((key.0, key.1, offset)), number);
        }
    }
}

/// The size of a row of so many events, with so many bytes of records.
fn row_bytes(count: usize, records: usize) -> usize {
    FIXED + END * count + 4 + records
}

/// A batch read from its row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch<'a> {
    ends: &'a [u8],
    records: &'a [u8],
    key: BatchKey,
    /// Whether the checksums cover where things are.
    has_places: bool,
    /// How many events it has.
    pub count: u32,
    /// The commit that made them durable.
    pub commit: u64,
    /// When they were appended.
    pub appended: Timestamp,
    /// Bytes of the partition's batches before this one.
    pub bytes_before: u64,
}

impl<'a> Batch<'a> {
    /// Reads the header of the row of this key.
    pub fn parse(key: BatchKey, row: &'a [u8]) -> Result<Self, BatchError> {
        if row.first() == Some(&VERSION_LOST) {
            return Err(parse_lost(key, row));
        }
        let fixed: &[u8; FIXED] = row.first_chunk().ok_or(BatchError::Short)?;
        if ![VERSION, VERSION_WITHOUT_KEY].contains(&fixed[0]) {
            return Err(BatchError::Version(fixed[0]));
        }
        if fixed[1] != 0 {
            return Err(BatchError::Codec(fixed[1]));
        }
        let count = u32::from_le_bytes(field(fixed, 4));
        let head_len = (count as usize)
            .checked_mul(4)
            .and_then(|ends| ends.checked_add(FIXED))
            .ok_or(BatchError::Short)?;
        let (head, rest) = row.split_at_checked(head_len).ok_or(BatchError::Short)?;
        let (crc, records) = rest.split_first_chunk().ok_or(BatchError::Short)?;
        if checksum(fixed[0], head, key) != u32::from_le_bytes(*crc) {
            return Err(BatchError::Checksum);
        }
        Ok(Self {
            ends: &head[FIXED..],
            records,
            key,
            has_places: fixed[0] != VERSION_WITHOUT_KEY,
            count,
            commit: u64::from_le_bytes(field(fixed, 8)),
            appended: Timestamp(i64::from_le_bytes(field(fixed, 16))),
            bytes_before: u64::from_le_bytes(field(fixed, 28)),
        })
    }

    /// The event at `index`, counted from 0.
    pub fn event(&self, index: u64) -> Result<Event, RecordError> {
        let start = if index == 0 { 0 } else { self.end(index - 1)? };
        let record = self.records.get(start..self.end(index)?).ok_or(RecordError::Short)?;
        let (topic, partition, first) = self.key;
        let place = place_bytes((topic, partition, first.saturating_add(index)));
        record::decode(record, if self.has_places { &place } else { &[] })
    }

    fn end(&self, index: u64) -> Result<usize, RecordError> {
        let (ends, _) = self.ends.as_chunks::<4>();
        let end = usize::try_from(index).ok().and_then(|index| ends.get(index));
        end.map(|end| u32::from_le_bytes(*end) as usize).ok_or(RecordError::Short)
    }
}

/// The checksum of a header and, from version 2 on, of where it is.
fn checksum(version: u8, head: &[u8], key: BatchKey) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    if version != VERSION_WITHOUT_KEY {
        crc.update(&place_bytes(key));
    }
    crc.finalize()
}

/// A place as checksums have it.
fn place_bytes((topic, partition, offset): BatchKey) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&topic.to_le_bytes());
    bytes[4..8].copy_from_slice(&partition.to_le_bytes());
    bytes[8..].copy_from_slice(&offset.to_le_bytes());
    bytes
}

/// Writes the checksum of the header of a row that is long enough for the header it says it has.
pub(super) fn seal(key: BatchKey, row: &mut [u8]) {
    let Some(count) = row.get(4..).and_then(|rest| rest.first_chunk()) else { return };
    let end = (u32::from_le_bytes(*count) as usize).saturating_mul(4).saturating_add(FIXED);
    let Some((head, rest)) = row.split_at_mut_checked(end) else { return };
    if let Some(crc) = rest.first_chunk_mut() {
        *crc = checksum(head[0], head, key).to_le_bytes();
    }
}

/// `N` bytes of the header from `at` on.
fn field<const N: usize, const M: usize>(fixed: &[u8; M], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&fixed[at..at + N]);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: BatchKey = (1, 2, 3);

    fn row(ids: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::default();
        for id in ids {
            let event = Event::new(*id, "/s", "T").json_text("[1,2]").build().unwrap();
            builder.push(NewEvents::alone(&event).only(), None);
        }
        let mut rows = Vec::new();
        for row in builder.rows() {
            row.write(KEY, 7, Timestamp(99), 1234, &mut rows);
        }
        rows
    }

    #[test]
    fn a_batch_gives_back_its_events_in_order() {
        let row = row(&["a", "b", "c"]);
        let batch = Batch::parse(KEY, &row).unwrap();
        assert_eq!(
            (batch.count, batch.commit, batch.appended, batch.bytes_before),
            (3, 7, Timestamp(99), 1234)
        );
        let ids: Vec<_> = (0..3).map(|index| batch.event(index).unwrap().id().to_owned()).collect();
        assert_eq!(ids, ["a", "b", "c"]);
        assert_eq!(batch.event(3), Err(RecordError::Short));
    }

    proptest! {
        #[test]
        fn rows_have_all_events_in_order_and_waste_less_of_their_pages_than_one_row(
            (sizes, are_small) in prop_oneof![
                (proptest::collection::vec(1_usize..600, 1..900), Just(true)),
                (proptest::collection::vec(prop_oneof![1_usize..600, 1_usize..90_000], 1..900), Just(false)),
            ],
        ) {
            let mut builder = BatchBuilder::default();
            for (number, size) in sizes.iter().enumerate() {
                let event = Event::new(number.to_string(), "/s", "T").binary("a/b", vec![7; *size]).build().unwrap();
                let event = NewEvents::alone(&event);
                if !builder.has_room_for(event.only()) {
                    break;
                }
                builder.push(event.only(), None);
            }
            let (mut ids, mut bytes, mut pages) = (Vec::new(), Vec::new(), 0);
            for row in builder.rows() {
                let key = (1, 2, ids.len() as u64);
                bytes.clear();
                row.write(key, 7, Timestamp(99), 0, &mut bytes);
                prop_assert_eq!(bytes.len(), row.len());
                let batch = Batch::parse(key, &bytes).unwrap();
                ids.extend((0..u64::from(batch.count)).map(|index| batch.event(index).unwrap().id().to_owned()));
                pages += row.page();
            }
            prop_assert!(ids.into_iter().eq((0..builder.events.len()).map(|number| number.to_string())));
            let one = BatchRow { sources: &builder.sources, events: &builder.events, bytes: builder.bytes };
            prop_assert!(pages <= one.page(), "{} of {}", pages, one.page());
            // Rows of small events can be cut wherever a page ends.
            if are_small {
                prop_assert!(pages - one.len() <= one.len() / 7 + BATCH_PAGE_BYTES_MIN, "{} of {}", pages, one.len());
            }
        }
    }

    #[test]
    fn a_damaged_record_costs_itself_and_a_damaged_header_its_batch() {
        let good = row(&["a", "b", "c"]);
        let middle = FIXED + 12 + 4 + (good.len() - FIXED - 16) / 2;
        let mut bad = good.clone();
        bad[middle] ^= 1;
        let batch = Batch::parse(KEY, &bad).unwrap();
        assert!(batch.event(0).is_ok() && batch.event(1).is_err() && batch.event(2).is_ok());
        for at in 0..FIXED + 12 {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Batch::parse(KEY, &bad).is_err(), "byte {at}");
        }
    }
    #[test]
    fn a_batch_that_is_not_where_it_was_written_is_none() {
        let row = row(&["a"]);
        for elsewhere in [(0, 2, 3), (1, 0, 3), (1, 2, 3 | 1 << 63)] {
            assert_eq!(Batch::parse(elsewhere, &row).unwrap_err(), BatchError::Checksum, "{elsewhere:?}");
        }
    }

    #[test]
    fn a_record_that_is_not_where_it_was_written_is_none() {
        let moved = row(&["a", "b"]);
        assert!(Batch::parse(KEY, &moved).is_ok_and(|batch| batch.event(0).is_ok()));
        let at = FIXED + 12 + (moved.len() - FIXED - 12) / 2;
        let (first, second) = (moved[FIXED + 12..at].to_vec(), moved[at..].to_vec());
        let exchanged = [&moved[..FIXED + 12], &second, &first].concat();
        let batch = Batch::parse(KEY, &exchanged).unwrap();
        for index in 0..2 {
            assert_eq!(batch.event(index), Err(RecordError::Checksum("attributes")));
        }
    }

    #[test]
    fn a_batch_of_an_older_format_is_read_wherever_it_is() {
        let mut row = row(&["a"]);
        row[0] = VERSION_WITHOUT_KEY;
        seal(KEY, &mut row);
        record::seal(&[], &mut row[FIXED + END + 4..]);
        assert_eq!(Batch::parse((9, 9, 9), &row).unwrap().event(0).unwrap().id(), "a");
    }
}
