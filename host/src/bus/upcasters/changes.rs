//! Changing several upcasters at once, as a configuration says.

use std::collections::BTreeMap;

use super::UpcasterError;
use super::starting::Candidate;
use crate::bus::Bus;
use crate::config::{UpcasterConfig, check_name};

/// What has become of an upcaster.
pub(crate) type Outcome<'a> = (&'a str, Result<(), UpcasterError>);

impl Bus {
    /// Has those upcasters go that are named, and others come or take another configuration, in one step: an event that one of
    /// them lifted before and another one does now is lifted by either, and never by none.
    ///
    /// Where one of them is refused, those that run stay as they are for that reason, and those that don't are started as far
    /// as they fit. Each has its own outcome, in the order of `gone` and `wanted`.
    ///
    /// # Errors
    ///
    /// The bus takes no changes.
    pub(crate) async fn change_upcasters<'a>(
        &self,
        gone: &[&'a str],
        wanted: &BTreeMap<&'a str, &'a UpcasterConfig>,
    ) -> Result<Vec<Outcome<'a>>, UpcasterError> {
        let _turn = self.turn().await?;
        let running = self.inner.upcasters.configs();
        let (mut candidates, mut refused) = (Vec::new(), BTreeMap::new());
        for (name, config) in wanted {
            if let Err(native @ UpcasterError::Native(_)) = self.inner.upcasters.config(name) {
                drop(refused.insert(*name, native));
                continue;
            }
            let candidate = match self.checked_candidate(name, config).await {
                Err(error) if !running.contains_key(*name) => {
                    self.accepted_candidate_upcaster(name, config, error).await
                }
                candidate => candidate,
            };
            match candidate {
                Ok(candidate) => candidates.push((*name, candidate)),
                Err(error) => drop(refused.insert(*name, error)),
            }
        }
        if refused.is_empty() {
            match self.put_upcasters(gone, candidates) {
                Ok(()) => {
                    let removed = gone.iter().map(|name| (*name, self.forget_upcaster(name)));
                    return Ok(removed.chain(wanted.keys().map(|name| (*name, Ok(())))).collect());
                }
                Err(error) => {
                    let culprit = wanted.keys().find(|name| error.is_of(name)).or(wanted.keys().next());
                    refused.extend(culprit.map(|name| (*name, error)));
                }
            }
        }
        let culprit = refused.keys().next().map_or_else(String::new, |name| (*name).to_owned());
        let waits =
            |name: &str| Err(UpcasterError::Waits { upcaster: name.to_owned(), other: culprit.clone() });
        let mut outcomes: Vec<_> = gone.iter().map(|name| (*name, waits(name))).collect();
        for (name, config) in wanted {
            let outcome = match refused.remove(name) {
                _ if !running.contains_key(*name) => match self.inner.upcasters.check_new(name) {
                    Ok(()) => self.start_upcaster(name, config).await,
                    Err(error) => Err(error),
                },
                Some(error) => Err(error),
                None => waits(name),
            };
            outcomes.push((name, outcome));
        }
        self.tell_lifts();
        Ok(outcomes)
    }

    async fn checked_candidate(
        &self,
        name: &str,
        config: &UpcasterConfig,
    ) -> Result<Candidate, UpcasterError> {
        check_name(name)?;
        config.validate()?;
        self.candidate_upcaster(name, config).await
    }
}
