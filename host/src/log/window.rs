//! The deduplication window of one topic.
//!
//! In the database it is a row for each commit: `count * (identity 16 bytes, partition u32, offset u64)`, little-endian. In
//! memory it is a map of the same. What falls out of the window is read back from its row, so that memory holds each
//! identity once.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

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
/// The lower half of an offset.
const HALF: u64 = 0xffff_ffff;
/// Rows that one commit drops from a window: bounds what a long pause costs the first publisher after it.
const EXPIRED_ROWS_MAX: usize = 64;

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub partition: u32,
    pub offset: u64,
}

/// What an event is known by within its topic, see [`identity`](super::hash::identity).
pub(super) type Identity = [u8; 16];

/// Identities are hashes already: any 64 bits of one are a hash of it.
#[derive(Default)]
pub(super) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    /// An array writes its length first, which its bytes then replace.
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(0, |first| u64::from_le_bytes(*first));
    }
}

pub(super) type IdentityMap<V> = HashMap<Identity, V, BuildHasherDefault<IdentityHasher>>;
pub(super) type IdentitySet = HashSet<Identity, BuildHasherDefault<IdentityHasher>>;

/// The identities that a topic remembers, as far as they are durable.
#[derive(Default)]
pub(super) struct Window {
    /// The partition and the two halves of the offset: 28 bytes an entry, where whole ones would be padded to 32.
    places: IdentityMap<(u32, u32, u32)>,
}

impl Window {
    /// Where the event of this identity is.
    pub fn get(&self, identity: Identity) -> Option<Place> {
        self.places.get(&identity).map(|(partition, high, low)| Place {
            partition: *partition,
            offset: (u64::from(*high) << 32) | u64::from(*low),
        })
    }

    /// Adds an identity.
    pub fn insert(&mut self, identity: Identity, place: Place) {
        self.places
            .insert(identity, (place.partition, (place.offset >> 32) as u32, (place.offset & HALF) as u32));
    }

    /// Makes room for so many more.
    pub fn reserve(&mut self, count: usize) {
        self.places.reserve(count);
    }

    /// How many identities it has.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds the identities of a row.
    pub fn load(&mut self, row: &[u8]) {
        for (identity, place) in entries(row) {
            self.insert(identity, place);
        }
    }

    /// Finds the oldest rows that the window does not need any more, removes them from the database, and returns their
    /// identities, for [`forget`](Self::forget) once that is durable. It has `count` identities, or will have them.
    pub fn expire(
        tables: &mut Tables<'_>,
        topic: TopicId,
        bounds: Dedup,
        now: Timestamp,
        count: usize,
    ) -> Result<Vec<Identity>, StorageFault> {
        let oldest_kept = now.before(bounds.age);
        let mut count = count as u64;
        let mut rows = Vec::new();
        let mut expired = Vec::new();
        for row in tables.identities.range((topic.0, 0)..=(topic.0, u64::MAX))?.take(EXPIRED_ROWS_MAX) {
            let (key, row) = row?;
            if key.value().0 != topic.0 {
                // A page of another place: those of the other topic stay known.
                break;
            }
            let row = row.value();
            let identities = (row.len().saturating_sub(PREFIX) / ENTRY) as u64;
            if appended(row) >= oldest_kept && count.saturating_sub(identities) < bounds.count {
                break;
            }
            count = count.saturating_sub(identities);
            rows.push(key.value());
            expired.extend(entries(row).map(|(identity, _)| identity));
        }
        for key in rows {
            tables.identities.remove(key)?;
        }
        Ok(expired)
    }

    /// Forgets identities that are expired.
    pub fn forget(&mut self, expired: impl IntoIterator<Item = Identity>) {
        for identity in expired {
            self.places.remove(&identity);
        }
    }
}

/// The row of a commit's identities.
pub(super) fn row(appended: Timestamp, entries: &[(Identity, Place)]) -> Vec<u8> {
    let mut row = Vec::with_capacity(PREFIX + entries.len() * ENTRY);
    row.extend_from_slice(&appended.0.to_le_bytes());
    for (identity, place) in entries {
        row.extend_from_slice(identity);
        row.extend_from_slice(&place.partition.to_le_bytes());
        row.extend_from_slice(&place.offset.to_le_bytes());
    }
    row
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
