//! Whether a failed delivery is tried again, and when.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::RetryPolicy;
use crate::handler::FailureKind;
use crate::limits::{HOST_CRASHES_MAX, RETRY_AFTER_MAX};
use crate::log::{Attempt, Held};

/// When to make the next attempt after the one that `held` records last; `None` to give up.
///
/// The age is looked at when an attempt fails, not when the next one is due: an event whose retry fell into a time when
/// the bus was down is still tried once more. What the failure asks for is a floor that the backoff's maximum doesn't
/// bound: who says when to come again knows better than a formula. `chance` is a number of which each is as likely as any other.
pub(super) fn next_attempt(
    policy: &RetryPolicy,
    held: &Held,
    now: Timestamp,
    chance: u64,
) -> Option<Timestamp> {
    let failure = &held.attempts.last()?.failure;
    let made = u32::try_from(held.attempts.len()).unwrap_or(u32::MAX);
    let spent = made >= policy.attempts
        || now.since(held.first_attempt) >= policy.age
        || crashes(&held.attempts) >= HOST_CRASHES_MAX;
    if spent || !failure.kind.is_retryable() {
        return None;
    }
    let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
    Some(now.after(backoff(policy, made, chance).max(asked)))
}

/// How often in a row the whole process has ended during the delivery.
pub(super) fn crashes(attempts: &[Attempt]) -> u32 {
    let in_a_row = attempts.iter().rev().take_while(|attempt| attempt.failure.kind == FailureKind::HostCrash);
    u32::try_from(in_a_row.count()).unwrap_or(u32::MAX)
}

/// Full jitter: uniform between nothing and an upper bound that doubles with each failure. Of a thousand events that
/// failed together, as when a service went down, hardly two come back together.
fn backoff(policy: &RetryPolicy, failures: u32, chance: u64) -> Duration {
    let doubled = policy.base.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    let bound = u64::try_from(doubled.min(policy.max).as_micros()).unwrap_or(u64::MAX);
    // The high half of the product maps `chance` evenly onto 0..=bound.
    let micros = (u128::from(chance) * (u128::from(bound) + 1)) >> 64;
    Duration::from_micros(u64::try_from(micros).unwrap_or(bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::Failure;
    use crate::ids::TopicId;
    use crate::log::Wait;

    const FIRST: Timestamp = Timestamp(1_000_000_000);

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempts: 5,
            base: Duration::from_millis(200),
            max: Duration::from_secs(1),
            age: Duration::from_hours(1),
        }
    }

    fn held(failures: &[Failure]) -> Held {
        let attempts = failures.iter().map(|failure| Attempt {
            at: FIRST,
            failure: failure.clone(),
            version: <_>::default(),
        });
        Held {
            key: 1,
            topic: TopicId(1),
            offset: 0,
            commit: 1,
            appended: FIRST,
            event: None,
            wait: Wait::Behind,
            attempts: attempts.collect(),
            first_attempt: FIRST,
            redriven: false,
        }
    }

    fn transient(count: usize) -> Held {
        held(&vec![Failure::transient("busy", "try later"); count])
    }

    #[test]
    fn backoff_is_full_jitter_under_a_bound_that_doubles_up_to_its_maximum() {
        for (failures, bound_ms) in [(1, 200), (2, 400), (3, 800), (4, 1000)] {
            let wait =
                |chance| next_attempt(&policy(), &transient(failures), FIRST, chance).unwrap().since(FIRST);
            assert_eq!(wait(0), Duration::ZERO);
            assert_eq!(wait(u64::MAX / 2), Duration::from_millis(bound_ms) / 2);
            assert_eq!(wait(u64::MAX), Duration::from_millis(bound_ms));
        }
    }

    #[test]
    fn attempts_are_bounded_in_number_and_in_age() {
        assert!(next_attempt(&policy(), &transient(4), FIRST, 0).is_some());
        assert_eq!(next_attempt(&policy(), &transient(5), FIRST, 0), None);
        let border = FIRST.after(policy().age);
        assert!(next_attempt(&policy(), &transient(1), border.before(Duration::from_micros(1)), 0).is_some());
        assert_eq!(next_attempt(&policy(), &transient(1), border, 0), None);
    }

    #[test]
    fn a_failure_that_another_attempt_cannot_mend_is_not_tried_again() {
        for kind in [FailureKind::Permanent, FailureKind::Damaged, FailureKind::Gap] {
            assert_eq!(next_attempt(&policy(), &held(&[Failure::new(kind, "no", "no")]), FIRST, 0), None);
        }
        for kind in [FailureKind::Transient, FailureKind::Trap, FailureKind::Timeout, FailureKind::Memory] {
            assert!(next_attempt(&policy(), &held(&[Failure::new(kind, "x", "x")]), FIRST, 0).is_some());
        }
    }

    #[test]
    fn what_a_consumer_asks_for_is_waited_even_over_the_backoffs_maximum_up_to_a_day() {
        const DAY: u64 = 24 * 60 * 60 * 1000;
        for (asked, wait) in [(700, 700), (60_000, 60_000), (DAY, DAY), (DAY + 1, DAY), (u64::MAX, DAY)] {
            let failure = Failure::transient("busy", "later").with_retry_after(Duration::from_millis(asked));
            let due = next_attempt(&policy(), &held(&[failure]), FIRST, u64::MAX).unwrap();
            assert_eq!(due.since(FIRST), Duration::from_millis(wait));
        }
        let sooner = Failure::transient("busy", "later").with_retry_after(Duration::from_millis(1));
        let due = next_attempt(&policy(), &held(&[sooner]), FIRST, u64::MAX).unwrap();
        assert_eq!(due.since(FIRST), Duration::from_millis(200));
    }

    #[test]
    fn a_delivery_that_ends_the_process_time_and_again_is_given_up_on() {
        let crash = Failure::new(FailureKind::HostCrash, "host-crash", "the process ended");
        let other = Failure::transient("busy", "later");
        assert!(next_attempt(&policy(), &held(&[crash.clone(), crash.clone()]), FIRST, 0).is_some());
        assert_eq!(
            next_attempt(&policy(), &held(&[crash.clone(), crash.clone(), crash.clone()]), FIRST, 0),
            None
        );
        let not_in_a_row = [crash.clone(), crash.clone(), other, crash];
        assert!(next_attempt(&policy(), &held(&not_in_a_row), FIRST, 0).is_some());
    }
}
