//! What has to be true of large data: each event that is read has the data that was handed in, wherever the log keeps it, and the blob
//! store keeps no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate::{Bus, DeadLetter, Event, Position};

use super::{LETTERS, TOPICS, text};

/// An event with its data, as it was handed in.
///
/// # Errors
///
/// Its data is not there.
pub fn whole(bus: &Bus, event: &Arc<Event>) -> Result<Arc<Event>, String> {
    bus.with_data(event).map_err(|error| format!("{} has lost its data: {error}", event.id()))
}

/// Whether the log has a reference in place of its data.
pub fn is_checked(event: &Event) -> bool {
    event.extension("dataref").is_some()
}

/// Dead letters have their data, whatever retention has removed since.
///
/// # Errors
///
/// One hasn't.
pub fn check_letters(bus: &Bus, letters: &[DeadLetter]) -> Result<(), String> {
    let events = letters.iter().filter_map(|letter| letter.event.as_ref());
    events.filter(|event| is_checked(event)).try_for_each(|event| whole(bus, event).map(drop))
}

/// Looks at the blob store once all that is not needed was removed and nothing is under way. Returns how many blobs it has.
///
/// # Errors
///
/// There is a blob that no event names, or one that is not as it was written.
pub fn check_store(bus: &Bus) -> Result<u64, String> {
    let mut references = BTreeSet::new();
    for (topic, _) in TOPICS {
        let mut reader = bus.read(topic, None, Position::Earliest).map_err(text)?;
        while let Some(record) = reader.try_next().map_err(text)? {
            references.extend(record.event.extension("dataref").map(|reference| format!("{reference:?}")));
        }
    }
    let listed = bus.verify_blobs(None, LETTERS).map_err(text)?;
    if let Some(damaged) = listed.iter().find(|blob| blob.problem.is_some()) {
        return Err(format!("a blob is not as it was written: {damaged:?}"));
    }
    let (usage, bytes) = (bus.blob_usage(), listed.iter().map(|blob| blob.bytes).sum::<u64>());
    if (usage.blobs, usage.bytes) != (listed.len() as u64, bytes) || references.len() != listed.len() {
        return Err(format!("the blob store has {usage:?}, named are {listed:?} by {references:?}"));
    }
    Ok(usage.blobs)
}
