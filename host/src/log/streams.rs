//! Topics that number the events of their keys, as the streams of aggregates.

use super::guard::reading;
use super::read::{self, Entry};
use super::store::Log;
use crate::aggregate::{StreamEntry, Streams};
use crate::effects::StateUnavailable;

impl Streams for Log {
    fn version(&self, stream: &str, key: &str) -> Result<u64, StateUnavailable> {
        let topic = self.shared.sequenced(stream);
        let read = topic.and_then(|topic| reading(|| read::visible_version(&self.shared, &topic, key)));
        read.map_err(|error| StateUnavailable(error.to_string()))
    }

    /// For a lane, and without a wait: what it has committed itself is visible. What others have appended since is
    /// found out by the commit.
    fn events(&self, stream: &str, key: &str, after: u64) -> Result<Vec<StreamEntry>, StateUnavailable> {
        let topic = self.shared.sequenced(stream);
        let read = topic.and_then(|topic| reading(|| read::key_events(&self.shared, &topic, key, after)));
        let numbered = read.map_err(|error| StateUnavailable(error.to_string()))?;
        let entry = |(number, entry)| {
            let event = match entry {
                Entry::Event(stored) => Ok((stored.appended, stored.event)),
                Entry::Damaged { reason, .. } => Err(reason),
            };
            StreamEntry { number, event }
        };
        Ok(numbered.into_iter().map(entry).collect())
    }
}
