//! Settings of the bus as a whole.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use super::error::Place;
use crate::limits::{
    BLOBS_BYTES_MAX, CACHE_BYTES, CACHE_BYTES_FLOOR, EVENT_BYTES_CEILING, EVENT_BYTES_FLOOR, EVENT_BYTES_MAX,
    FREE_BYTES_MIN, JOURNAL_BYTES, JOURNAL_BYTES_CEILING,
};

/// How the database makes a transaction, or a checkpoint of its journal, durable. Both keep what was acknowledged; they differ in
/// what a crash costs afterwards.
///
/// ```
/// use tidegate::config::CommitMode;
///
/// assert_eq!(CommitMode::default(), CommitMode::QuickRepair);
/// assert_eq!("one-phase".parse(), Ok(CommitMode::OnePhase));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CommitMode {
    /// Two phases: about twice the time, and opening after a crash takes milliseconds, even where the
    /// disk has damaged a page. The default.
    #[default]
    QuickRepair,
    /// One phase: the fastest, and opening after a crash verifies the whole file, about a second for each
    /// gigabyte; one damaged page then keeps it shut.
    OnePhase,
}

impl FromStr for CommitMode {
    type Err = &'static str;

    /// Reads the word of the configuration file; the error says which words there are.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "quick-repair" => Ok(Self::QuickRepair),
            "one-phase" => Ok(Self::OnePhase),
            _ => Err("`quick-repair` or `one-phase`"),
        }
    }
}

/// Settings of the bus as a whole.
///
/// ```
/// use tidegate::config::BusConfig;
///
/// let mut config = BusConfig::default();
/// config.event_bytes_max = 256 << 10;
/// config.cache_bytes = 16 << 20;
/// config.validate()?;
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BusConfig {
    /// How a transaction or a checkpoint becomes durable. By default [`CommitMode::QuickRepair`].
    pub commit: CommitMode,
    /// The largest event that the bus accepts, in bytes of [`Event::size`](crate::Event::size): 64 KiB to 64 MiB, by
    /// default 1 MiB.
    pub event_bytes_max: usize,
    /// Memory for the database's cache, reads and writes together, in bytes: at least 1 MiB, by default 64 MiB.
    pub cache_bytes: usize,
    /// Bytes of the journal, which has what was committed since the database's last checkpoint: up to 1 GiB, by default
    /// 1 MiB. A larger one makes checkpoints fewer and longer. Beside a database of more than 1 GiB it has 1/1024 of its bytes,
    /// up to 16 MiB, if that is more. With 0 there is none: each commit is one of the database.
    pub journal_bytes: usize,
    /// Free space on the disk, in bytes, below which publishing is refused: by default 32 MiB.
    pub free_bytes_min: u64,
    /// The most that the blob store takes, in bytes: by default 16 GiB. Events whose data would go beyond it are refused.
    pub blobs_bytes_max: u64,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            commit: CommitMode::default(),
            event_bytes_max: EVENT_BYTES_MAX,
            cache_bytes: CACHE_BYTES,
            journal_bytes: JOURNAL_BYTES,
            free_bytes_min: FREE_BYTES_MIN,
            blobs_bytes_max: BLOBS_BYTES_MAX,
        }
    }
}

impl BusConfig {
    /// Checks the settings against their bounds.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        let event_bytes = EVENT_BYTES_FLOOR as u64..=EVENT_BYTES_CEILING as u64;
        place.at("event_bytes_max").check_bytes(self.event_bytes_max as u64, event_bytes)?;
        place.at("cache_bytes").check_bytes(self.cache_bytes as u64, CACHE_BYTES_FLOOR as u64..=u64::MAX)?;
        place.at("journal_bytes").check_bytes(self.journal_bytes as u64, 0..=JOURNAL_BYTES_CEILING as u64)
    }
}
