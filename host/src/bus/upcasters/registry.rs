//! The upcasters that run in this process, and what they lift together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::{UpcasterError, UpcasterStatus, check_name};
use crate::bus::status::ReloadOutcome;
use crate::config::UpcasterConfig;
use crate::handler::ProgramVersion;
use crate::limits::{QUESTIONS_AT_ONCE, UPCASTERS_MAX};
use crate::upcast::{CurrentLifts, Lifts, Upcaster};

/// See the module. Who changes something holds the turn of the roster.
pub(in crate::bus) struct Upcasters {
    inner: Mutex<Inner>,
    lifts: Arc<CurrentLifts>,
    /// Places for those who have events lifted that they have read.
    places: Arc<Semaphore>,
}

impl Default for Upcasters {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(QUESTIONS_AT_ONCE));
        Self { inner: Mutex::default(), lifts: Arc::default(), places }
    }
}

#[derive(Default)]
struct Inner {
    running: BTreeMap<String, Running>,
}

/// An upcaster that runs.
pub(super) struct Running {
    upcaster: Arc<dyn Upcaster>,
    /// What it is made of, for a plugin.
    config: Option<UpcasterConfig>,
    /// Why the last candidate was refused, until one is accepted.
    refused: Option<String>,
}

impl Running {
    pub(super) fn new(upcaster: Arc<dyn Upcaster>, config: Option<UpcasterConfig>) -> Self {
        Self { upcaster, config, refused: None }
    }

    /// Keeps why another candidate was refused, for people to see.
    pub(super) fn refused(mut self, why: String) -> Self {
        self.refused = Some(why);
        self
    }

    pub(super) fn upcaster(&self) -> &Arc<dyn Upcaster> {
        &self.upcaster
    }
}

impl Upcasters {
    /// What all of them lift.
    pub(in crate::bus) fn lifts(&self) -> Arc<Lifts> {
        self.lifts.get()
    }

    /// The same, as it will be whenever it is asked.
    pub(in crate::bus) fn current(&self) -> Arc<CurrentLifts> {
        Arc::clone(&self.lifts)
    }

    /// Places for those who have events lifted that they have read.
    pub(super) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    /// Checks that there can be another one of this name.
    pub(super) fn check_new(&self, name: &str) -> Result<(), UpcasterError> {
        check_name(name)?;
        let inner = self.inner();
        if inner.running.contains_key(name) {
            return Err(UpcasterError::Exists(name.to_owned()));
        }
        if inner.running.len() >= UPCASTERS_MAX {
            return Err(UpcasterError::TooMany { max: UPCASTERS_MAX });
        }
        Ok(())
    }

    /// Checks that an upcaster fits the others.
    pub(super) fn check(&self, name: &str, upcaster: &Arc<dyn Upcaster>) -> Result<(), UpcasterError> {
        self.inner().with(name, upcaster).map(drop)
    }

    /// Puts an upcaster into its place, or in the place of the one before.
    pub(super) fn put(&self, name: &str, running: Running) -> Result<(), UpcasterError> {
        let mut inner = self.inner();
        self.lifts.set(inner.with(name, &running.upcaster)?);
        inner.running.insert(name.to_owned(), running);
        Ok(())
    }

