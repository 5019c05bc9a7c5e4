//! The moment between that in which a commit is durable and that in which it is visible.
//!
//! Who publishes is answered in the first: a checkpoint may lie between. Who reads then waits for the second, so that everybody
//! finds what they were told is there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// See the module.
#[derive(Default)]
pub(super) struct Visibility {
    /// How many commits were durable before they were visible, and how many of these are visible.
    durable: AtomicU64,
    visible: AtomicU64,
    /// The committer's thread. Held to change how many are visible, so that nobody who waits misses it.
    committer: Mutex<Option<ThreadId>>,
    changed: Condvar,
}

/// Once this is dropped, what is durable is visible, or nothing can be read any more.
pub(super) struct Reached<'a>(&'a Visibility);

impl Visibility {
    /// A commit is durable that is not visible yet. The calling thread is the committer's.
    pub fn pending(&self) {
        *self.committer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current().id());
        self.durable.fetch_add(1, Ordering::Release);
    }

    /// Until when who reads waits, whatever comes between.
    pub fn reached_when_dropped(&self) -> Reached<'_> {
        Reached(self)
    }

    /// Waits until what is durable now is visible: for a part of a millisecond, or some where a checkpoint is made. The
    /// committer itself, as a task that is woken by it may be, waits for nothing.
    pub fn wait(&self) {
        let durable = self.durable.load(Ordering::Acquire);
        let is_pending = || self.visible.load(Ordering::Acquire) < durable;
        if !is_pending() {
            return;
        }
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        if *committer != Some(thread::current().id()) {
            drop(self.changed.wait_while(committer, |_| is_pending()));
        }
    }
}

impl Drop for Reached<'_> {
    fn drop(&mut self) {
        let Visibility { durable, visible, committer, changed } = self.0;
        let durable = durable.load(Ordering::Relaxed);
        if visible.load(Ordering::Relaxed) != durable {
            let committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
            visible.store(durable, Ordering::Release);
            drop(committer);
            changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn who_reads_waits_while_something_is_durable_that_is_not_visible() {
        let visibility = Arc::new(Visibility::default());
        visibility.wait();
        for _ in 0..100 {
            let reached = visibility.reached_when_dropped();
            visibility.pending();
            let (has_begun, waits) = (Arc::new(AtomicBool::new(false)), Arc::clone(&visibility));
            let begins = Arc::clone(&has_begun);
            let reader = thread::spawn(move || {
                begins.store(true, Ordering::Relaxed);
                waits.wait();
            });
            while !has_begun.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            for _ in 0..100 {
                thread::yield_now();
                assert!(!reader.is_finished());
            }
            visibility.wait();
            drop(reached);
            reader.join().unwrap();
        }
    }
}
