//! How much work a run does.

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
}

impl Scale {
    /// Enough to rely on: some minutes in all.
    pub fn full() -> Self {
        Self { rounds: 5, flood_events: 100_000, samples: 1000, group_events: 200_000 }
    }

    /// As little as touches everything.
    pub fn smoke() -> Self {
        Self { rounds: 1, flood_events: 1000, samples: 30, group_events: 1000 }
    }
}
