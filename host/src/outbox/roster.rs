//! The outboxes whose relays run on a bus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{OutboxError, Running};
use crate::limits::OUTBOXES_MAX;

/// See the module.
#[derive(Default)]
pub(crate) struct Roster {
    running: Mutex<BTreeMap<String, Arc<Running>>>,
}

impl Roster {
    /// Adds one, which is started only where it may be.
    pub fn start(
        &self,
        name: &str,
        start: impl FnOnce() -> Result<Running, OutboxError>,
    ) -> Result<(), OutboxError> {
        let mut running = self.running();
        if running.contains_key(name) {
            return Err(OutboxError::Running(name.to_owned()));
        }
        if running.len() == OUTBOXES_MAX {
            return Err(OutboxError::TooMany { max: OUTBOXES_MAX });
        }
        running.insert(name.to_owned(), Arc::new(start()?));
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<Arc<Running>, OutboxError> {
        self.running().get(name).cloned().ok_or_else(|| OutboxError::NotRunning(name.to_owned()))
    }

    /// Gives one to whoever ends it. It keeps its name until it is [`remove`](Self::remove)d, so that another one under the
    /// same name doesn't begin beside its last step.
    pub fn claim_stop(&self, name: &str) -> Result<Arc<Running>, OutboxError> {
        let running = self.get(name)?;
        if running.claim_stop() { Ok(running) } else { Err(OutboxError::NotRunning(name.to_owned())) }
    }

    /// Takes out one that has ended.
    pub fn remove(&self, name: &str) {
        self.running().remove(name);
    }

    /// All of them, by name.
    pub fn all(&self) -> BTreeMap<String, Arc<Running>> {
        self.running().clone()
    }

    /// Takes out all of them.
    pub fn take_all(&self) -> BTreeMap<String, Arc<Running>> {
        std::mem::take(&mut *self.running())
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
