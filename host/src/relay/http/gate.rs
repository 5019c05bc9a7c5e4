//! When an endpoint may be asked again, whichever event it is about.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::handler::Failure;
use crate::limits::RELAY_GONE_WAIT;

/// What an endpoint has said about all requests: `CloudEvents` wants a sender to send nothing more after `410 Gone`, and
/// nothing before the moment that comes with `429 Too Many Requests`.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Open,
    /// Shut until this moment.
    Until(Timestamp),
    /// Shut since this moment, until the relay is made anew.
    Gone(Timestamp),
}

impl Gate {
    /// Lets nothing through until this moment.
    pub fn shut_until(&self, moment: Timestamp) {
        let mut state = self.state();
        match *state {
            State::Gone(_) => {}
            State::Until(before) if before >= moment => {}
            State::Open | State::Until(_) => *state = State::Until(moment),
        }
    }

    /// Lets nothing through any more. Returns whether it did before.
    pub fn shut_for_good(&self, now: Timestamp) -> bool {
        let mut state = self.state();
        if matches!(*state, State::Gone(_)) {
            return false;
        }
        *state = State::Gone(now);
        true
    }

    /// Waits until it opens, if that is soon: no longer than `patience`. What would have to wait longer fails, to be
    /// made again then.
    pub async fn pass(&self, clock: &dyn Clock, patience: Duration, target: &str) -> Result<(), Failure> {
        let end = clock.now().after(patience);
        loop {
            let state = *self.state();
            match state {
                State::Open => return Ok(()),
                State::Until(moment) => {
                    let now = clock.now();
                    if moment <= now {
                        return Ok(());
                    }
                    if moment > end {
                        let message = format!(
                            "nothing was sent: {target} has answered 429 Too Many Requests before, and wants no request \
                             until {moment}"
                        );
                        return Err(
                            Failure::transient("http-paused", message).with_retry_after(moment.since(now))
                        );
                    }
                    // An answer that comes meanwhile may shut it for longer, so it is looked at again.
                    clock.sleep_until(moment).await;
                }
                State::Gone(since) => {
                    let message = format!(
                        "nothing was sent: {target} has answered 410 Gone at {since}, and so wants no more events: give \
                         the relay another `url`, or end the consumer"
                    );
                    return Err(Failure::transient("http-gone", message).with_retry_after(RELAY_GONE_WAIT));
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn pass(gate: &Gate, clock: &ManualClock) -> Option<Result<(), Failure>> {
        let mut pass = Box::pin(gate.pass(clock, PATIENCE, "x"));
        match pass.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(outcome) => Some(outcome),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn a_short_pause_is_waited_out_and_a_long_one_is_told() {
        let (gate, clock) = (Gate::default(), ManualClock::new(Timestamp(0)));
        assert_eq!(pass(&gate, &clock), Some(Ok(())));
        gate.shut_until(clock.now().after(PATIENCE));
        gate.shut_until(clock.now());
        assert_eq!(pass(&gate, &clock), None);
        gate.shut_until(clock.now().after(PATIENCE * 2));
        let failure = pass(&gate, &clock).unwrap().unwrap_err();
        assert_eq!((failure.code.as_str(), failure.retry_after), ("http-paused", Some(PATIENCE * 2)));
        clock.advance(PATIENCE * 2);
        assert_eq!(pass(&gate, &clock), Some(Ok(())));
    }

    #[test]
    fn nothing_passes_once_the_endpoint_is_gone() {
        let (gate, clock) = (Gate::default(), ManualClock::new(Timestamp(0)));
        assert!(gate.shut_for_good(clock.now()) && !gate.shut_for_good(clock.now()));
        gate.shut_until(clock.now());
        clock.advance(Duration::from_hours(1000));
        let failure = pass(&gate, &clock).unwrap().unwrap_err();
        assert!(failure.kind.is_retryable() && failure.code == "http-gone");
    }

    #[test]
    fn what_waits_out_a_pause_does_not_pass_if_the_gate_is_shut_again_meanwhile() {
        let after = |shut: fn(&Gate, Timestamp)| {
            let (gate, clock) = (Gate::default(), ManualClock::new(Timestamp(0)));
            gate.shut_until(clock.now().after(PATIENCE / 2));
            let mut pass = Box::pin(gate.pass(&clock, PATIENCE, "x"));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(pass.as_mut().poll(&mut context).is_pending());
            shut(&gate, clock.now());
            clock.advance(PATIENCE / 2);
            let std::task::Poll::Ready(outcome) = pass.as_mut().poll(&mut context) else {
                panic!("it waits")
            };
            outcome.unwrap_err()
        };
        let gone = after(|gate, now| assert!(gate.shut_for_good(now)));
        assert_eq!(gone.code, "http-gone");
        let paused = after(|gate, now| gate.shut_until(now.after(PATIENCE * 2)));
        assert_eq!((paused.code.as_str(), paused.retry_after), ("http-paused", Some(PATIENCE * 3 / 2)));
    }
}
