//! What a bus is opened with.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, Random, SystemClock, SystemRandom};
use crate::config::BusConfig;
use crate::log::Medium;
use crate::stepper::Stepper;

/// What a bus is opened with.
///
/// ```
/// use tidegate::Options;
/// use tidegate::config::CommitMode;
///
/// let mut options = Options::new("/var/lib/shop/events");
/// options.config.commit = CommitMode::OnePhase;
/// ```
#[non_exhaustive]
pub struct Options {
    /// The data directory: made where there is none, with permissions for its owner alone.
    pub directory: PathBuf,
    /// Settings of the bus as a whole.
    pub config: BusConfig,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) medium: Option<Box<dyn Medium>>,
    pub(crate) stepper: Option<Stepper>,
}

impl Options {
    /// The default settings for a data directory.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self {
            directory: directory.as_ref().to_owned(),
            config: BusConfig::default(),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            medium: None,
            stepper: None,
        }
    }

    /// Sets [`config`](Self::config).
    #[must_use]
    pub fn config(mut self, config: BusConfig) -> Self {
        self.config = config;
        self
    }

    /// Uses another clock: for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Uses another source of chance: for tests.
    #[must_use]
    pub fn random(mut self, random: Arc<dyn Random>) -> Self {
        self.random = random;
        self
    }

    /// Keeps the database on something else than a file in the data directory: for tests.
    #[must_use]
    pub fn medium(mut self, medium: impl Medium) -> Self {
        self.medium = Some(Box::new(medium));
        self
    }

    /// Has the bus work in steps, on the thread that asks for them, and start none of its own: for tests that decide what
    /// happens when.
    #[doc(hidden)]
    #[must_use]
    pub fn stepper(mut self, stepper: Stepper) -> Self {
        self.stepper = Some(stepper);
        self
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("directory", &self.directory)
            .field("config", &self.config)
            .field("medium", &self.medium)
            .finish_non_exhaustive()
    }
}
