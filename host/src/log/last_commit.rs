//! What each commit says of itself, and of all that is there after it, in `meta`.
//!
//! ```text
//! row := commit u64, time i64 (microseconds), offsets u64, TABLES * rows u64, crc u32      (integers little-endian)
//! ```
//!
//! `crc` is the CRC-32 (IEEE) of all before it. Formats 1 to 3 had `commit` and `time` alone, and 4 to 8 fewer tables.

use super::error::ReadError;
use super::schema::COUNTED;
use crate::clock::Timestamp;

/// Bytes of the row before its checksum.
const BYTES: usize = 8 * (3 + COUNTED);

/// The tables that were counted first.
const COUNTED_FIRST: usize = 10;

/// The last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastCommit {
    /// Its number.
    pub number: u64,
    /// When it was: the clock doesn't go back before it.
    pub time: Timestamp,
    /// How many offsets all partitions have given out, together: the sum of the next one of each. 0 in a row of an older
    /// format, which has none.
    pub offsets: u64,
    /// How many rows the counted tables have, see [`COUNTED`]. `None` in a row of an older format.
    pub rows: Option<[u64; COUNTED]>,
}

impl LastCommit {
    /// The row of it.
    pub fn encode(&self) -> [u8; BYTES + 4] {
        let mut row = [0; BYTES + 4];
        let numbers = [self.number, self.time.0.cast_unsigned(), self.offsets];
        let numbers = numbers.into_iter().chain(self.rows.unwrap_or_default());
        for (field, number) in row.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *field = number.to_le_bytes();
        }
        let crc = crc32fast::hash(&row[..BYTES]);
        row[BYTES..].copy_from_slice(&crc.to_le_bytes());
        row
    }

    /// Reads its row.
    ///
    /// # Errors
    ///
    /// The row is damaged.
    pub fn decode(row: &[u8]) -> Result<Self, ReadError> {
        let (fields, crc) = row.as_chunks::<8>();
        let mut numbers = fields.iter().map(|field| u64::from_le_bytes(*field));
        let mut next = || numbers.next().unwrap_or_default();
        let (number, time) = (next(), Timestamp(next().cast_signed()));
        let is_counted = (COUNTED_FIRST..=COUNTED).any(|tables| row.len() == 8 * (3 + tables) + 4);
        if is_counted && crc32fast::hash(&row[..row.len() - 4]).to_le_bytes() == crc {
            // What a format doesn't have has no rows.
            Ok(Self { number, time, offsets: next(), rows: Some(std::array::from_fn(|_| next())) })
        } else if row.len() == 16 {
            Ok(Self { number, time, offsets: 0, rows: None })
        } else {
            Err(Self::damaged("its checksum is wrong"))
        }
    }

    /// The error of a row that makes no sense.
    pub fn damaged(reason: &str) -> ReadError {
        ReadError::Damaged { what: "the row of the last commit".to_owned(), reason: reason.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: LastCommit =
        LastCommit { number: 7, time: Timestamp(-9), offsets: 1 << 40, rows: Some([3; COUNTED]) };

    #[test]
    fn any_flipped_bit_of_the_row_is_found_out() {
        let row = LAST.encode();
        assert_eq!(LastCommit::decode(&row).unwrap(), LAST);
        for at in 0..row.len() * 8 {
            let mut bad = row;
            bad[at / 8] ^= 1 << (at % 8);
            assert!(LastCommit::decode(&bad).is_err(), "bit {at}");
        }
        for len in (0..row.len()).filter(|len| *len != 16) {
            assert!(LastCommit::decode(&row[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_row_of_an_older_format_is_read() {
        let older = LastCommit { offsets: 0, rows: None, ..LAST };
        assert_eq!(LastCommit::decode(&LAST.encode()[..16]).unwrap(), older);
    }
}
