//! The hashes that the log keeps by.

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use siphasher::sip128::{Hasher128, SipHasher24 as SipHasher24Wide};

use super::keys::KeyIdentity;
use super::window::Identity;
use crate::event::Event;
use crate::ids::TopicId;
use crate::timer::TimerName;

/// The hash of a key: SipHash-2-4 with 64 bits of output under the key of sixteen zero bytes, over the key's UTF-8.
///
/// It is part of the storage format: it picks the partition, and never changes.
pub(crate) fn key_hash(key: &str) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(key.as_bytes());
    hasher.finish()
}

/// The partition of a key: its hash modulo the number of partitions.
pub(crate) fn partition_of(key_hash: u64, partitions: u32) -> u32 {
    let partition = u32::try_from(key_hash % u64::from(partitions));
    partition.unwrap_or_else(|_| unreachable!("it is less than the number of partitions"))
}

/// What deduplication knows an event by: SipHash-2-4 with 128 bits of output over topic, source and id, under a key that
/// each bus draws for itself, so that nobody can make two identities that collide.
pub(super) fn identity(hash_key: [u8; 16], topic: TopicId, event: &Event) -> Identity {
    let mut hasher = SipHasher24Wide::new_with_key(&hash_key);
    hasher.write(&topic.0.to_le_bytes());
    // The length keeps ("ab", "c") apart from ("a", "bc").
    hasher.write(&(event.source().len() as u64).to_le_bytes());
    hasher.write(event.source().as_bytes());
    hasher.write(event.id().as_bytes());
    hasher.finish128().as_bytes()
}

/// What the index of keys knows a key by: SipHash-2-4 with 128 bits of output over topic and key, under the bus's key.
pub(super) fn key_identity(hash_key: [u8; 16], topic: TopicId, key: &str) -> KeyIdentity {
    let mut hasher = SipHasher24Wide::new_with_key(&hash_key);
    hasher.write(&topic.0.to_le_bytes());
    hasher.write(key.as_bytes());
    hasher.finish128().as_u128()
}

/// What a timer is known by within its lane: SipHash-2-4 with 128 bits of output over its key and its name, under the bus's key.
pub(super) fn timer_identity(hash_key: [u8; 16], timer: &TimerName) -> u128 {
    let mut hasher = SipHasher24Wide::new_with_key(&hash_key);
    // The length keeps ("ab", "c") apart from ("a", "bc").
    hasher.write(&(timer.key.len() as u64).to_le_bytes());
    hasher.write(timer.key.as_bytes());
    hasher.write(timer.name.as_bytes());
    hasher.finish128().as_u128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_of_a_key_never_changes() {
        // SipHash-2-4 of the empty string and of one zero byte under the zero key, from the reference implementation.
        assert_eq!(key_hash(""), 0x1e92_4b9d_7377_00d7);
        assert_eq!(key_hash("\0"), 0x8b5a_0baa_49fb_c58d);
        assert_eq!(partition_of(0x1e92_4b9d_7377_00d7, 8), 7);
    }

    #[test]
    fn an_identity_is_of_topic_source_and_id() {
        let event = |source: &str, id: &str| Event::new(id, source, "T").build().unwrap();
        let first = identity([1; 16], TopicId(1), &event("/ab", "c"));
        assert_ne!(first, identity([1; 16], TopicId(1), &event("/a", "bc")));
        assert_ne!(first, identity([1; 16], TopicId(2), &event("/ab", "c")));
        assert_ne!(first, identity([2; 16], TopicId(1), &event("/ab", "c")));
        assert_eq!(first, identity([1; 16], TopicId(1), &event("/ab", "c")));
    }
}
