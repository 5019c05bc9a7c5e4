//! How much work a run does.

use std::time::Duration;

/// How much work a run does.
pub struct Scale {
    /// Rounds of each benchmark.
    pub rounds: usize,
    /// Plain publishes in a flood, all publishers together.
    pub flood_events: usize,
    /// Operations that are measured one after the other.
    pub samples: usize,
    /// Events of a benchmark that measures a rate of groups.
    pub group_events: usize,
    /// Events of a log that has grown.
    pub grown_events: usize,
    /// Timers that are set at one time.
    pub timers: usize,
    /// Consumers that have nothing to do.
    pub idle_consumers: usize,
    /// How long they have had nothing to do before they are measured: lanes give up what they kept after ten seconds.
    pub idle_before: Duration,
    /// Partitions of a topic that has many.
    pub many_partitions: u32,
}

impl Scale {
    /// Enough to rely on: some minutes in all.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            flood_events: 100_000,
            samples: 1000,
            group_events: 200_000,
            grown_events: 10_000_000,
            timers: 1_000_000,
            idle_consumers: 1000,
            idle_before: Duration::from_secs(12),
            many_partitions: 1000,
        }
    }

    /// As little as touches everything.
    pub fn smoke() -> Self {
        Self {
            rounds: 1,
            flood_events: 1000,
            samples: 30,
            group_events: 1000,
            grown_events: 20_000,
            timers: 1000,
            idle_consumers: 20,
            idle_before: Duration::from_millis(100),
            many_partitions: 50,
        }
    }
}
