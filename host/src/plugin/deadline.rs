//! A delivery's deadline, counted in the time that its guest executes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use wasmtime::UpdateDeadline;

use super::ticker::Pulse;
use crate::limits::EPOCH_TICK;

/// Counts the ticks in which a guest executes. Between two slices other tasks run, and their time doesn't count.
pub(super) struct Deadline {
    pulse: Pulse,
    ticks_max: u64,
    ticks_used: u64,
    slice_start: Arc<AtomicU64>,
    passed: bool,
}

impl Deadline {
    pub(super) fn new(pulse: Pulse) -> Self {
        Self { pulse, ticks_max: 0, ticks_used: 0, slice_start: Arc::default(), passed: false }
    }

    /// Starts anew: from here on, the guest may execute for so long.
    pub(super) fn set(&mut self, time: Duration) {
        let ticks = time.as_micros().div_ceil(EPOCH_TICK.as_micros());
        // One more, as the first tick may come at once: never less than what was promised.
        self.ticks_max = u64::try_from(ticks).unwrap_or(u64::MAX).saturating_add(1);
        self.ticks_used = 0;
        self.passed = false;
        self.slice_start.store(self.pulse.ticks(), Ordering::Relaxed);
    }

    /// What it is counted by.
    pub(super) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Whether the deadline has passed.
    pub(super) fn has_passed(&self) -> bool {
        self.passed
    }

    /// Ends a slice: what the guest's next check of the epoch comes to. A slice may span several ticks, where a call
    /// to the host took long.
    pub(super) fn end_slice(&mut self) -> UpdateDeadline {
        let slice = self.pulse.ticks().saturating_sub(self.slice_start.load(Ordering::Relaxed));
        self.ticks_used = self.ticks_used.saturating_add(slice.max(1));
        if self.ticks_used >= self.ticks_max {
            self.passed = true;
            return UpdateDeadline::Interrupt;
        }
        let (pulse, slice_start) = (self.pulse.clone(), Arc::clone(&self.slice_start));
        UpdateDeadline::YieldCustom(
            1,
            Box::pin(async move {
                tokio::task::yield_now().await;
                slice_start.store(pulse.ticks(), Ordering::Relaxed);
            }),
        )
    }
}
