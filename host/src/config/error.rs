//! Why a setting was refused.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::check_name;
use super::units::{format_bytes, format_duration};
use crate::limits::NAME_BYTES_MAX;

/// Why a setting was refused: which one, its value, and what is allowed.
///
/// ```
/// use tidegate::config::{ConfigError, TopicConfig};
///
/// let wrong = TopicConfig::new(0).validate().unwrap_err();
/// assert_eq!(wrong.key(), "partitions");
/// assert!(matches!(wrong, ConfigError::Invalid { allowed, .. } if allowed == "1 to 4096"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is out of its bounds or of another kind than the setting takes.
    #[error("`{key}` is {value}; allowed is {allowed}")]
    Invalid {
        /// The setting, with the tables it lies in: `consumers.alerts.retry.attempts`.
        key: String,
        /// The value.
        value: String,
        /// What would be right.
        allowed: String,
    },
    /// A setting that has no default is not there.
    #[error("`{key}` is missing; it is {allowed}")]
    Missing {
        /// The setting, with the tables it lies in.
        key: String,
        /// What it is.
        allowed: String,
    },
    /// A consumer reads topics whose partitions don't pair up.
    #[error(
        "consumer `{consumer}` reads topic `{topic}` with {partitions} partitions and topic `{other_topic}` with \
         {other_partitions}: a lane merges one partition of each topic, so their numbers have to be equal; use two \
         consumers, or topics with as many partitions"
    )]
    UnequalPartitions {
        /// The consumer.
        consumer: String,
        /// A topic of it.
        topic: String,
        /// How many partitions that has.
        partitions: u32,
        /// Another topic of it.
        other_topic: String,
        /// How many partitions that has.
        other_partitions: u32,
    },
}

impl ConfigError {
    /// The setting, with the tables it lies in: `consumers.alerts.retry.attempts`.
    pub fn key(&self) -> String {
        match self {
            Self::Invalid { key, .. } | Self::Missing { key, .. } => key.clone(),
            Self::UnequalPartitions { consumer, .. } => format!("consumers.{consumer}.topics"),
        }
    }

    pub(super) fn invalid(key: String, value: impl Display, allowed: impl Into<String>) -> Self {
        Self::Invalid { key, value: value.to_string(), allowed: allowed.into() }
    }
}

/// Where in the configuration a check is: the tables down to it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    above: Option<&'a Place<'a>>,
    name: &'a str,
}

impl<'a> Place<'a> {
    /// Above all settings.
    pub(super) const ROOT: Place<'static> = Place { above: None, name: "" };

    /// A table or a setting within this place.
    pub(super) fn at(&'a self, name: &'a str) -> Place<'a> {
        Place { above: Some(self), name }
    }

    /// The path as errors name it.
    pub(super) fn path(&self) -> String {
        self.above.map_or_else(String::new, |above| join(&above.path(), self.name))
    }

    pub(super) fn check<T: PartialOrd + Display>(
        &self,
        value: T,
        allowed: RangeInclusive<T>,
    ) -> Result<(), ConfigError> {
        if allowed.contains(&value) {
            return Ok(());
        }
        Err(ConfigError::invalid(self.path(), value, format!("{} to {}", allowed.start(), allowed.end())))
    }

    pub(super) fn check_bytes(&self, value: u64, allowed: RangeInclusive<u64>) -> Result<(), ConfigError> {
        if allowed.contains(&value) {
            return Ok(());
        }
        let bounds = if *allowed.end() == u64::MAX {
            format!("{} or more", format_bytes(*allowed.start()))
        } else {
            format!("{} to {}", format_bytes(*allowed.start()), format_bytes(*allowed.end()))
        };
        Err(ConfigError::invalid(self.path(), format_bytes(value), bounds))
    }

    pub(super) fn check_duration(
        &self,
        value: Duration,
        allowed: RangeInclusive<Duration>,
    ) -> Result<(), ConfigError> {
        if allowed.contains(&value) {
            return Ok(());
        }
        let bounds = format!("{} to {}", format_duration(*allowed.start()), format_duration(*allowed.end()));
        Err(ConfigError::invalid(self.path(), format_duration(value), bounds))
    }

    pub(super) fn check_name(&self, name: &str) -> Result<(), ConfigError> {
        let allowed = format!(
            "a name of ASCII letters, digits, `.`, `_` and `-` that begins with a letter or a digit, at most \
             {NAME_BYTES_MAX} bytes long"
        );
        check_name(name)
            .map_err(|error| ConfigError::invalid(self.path(), format!("{:?}", error.name), allowed))
    }
}

/// The path of a setting within a table. Names that TOML wants in quotes have them here too.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let quoted =
        if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { quoted } else { format!("{path}.{quoted}") }
}
