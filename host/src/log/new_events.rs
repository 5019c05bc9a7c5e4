//! Events as a commit takes them.
//!
//! All that doesn't depend on where an event comes to lie (its bytes, its partition, what it is known by) is made by whoever
//! hands it in, on a thread of theirs: the committer is one for all.

use std::sync::Arc;

use super::hash;
use super::keys::KeyIdentity;
use super::record::{self, Digits};
use super::topics::Topic;
use super::window::Identity;
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::event::Event;
use crate::ids::TopicId;

/// Bytes of a record beyond those of its event, at the most where attributes are few: a longer one costs a copy.
const RECORD_OVERHEAD: usize = 64;

/// Events on their way into a commit, in order.
#[derive(Default)]
pub(super) struct NewEvents {
    heads: Vec<Head>,
    /// Their records, one after the other.
    records: Vec<u8>,
    bytes: usize,
}

struct Head {
    topic: Arc<Topic>,
    partition: u32,
    identity: Identity,
    key: Option<KeyIdentity>,
    digits: Option<Digits>,
    /// Where its record ends.
    end: usize,
}

/// One of them.
#[derive(Clone)]
pub(super) struct NewEvent {
    events: Arc<NewEvents>,
    index: usize,
}

impl NewEvents {
    /// Those with room for so many, of so many bytes of [`Event::size`] together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        let records = Vec::with_capacity(bytes + count * RECORD_OVERHEAD);
        Self { heads: Vec::with_capacity(count), records, bytes: 0 }
    }

    /// Adds an event. `hash_key` is the bus's.
    pub fn push(&mut self, hash_key: [u8; 16], topic: Arc<Topic>, event: &Event) {
        let digits = record::encode_unplaced(event, topic.sequence, &mut self.records);
        self.bytes += event.size();
        self.heads.push(Head {
            partition: hash::partition_of(hash::key_hash(event.key()), topic.partition_count()),
            identity: hash::identity(hash_key, topic.id, event),
            key: topic.sequence.then(|| hash::key_identity(hash_key, topic.id, event.key())),
            digits,
            end: self.records.len(),
            topic,
        });
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
        self.heads.iter().map(|head| &*head.topic)
    }

    pub fn first(self: &Arc<Self>) -> Option<NewEvent> {
        self.iter().next()
    }

    pub fn iter(self: &Arc<Self>) -> impl Iterator<Item = NewEvent> {
        (0..self.len()).map(|index| NewEvent { events: Arc::clone(self), index })
    }
}

impl NewEvent {
    /// One event alone.
    pub fn of(hash_key: [u8; 16], topic: Arc<Topic>, event: &Event) -> Self {
        let mut events = NewEvents::with_capacity(1, event.size());
        events.push(hash_key, topic, event);
        Self { events: Arc::new(events), index: 0 }
    }

    /// One that no bus will have, for what looks into batches.
    pub fn alone(event: &Event) -> Self {
        let topic =
            Topic::new(TopicId(1), "alone".into(), Timestamp(0), TopicConfig::new(1), vec![<_>::default()]);
        Self::of(<_>::default(), Arc::new(topic), event)
    }

    fn head(&self) -> &Head {
        &self.events.heads[self.index]
    }

    pub fn topic(&self) -> &Arc<Topic> {
        &self.head().topic
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
        self.head().key
    }

    /// Its record, without what its place adds to it.
    pub fn record(&self) -> &[u8] {
        let start = self.index.checked_sub(1).map_or(0, |before| self.events.heads[before].end);
        &self.events.records[start..self.head().end]
    }

    /// Where its number goes, where it gets one.
    pub fn digits(&self) -> Option<Digits> {
        self.head().digits
    }
}
