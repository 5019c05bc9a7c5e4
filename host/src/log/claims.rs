//! Who has a blob: the events, dead letters and held events that name it, so that it is removed when none of them does any more.
//!
//! Two tables say the same, each for its own question: `claims` what a holder has, `blobs` who holds a blob. There is no count of
//! them, which could go wrong by one: a row is there or not, however often it was written, and both are written together.

use std::ops::RangeInclusive;

use redb::{ReadableTable, ReadableTableMetadata as _};

use super::error::{ReadError, StorageFault};
use super::schema::{BLOBS, Tables};
use super::shared::Shared;
use super::txn::Txn;
use crate::event::{BlobDigest, BlobRef, Event};
use crate::ids::{ConsumerId, LaneId, TopicId};

/// The key of `claims`: what kind of holder, topic or consumer, partition, offset or number.
pub(super) type ClaimKey = (u8, u32, u32, u64);
/// A digest as tables have it: two numbers, the first bytes in the first one.
pub(super) type DigestKey = (u128, u128);
/// The key of `blobs`: the digest, and a holder.
pub(super) type BlobKey = (u128, u128, u8, u32, u32, u64);

const EVENT: u8 = 0;
const LETTER: u8 = 1;
const HELD: u8 = 2;

/// What can hold a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// An event in the log.
    Event(TopicId, u32, u64),
    /// A dead letter, which has its event with it.
    Letter(ConsumerId, u64),
    /// A held event whose row has it with it: a redriven one.
    Held(LaneId, u64),
}

impl Holder {
    fn key(self) -> ClaimKey {
        match self {
            Self::Event(topic, partition, offset) => (EVENT, topic.0, partition, offset),
            Self::Letter(consumer, letter) => (LETTER, consumer.0, 0, letter),
            Self::Held(lane, id) => (HELD, lane.consumer.0, lane.partition, id),
        }
    }
}

/// A blob, as a list of them has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListedBlob {
    pub digest: BlobDigest,
    pub bytes: u64,
    /// How many hold it.
    pub holders: u64,
}

fn digest_key(BlobDigest(digest): BlobDigest) -> DigestKey {
    let (halves, _) = digest.as_chunks::<16>();
    (u128::from_be_bytes(halves[0]), u128::from_be_bytes(halves[1]))
}

fn digest_of((high, low): DigestKey) -> BlobDigest {
    let mut digest = [0; 32];
    digest[..16].copy_from_slice(&high.to_be_bytes());
    digest[16..].copy_from_slice(&low.to_be_bytes());
    BlobDigest(digest)
}

fn blob_key((high, low): DigestKey, (kind, first, second, third): ClaimKey) -> BlobKey {
    (high, low, kind, first, second, third)
}

/// All holders of a blob.
fn holders((high, low): DigestKey) -> RangeInclusive<BlobKey> {
    (high, low, 0, 0, 0, 0)..=(high, low, u8::MAX, u32::MAX, u32::MAX, u64::MAX)
}

/// From now on, this holder has the blob.
pub(super) fn add(tables: &mut Tables<'_>, holder: Holder, blob: BlobRef) -> Result<(), StorageFault> {
    let (key, digest) = (holder.key(), digest_key(blob.digest));
    tables.claims.insert(key, digest)?;
    tables.blobs.insert(blob_key(digest, key), blob.bytes)?;
    Ok(())
}

/// The same, of an event that may name a blob.
pub(super) fn add_of(
    tables: &mut Tables<'_>,
    holder: Holder,
    event: Option<&Event>,
) -> Result<(), StorageFault> {
    match event.and_then(Event::blob) {
        Some(blob) => add(tables, holder, blob),
        None => Ok(()),
    }
}

/// What this holder may have, it has no more.
pub(super) fn release(txn: &mut Txn<'_>, holder: Holder) -> Result<(), StorageFault> {
    release_in(txn, holder.key()..=holder.key(), usize::MAX).map(drop)
}

/// What events of a partition below this offset may have, they have no more.
pub(super) fn release_events(
    txn: &mut Txn<'_>,
    topic: TopicId,
    partition: u32,
    low: u64,
) -> Result<(), StorageFault> {
    let Some(last) = low.checked_sub(1) else { return Ok(()) };
    let events = (EVENT, topic.0, partition, 0)..=(EVENT, topic.0, partition, last);
    release_in(txn, events, usize::MAX).map(drop)
}

/// What a consumer's dead letters and held events may have, they have no more: at most so many of them. Returns how many.
pub(super) fn release_consumer(
    txn: &mut Txn<'_>,
    consumer: ConsumerId,
    most: usize,
) -> Result<usize, StorageFault> {
    let mut released = 0;
    for kind in [LETTER, HELD] {
        let all = (kind, consumer.0, 0, 0)..=(kind, consumer.0, u32::MAX, u64::MAX);
        released += release_in(txn, all, most - released)?;
    }
    Ok(released)
}

fn release_in(
    txn: &mut Txn<'_>,
    range: RangeInclusive<ClaimKey>,
    most: usize,
) -> Result<usize, StorageFault> {
    // Most buses have none, and this is asked for whatever is removed.
    if txn.tables.claims.is_empty()? {
        return Ok(0);
    }
    let mut found = Vec::new();
    for row in txn.tables.claims.range(range)?.take(most) {
        let (key, digest) = row?;
        found.push((key.value(), digest.value()));
    }
    let released = found.len();
    for (key, digest) in found {
        txn.tables.claims.remove(key)?;
        txn.tables.blobs.remove(blob_key(digest, key))?;
        txn.after(move |shared| shared.blobs.look_at(digest_of(digest)));
    }
    Ok(released)
}

/// Which of these blobs nobody has.
pub(super) fn unclaimed(txn: &Txn<'_>, blobs: Vec<BlobDigest>) -> Result<Vec<BlobDigest>, StorageFault> {
    let mut unclaimed = Vec::new();
    for digest in blobs {
        if txn.tables.blobs.range(holders(digest_key(digest)))?.next().transpose()?.is_none() {
            unclaimed.push(digest);
        }
    }
    Ok(unclaimed)
}

/// Whether somebody has this blob.
pub(super) fn is_claimed(shared: &Shared, digest: BlobDigest) -> Result<bool, ReadError> {
    let table = shared.begin_read()?.open_table(BLOBS)?;
    Ok(table.range(holders(digest_key(digest)))?.next().transpose()?.is_some())
}

/// The blobs behind this one that somebody has, at most so many.
pub(super) fn list(
    shared: &Shared,
    after: Option<BlobDigest>,
    limit: usize,
) -> Result<Vec<ListedBlob>, ReadError> {
    let table = shared.begin_read()?.open_table(BLOBS)?;
    let first = after.map_or((0, 0, 0, 0, 0, 0), |after| *holders(digest_key(after)).end());
    let mut listed: Vec<ListedBlob> = Vec::new();
    for row in table.range(first..)? {
        let (key, bytes) = row?;
        let (high, low, ..) = key.value();
        let digest = digest_of((high, low));
        if let Some(last) = listed.last_mut().filter(|last| last.digest == digest) {
            last.holders += 1;
        } else if listed.len() == limit {
            break;
        } else if after != Some(digest) {
            listed.push(ListedBlob { digest, bytes: bytes.value(), holders: 1 });
        }
    }
    Ok(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_comes_back_from_its_key() {
        let digest = BlobDigest::of(b"x");
        assert_eq!(digest_of(digest_key(digest)), digest);
    }
}
