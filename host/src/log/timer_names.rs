//! Where the timers of lanes are, by their names.
//!
//! ```text
//! key   := consumer u32, partition u32 (both big-endian), label
//! label := name, timer's key, length of the name u16       where name and key have LABEL_BYTES_MAX bytes together at the most
//!        | their first LABEL_BYTES_MAX bytes, identity u128, ffff                    of those that have more
//! row   := CRC-32 of the key and of what follows u32, due i64, number u64            (all other integers little-endian)
//! ```
//!
//! Names and keys begin it, as they are: most have a number or a time in them, so that timers that are set one after the other
//! lie side by side, and those of a commit in a few pages. By a hash, each would have a page of its own to change.

use redb::{ReadableTable, WriteTransaction};

use super::error::StorageFault;
use super::hash;
use super::schema::{self, TIMER_NAMES, TIMERS_BY_NAME_COUNTED, Tables, TimerKey};
use super::timers;
use crate::clock::Timestamp;
use crate::ids::{ConsumerId, LaneId};
use crate::timer::{TimerName, TimerPlace};

/// Bytes of name and key that a label has as they are. Longer ones would make rows that hold hardly any other.
const LABEL_BYTES_MAX: usize = 128;
/// Ends a label that has an identity. No name is that long.
const HAS_IDENTITY: u16 = u16::MAX;

/// The row of a name.
pub(super) type TimerNameRow = [u8; 4 + 8 + 8];

/// Appends the key of a timer's row.
pub(super) fn push_key(hash_key: [u8; 16], lane: LaneId, timer: &TimerName, out: &mut Vec<u8>) {
    out.extend_from_slice(&schema::state_prefix(lane.consumer, lane.partition));
    let (name, key) = (timer.name.as_bytes(), timer.key.as_bytes());
    let name_len = u16::try_from(name.len()).ok().filter(|_| name.len() + key.len() <= LABEL_BYTES_MAX);
    let name = &name[..name.len().min(LABEL_BYTES_MAX)];
    out.extend_from_slice(name);
    out.extend_from_slice(&key[..key.len().min(LABEL_BYTES_MAX - name.len())]);
    if name_len.is_none() {
        out.extend_from_slice(&hash::timer_identity(hash_key, timer).to_le_bytes());
    }
    out.extend_from_slice(&name_len.unwrap_or(HAS_IDENTITY).to_le_bytes());
}

/// The key of a timer's row.
pub(super) fn key(hash_key: [u8; 16], lane: LaneId, timer: &TimerName) -> Vec<u8> {
    let mut key = Vec::new();
    push_key(hash_key, lane, timer, &mut key);
    key
}

/// The row of a timer that is there.
pub(super) fn row(key: &[u8], place: TimerPlace) -> TimerNameRow {
    let mut row = TimerNameRow::default();
    row[4..12].copy_from_slice(&place.due.0.to_le_bytes());
    row[12..].copy_from_slice(&place.number.to_le_bytes());
    let crc = checksum(key, &row);
    row[..4].copy_from_slice(&crc);
    row
}

/// Where a row leads. One that is damaged leads nowhere: then its timer comes, as it can't be found to be cancelled.
pub(super) fn place(key: &[u8], row: &TimerNameRow) -> Option<TimerPlace> {
    let (crc, rest) = row.split_first_chunk::<4>()?;
    let (due, number) = rest.split_first_chunk()?;
    let place = TimerPlace {
        due: Timestamp(i64::from_le_bytes(*due)),
        number: u64::from_le_bytes(*number.first_chunk()?),
    };
    (*crc == checksum(key, row)).then_some(place)
}

fn checksum(key: &[u8], row: &TimerNameRow) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(key);
    crc.update(&row[4..]);
    crc.finalize().to_le_bytes()
}

/// Where the keys of a consumer's timers begin, and what comes after them.
pub(super) fn all_of(consumer: ConsumerId) -> ([u8; 8], [u8; 8]) {
    (schema::state_prefix(consumer, 0), schema::state_prefix(ConsumerId(consumer.0 + 1), 0))
}

/// Makes the table of what `timers` has, where the database has the one of format 8, and removes that. Returns the table as one
/// whose rows are to be counted anew, if so: that had rows that led nowhere.
pub(super) fn replace_format_8(
    transaction: &WriteTransaction,
    tables: &mut Tables<'_>,
    hash_key: [u8; 16],
) -> Result<Option<usize>, StorageFault> {
    if !transaction.delete_table(TIMER_NAMES)? {
        return Ok(None);
    }
    for found in tables.timers.iter()? {
        let (place, row) = found?;
        let place: TimerKey = place.value();
        // One that can't be read is found out when it is due.
        if let Some(timer) = timers::name(place, row.value()) {
            let lane = LaneId { consumer: ConsumerId(place.0), partition: place.1 };
            let key = key(hash_key, lane, &timer);
            tables.timers_by_name.insert(key.as_slice(), &self::row(&key, timers::place_of(place)))?;
        }
    }
    Ok(Some(TIMERS_BY_NAME_COUNTED))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LANE: LaneId = LaneId { consumer: ConsumerId(7), partition: 1 };

    fn timer(name: &str, key: &str) -> TimerName {
        TimerName { key: key.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn no_two_timers_have_the_same_key_and_none_is_long() {
        let long = ["x".repeat(127), "x".repeat(128), "x".repeat(129), "x".repeat(8192)];
        let texts =
            ["", "a", "ab", "b", "\u{1}", "a\u{2}"].into_iter().chain(long.iter().map(String::as_str));
        let texts: Vec<_> = texts.collect();
        let names = texts.iter().filter(|name| name.len() <= 256);
        let timers: Vec<_> = names.flat_map(|name| texts.iter().map(|key| timer(name, key))).collect();
        let keys: BTreeSet<_> = timers.iter().map(|timer| key([1; 16], LANE, timer)).collect();
        assert_eq!(keys.len(), timers.len());
        assert_eq!(keys.iter().map(Vec::len).max(), Some(8 + LABEL_BYTES_MAX + 16 + 2));
    }

    #[test]
    fn timers_that_are_named_one_after_the_other_lie_side_by_side() {
        let keys = [
            timer("order-10", "customer-3"),
            timer("order-11", "customer-1"),
            timer("order-12", "customer-2"),
        ];
        let keys = keys.map(|timer| key([1; 16], LANE, &timer));
        assert!(keys.is_sorted());
        let other = LaneId { partition: 2, ..LANE };
        assert!(keys[2] < key([1; 16], other, &timer("a", "b")));
    }

    #[test]
    fn any_flipped_bit_of_a_row_or_its_key_is_found_out() {
        let here = TimerPlace { due: Timestamp(-5), number: 9 };
        let key = key([1; 16], LANE, &timer("name", "key"));
        let row = row(&key, here);
        assert_eq!(place(&key, &row), Some(here));
        for at in 0..row.len() * 8 {
            let mut bad = row;
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(place(&key, &bad), None, "bit {at}");
        }
        for at in 0..key.len() * 8 {
            let mut bad = key.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert_eq!(place(&bad, &row), None, "bit {at} of the key");
        }
    }
}
