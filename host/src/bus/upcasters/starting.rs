//! From the file of an upcaster's plugin to one that runs.

use std::sync::Arc;

use super::UpcasterError;
use super::registry::Running;
use crate::bus::Bus;
use crate::bus::components::read_bounded;
use crate::bus::status::ReloadOutcome;
use crate::config::UpcasterConfig;
use crate::plugin::{UpcasterOptions, component_hash};
use crate::upcast::Upcaster;

/// An upcaster that could run, with its component.
pub(super) struct Candidate {
    running: Running,
    /// Nothing where it is the accepted one.
    component: Option<Arc<[u8]>>,
}

impl Candidate {
    pub(super) fn upcaster(&self) -> &Arc<dyn Upcaster> {
        self.running.upcaster()
    }
}

impl Bus {
    /// Starts an upcaster of a name that is free.
    pub(super) async fn start_upcaster(
        &self,
        name: &str,
        config: &UpcasterConfig,
    ) -> Result<(), UpcasterError> {
        let candidate = self.candidate_upcaster(name, config).await.and_then(|candidate| {
            self.inner.upcasters.check(name, candidate.upcaster())?;
            Ok(candidate)
        });
        let candidate = match candidate {
            Ok(candidate) => candidate,
            Err(refused) => self.accepted_candidate_upcaster(name, config, refused).await?,
        };
        self.inner.upcasters.check(name, candidate.upcaster())?;
        self.put_upcaster(name, candidate)
    }

    /// What the file of an upcaster holds now.
    pub(super) async fn candidate_upcaster(
        &self,
        name: &str,
        config: &UpcasterConfig,
    ) -> Result<Candidate, UpcasterError> {
        let bytes = read_component(name, config)?;
        let upcaster = self.load_upcaster(name, Arc::clone(&bytes), config).await?;
        Ok(Candidate { running: Running::new(upcaster, Some(config.clone())), component: Some(bytes) })
    }

    /// The version that was accepted last, in place of one that is refused.
    ///
    /// # Errors
    ///
    /// Why that one is refused, where there is no other, or it can't run any more: with other settings, or on another host.
    pub(super) async fn accepted_candidate_upcaster(
        &self,
        name: &str,
        config: &UpcasterConfig,
        refused: UpcasterError,
    ) -> Result<Candidate, UpcasterError> {
        let Some(bytes) = self.accepted_upcaster(name)? else { return Err(refused) };
        match self.load_upcaster(name, bytes, config).await {
            Ok(upcaster) => {
                let running = Running::new(upcaster, Some(config.clone())).refused(refused.to_string());
                Ok(Candidate { running, component: None })
            }
            Err(_) => Err(refused),
        }
    }

    /// Lets a candidate that fits take its place. Whoever calls this tells the lanes.
    pub(super) fn put_upcaster(&self, name: &str, candidate: Candidate) -> Result<(), UpcasterError> {
        self.keep_upcaster(name, &candidate)?;
        self.inner.upcasters.put(name, candidate.running)
    }

    /// Makes a candidate the accepted version.
    fn keep_upcaster(&self, name: &str, candidate: &Candidate) -> Result<(), UpcasterError> {
        match &candidate.component {
            Some(bytes) => self.accept_upcaster(name, candidate.upcaster().version(), bytes),
            None => Ok(()),
        }
    }

    /// Lets candidates take their places and others go, all in one: lanes see what was lifted before or what is now.
    ///
    /// # Errors
    ///
    /// They don't fit together, or one of them can't be kept. What runs goes on as it did.
    #[cfg(feature = "server")]
    pub(super) fn put_upcasters(
        &self,
        gone: &[&str],
        candidates: Vec<(&str, Candidate)>,
    ) -> Result<(), UpcasterError> {
        let upcasters = candidates.iter().map(|(name, candidate)| (*name, candidate.upcaster()));
        self.inner.upcasters.check_all(gone, upcasters)?;
        for (name, candidate) in &candidates {
            self.keep_upcaster(name, candidate)?;
        }
        let running = candidates.into_iter().map(|(name, candidate)| (name.to_owned(), candidate.running));
        self.inner.upcasters.put_all(gone, running);
        self.tell_lifts();
        Ok(())
    }

    /// Has an upcaster go over to what its file holds.
    pub(super) async fn switch_upcaster(
        &self,
        name: &str,
        config: &UpcasterConfig,
    ) -> Result<ReloadOutcome, UpcasterError> {
        let from = self.inner.upcasters.version(name)?;
        if component_hash(&read_component(name, config)?) == from.hash {
            return Ok(ReloadOutcome::Unchanged { version: from });
        }
        let candidate = self.candidate_upcaster(name, config).await?;
        self.inner.upcasters.check(name, candidate.upcaster())?;
        let to = candidate.upcaster().version().clone();
        self.put_upcaster(name, candidate)?;
        self.tell_lifts();
        Ok(ReloadOutcome::Switched { from, to })
    }

    async fn load_upcaster(
        &self,
        name: &str,
        bytes: Arc<[u8]>,
        config: &UpcasterConfig,
    ) -> Result<Arc<dyn Upcaster>, UpcasterError> {
        let options = UpcasterOptions {
            name: name.into(),
            limits: config.limits,
            log: config.log,
            settings: config.settings.as_str().into(),
        };
        let loaded = self.loading(|plugins| async move { plugins.load_upcaster(bytes, options).await }).await;
        let loaded = loaded.map_err(|source| UpcasterError::Load {
            upcaster: name.to_owned(),
            path: config.component.clone(),
            source: Box::new(source),
        })?;
        Ok(loaded)
    }
}

fn read_component(upcaster: &str, config: &UpcasterConfig) -> Result<Arc<[u8]>, UpcasterError> {
    read_bounded(&config.component).map_err(|source| UpcasterError::File {
        upcaster: upcaster.to_owned(),
        path: config.component.clone(),
        source: Arc::new(source),
    })
}
