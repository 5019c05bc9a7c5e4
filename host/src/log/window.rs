//! The deduplication windows.
//!
//! In the database a topic's is a row for each commit: `time i64, count * (identity 16 bytes, partition u32, offset u64)`,
//! little-endian. In memory it is a queue of the same, in the order in which they came, and an index of it. A commit adds to it
//! as it goes, and marks what it lets go of; once it is durable that is kept, and undone where it comes to nothing. A commit
//! that fails leaves a window that is of no use: it is read anew with the database.
//!
//! Rows are let go of by how many identities they have. Where damage changes that while the bus runs, the window forgets some
//! a little earlier or later than their rows, until it is opened again.

use std::collections::{BTreeMap, VecDeque};

use hashbrown::HashTable;
use redb::ReadableTable;

use super::error::StorageFault;
use super::schema::Tables;
use crate::clock::Timestamp;
use crate::config::Dedup;
use crate::ids::TopicId;

/// Bytes of one identity in a row.
const ENTRY: usize = 16 + 4 + 8;
/// Bytes before the identities: the commit's time.
const PREFIX: usize = 8;
/// The lower half of a number.
const HALF: u64 = 0xffff_ffff;
/// Rows that one commit drops from a window: bounds what a long pause costs the first publisher after it.
const EXPIRED_ROWS_MAX: usize = 64;
/// Identities that memory is taken for at a time: little enough for a topic that has few of them.
const CHUNK: usize = 128;

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub partition: u32,
    pub offset: u64,
}

/// What an event is known by within its topic, see [`identity`](super::hash::identity).
pub(super) type Identity = [u8; 16];

/// The windows of all topics, as the committer has them.
#[derive(Default)]
pub(super) struct Windows {
    of: BTreeMap<TopicId, Window>,
    /// Those that the commit in the making has begun with.
    changing: Vec<TopicId>,
}

impl Windows {
    /// Puts a topic's window in.
    pub fn insert(&mut self, topic: TopicId, window: Window) {
        self.of.insert(topic, window);
    }

    /// Has the commit begin with a topic's.
    pub fn begin(&mut self, topic: TopicId) -> &mut Window {
        self.changing.push(topic);
        self.get(topic)
    }

    /// A topic's, with which the commit has begun.
    pub fn get(&mut self, topic: TopicId) -> &mut Window {
        self.of.entry(topic).or_default()
    }

    /// Keeps what the commit has changed.
    pub fn keep(&mut self) {
        self.settle(Window::keep);
    }

    /// Undoes what the commit has changed.
    pub fn undo(&mut self) {
        self.settle(Window::undo);
    }

    fn settle(&mut self, how: impl Fn(&mut Window)) {
        for topic in self.changing.drain(..) {
            self.of.get_mut(&topic).map(&how);
        }
    }
}

/// The identities that a topic remembers.
#[derive(Default)]
pub(super) struct Window {
    entries: Entries,
    /// The numbers of the entries, by their identities: the lower halves, of which no two are the same within a window.
    index: HashTable<u32>,
    /// The first entry that the commit in the making doesn't let go of.
    kept: u64,
    /// The first one that it has added.
    added: u64,
}

/// Entries by the number in which they came, which doesn't change.
#[derive(Default)]
struct Entries {
    chunks: VecDeque<Box<[Entry; CHUNK]>>,
    /// The first one, and the one after the last.
    first: u64,
    next: u64,
}

/// 28 bytes: a whole offset would be padded to 32.
#[derive(Clone, Copy, Default)]
struct Entry {
    identity: Identity,
    partition: u32,
    offset_high: u32,
    offset_low: u32,
}

impl Window {
    /// Where the event of this identity is: what the commit has added counts, and what it lets go of does not.
    pub fn get(&self, identity: Identity) -> Option<Place> {
        let found = self.index.find(hash(identity), |slot| {
            let number = self.entries.number(*slot);
            number >= self.kept && self.entries.get(number).identity == identity
        })?;
        Some(self.entries.get(self.entries.number(*found)).place())
    }

    /// Adds an identity.
    pub fn add(&mut self, identity: Identity, place: Place) {
        let number = self.entries.push(Entry::new(identity, place));
        let entries = &self.entries;
        self.index.insert_unique(hash(identity), low(number), |slot| {
            hash(entries.get(entries.number(*slot)).identity)
        });
    }

    /// How many identities it has.
    pub fn len(&self) -> u64 {
        self.entries.next - self.kept
    }

    /// Adds the identities of a row that is durable.
    pub fn load(&mut self, row: &[u8]) {
        for (identity, place) in entries(row) {
            self.add(identity, place);
        }
        self.added = self.entries.next;
    }

