//! Settings of a topic.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::error::Place;
use crate::limits::{
    BLOB_BYTES_MAX, CLAIM_CHECK_BYTES_FLOOR, DEDUP_AGE, DEDUP_AGE_MAX, DEDUP_COUNT, DEDUP_COUNT_MAX,
    PARTITIONS, PARTITIONS_MAX, RETENTION_AGE_MAX, RETENTION_AGE_MIN, RETENTION_BYTES_MIN,
};

/// Settings of a topic.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{Retention, TopicConfig};
///
/// let week = Duration::from_secs(7 * 24 * 60 * 60);
/// let config = TopicConfig::new(8).retention(Retention::keep_for(week));
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TopicConfig {
    /// The number of partitions: 1 to 4096, by default 8. It is fixed when the topic is created, as keys would change
    /// their partition otherwise.
    pub partitions: u32,
    /// What is removed, and when. By default nothing ever is.
    pub retention: Retention,
    /// How long an identity is remembered, to drop events that are published again.
    pub dedup: Dedup,
    /// Whether the events of each key are numbered, densely from 1: each gets its number as the attribute `sequence`
    /// (20 digits, so that text sorts like the number), the events of one key can be read without the others, and can be
    /// published on condition that nobody was faster. It costs an index row for each key in each commit, and about 60
    /// bytes for each key for ever. By default it is off; it is fixed when the topic is created.
    pub sequence: bool,
    /// Whether events are held against the schemas of their types. By default they are not.
    pub schemas: SchemaPolicy,
    /// Data of more bytes than this goes to the blob store, and the log has a reference to it in the attribute `dataref`: 16 KiB
    /// to 64 MiB. So does all data that makes an event larger than the bus allows, up to 64 MiB. Consumers get the event with
    /// its data all the same. By default there is no claim check: all data is in the log, and larger events are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_check_over: Option<usize>,
}

/// Whether a topic holds events against the [schemas](crate::schema) of their types.
///
/// ```
/// use tidegate::config::{SchemaPolicy, TopicConfig};
///
/// let config = TopicConfig::new(8).schemas(SchemaPolicy::Required);
/// # #[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SchemaPolicy {
    /// Events of any type are accepted, with any data.
    #[default]
    Off,
    /// An event's type has to carry a version that is registered, as in `OrderPlaced.v1`, and its data to be valid by that
    /// schema. Reading the data and holding it against a schema is what it costs the publisher.
    Required,
}

impl FromStr for SchemaPolicy {
    type Err = &'static str;

    /// Reads the word of the configuration file; the error says which words there are.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "off" => Ok(Self::Off),
            "required" => Ok(Self::Required),
            _ => Err("`off` or `required`"),
        }
    }
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self::new(PARTITIONS)
    }
}

impl TopicConfig {
    /// The default settings with so many partitions.
    #[must_use]
    pub fn new(partitions: u32) -> Self {
        Self {
            partitions,
            retention: Retention::default(),
            dedup: Dedup::default(),
            sequence: false,
            schemas: SchemaPolicy::Off,
            claim_check_over: None,
        }
    }

    /// Sets [`retention`](Self::retention).
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Sets [`dedup`](Self::dedup).
    #[must_use]
    pub fn dedup(mut self, dedup: Dedup) -> Self {
        self.dedup = dedup;
        self
    }

    /// Sets [`sequence`](Self::sequence).
    #[must_use]
    pub fn sequence(mut self, sequence: bool) -> Self {
        self.sequence = sequence;
        self
    }

    /// Sets [`schemas`](Self::schemas).
    #[must_use]
    pub fn schemas(mut self, schemas: SchemaPolicy) -> Self {
        self.schemas = schemas;
        self
    }

    /// Sets [`claim_check_over`](Self::claim_check_over).
    #[must_use]
    pub fn claim_check_over(mut self, bytes: usize) -> Self {
        self.claim_check_over = Some(bytes);
        self
    }

    /// Checks the settings against their bounds.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds, or that this build can't do.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        place.at("partitions").check(self.partitions, 1..=PARTITIONS_MAX)?;
        let holds_events = cfg!(any(feature = "schemas-json", feature = "schemas-protobuf"));
        if self.schemas == SchemaPolicy::Required && !holds_events {
            let allowed = "`off`: this build of tidegate lacks the feature `schemas`";
            return Err(ConfigError::invalid(place.at("schemas").path(), "required", allowed));
        }
        if let Some(over) = self.claim_check_over {
            let allowed = CLAIM_CHECK_BYTES_FLOOR as u64..=BLOB_BYTES_MAX as u64;
            place.at("claim_check_over").check_bytes(over as u64, allowed)?;
        }
        let retention = place.at("retention");
        if let Some(age) = self.retention.age {
            retention.at("age").check_duration(age, RETENTION_AGE_MIN..=RETENTION_AGE_MAX)?;
        }
        if let Some(bytes) = self.retention.bytes {
            retention.at("bytes").check_bytes(bytes, RETENTION_BYTES_MIN..=u64::MAX)?;
        }
        let dedup = place.at("dedup");
        dedup.at("age").check_duration(self.dedup.age, Duration::ZERO..=DEDUP_AGE_MAX)?;
        dedup.at("count").check(self.dedup.count, 0..=DEDUP_COUNT_MAX)
    }
}

/// What a topic removes, and when. Without a bound it keeps all.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{Retention, TopicConfig};
///
/// let mut retention = Retention::keep_for(Duration::from_secs(7 * 24 * 60 * 60));
/// retention.bytes = Some(1 << 30); // whichever comes first
/// TopicConfig::new(8).retention(retention).validate()?;
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Retention {
    /// Events older than this are removed: at least 1 second.
    pub age: Option<Duration>,
    /// The oldest events are removed until the topic takes no more than this on the disk, in bytes: at least 1 MiB.
    pub bytes: Option<u64>,
    /// Whether events are removed before all consumers have them. Otherwise a slow consumer holds retention back; with
    /// it, the consumer's dead-letter queue gets a record of the gap. By default it is off.
    pub force: bool,
}

impl Retention {
    /// Removes what is older.
    #[must_use]
    pub fn keep_for(age: Duration) -> Self {
        Self { age: Some(age), ..Self::default() }
    }

    /// Removes the oldest until the topic takes no more on the disk.
    #[must_use]
    pub fn keep_bytes(bytes: u64) -> Self {
        Self { bytes: Some(bytes), ..Self::default() }
    }

    /// Sets [`age`](Self::age) beside what is set.
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = Some(age);
        self
    }

    /// Sets [`bytes`](Self::bytes) beside what is set.
    #[must_use]
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// Sets [`force`](Self::force).
    #[must_use]
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }
}

/// The window in which a topic drops an event that is published again.
///
/// An identity (`source` and `id`) is remembered until it is older than `age` or `count` newer ones have come.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{Dedup, TopicConfig};
///
/// let mut dedup = Dedup::default();
/// dedup.age = Duration::from_secs(60 * 60);
/// TopicConfig::new(8).dedup(dedup).validate()?;
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Dedup {
    /// The age up to which an identity is remembered: at most 30 days, by default 24 hours.
    pub age: Duration,
    /// The number of identities that the window holds: at most 10,000,000, by default 100,000; zero turns deduplication
    /// off. It bounds the window's memory, where `age` alone would not.
    pub count: u64,
}

impl Default for Dedup {
    fn default() -> Self {
        Self { age: DEDUP_AGE, count: DEDUP_COUNT }
    }
}

impl Dedup {
    /// A window of this age and count.
    #[must_use]
    pub fn new(age: Duration, count: u64) -> Self {
        Self { age, count }
    }
}
