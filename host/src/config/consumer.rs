//! Settings of a consumer, whatever runs it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::error::Place;
use crate::clock::Timestamp;
use crate::limits::{
    ATTEMPT_AGE_CEILING, ATTEMPT_AGE_MAX, ATTEMPTS_CEILING, ATTEMPTS_MAX, BACKOFF_BASE, BACKOFF_CEILING,
    BACKOFF_FLOOR, BACKOFF_MAX, CONSUMER_TOPICS_MAX, HELD_CEILING, HELD_MAX, PATIENT_ATTEMPTS,
    PATIENT_BACKOFF_BASE, PATIENT_BACKOFF_MAX,
};

/// Settings of a consumer, whatever runs it.
///
/// ```
/// use tidegate::config::{ConsumerConfig, Order, RetryPolicy};
///
/// let config = ConsumerConfig::new(["quakes"])
///     .order(Order::Partition)
///     .retry(RetryPolicy::default().attempts(3));
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConsumerConfig {
    /// The topics that it reads: 1 to 64, with equal numbers of partitions.
    pub topics: Vec<String>,
    /// What waits while an event waits for its retry. By default the later events of its key.
    pub order: Order,
    /// Where a new consumer starts. By default at the earliest event. It means nothing for one that exists.
    pub start: Start,
    /// The number of events that a lane holds before it stops: 1 to 1,000,000, by default 10,000.
    pub held_max: usize,
    /// What becomes of the later events of a key whose event was given up on. By default they go on.
    pub on_dead_letter: OnDeadLetter,
    /// When a failed delivery is tried again, and when it is given up on.
    pub retry: RetryPolicy,
    /// Whether it stands still until that is taken back. By default it doesn't.
    pub paused: bool,
    /// Of an event whose data is in the blob store, and has more bytes than this, the consumer gets the reference in the
    /// attribute `dataref` and no data; with 0 of each. By default it gets the data, however large. A plugin needs memory for it:
    /// one that hasn't enough fails with `memory`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataref_over: Option<u64>,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            order: Order::default(),
            start: Start::default(),
            held_max: HELD_MAX,
            on_dead_letter: OnDeadLetter::default(),
            retry: RetryPolicy::default(),
            paused: false,
            dataref_over: None,
        }
    }
}

impl ConsumerConfig {
    /// The default settings for these topics.
    #[must_use]
    pub fn new(topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { topics: topics.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Sets [`order`](Self::order).
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sets [`start`](Self::start).
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Sets [`held_max`](Self::held_max).
    #[must_use]
    pub fn held_max(mut self, held_max: usize) -> Self {
        self.held_max = held_max;
        self
    }

    /// Sets [`on_dead_letter`](Self::on_dead_letter).
    #[must_use]
    pub fn on_dead_letter(mut self, on_dead_letter: OnDeadLetter) -> Self {
        self.on_dead_letter = on_dead_letter;
        self
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets [`paused`](Self::paused).
    #[must_use]
    pub fn paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }

    /// Sets [`dataref_over`](Self::dataref_over).
    #[must_use]
    pub fn dataref_over(mut self, bytes: u64) -> Self {
        self.dataref_over = Some(bytes);
        self
    }

    /// Checks the settings against their bounds. Whether the topics exist and pair up is the bus's to check.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        let topics = place.at("topics");
        if self.topics.is_empty() || self.topics.len() > CONSUMER_TOPICS_MAX {
            let value = format!("a list of {}", self.topics.len());
            let allowed = format!("1 to {CONSUMER_TOPICS_MAX} names of topics");
            return Err(ConfigError::invalid(topics.path(), value, allowed));
        }
        for (at, topic) in self.topics.iter().enumerate() {
            topics.check_name(topic)?;
            if self.topics[..at].contains(topic) {
                return Err(ConfigError::invalid(
                    topics.path(),
                    format!("{topic:?} twice"),
                    "each topic once",
                ));
            }
        }
        place.at("held_max").check(self.held_max, 1..=HELD_CEILING)?;
        let retry = place.at("retry");
        retry.at("attempts").check(self.retry.attempts, 1..=ATTEMPTS_CEILING)?;
        retry.at("max").check_duration(self.retry.max, BACKOFF_FLOOR..=BACKOFF_CEILING)?;
        retry.at("base").check_duration(self.retry.base, BACKOFF_FLOOR..=self.retry.max)?;
        retry.at("age").check_duration(self.retry.age, BACKOFF_FLOOR..=ATTEMPT_AGE_CEILING)
    }
}

/// What waits while an event waits for its retry.
///
/// ```
/// use tidegate::config::{ConsumerConfig, Order};
///
/// let strict = ConsumerConfig::new(["ledger"]).order(Order::Partition);
/// assert_eq!("none".parse(), Ok(Order::None));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Order {
    /// Later events of the same key; all other keys go on. The default.
    #[default]
    Key,
    /// The whole lane.
    Partition,
    /// Nothing.
    None,
}

