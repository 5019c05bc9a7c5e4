//! The moment between that in which a commit is durable and that in which it is visible.
//!
//! Who publishes is answered in the first: a checkpoint may lie between. Who reads then waits for the second, so that everybody
//! finds what they were told is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

/// See the module.
#[derive(Default)]
pub(super) struct Visibility {
    is_pending: AtomicBool,
    /// Held to change that, so that nobody who waits misses it.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Visibility {
    /// Something is durable that is not visible yet.
    pub fn pending(&self) {
        self.is_pending.store(true, Ordering::Release);
    }

    /// All that is durable is visible, or nothing can be read any more.
    pub fn reached(&self) {
        if self.is_pending.load(Ordering::Relaxed) {
            let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.is_pending.store(false, Ordering::Release);
            drop(lock);
            self.changed.notify_all();
        }
    }

    /// Waits until what is durable now is visible: for a part of a millisecond, or some where a checkpoint is made.
    pub fn wait(&self) {
        if !self.is_pending.load(Ordering::Acquire) {
            return;
        }
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let is_pending = |(): &mut ()| self.is_pending.load(Ordering::Acquire);
        drop(self.changed.wait_while(lock, is_pending));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn who_reads_waits_while_something_is_durable_that_is_not_visible() {
        let visibility = Arc::new(Visibility::default());
        visibility.wait();
        for _ in 0..100 {
            visibility.pending();
            let (is_visible, waits) = (Arc::new(AtomicBool::new(false)), Arc::clone(&visibility));
            let seen = Arc::clone(&is_visible);
            let reader = thread::spawn(move || {
                waits.wait();
                seen.load(Ordering::Relaxed)
            });
            thread::yield_now();
            is_visible.store(true, Ordering::Relaxed);
            visibility.reached();
            assert!(reader.join().unwrap());
            visibility.wait();
        }
    }
}
