//! Pages on their way to the disk, in one piece of memory.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::limits::PAGES_RUN_BYTES;

/// Writes of which none overlaps another, so that they may be carried out in any order.
#[derive(Debug, Default)]
pub(super) struct Pages {
    bytes: Vec<u8>,
    /// Where in `bytes` what goes to this offset is.
    places: BTreeMap<u64, Range<usize>>,
}

impl Pages {
    /// Adds a write. Returns whether it did: one that overlaps another, and isn't in place of it, has to come later.
    pub fn add(&mut self, at: u64, data: &[u8]) -> bool {
        if let Some(place) = self.places.get(&at).filter(|place| place.len() == data.len()) {
            self.bytes[place.clone()].copy_from_slice(data);
            return true;
        }
        if self.overlapping(at, data.len()).next().is_some() {
            return false;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(data);
        self.places.insert(at, start..self.bytes.len());
        true
    }

    /// How many bytes they have.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes they may have without more memory.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Those that overlap a range of the file, where they begin.
    pub fn overlapping(&self, at: u64, len: usize) -> impl Iterator<Item = (u64, &[u8])> {
        let end = at.saturating_add(len as u64);
        let before = self.places.range(..end).rev();
        // None overlaps another, so they end in the order in which they begin.
        let those = before.take_while(move |(offset, place)| *offset + place.len() as u64 > at);
        those.map(|(offset, place)| (*offset, &self.bytes[place.clone()]))
    }

    /// Carries them out, in the order of the file, with those as one write that lie side by side: a page at a time would cost
    /// more than the pages do.
    ///
    /// # Errors
    ///
    /// That of the first write that fails.
    pub fn write<E>(&self, mut write: impl FnMut(u64, &[u8]) -> Result<(), E>) -> Result<(), E> {
        let (mut copied, mut places) = (Vec::new(), self.places.iter().peekable());
        while let Some((at, place)) = places.next() {
            let first = &self.bytes[place.clone()];
            copied.clear();
            let (mut end, mut len) = (at + first.len() as u64, first.len());
            while let Some((_, place)) =
                places.next_if(|(at, place)| **at == end && len + place.len() <= PAGES_RUN_BYTES)
            {
                if copied.is_empty() {
                    copied.extend_from_slice(first);
                }
                copied.extend_from_slice(&self.bytes[place.clone()]);
                (end, len) = (end + place.len() as u64, copied.len());
            }
            write(*at, if copied.is_empty() { first } else { &copied })?;
        }
        Ok(())
    }

    /// Forgets them, and keeps their memory, where that isn't more than so much.
    pub fn clear(&mut self, bytes_max: usize) {
        self.places.clear();
        self.bytes.clear();
        self.bytes.shrink_to(bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    fn writes(pages: &Pages) -> Vec<(u64, Vec<u8>)> {
        let mut writes = Vec::new();
        let outcome: Result<(), Infallible> = pages.write(|at, data| {
            writes.push((at, data.to_vec()));
            Ok(())
        });
        assert_eq!(outcome, Ok(()));
        writes
    }

    #[test]
    fn pages_side_by_side_are_one_write_of_a_bounded_size() {
        let mut pages = Pages::default();
        for at in [8, 0, 4, 20] {
            assert!(pages.add(at, &[u8::try_from(at).unwrap(); 4]));
        }
        assert!(pages.add(4, &[9; 4]), "in place of the one that is there");
        let run = [[0; 4], [9; 4], [8; 4]].concat();
        assert_eq!(writes(&pages), [(0, run), (20, vec![20; 4])]);
        let mut large = Pages::default();
        let page = vec![7; PAGES_RUN_BYTES];
        assert!(large.add(0, &page) && large.add(page.len() as u64, &[1]));
        assert_eq!(writes(&large).len(), 2);
        assert_eq!(writes(&Pages::default()), []);
    }

    proptest! {
        #[test]
        fn what_was_added_is_found_and_written_and_nothing_else(
            adds in proptest::collection::vec((0_u64..64, 1_usize..9, any::<u8>()), 0..40),
        ) {
            let (mut pages, mut file) = (Pages::default(), vec![None; 80]);
            for (at, len, byte) in adds {
                let place = usize::try_from(at).unwrap()..usize::try_from(at).unwrap() + len;
                let is_free = file[place.clone()].iter().all(Option::is_none);
                if pages.add(at, &vec![byte; len]) {
                    file[place].fill(Some(byte));
                } else {
                    prop_assert!(!is_free);
                }
            }
            let mut written = vec![None; 80];
            for (at, data) in writes(&pages) {
                for (place, byte) in (usize::try_from(at).unwrap()..).zip(data) {
                    prop_assert!(written[place].replace(Some(byte)).is_none(), "twice");
                }
            }
            let written: Vec<_> = written.into_iter().map(Option::flatten).collect();
            prop_assert_eq!(&written, &file);
            for at in 0..80_u64 {
                let found: Vec<_> = pages.overlapping(at, 1).collect();
                let byte = file[usize::try_from(at).unwrap()];
                prop_assert_eq!(found.len(), usize::from(byte.is_some()));
                for (offset, data) in found {
                    prop_assert_eq!(Some(data[usize::try_from(at - offset).unwrap()]), byte);
                }
            }
            pages.clear(8);
            prop_assert!(pages.len() == 0 && pages.capacity() <= 8 && writes(&pages).is_empty());
        }
    }
}