impl FromStr for Order {
    type Err = &'static str;

    /// Reads the word of the configuration file; the error says which words there are.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "key" => Ok(Self::Key),
            "partition" => Ok(Self::Partition),
            "none" => Ok(Self::None),
            _ => Err("`key`, `partition` or `none`"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "key",
            Self::Partition => "partition",
            Self::None => "none",
        })
    }
}

/// Where a new consumer starts.
///
/// ```
/// use tidegate::config::{ConsumerConfig, Start};
///
/// let from_now_on = ConsumerConfig::new(["orders"]).start(Start::Latest);
/// let since: Start = "2018-01-31T00:00:00Z".parse().unwrap();
/// assert!(matches!(since, Start::Time(_)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Start {
    /// At the oldest event that is there. The default.
    #[default]
    Earliest,
    /// After the newest event that is there.
    Latest,
    /// At the first event that the log accepted at this moment or later.
    Time(Timestamp),
}

impl FromStr for Start {
    type Err = &'static str;

    /// Reads `earliest`, `latest` or a time as in RFC 3339; the error says so.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            _ => match word.parse::<jiff::Timestamp>() {
                Ok(moment) => Ok(Self::Time(Timestamp(moment.as_microsecond()))),
                Err(_) => Err("`earliest`, `latest` or a time such as `2018-01-31T00:00:00Z`"),
            },
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Latest => f.write_str("latest"),
            Self::Time(moment) => moment.fmt(f),
        }
    }
}

/// What becomes of the later events of a key whose event was given up on.
///
/// ```
/// use tidegate::config::{ConsumerConfig, OnDeadLetter};
///
/// // A ledger must not book what comes after an entry that failed.
/// let ledger = ConsumerConfig::new(["ledger"]).on_dead_letter(OnDeadLetter::Park);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OnDeadLetter {
    /// They go on. The default.
    #[default]
    Continue,
    /// They wait behind it until it is redriven or discarded.
    Park,
}

impl FromStr for OnDeadLetter {
    type Err = &'static str;

    /// Reads the word of the configuration file; the error says which words there are.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "continue" => Ok(Self::Continue),
            "park" => Ok(Self::Park),
            _ => Err("`continue` or `park`"),
        }
    }
}

impl fmt::Display for OnDeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "continue",
            Self::Park => "park",
        })
    }
}

/// When a failed delivery is tried again, and when it is given up on.
///
/// The wait before attempt n + 1 is drawn evenly from zero to `min(max, base * 2^(n - 1))`: full jitter, so that many
/// events that failed together don't come back together.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{ConsumerConfig, RetryPolicy};
///
/// let retry = RetryPolicy::default().attempts(5).backoff(Duration::from_secs(1), Duration::from_secs(300));
/// ConsumerConfig::new(["orders"]).retry(retry).validate()?;
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// The number of attempts, the first one included: 1 to 100, by default 8.
    pub attempts: u32,
    /// The upper bound of the first wait: 1 ms to `max`, by default 200 ms.
    pub base: Duration,
    /// The largest upper bound of a wait: at most 24 hours, by default 5 minutes. A failure may ask for a longer one.
    pub max: Duration,
    /// The time from the first attempt after which there is no other: at most 30 days, by default 24 hours.
    pub age: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: ATTEMPTS_MAX, base: BACKOFF_BASE, max: BACKOFF_MAX, age: ATTEMPT_AGE_MAX }
    }
}

impl RetryPolicy {
    /// For a consumer that depends on another system: 100 attempts, waits of up to 500 ms at first and up to 10 minutes
    /// later, for 24 hours. An outage of about seven hours passes before the first event is given up on. A relay in a
    /// configuration file has it by default.
    #[must_use]
    pub fn patient() -> Self {
        Self {
            attempts: PATIENT_ATTEMPTS,
            base: PATIENT_BACKOFF_BASE,
            max: PATIENT_BACKOFF_MAX,
            age: ATTEMPT_AGE_MAX,
        }
    }

    /// Sets [`attempts`](Self::attempts).
    #[must_use]
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Sets [`base`](Self::base) and [`max`](Self::max).
    #[must_use]
    pub fn backoff(mut self, base: Duration, max: Duration) -> Self {
        (self.base, self.max) = (base, max);
        self
    }

    /// Sets [`age`](Self::age).
    #[must_use]
    pub fn age(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }
}
