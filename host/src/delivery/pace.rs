//! A lane's share of the threads.
//!
//! Lanes are tasks on few threads. One that always has work, such as a plugin that spins, would take its turn with all others
//! and make each of them wait for its slice. So the time of a lane is counted, and one that has used up its share is worked on
//! only with a *turn*, of which there is one fewer than threads: a thread is left for those that have little to do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::clock::{BoxFuture, Clock, Timestamp};
use crate::limits::{LANE_BURST, LANE_DEBT_MAX, LANE_SHARE, LANE_SLICE};

/// See the module.
pub(super) struct Paced {
    lane: BoxFuture<'static, ()>,
    clock: Arc<dyn Clock>,
    turns: Arc<Semaphore>,
    /// The turn that it waits for.
    waiting: Option<BoxFuture<'static, Option<OwnedSemaphorePermit>>>,
    /// Time that it has used and not made up for by resting.
    debt: Duration,
    /// When the debt was last looked at.
    seen: Timestamp,
}

impl Paced {
    pub(super) fn new(
        lane: impl Future<Output = ()> + Send + 'static,
        clock: Arc<dyn Clock>,
        turns: Arc<Semaphore>,
    ) -> Self {
        let seen = clock.now();
        Self { lane: Box::pin(lane), clock, turns, waiting: None, debt: Duration::ZERO, seen }
    }

    /// A turn, if it needs one.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        let now = self.clock.now();
        self.debt = self.debt.saturating_sub(now.since(self.seen) / LANE_SHARE);
        self.seen = now;
        if self.debt <= LANE_BURST {
            self.waiting = None;
            return Poll::Ready(None);
        }
        let turns = &self.turns;
        let waiting = self.waiting.get_or_insert_with(|| {
            let turns = Arc::clone(turns);
            // Turns never end before the lanes do; without them, nobody has to wait.
            Box::pin(async move { turns.acquire_owned().await.ok() })
        });
        let turn = waiting.as_mut().poll(cx);
        if turn.is_ready() {
            self.waiting = None;
        }
        turn
    }
}

impl Future for Paced {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Poll::Ready(turn) = self.turn(cx) else { return Poll::Pending };
        let begun = self.clock.now();
        let outcome = self.lane.as_mut().poll(cx);
        self.seen = self.clock.now();
        let took = self.seen.since(begun);
        self.debt = (self.debt + took).min(LANE_DEBT_MAX);
        drop(turn);
        // The system lets a thread run on for some milliseconds even where others wait for its core, which those of
        // publishers and of the committer do that a slice has woken.
        if took >= LANE_SLICE {
            thread::yield_now();
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;
    use crate::testing::ManualClock;

    /// A lane that takes so long whenever it is worked on.
    fn lane(clock: &Arc<ManualClock>, turns: &Arc<Semaphore>, takes: Duration) -> Paced {
        let works = Arc::clone(clock);
        let lane = poll_fn(move |_| {
            works.advance(takes);
            Poll::Pending
        });
        Paced::new(lane, Arc::clone(clock) as Arc<_>, Arc::clone(turns))
    }

    /// Works on it once. Returns whether it got to work.
    fn works(clock: &ManualClock, lane: &mut Paced) -> bool {
        let before = clock.now();
        assert!(Pin::new(lane).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        clock.now() > before
    }

    #[test]
    fn a_lane_that_has_used_up_its_share_waits_for_a_turn_and_others_dont() {
        let clock = Arc::new(ManualClock::new(Timestamp(0)));
        let turns = Arc::new(Semaphore::new(1));
        let mut greedy = lane(&clock, &turns, LANE_BURST * 2);
        assert!(works(&clock, &mut greedy), "its first slice is free");
        assert!(works(&clock, &mut greedy), "there is a turn");
        let taken = Arc::clone(&turns).try_acquire_owned().unwrap();
        assert!(!works(&clock, &mut greedy), "there is none");
        let mut modest = lane(&clock, &turns, LANE_BURST / 100);
        for _ in 0..10 {
            assert!(works(&clock, &mut modest));
        }
        drop(taken);
        assert!(works(&clock, &mut greedy), "it has waited for it");
        // Resting makes up for it, whatever it has used.
        let _taken = Arc::clone(&turns).try_acquire_owned().unwrap();
        clock.advance(LANE_DEBT_MAX * LANE_SHARE);
        assert!(works(&clock, &mut greedy));
    }
}
