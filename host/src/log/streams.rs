//! Topics that number the events of their keys, as the streams of aggregates.

use std::sync::Arc;

use super::blobs;
use super::error::{BlobError, ReadError};
use super::guard::reading;
use super::read::{self, Entry};
use super::store::Log;
use crate::aggregate::{StreamEntry, Streams, Unreadable};
use crate::clock::Timestamp;
use crate::effects::StateUnavailable;
use crate::limits::READ_BYTES_MAX;

impl Log {
    /// When an event of a key was accepted, by its number; `None` where it isn't there, or damaged. Its data may be anywhere.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn accepted(&self, stream: &str, key: &str, number: u64) -> Result<Option<Timestamp>, ReadError> {
        let Some(before) = number.checked_sub(1) else { return Ok(None) };
        let topic = self.shared.sequenced(stream)?;
        let next = reading(|| read::key_events(&self.shared, &topic, key, before))?.into_iter().next();
        Ok(match next {
            Some((found, Entry::Event(stored))) if found == number => Some(stored.appended),
            _ => None,
        })
    }
}

impl Streams for Log {
    fn version(&self, stream: &str, key: &str) -> Result<u64, StateUnavailable> {
        let topic = self.shared.sequenced(stream);
        let read = topic.and_then(|topic| reading(|| read::visible_version(&self.shared, &topic, key)));
        read.map_err(|error| StateUnavailable(error.to_string()))
    }

    /// For a lane, and without a wait: what it has committed itself is visible. What others have appended since is
    /// found out by the commit.
    fn events(&self, stream: &str, key: &str, after: u64) -> Result<Vec<StreamEntry>, StateUnavailable> {
        let unavailable = |error: ReadError| StateUnavailable(error.to_string());
        let topic = self.shared.sequenced(stream).map_err(unavailable)?;
        let read = reading(|| read::key_events(&self.shared, &topic, key, after));
        let numbered = read.map_err(unavailable)?;
        if numbered.is_empty() {
            let removed = reading(|| read::removed_number(&self.shared, &topic, key, after));
            let removed = removed.map_err(unavailable)?;
            let entry = |number| StreamEntry { number, event: Err(Unreadable::Removed) };
            return Ok(removed.map(entry).into_iter().collect());
        }
        let (mut entries, mut bytes) = (Vec::with_capacity(numbered.len()), 0);
        for (number, entry) in numbered {
            // With data from the blob store they may be many times what the log has: the rest comes with the next call.
            if bytes >= READ_BYTES_MAX {
                break;
            }
            let event = match entry {
                Entry::Event(stored) => match blobs::check_out(&self.shared, &stored.event) {
                    Ok(None) => Ok((stored.appended, stored.event)),
                    Ok(Some(event)) => Ok((stored.appended, Arc::new(event))),
                    // It may be readable at the next attempt, and nobody may ask for it.
                    Err(error @ BlobError::Io { .. }) => {
                        Err(Unreadable::Unavailable { appended: stored.appended, reason: error.to_string() })
                    }
                    Err(error) => Err(Unreadable::Damaged {
                        appended: Some(stored.appended),
                        reason: error.to_string(),
                    }),
                },
                Entry::Damaged { reason, .. } => Err(Unreadable::Damaged { appended: None, reason }),
            };
            bytes += event.as_ref().map_or(0, |(_, event)| event.size());
            entries.push(StreamEntry { number, event });
        }
        Ok(entries)
    }
}
