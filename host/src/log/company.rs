//! How long the committer waits for company.
//!
//! Those that a commit has answered come back at once, but not all in the same moment. A committer that went on with the first
//! of them would make two commits of what could be one, each as long as the one. So it gives them a small part of the time that
//! a commit takes, and no more of it than they need. Where nobody was answered just now, nobody waits.

use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, never};

use crate::limits::{COMPANY_WAIT, COMPANY_WAIT_MAX};

/// See the module.
pub(super) struct Company {
    /// How many the last commit has answered.
    answered: usize,
    /// Tells when they have had their time.
    end: Receiver<Instant>,
}

impl Company {
    /// Nobody is expected.
    pub fn none() -> Self {
        Self { answered: 0, end: never() }
    }

    /// So many were answered now, in a commit like others that take so long.
    pub fn answered(count: usize, typical: Duration) -> Self {
        // One alone comes back before anybody can wait for it.
        if count < 2 {
            return Self::none();
        }
        Self { answered: count, end: after((typical / COMPANY_WAIT).min(COMPANY_WAIT_MAX)) }
    }

    /// Waits until as many are there as were answered, or have had their time.
    pub fn gather(&mut self, waiting: impl Fn() -> usize) {
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

    #[test]
    fn it_waits_for_as_many_as_were_answered_and_no_longer() {
        let come = Cell::new(0);
        Company { answered: 5, end: never() }.gather(|| come.replace(come.get() + 1));
        assert_eq!(come.get(), 6, "five were there when it looked for the sixth time");
    }

    #[test]
    fn it_waits_for_nobody_where_one_alone_was_answered() {
        for mut company in [Company::none(), Company::answered(1, LONG)] {
            company.gather(|| 0);
        }
    }

    #[test]
    fn who_doesnt_come_back_is_waited_for_once_and_not_for_ever() {
        let mut company = Company::answered(5, LONG);
        company.gather(|| 0);
        company.gather(|| 0);
    }
}
