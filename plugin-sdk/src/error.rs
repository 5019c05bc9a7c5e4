//! What the host answers instead.

use std::fmt;

use crate::Failure;

/// Why the host refused to read or write state.
///
/// ```
/// use tidegate_plugin::{Failure, Host, StateError};
///
/// /// Keeps a text where it fits, and goes on without where it doesn't.
/// fn note(host: &mut dyn Host, text: &str) -> Result<(), Failure> {
///     match host.set(b"note", text.as_bytes()) {
///         Err(StateError::ValueSize { .. }) => Ok(()),
///         other => Ok(other?),
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum StateError {
    /// The consumer has no grant for state.
    NotGranted,
    /// The key is empty or longer than `max` bytes.
    KeySize {
        /// The host's bound in bytes.
        max: u32,
    },
    /// The value is larger than `max` bytes.
    ValueSize {
        /// The host's bound in bytes.
        max: u32,
    },
    /// The delivery has written more than `max` bytes.
    EffectsSize {
        /// The host's bound in bytes.
        max: u32,
    },
    /// The host could not read its storage. The delivery can't succeed any more and is made again.
    Unavailable,
    /// The value isn't the type that [`get_json`](crate::Host#method.get_json) was asked for, or can't be written as
    /// JSON.
    Json {
        /// The key, lossily as text.
        key: String,
        /// What doesn't fit.
        source: serde_json::Error,
    },
}

impl StateError {
    pub(crate) fn json(key: &[u8], source: serde_json::Error) -> Self {
        Self::Json { key: String::from_utf8_lossy(key).into_owned(), source }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotGranted => "state-not-granted",
            Self::KeySize { .. } => "state-key-size",
            Self::ValueSize { .. } => "state-value-size",
            Self::EffectsSize { .. } => "effects-size",
            Self::Unavailable => "state-unavailable",
            Self::Json { .. } => "bad-state",
        }
    }
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted => {
                f.write_str("the consumer is not granted state: grant it in the consumer's configuration")
            }
            Self::KeySize { max } => write!(f, "a state key has 1 to {max} bytes"),
            Self::ValueSize { max } => write!(f, "a state value has at most {max} bytes"),
            Self::EffectsSize { max } => write!(f, "a delivery writes at most {max} bytes"),
            Self::Unavailable => f.write_str("the host could not read its state"),
            Self::Json { key, source } => write!(f, "state {key:?}: {source}"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Json { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Transient if the host could not, permanent if it will not.
impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Unavailable => Self::transient(error.code(), error),
            _ => Self::permanent(error.code(), error),
        }
    }
}

/// Why the host refused to publish an event.
///
/// ```
/// use tidegate_plugin::{Failure, Host, Outgoing, PublishError};
///
/// /// Publishes an audit where there is a topic for it.
/// fn audit(host: &mut dyn Host) -> Result<(), Failure> {
///     match host.publish("audit", Outgoing::new("Audited.v1")) {
///         Err(PublishError::UnknownTopic { .. }) => Ok(()),
///         other => Ok(other?),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The consumer has no grant to publish to this topic.
    NotGranted {
        /// The topic.
        topic: String,
    },
    /// There is no such topic.
    UnknownTopic {
        /// The topic.
        topic: String,
    },
    /// `CloudEvents` 1.0 or the host doesn't allow this attribute.
    Invalid {
        /// The attribute's name.
        attribute: String,
        /// What is wrong with it.
        message: String,
    },
    /// The event is larger than `max` bytes.
    EventSize {
        /// The host's bound in bytes.
        max: u32,
    },
    /// The delivery publishes more than the host allows.
    EffectsSize {
        /// The bound in events.
        max_events: u32,
        /// The bound in bytes.
        max_bytes: u32,
    },
}

impl PublishError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotGranted { .. } => "topic-not-granted",
            Self::UnknownTopic { .. } => "unknown-topic",
            Self::Invalid { .. } => "invalid-event",
            Self::EventSize { .. } => "event-size",
            Self::EffectsSize { .. } => "effects-size",
        }
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted { topic } => {
                write!(
                    f,
                    "the consumer may not publish to {topic:?}: grant it in the consumer's configuration"
                )
            }
            Self::UnknownTopic { topic } => write!(f, "there is no topic {topic:?}: create it"),
            Self::Invalid { attribute, message } => {
                write!(f, "attribute {attribute:?} of the event: {message}")
            }
            Self::EventSize { max } => write!(f, "an event has at most {max} bytes"),
            Self::EffectsSize { max_events, max_bytes } => {
                write!(f, "a delivery publishes at most {max_events} events and {max_bytes} bytes")
            }
        }
    }
}

