//! What has to be true of large data: each event that is read has the data that was handed in, wherever the log keeps it, and the blob
//! store keeps no other.

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate::{Attribute, Bus, DeadLetter, Event, Position};

use super::{LETTERS, TOPICS, text};

/// What references of the bus begin with.
const REFERENCE: &str = "tidegate:blob/sha256/";

/// An event with its data, as it was handed in.
///
/// # Errors
///
/// Its data is not there.
pub fn whole(bus: &Bus, event: &Arc<Event>) -> Result<Arc<Event>, String> {
    bus.with_data(event).map_err(|error| format!("{} has lost its data: {error}", event.id()))
}

/// The name of the blob that the log refers to in place of an event's data.
pub fn name(event: &Event) -> Option<String> {
    let Attribute::UriReference(reference) = event.extension("dataref")? else { return None };
    Some(reference.strip_prefix(REFERENCE)?.split('?').next().unwrap_or_default().to_owned())
}

/// Dead letters have their data, whatever retention has removed since.
///
/// # Errors
///
/// One hasn't.
pub fn check_letters(bus: &Bus, letters: &[DeadLetter]) -> Result<(), String> {
    let events = letters.iter().filter_map(|letter| letter.event.as_ref());
    events.filter(|event| name(event).is_some()).try_for_each(|event| whole(bus, event).map(drop))
}

/// Looks at the blob store once all that is not needed was removed and nothing is under way. Returns how many blobs it has.
///
/// # Errors
///
/// There is a blob that no event names, or one that is not as it was written.
pub fn check_store(bus: &Bus) -> Result<u64, String> {
    let mut named = BTreeSet::new();
    for (topic, _) in TOPICS {
        let mut reader = bus.read(topic, None, Position::Earliest).map_err(text)?;
        while let Some(record) = reader.try_next().map_err(text)? {
            named.extend(name(&record.event));
        }
    }
    let listed = bus.verify_blobs(None, LETTERS).map_err(text)?;
    if let Some(damaged) = listed.iter().find(|blob| blob.problem.is_some()) {
        return Err(format!("a blob is not as it was written: {damaged:?}"));
    }
    let (usage, bytes) = (bus.blob_usage(), listed.iter().map(|blob| blob.bytes).sum::<u64>());
    if (usage.blobs, usage.bytes) != (listed.len() as u64, bytes)
        || !listed.iter().map(|blob| &blob.digest).eq(&named)
    {
        return Err(format!(
            "the blob store has {usage:?}, listed are {listed:?}, and events name {named:?}"
        ));
    }
    Ok(usage.blobs)
}
