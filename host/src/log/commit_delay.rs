//! How long the committer waits for others to join a commit.
//!
//! Those that a commit has answered come back at once, but not all in the same moment. A committer that went on with the first
//! of them would make two commits of what could be one, each as long as the one. So it gives them a small part of the time that
//! a commit takes, and no more of it than they need. Where nobody was answered just now, nobody waits.
//!
//! The wait is the machine's time and not the bus's: it keeps a core busy, and a clock that stands still must not stretch it.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never};

use crate::limits::{COMMIT_DELAY_MAX, COMMIT_DELAY_PART};

/// See the module.
pub(super) struct CommitDelay {
    /// How many the last commit has answered.
    answered: usize,
    /// Tells when they have had their time.
    end: Receiver<Instant>,
}

impl CommitDelay {
    /// Nobody is expected.
    pub fn none() -> Self {
        Self { answered: 0, end: never() }
    }

    /// So many were answered now, in a commit like others that take so long.
    pub fn after_answers(count: usize, typical: Duration) -> Self {
        // One alone comes back before anybody can wait for it.
        if count < 2 {
            return Self::none();
        }
        Self { answered: count, end: after((typical / COMMIT_DELAY_PART).min(COMMIT_DELAY_MAX)) }
    }

    /// Waits until as many are there as were answered, or have had their time.
    pub fn wait(&mut self, waiting: impl Fn() -> usize) {
        while waiting() < self.answered && self.end.try_recv().is_err() {
            thread::yield_now();
        }
        self.answered = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const LONG: Duration = Duration::MAX;

    /// How often it looks, where one more has come whenever it does.
    fn looks(delay: &mut CommitDelay) -> usize {
        let looks = Cell::new(0);
        delay.wait(|| looks.replace(looks.get() + 1));
        looks.get()
    }

    #[test]
    fn it_waits_for_as_many_as_were_answered_and_no_longer() {
        let mut delay = CommitDelay { answered: 5, end: never() };
        assert_eq!(looks(&mut delay), 6, "nobody is there when it looks first");
    }

    #[test]
    fn it_waits_for_nobody_where_one_alone_was_answered() {
        for mut delay in [CommitDelay::none(), CommitDelay::after_answers(1, LONG)] {
            assert_eq!(looks(&mut delay), 1);
        }
    }

    #[test]
    fn who_doesnt_come_back_is_waited_for_once_and_not_for_ever() {
        let mut delay = CommitDelay::after_answers(5, LONG);
        delay.wait(|| 0);
        assert_eq!(looks(&mut delay), 1, "the next commit waits for nobody");
    }
}
