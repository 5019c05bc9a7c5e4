//! Makes many inputs of a few.

use tidegate::Random;
use tidegate::testing::SeededRandom;

/// Values at which numbers end or turn.
const BOUNDARIES: [u64; 12] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// Most changes to one input.
const CHANGES_MAX: u64 = 6;

/// Longest range that a change moves or repeats.
const RANGE_MAX: u64 = 64;

/// A source of chance with a few words of what is being changed.
pub struct Chance {
    random: SeededRandom,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self { random: SeededRandom::new(seed) }
    }

    /// A number below `end`, or 0 where that is 0.
    pub fn below(&self, end: u64) -> u64 {
        self.random.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// An index into something of this length.
    pub fn index(&self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Whether one in so many.
    pub fn one_in(&self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// One of these.
    pub fn of<'a, T>(&self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.index(all.len()))
    }

    /// Any byte, and now and then one that means something in many formats.
    pub fn byte(&self) -> u8 {
        const SPECIAL: &[u8] = b"\0\x01\x7f\x80\xff \n\r\t\"\\{}[],:=.#-+0'/";
        match self.below(3) {
            0 => *self.of(SPECIAL).unwrap_or(&0),
            _ => self.random.next_u64().to_le_bytes()[0],
        }
    }

    /// Changes an input a few times: with words of its format, and with parts of others of its kind.
    pub fn change(&self, input: &mut Vec<u8>, words: &[&[u8]], others: &[Vec<u8>], bytes_max: usize) {
        for _ in 0..=self.below(CHANGES_MAX) {
            self.change_once(input, words, others);
        }
        input.truncate(bytes_max);
    }

    fn change_once(&self, input: &mut Vec<u8>, words: &[&[u8]], others: &[Vec<u8>]) {
        let at = self.index(input.len());
        match self.below(12) {
            0 | 1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            2 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.byte();
                }
            }
            3 => self.put_number(input, at),
            4 => input.insert(at.min(input.len()), self.byte()),
            5 => drop(input.drain(self.range(input.len()))),
            6 => {
                let part = input[self.range(input.len())].to_vec();
                insert(input, at, &part);
            }
            7 => {
                let part = input[self.range(input.len())].to_vec();
                overwrite(input, at, &part);
            }
            8 | 9 => {
                if let Some(word) = self.of(words) {
                    if self.one_in(2) { insert(input, at, word) } else { overwrite(input, at, word) }
                }
            }
            10 => {
                if let Some(other) = self.of(others) {
                    if self.one_in(4) {
                        // The beginning of this one and the end of that one.
                        input.truncate(at);
                        input.extend_from_slice(&other[self.index(other.len())..]);
                    } else {
                        insert(input, at, &other[self.range(other.len())]);
                    }
                }
            }
            _ => {
                let end = input.len() - self.index(input.len().min(8));
                input.truncate(if self.one_in(8) { at } else { end });
            }
        }
    }

    /// Writes a number near a boundary, or near what is there, in 1, 2, 4 or 8 bytes of either order, or in digits.
    fn put_number(&self, input: &mut [u8], at: usize) {
        let width = 1 << self.index(4);
        let boundary = *self.of(&BOUNDARIES).unwrap_or(&0);
        let number = boundary.wrapping_add(self.below(5)).wrapping_sub(2);
        if self.one_in(4) {
            let digits = if self.one_in(2) { number.to_string() } else { number.cast_signed().to_string() };
            return overwrite(input, at, digits.as_bytes());
        }
        let mut bytes = number.to_le_bytes();
        if let Some(there) = input.get(at..at + width).filter(|_| self.one_in(3)) {
            bytes[..width].copy_from_slice(there);
            let near = u64::from_le_bytes(bytes).wrapping_add(self.below(9)).wrapping_sub(4);
            bytes = near.to_le_bytes();
        }
        if self.one_in(3) {
            bytes[..width].reverse();
        }
        overwrite(input, at, &bytes[..width]);
    }

    fn range(&self, len: usize) -> std::ops::Range<usize> {
        let start = self.index(len);
        let most = if self.one_in(8) { len as u64 } else { RANGE_MAX };
        let count = usize::try_from(self.below(most) + 1).unwrap_or(1);
        start..len.min(start + count)
    }
}

fn insert(input: &mut Vec<u8>, at: usize, part: &[u8]) {
    let at = at.min(input.len());
    input.splice(at..at, part.iter().copied());
}

fn overwrite(input: &mut [u8], at: usize, part: &[u8]) {
    for (byte, new) in input.iter_mut().skip(at).zip(part) {
        *byte = *new;
    }
}
