//! Time for guests that read it through WASI: it stands still while they compute, and jumps where they sleep.
//!
//! A delivery's time is a part of what its effects depend on, so that no guest sees the machine's. A guest that waits
//! for a timer waits for nothing real: the clock moves to the earliest timer that it waits for, and the delivery is out
//! of time when that lies past its deadline. Both are the same on every run.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use wasmtime::component::{HasData, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::{monotonic_clock, wall_clock};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use crate::clock::Timestamp;
use crate::plugin::host::Host;

/// The clock of one instance.
#[derive(Clone, Default)]
pub(in crate::plugin) struct GuestClock(Arc<Mutex<Times>>);

/// All in nanoseconds since 1970.
#[derive(Default)]
struct Times {
    now: u64,
    deadline: u64,
    overslept: bool,
    /// How many timers wait for each moment.
    waiting: BTreeMap<u64, usize>,
}

impl GuestClock {
    /// Starts anew at `now`: sleeping for more than `time` passes the deadline.
    pub(in crate::plugin) fn set(&self, now: Timestamp, time: Duration) {
        let now = u64::try_from(now.0).unwrap_or(0).saturating_mul(1000);
        let mut times = self.times();
        times.now = now;
        times.deadline = now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        times.overslept = false;
        times.waiting.clear();
    }

    /// Whether the guest wants to sleep past its deadline. It is never woken then.
    pub(in crate::plugin) fn is_overslept(&self) -> bool {
        self.times().overslept
    }

    fn now(&self) -> u64 {
        self.times().now
    }

    /// Moves to `when`, if that is the earliest moment that a timer waits for; whether it is reached.
    fn reach(&self, when: u64) -> bool {
        let mut times = self.times();
        if when > times.now && times.waiting.first_key_value().is_some_and(|(first, _)| *first == when) {
            if when > times.deadline {
                times.overslept = true;
            } else {
                times.now = when;
            }
        }
        when <= times.now
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A timer that a guest may wait for.
struct Timer {
    when: u64,
    clock: GuestClock,
}

/// A timer that a guest waits for.
struct Waiting<'a>(&'a Timer);

impl<'a> Waiting<'a> {
    fn new(timer: &'a Timer) -> Self {
        *timer.clock.times().waiting.entry(timer.when).or_default() += 1;
        Self(timer)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut times = self.0.clock.times();
        if let Some(count) = times.waiting.get_mut(&self.0.when) {
            *count -= 1;
            if *count == 0 {
                times.waiting.remove(&self.0.when);
            }
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        if self.clock.now() >= self.when {
            return;
        }
        let waiting = Waiting::new(self);
        // All that the guest waits for is asked once before time moves: then the earliest timer is known, and what is
        // ready without waiting has been found.
        let mut asked = false;
        poll_fn(|cx| {
            if asked && waiting.0.clock.reach(waiting.0.when) {
                return Poll::Ready(());
            }
            asked = true;
            if !waiting.0.clock.is_overslept() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
    }
}

/// `wasi:clocks` on the clock of an instance.
pub(super) struct GuestTime;

pub(super) struct GuestTimeView<'a> {
    clock: &'a GuestClock,
    resources: &'a mut ResourceTable,
}

impl HasData for GuestTime {
    type Data<'a> = GuestTimeView<'a>;
}

impl Host {
    pub(super) fn time(&mut self) -> GuestTimeView<'_> {
        GuestTimeView { clock: &self.clock, resources: &mut self.resources }
    }
}

impl GuestTimeView<'_> {
    fn timer(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.resources.push(Timer { when, clock: self.clock.clone() })?;
        subscribe(self.resources, timer)
    }
}

/// What the clocks say of their resolution: deliveries know microseconds.
const RESOLUTION_NANOS: u32 = 1000;

impl wall_clock::Host for GuestTimeView<'_> {
    fn now(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        let now = Duration::from_nanos(self.clock.now());
        Ok(wall_clock::Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() })
    }

    fn resolution(&mut self) -> wasmtime::Result<wall_clock::Datetime> {
        Ok(wall_clock::Datetime { seconds: 0, nanoseconds: RESOLUTION_NANOS })
    }
}

impl monotonic_clock::Host for GuestTimeView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.now())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(u64::from(RESOLUTION_NANOS))
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.timer(when)
    }

    fn subscribe_duration(&mut self, wait: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let when = self.clock.now().saturating_add(wait);
        self.timer(when)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn poll(future: std::pin::Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn timer(clock: &GuestClock, after: Duration) -> Timer {
        let after = u64::try_from(after.as_nanos()).unwrap();
        Timer { when: clock.now() + after, clock: clock.clone() }
    }

    #[test]
    fn of_several_timers_the_earliest_fires_and_time_stands_there() {
        let clock = GuestClock::default();
        clock.set(Timestamp(1), Duration::from_secs(5));
        let (mut late, mut early) =
            (timer(&clock, Duration::from_secs(2)), timer(&clock, Duration::from_secs(1)));
        let (mut late, mut early) = (pin!(late.ready()), pin!(early.ready()));
        assert!(!poll(late.as_mut()) && !poll(early.as_mut()), "all are asked before time moves");
        assert!(!poll(late.as_mut()));
        assert!(poll(early.as_mut()));
        assert_eq!(clock.now(), 1000 + 1_000_000_000);
        assert!(!clock.is_overslept());
    }

    #[test]
    fn a_timer_past_the_deadline_never_fires_and_says_so() {
        let clock = GuestClock::default();
        clock.set(Timestamp(1), Duration::from_secs(5));
        let mut timer = timer(&clock, Duration::from_secs(6));
        let mut ready = pin!(timer.ready());
        assert!(!poll(ready.as_mut()) && !poll(ready.as_mut()));
        assert!(clock.is_overslept());
        assert_eq!(clock.now(), 1000, "and no time has passed");
    }
}