    /// Lets go of the oldest rows that it need not have any more, and removes them from the database.
    pub fn expire(
        &mut self,
        tables: &mut Tables<'_>,
        topic: TopicId,
        bounds: Dedup,
        now: Timestamp,
    ) -> Result<(), StorageFault> {
        let oldest_kept = now.before(bounds.age);
        let mut rows = Vec::new();
        for row in tables.identities.range((topic.0, 0)..=(topic.0, u64::MAX))?.take(EXPIRED_ROWS_MAX) {
            let (key, row) = row?;
            if key.value().0 != topic.0 {
                // A page of another place: those of the other topic stay known.
                break;
            }
            let row = row.value();
            let identities = (row.len().saturating_sub(PREFIX) / ENTRY) as u64;
            if appended(row) >= oldest_kept && self.len().saturating_sub(identities) < bounds.count {
                break;
            }
            rows.push(key.value());
            self.let_go(identities);
        }
        for key in rows {
            tables.identities.remove(key)?;
        }
        Ok(())
    }

    /// Lets go of the oldest ones. Entries are in the order of their rows.
    fn let_go(&mut self, count: u64) {
        self.kept = self.added.min(self.kept.saturating_add(count));
    }

    /// How many bytes the row of what the commit has added takes; none where it has added nothing.
    pub fn row_bytes(&self) -> Option<usize> {
        let count = usize::try_from(self.entries.next - self.added).ok().filter(|count| *count > 0)?;
        Some(PREFIX + count * ENTRY)
    }

    /// Appends that row to `out`, for a commit of this time.
    pub fn write_row(&self, appended: Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(&appended.0.to_le_bytes());
        for number in self.added..self.entries.next {
            let entry = self.entries.get(number);
            out.extend_from_slice(&entry.identity);
            out.extend_from_slice(&entry.partition.to_le_bytes());
            out.extend_from_slice(&entry.offset_low.to_le_bytes());
            out.extend_from_slice(&entry.offset_high.to_le_bytes());
        }
    }

    fn keep(&mut self) {
        for number in self.entries.first..self.kept {
            self.forget(number);
        }
        self.entries.drop_before(self.kept);
        // As much as this commit has added has room in the next one: nobody waits for it here.
        let added = usize::try_from(self.entries.next - self.added).unwrap_or(0);
        let entries = &self.entries;
        self.index.reserve(added, |slot| hash(entries.get(entries.number(*slot)).identity));
        self.added = self.entries.next;
    }

    fn undo(&mut self) {
        for number in self.added..self.entries.next {
            self.forget(number);
        }
        self.entries.drop_from(self.added);
        self.kept = self.entries.first;
    }

    /// Takes an entry out of the index.
    fn forget(&mut self, number: u64) {
        let hash = hash(self.entries.get(number).identity);
        if let Ok(found) = self.index.find_entry(hash, |slot| *slot == low(number)) {
            found.remove();
        }
    }
}

impl Entries {
    fn push(&mut self, entry: Entry) -> u64 {
        let number = self.next;
        let (chunk, at) = self.at(number);
        if chunk == self.chunks.len() {
            self.chunks.push_back(Box::new([Entry::default(); CHUNK]));
        }
        self.chunks[chunk][at] = entry;
        self.next += 1;
        number
    }

    fn get(&self, number: u64) -> &Entry {
        let (chunk, at) = self.at(number);
        &self.chunks[chunk][at]
    }

    /// Where an entry is: which chunk, and where in it.
    fn at(&self, number: u64) -> (usize, usize) {
        let of = |number: u64| (number / CHUNK as u64, number % CHUNK as u64);
        let ((chunk, at), (first, _)) = (of(number), of(self.first));
        let index = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        (index(chunk - first), index(at))
    }

    /// The number of an entry that is here, of which this is the lower half.
    fn number(&self, low_half: u32) -> u64 {
        self.first + u64::from(low_half.wrapping_sub(low(self.first)))
    }

    fn drop_before(&mut self, number: u64) {
        let (chunks, _) = self.at(number);
        self.chunks.drain(..chunks.min(self.chunks.len()));
        self.first = number;
    }

    fn drop_from(&mut self, number: u64) {
        let (chunks, at) = self.at(number);
        self.chunks.truncate(chunks + usize::from(at > 0));
        self.next = number;
    }
}

impl Entry {
    fn new(identity: Identity, Place { partition, offset }: Place) -> Self {
        Self { identity, partition, offset_high: low(offset >> 32), offset_low: low(offset) }
    }

    fn place(&self) -> Place {
        let offset = (u64::from(self.offset_high) << 32) | u64::from(self.offset_low);
        Place { partition: self.partition, offset }
    }
}

