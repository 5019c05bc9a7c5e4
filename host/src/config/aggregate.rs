//! Settings of a consumer that is an aggregate.

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::error::Place;
use crate::limits::{
    AGGREGATES_CACHED, AGGREGATES_CACHED_BYTES, AGGREGATES_CACHED_BYTES_CEILING, AGGREGATES_CACHED_CEILING,
    SNAPSHOT_EVERY, SNAPSHOT_EVERY_CEILING,
};

/// Settings of a consumer that is an aggregate: it reads commands, and decides events of its stream.
///
/// ```
/// use tidegate::config::{AggregateConfig, PluginConfig};
///
/// let accounts = AggregateConfig::new("accounts").snapshot_every(50);
/// PluginConfig::new("plugins/accounts.wasm").aggregate(accounts).validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AggregateConfig {
    /// The topic of its events. It numbers the events of each key, has as many partitions as the topic of the commands,
    /// and no retention. The plugin needs no grant for it.
    pub stream: String,
    /// The topic to which it publishes an event for each command that it rejects, of the type
    /// [`REJECTED`](crate::REJECTED) and under the command's key: so that whoever sent the command by a topic learns of it. None by
    /// default. The plugin needs no grant for it.
    pub rejections: Option<String>,
    /// Events of one aggregate after which its state is kept, so that it is never rebuilt of more: 1 to 100,000, by
    /// default 100.
    pub snapshot_every: u32,
    /// Aggregates whose state each lane has in memory: up to 1,000,000, by default 10,000. Of another one, snapshot and
    /// events are read first.
    pub cache_count: usize,
    /// Bytes that these take in each lane: up to 1 GiB, by default 4 MiB.
    pub cache_bytes: usize,
}

impl Default for AggregateConfig {
    fn default() -> Self {
        Self {
            stream: String::new(),
            rejections: None,
            snapshot_every: SNAPSHOT_EVERY,
            cache_count: AGGREGATES_CACHED,
            cache_bytes: AGGREGATES_CACHED_BYTES,
        }
    }
}

impl AggregateConfig {
    /// The default settings with this stream.
    #[must_use]
    pub fn new(stream: impl Into<String>) -> Self {
        Self { stream: stream.into(), ..Self::default() }
    }

    /// Sets [`rejections`](Self::rejections).
    #[must_use]
    pub fn rejections(mut self, topic: impl Into<String>) -> Self {
        self.rejections = Some(topic.into());
        self
    }

    /// Sets [`snapshot_every`](Self::snapshot_every).
    #[must_use]
    pub fn snapshot_every(mut self, events: u32) -> Self {
        self.snapshot_every = events;
        self
    }

    /// Sets [`cache_count`](Self::cache_count).
    #[must_use]
    pub fn cache_count(mut self, aggregates: usize) -> Self {
        self.cache_count = aggregates;
        self
    }

    /// Sets [`cache_bytes`](Self::cache_bytes).
    #[must_use]
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// Checks the settings against their bounds. What is asked of the topics is the bus's to check.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        place.at("stream").check_name(&self.stream)?;
        if let Some(rejections) = &self.rejections {
            place.at("rejections").check_name(rejections)?;
        }
        place.at("snapshot_every").check(self.snapshot_every, 1..=SNAPSHOT_EVERY_CEILING)?;
        place.at("cache_count").check(self.cache_count, 0..=AGGREGATES_CACHED_CEILING)?;
        let bytes = 0..=AGGREGATES_CACHED_BYTES_CEILING as u64;
        place.at("cache_bytes").check_bytes(self.cache_bytes as u64, bytes)
    }
}
