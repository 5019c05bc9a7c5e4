//! The machine's time: when to kill, and how long opening took.

#![expect(
    clippy::disallowed_methods,
    reason = "a process is killed in real time, whatever its bus takes for the time"
)]

use std::time::{Duration, Instant};

/// Measures from its start.
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
