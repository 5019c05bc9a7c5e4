//! Events as a commit takes them.
//!
//! All that doesn't depend on where an event comes to lie (its bytes, its partition, what it is known by) is made by whoever
//! hands it in, on a thread of theirs: the committer is one for all.

use std::sync::Arc;

use super::blobs::Kept;
use super::hash;
use super::keys::KeyIdentity;
use super::record::{self, Digits, bounded_u32};
use super::topics::Topic;
use super::window::Identity;
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::event::{BlobRef, Event};
use crate::ids::TopicId;

/// Bytes of a record beyond those of its event, at the most where attributes are few: a longer one costs a copy.
const RECORD_OVERHEAD: usize = 64;

/// Events on their way into a commit, in order.
#[derive(Default)]
pub(super) struct NewEvents {
    heads: Vec<Head>,
    /// Their topics: each is here once for those in a row that go there.
    topics: Vec<Arc<Topic>>,
    /// What those have beside that which are numbered among the events of their keys.
    numbered: Vec<Numbered>,
    /// Those whose data is in the blob store, by where they are, in ascending order.
    blobs: Vec<(usize, Kept)>,
    /// Their records, one after the other.
    records: Vec<u8>,
    bytes: usize,
}

/// What the committer looks at, of events that another thread has made: as little as can be.
struct Head {
    identity: Identity,
    partition: u32,
    /// Its topic among those.
    topic: u32,
    /// Where it is among the numbered ones, where its topic numbers them.
    numbered: Option<u32>,
    /// Where its record ends.
    end: usize,
}

struct Numbered {
    key: KeyIdentity,
    digits: Option<Digits>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct NewEvent<'a> {
    events: &'a Arc<NewEvents>,
    index: usize,
}

impl NewEvents {
    /// Those with room for so many, of so many bytes of [`Event::size`] together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        let records = Vec::with_capacity(bytes + count * RECORD_OVERHEAD);
        Self { heads: Vec::with_capacity(count), records, ..Self::default() }
    }

    /// One event alone, with its data in the blob store if it is there.
    pub fn of(hash_key: [u8; 16], topic: Arc<Topic>, event: &Event, blob: Option<Kept>) -> Arc<Self> {
        let mut events = Self::with_capacity(1, event.size());
        events.push(hash_key, topic, event, blob);
        Arc::new(events)
    }

    /// One that no bus will have, for what looks into batches.
    pub fn alone(event: &Event) -> Arc<Self> {
        let topic =
            Topic::new(TopicId(1), "alone".into(), Timestamp(0), TopicConfig::new(1), vec![<_>::default()]);
        Self::of(<_>::default(), Arc::new(topic), event, None)
    }

    /// Adds an event, and has its data stay in the blob store, if it is there, as long as this is there. `hash_key` is the bus's.
    pub fn push(&mut self, hash_key: [u8; 16], topic: Arc<Topic>, event: &Event, blob: Option<Kept>) {
        self.blobs.extend(blob.map(|blob| (self.heads.len(), blob)));
        let digits = record::encode_unplaced(event, topic.sequence, &mut self.records);
        self.bytes += event.size();
        let numbered = topic.sequence.then(|| bounded_u32(self.numbered.len()));
        if topic.sequence {
            self.numbered.push(Numbered { key: hash::key_identity(hash_key, topic.id, event.key()), digits });
        }
        let (partition, identity) = (
            hash::partition_of(hash::key_hash(event.key()), topic.partition_count()),
            hash::identity(hash_key, topic.id, event),
        );
        if self.topics.last().is_none_or(|last| !Arc::ptr_eq(last, &topic)) {
            self.topics.push(topic);
        }
        let topic = bounded_u32(self.topics.len() - 1);
        self.heads.push(Head { identity, partition, topic, numbered, end: self.records.len() });
    }

    pub fn len(&self) -> usize {
        self.heads.len()
    }

    pub fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }

    /// Bytes of [`Event::size`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Their topics.
    pub fn topics(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().map(|topic| &**topic)
    }

    /// The event of those that are one.
    pub fn only(self: &Arc<Self>) -> NewEvent<'_> {
        NewEvent { events: self, index: 0 }
    }

    pub fn iter(self: &Arc<Self>) -> impl Iterator<Item = NewEvent<'_>> {
        (0..self.len()).map(|index| NewEvent { events: self, index })
    }

    /// The record at `index`, without what its place adds to it.
    pub fn record(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.heads[before].end);
        &self.records[start..self.heads[index].end]
    }

    /// Where the number of the event at `index` goes, where it gets one.
    pub fn digits(&self, index: usize) -> Option<Digits> {
        self.numbered(index)?.digits
    }

    fn blob(&self, index: usize) -> Option<BlobRef> {
        let found = self.blobs.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(self.blobs[found].1.blob())
    }

    fn numbered(&self, index: usize) -> Option<&Numbered> {
        self.numbered.get(self.heads[index].numbered? as usize)
    }
}

impl<'a> NewEvent<'a> {
    fn head(&self) -> &'a Head {
        &self.events.heads[self.index]
    }

    /// Those that it is one of, and where it is among them.
    pub fn place(&self) -> (&'a Arc<NewEvents>, usize) {
        (self.events, self.index)
    }

    pub fn topic(&self) -> &'a Arc<Topic> {
        &self.events.topics[self.head().topic as usize]
    }

    pub fn partition(&self) -> u32 {
        self.head().partition
    }

    /// What deduplication knows it by.
    pub fn identity(&self) -> Identity {
        self.head().identity
    }

    /// What the index of keys knows its key by, where the topic numbers the events of its keys.
    pub fn key(&self) -> Option<KeyIdentity> {
        Some(self.events.numbered(self.index)?.key)
    }

    /// Its data in the blob store, if it is there.
    pub fn blob(&self) -> Option<BlobRef> {
        self.events.blob(self.index)
    }

    /// Its record, without what its place adds to it.
    pub fn record(&self) -> &'a [u8] {
        self.events.record(self.index)
    }
}
