//! The committer without a thread of its own: for tests that decide what happens when.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::committer::{Closing, Committer, Step};

/// What has the committer work, a commit at a time. Shared by its clones.
#[derive(Clone, Default)]
pub struct Steps {
    /// From the opening of a log to its end.
    committer: Arc<Mutex<Option<Committer>>>,
}

impl Steps {
    /// One commit of what waits, or one try to open a database anew that has failed. Idle, too, where no log is open.
    pub fn step(&self) -> Step {
        let mut committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        committer.as_mut().map_or(Step::Idle, Committer::step)
    }

    pub(super) fn put(&self, committer: Committer) {
        *self.committer.lock().unwrap_or_else(PoisonError::into_inner) = Some(committer);
    }

    pub(super) fn finish(&self) -> Option<Closing> {
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        committer.map(Committer::finish)
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps").finish_non_exhaustive()
    }
}
