//! Time and chance for tests: a clock that stands still until it is moved, and numbers that a seed repeats; a disk in memory;
//! and [`probe`], for what reads bytes.

pub mod probe;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

pub use crate::bus::{DurableHold, DurableLane};
use crate::clock::{BoxFuture, Clock, Random, Reading, Timestamp};
pub use crate::log::{MemoryMedium, Step};
pub use crate::stepper::Stepper;

/// A clock that moves when it is told to.
#[derive(Debug)]
pub struct ManualClock {
    /// Read without a lock, so that whoever moves it again and again keeps nobody from reading it.
    now: AtomicI64,
    moved: Notify,
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.0), moved: Notify::new() }
    }

    /// Moves the clock forward, and wakes who slept until a moment that has come.
    pub fn advance(&self, time: Duration) {
        self.change(|now| now.after(time));
    }

    /// Moves the clock to `moment`, unless it is past it.
    pub fn advance_to(&self, moment: Timestamp) {
        self.change(|now| moment.max(now));
    }

    fn change(&self, change: impl Fn(Timestamp) -> Timestamp) {
        let moved = |now| Some(change(Timestamp(now)).0);
        // It always changes to something.
        let _ = self.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
        self.moved.notify_waiters();
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Acquire))
    }

    fn not_before(&self, floor: Timestamp) {
        self.advance_to(floor);
    }

    fn is_slewing(&self) -> bool {
        false
    }

    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            loop {
                // Made before the look, so that no move after it is missed.
                let moved = self.moved.notified();
                if self.now() >= moment {
                    return;
                }
                moved.await;
            }
        })
    }
}

/// The machine's clock as [`SystemClock`](crate::SystemClock) makes it steady, with a time since boot and a wall clock that
/// move when they are told to.
#[derive(Debug)]
pub struct JumpingClock {
    /// The time since boot, the wall clock, and what is read of them.
    reading: watch::Sender<(i64, i64, Reading)>,
}

impl JumpingClock {
    /// A clock of a machine that has just started at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { reading: watch::Sender::new((0, now.0, Reading::first(0, now.0))) }
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        self.change(micros, micros);
    }

    /// Sets the wall clock forward, or back.
    pub fn jump(&self, micros: i64) {
        self.change(0, micros);
    }

    fn change(&self, boot_by: i64, wall_by: i64) {
        self.reading.send_modify(|(boot, wall, reading)| {
            *boot = boot.saturating_add(boot_by);
            *wall = wall.saturating_add(wall_by);
            *reading = reading.advanced(*boot, *wall);
        });
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        self.reading.borrow().2.now()
    }

    fn not_before(&self, floor: Timestamp) {
        self.reading.send_modify(|(_, _, reading)| *reading = reading.not_before(floor));
    }

    fn is_slewing(&self) -> bool {
        self.reading.borrow().2.is_slewing()
    }

    fn sleep_until(&self, moment: Timestamp) -> BoxFuture<'_, ()> {
        let mut reading = self.reading.subscribe();
        Box::pin(async move {
            // The sender is borrowed for as long as this waits, so it can't be gone.
            drop(reading.wait_for(|(_, _, reading)| reading.now() >= moment).await);
        })
    }
}

/// Numbers that follow from a seed: the splitmix64 sequence.
#[derive(Debug)]
pub struct SeededRandom {
    state: AtomicU64,
}

impl SeededRandom {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl Random for SeededRandom {
    fn next_u64(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
