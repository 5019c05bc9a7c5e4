//! When the large batches of lanes are committed: alone where that can be, and so seldom that they hold up nobody else.
//!
//! A commit that takes `e` longer than others do, once in a period `p`, meets a part `e/p` of those who come by then, and
//! each of these waits `e/2` on average. All wait `e²/2p` longer, then. That is to be a small part of what a commit takes
//! anyway, which says how long the next large batch rests: on a disk whose commits are slow, not at all.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::limits::{LARGE_COMMIT_DELAY, LARGE_COMMIT_WAIT_MAX};

/// Commits whose time makes up what is typical: each counts one in so many.
const MEMORY: u32 = 16;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// What a commit without a large batch takes.
    typical: Duration,
    /// When the next large batch may go, as far as others are held up by it.
    due_at: Timestamp,
    /// When there was last anything else; `None` where there was nothing yet.
    others_at: Option<Timestamp>,
    /// Whether a commit was made while a large batch was due.
    was_passed_by: bool,
}

impl Turns {
    /// How long the next large batch has to wait.
    pub fn wait(&self, now: Timestamp) -> Duration {
        match self.others_at {
            Some(others_at) if now.since(others_at) <= LARGE_COMMIT_WAIT_MAX => self.due_at.since(now),
            _ => Duration::ZERO,
        }
    }

    /// Whether the next commit takes a large batch that waits and is due. Who waits already goes first, but once.
    pub fn takes(&mut self, others_wait: bool) -> bool {
        let takes = !others_wait || self.was_passed_by;
        self.was_passed_by = !takes;
        takes
    }

    /// Something else than a large batch is about to be committed.
    pub fn others_are_about(&mut self, now: Timestamp) {
        self.others_at = Some(now);
    }

    /// What a commit without a large batch takes.
    pub fn typical(&self) -> Duration {
        self.typical
    }

    /// A commit has taken this time.
    pub fn has_taken(&mut self, took: Duration, with_large: bool, now: Timestamp) {
        if with_large {
            self.due_at = now.after(rest(took, self.typical));
        } else if self.typical.is_zero() {
            self.typical = took;
        } else {
            self.typical = (self.typical * (MEMORY - 1) + took) / MEMORY;
        }
    }
}

/// How long the next large batch rests after one that took so long.
fn rest(took: Duration, typical: Duration) -> Duration {
    let excess = took.saturating_sub(typical).as_micros();
    let delay = (typical / LARGE_COMMIT_DELAY).as_micros().max(1);
    let micros = excess.saturating_mul(excess) / (2 * delay);
    u64::try_from(micros).map_or(LARGE_COMMIT_WAIT_MAX, Duration::from_micros).min(LARGE_COMMIT_WAIT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_large_commits_add_to_the_wait_of_others_is_a_small_part_of_a_commit() {
        for (took, typical) in [(MS * 3, MS), (MS * 6, MS), (MS * 40, MS * 30), (MS * 20, MS * 10)] {
            let excess = took.abs_diff(typical).as_secs_f64();
            let added = excess * excess / 2.0 / rest(took, typical).as_secs_f64();
            let share = added / typical.as_secs_f64() * f64::from(LARGE_COMMIT_DELAY);
            assert!((0.99..1.01).contains(&share), "{took:?}, {typical:?}: {share}");
        }
    }

    #[test]
    fn a_batch_that_takes_no_longer_than_others_rests_for_no_time_and_none_for_long() {
        assert_eq!(rest(MS, MS), Duration::ZERO);
        assert_eq!(rest(MS, MS * 2), Duration::ZERO);
        assert_eq!(rest(Duration::MAX, Duration::ZERO), LARGE_COMMIT_WAIT_MAX);
    }

    #[test]
    fn a_large_batch_waits_only_where_others_are_about() {
        let (mut turns, now) = (Turns::default(), Timestamp(5_000_000));
        turns.has_taken(MS, false, now);
        turns.has_taken(MS * 6, true, now);
        assert_eq!(turns.wait(now), Duration::ZERO);
        turns.others_are_about(now);
        assert_eq!(turns.wait(now), rest(MS * 6, MS));
        assert_eq!(turns.wait(now.after(rest(MS * 6, MS))), Duration::ZERO);
        assert_eq!(turns.wait(now.after(LARGE_COMMIT_WAIT_MAX + MS)), Duration::ZERO);
    }

    #[test]
    fn who_waits_already_goes_first_but_once() {
        let mut turns = Turns::default();
        assert!(!turns.takes(true) && turns.takes(true));
        assert!(!turns.takes(true) && turns.takes(false));
        assert!(!turns.takes(true));
    }
}