    /// Checks that upcasters fit together and beside the others, once those that are named are gone.
    #[cfg(feature = "server")]
    pub(super) fn check_all<'a>(
        &self,
        gone: &[&str],
        upcasters: impl Iterator<Item = (&'a str, &'a Arc<dyn Upcaster>)>,
    ) -> Result<(), UpcasterError> {
        let inner = self.inner();
        let mut all: BTreeMap<&str, &Arc<dyn Upcaster>> = inner.all().collect();
        all.retain(|name, _| !gone.contains(name));
        let upcasters: Vec<_> = upcasters.collect();
        for (name, _) in &upcasters {
            all.remove(name);
        }
        for (name, upcaster) in upcasters {
            if all.len() >= UPCASTERS_MAX {
                return Err(UpcasterError::TooMany { max: UPCASTERS_MAX });
            }
            let others = all.iter().map(|(name, upcaster)| (*name, *upcaster));
            lifts_of(others.chain([(name, upcaster)]), name)?;
            all.insert(name, upcaster);
        }
        Ok(())
    }

    /// Puts upcasters that fit into their places, and takes away those that are named.
    #[cfg(feature = "server")]
    pub(super) fn put_all(&self, gone: &[&str], upcasters: impl Iterator<Item = (String, Running)>) {
        let mut inner = self.inner();
        inner.running.retain(|name, _| !gone.contains(&&**name));
        inner.running.extend(upcasters);
        self.lifts.set(Lifts::of(inner.all()).unwrap_or_default());
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), UpcasterError> {
        let mut inner = self.inner();
        if inner.running.remove(name).is_none() {
            return Err(UpcasterError::Unknown(name.to_owned()));
        }
        // Fewer of those that fit together do so as well.
        self.lifts.set(Lifts::of(inner.all()).unwrap_or_default());
        Ok(())
    }

    /// The configuration of a plugin.
    pub(super) fn config(&self, name: &str) -> Result<UpcasterConfig, UpcasterError> {
        let inner = self.inner();
        let running = inner.running.get(name).ok_or_else(|| UpcasterError::Unknown(name.to_owned()))?;
        running.config.clone().ok_or_else(|| UpcasterError::Native(name.to_owned()))
    }

    #[cfg(feature = "server")]
    pub(super) fn configs(&self) -> BTreeMap<String, UpcasterConfig> {
        let inner = self.inner();
        let configs =
            inner.running.iter().filter_map(|(name, running)| Some((name.clone(), running.config.clone()?)));
        configs.collect()
    }

    pub(super) fn version(&self, name: &str) -> Result<ProgramVersion, UpcasterError> {
        let inner = self.inner();
        let running = inner.running.get(name).ok_or_else(|| UpcasterError::Unknown(name.to_owned()))?;
        Ok(running.upcaster.version().clone())
    }

    /// Keeps why a candidate was refused, for people to see.
    pub(super) fn note_outcome(&self, name: &str, outcome: &Result<ReloadOutcome, UpcasterError>) {
        if let Some(running) = self.inner().running.get_mut(name) {
            running.refused = outcome.as_ref().err().map(ToString::to_string);
        }
    }

    pub(super) fn status(&self) -> Vec<UpcasterStatus> {
        let status = |(name, running): (&String, &Running)| {
            let mut lifts = running.upcaster.lifts().to_vec();
            lifts.sort_by(|a, b| a.from().cmp(b.from()));
            UpcasterStatus {
                name: name.clone(),
                file: running.config.as_ref().map(|config| config.component.clone()),
                version: running.upcaster.version().clone(),
                lifts,
                refused: running.refused.clone(),
            }
        };
        self.inner().running.iter().map(status).collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn all(&self) -> impl Iterator<Item = (&str, &Arc<dyn Upcaster>)> {
        self.running.iter().map(|(name, running)| (name.as_str(), &running.upcaster))
    }

    /// What is lifted with this one in its place.
    fn with(&self, name: &str, upcaster: &Arc<dyn Upcaster>) -> Result<Lifts, UpcasterError> {
        let others = self.all().filter(|(other, _)| *other != name);
        lifts_of(others.chain([(name, upcaster)]), name)
    }
}

/// What upcasters lift together. The one of this name comes last, so that it is the one that is refused.
fn lifts_of<'a>(
    upcasters: impl IntoIterator<Item = (&'a str, &'a Arc<dyn Upcaster>)>,
    last: &str,
) -> Result<Lifts, UpcasterError> {
    Lifts::of(upcasters).map_err(|source| UpcasterError::Lift { upcaster: last.to_owned(), source })
}