impl std::error::Error for PublishError {}

/// Permanent: the next attempt would publish the same.
impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::permanent(error.code(), error)
    }
}

/// Why the host refused to set or cancel a timer.
///
/// ```
/// use tidegate_plugin::{Failure, Host, Raw, TimerError};
///
/// /// Reminds where the host lets it, and goes on without where it doesn't.
/// fn remind(host: &mut dyn Host) -> Result<(), Failure> {
///     let due = host.now().after(std::time::Duration::from_secs(3600));
///     match host.set_timer("unpaid", due, Raw::Empty) {
///         Err(TimerError::TooMany { .. }) => Ok(()),
///         other => Ok(other?),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimerError {
    /// The consumer has no grant for state, which timers are part of.
    NotGranted,
    /// The name is empty or longer than `max` bytes.
    NameSize {
        /// The host's bound in bytes.
        max: u32,
    },
    /// The data is larger than `max` bytes.
    DataSize {
        /// The host's bound in bytes.
        max: u32,
    },
    /// The moment is before the year 1970 or after the year 9999.
    Due,
    /// The partition has `max` timers.
    TooMany {
        /// The host's bound in timers.
        max: u64,
    },
    /// The delivery sets and cancels more than the host allows.
    EffectsSize {
        /// The bound in timers.
        max_timers: u32,
        /// The bound in bytes.
        max_bytes: u32,
    },
    /// The name or the data can't be part of an event.
    Invalid {
        /// What is wrong.
        message: String,
    },
}

impl TimerError {
    fn code(&self) -> &'static str {
        match self {
            Self::NotGranted => "timers-not-granted",
            Self::NameSize { .. } => "timer-name-size",
            Self::DataSize { .. } => "timer-data-size",
            Self::Due => "timer-due",
            Self::TooMany { .. } => "too-many-timers",
            Self::EffectsSize { .. } => "effects-size",
            Self::Invalid { .. } => "invalid-timer",
        }
    }
}

impl fmt::Display for TimerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotGranted => f.write_str(
                "timers are part of the consumer's state, which it is not granted: grant it in the consumer's configuration",
            ),
            Self::NameSize { max } => write!(f, "a timer's name has 1 to {max} bytes"),
            Self::DataSize { max } => write!(f, "a timer's data has at most {max} bytes: keep it in the state"),
            Self::Due => f.write_str("a timer is due between the years 1970 and 9999"),
            Self::TooMany { max } => write!(f, "{max} timers are set on this partition, which is as many as there may be"),
            Self::EffectsSize { max_timers, max_bytes } => {
                write!(f, "a delivery sets and cancels at most {max_timers} timers, and writes {max_bytes} bytes")
            }
            Self::Invalid { message } => f.write_str(message),
        }
    }
}

impl std::error::Error for TimerError {}

/// Permanent, as the next attempt would do the same; but timers of the partition come due.
impl From<TimerError> for Failure {
    fn from(error: TimerError) -> Self {
        match error {
            TimerError::TooMany { .. } => Self::transient(error.code(), error),
            _ => Self::permanent(error.code(), error),
        }
    }
}

/// The consumer's settings aren't the type that was asked for.
///
/// ```
/// use tidegate_plugin::{Failure, Host};
///
/// /// `settings = { threshold = 5.0 }` in the consumer's configuration.
/// fn threshold(host: &dyn Host) -> Result<f64, Failure> {
///     let settings: std::collections::BTreeMap<String, f64> = host.settings()?;
///     Ok(settings.get("threshold").copied().unwrap_or(6.0))
/// }
/// ```
#[derive(Debug)]
pub struct SettingsError {
    pub(crate) source: serde_json::Error,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the consumer's settings don't fit the plugin: {}", self.source)
    }
}

impl std::error::Error for SettingsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Transient: nothing is wrong with the event, and an operator can mend the settings before its attempts are spent.
impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Self {
        Self::transient("bad-settings", error)
    }
}