/// Identities are hashes already: any 64 bits of one are a hash of it.
fn hash(identity: Identity) -> u64 {
    identity.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// The lower half of a number.
fn low(number: u64) -> u32 {
    (number & HALF) as u32
}

/// The places that a row of identities tells of.
pub(super) fn places(row: &[u8]) -> impl Iterator<Item = Place> {
    entries(row).map(|(_, place)| place)
}

fn appended(row: &[u8]) -> Timestamp {
    row.first_chunk().map_or(Timestamp(0), |bytes| Timestamp(i64::from_le_bytes(*bytes)))
}

fn entries(row: &[u8]) -> impl Iterator<Item = (Identity, Place)> {
    let (entries, _) = row.get(PREFIX..).unwrap_or_default().as_chunks::<ENTRY>();
    entries.iter().map(|entry| {
        let mut identity = Identity::default();
        identity.copy_from_slice(&entry[..16]);
        let mut partition = [0; 4];
        partition.copy_from_slice(&entry[16..20]);
        let mut offset = [0; 8];
        offset.copy_from_slice(&entry[20..]);
        let place = Place { partition: u32::from_le_bytes(partition), offset: u64::from_le_bytes(offset) };
        (identity, place)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn identity(number: u8) -> Identity {
        // All hashes are the same in their first half.
        let mut identity = [0; 16];
        (identity[0], identity[15]) = (number / 2, number);
        identity
    }

    fn place(offset: u64) -> Place {
        Place { partition: 3, offset }
    }

    /// What a commit does to a window.
    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        /// Lets go of so many.
        Expire(u64),
        Keep,
        Undo,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => any::<u8>().prop_map(Step::Add),
            2 => (0..200_u64).prop_map(Step::Expire),
            2 => Just(Step::Keep),
            1 => Just(Step::Undo),
        ];
        proptest::collection::vec(step, 0..1500)
    }

    proptest! {
        #[test]
        fn a_window_knows_what_was_added_and_kept_and_nothing_else(steps in steps()) {
            // Numbers of which the lower half comes to its end.
            let mut window = Window::default();
            let first = u64::from(u32::MAX) - 50;
            (window.entries.first, window.entries.next) = (first, first);
            (window.kept, window.added) = (first, first);
            // In the order in which they came, and what of it is durable.
            let (mut known, mut durable) = (Vec::<(u8, u64)>::new(), Vec::new());
            // How many of the durable ones are left.
            let mut added = 0;
            for (offset, step) in (u64::from(u32::MAX) - 5..).zip(steps) {
                match step {
                    Step::Add(number) => {
                        if !known.iter().any(|(other, _)| *other == number) {
                            window.add(identity(number), place(offset));
                            known.push((number, offset));
                        }
                    }
                    Step::Expire(count) => {
                        window.let_go(count);
                        let gone = usize::try_from(count).unwrap().min(known.len() - added);
                        known.drain(..gone);
                    }
                    Step::Keep => {
                        window.keep();
                        (durable, added) = (known.clone(), 0);
                        continue;
                    }
                    Step::Undo => {
                        window.undo();
                        (known, added) = (durable.clone(), 0);
                        continue;
                    }
                }
                added = known.iter().filter(|one| !durable.contains(one)).count();
            }
            prop_assert_eq!(window.len(), known.len() as u64);
            let known: HashMap<_, _> = known.into_iter().collect();
            for number in 0..=u8::MAX {
                let offset = known.get(&number).copied();
                prop_assert_eq!(window.get(identity(number)), offset.map(place), "{}", number);
            }
        }
    }

    #[test]
    fn a_row_has_what_the_commit_has_added_and_is_loaded_as_it_was() {
        let mut window = Window::default();
        window.add(identity(1), place(1));
        window.keep();
        assert_eq!(window.row_bytes(), None);
        window.add(identity(2), place(u64::MAX - 1));
        window.add(identity(3), place(1 << 32));
        let mut row = Vec::new();
        window.write_row(Timestamp(5), &mut row);
        assert_eq!(window.row_bytes(), Some(row.len()));
        assert_eq!(appended(&row), Timestamp(5));
        let mut other = Window::default();
        other.load(&row);
        let places: Vec<_> = (1..4).map(|number| other.get(identity(number))).collect();
        assert_eq!(places, [None, Some(place(u64::MAX - 1)), Some(place(1 << 32))]);
        assert_eq!(other.row_bytes(), None, "what is loaded is durable");
    }

    #[test]
    fn memory_is_given_back_for_what_has_left_the_window() {
        let mut window = Window::default();
        for offset in 0..100 * CHUNK as u64 {
            window.add(identity(7), place(offset));
            window.keep();
            window.let_go(1);
            window.keep();
        }
        assert!(window.entries.chunks.len() <= 1 && window.index.is_empty());
    }
}
