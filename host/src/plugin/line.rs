//! A lane's lines in the host's log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::handler::{Delivery, LaneName};
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_PER_SECOND};

/// The levels of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes what one lane's plugin logs, bounded in size and in rate.
///
/// It outlives the instances of its lane, so that a plugin that traps on every delivery has no new budget each time.
pub(super) struct LaneLog {
    consumer: Arc<str>,
    /// The lane's partition; none for those who answer questions, all of whom have one log.
    partition: Option<u32>,
    granted: bool,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    delivery: Option<Place>,
    budget: Budget,
}

/// The delivery that a line belongs to.
struct Place {
    topic: Arc<str>,
    offset: u64,
    attempt: u32,
}

/// Counts lines in windows of one second.
#[derive(Debug, Default, PartialEq, Eq)]
struct Budget {
    window: Option<Timestamp>,
    lines: u32,
    dropped: u64,
}

impl LaneLog {
    pub(super) fn new(lane: LaneName, granted: bool, clock: Arc<dyn Clock>) -> Self {
        let LaneName { consumer, partition } = lane;
        Self { consumer, partition: Some(partition), granted, clock, state: Mutex::default() }
    }

    /// Of those who answer a consumer's questions.
    pub(super) fn of_questions(consumer: Arc<str>, granted: bool, clock: Arc<dyn Clock>) -> Self {
        Self { consumer, partition: None, granted, clock, state: Mutex::default() }
    }

    pub(super) fn begin(&self, delivery: &Delivery) {
        if self.granted {
            self.state().delivery = Some(Place {
                topic: Arc::clone(&delivery.topic),
                offset: delivery.offset,
                attempt: delivery.attempt,
            });
        }
    }

    pub(super) fn end(&self) {
        if self.granted {
            let mut state = self.state();
            state.delivery = None;
            if state.budget.dropped > 0 {
                let dropped = state.budget.roll(self.clock.now());
                self.report(dropped);
            }
        }
    }

    /// Whether anything is written at all.
    pub(super) fn is_granted(&self) -> bool {
        self.granted
    }

    /// Writes a line, or counts it as dropped.
    pub(super) fn write(&self, level: Level, line: &str) {
        if !self.granted {
            return;
        }
        let mut state = self.state();
        let dropped = state.budget.roll(self.clock.now());
        self.report(dropped);
        if !state.budget.admit() {
            return;
        }
        let line = &line[..line.floor_char_boundary(LOG_LINE_BYTES_MAX)];
        let (consumer, partition) = (&*self.consumer, self.partition);
        let place = state.delivery.as_ref();
        let topic = place.map(|place| &*place.topic);
        let offset = place.map(|place| place.offset);
        let attempt = place.map(|place| place.attempt);
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(target: "tidegate::plugin", consumer, topic, partition, offset, attempt, "{line}")
            };
        }
        match level {
            Level::Trace => event!(trace),
            Level::Debug => event!(debug),
            Level::Info => event!(info),
            Level::Warn => event!(warn),
            Level::Error => event!(error),
        }
    }

    fn report(&self, dropped: u64) {
        if dropped > 0 {
            let (consumer, partition) = (&*self.consumer, self.partition);
            tracing::warn!(
                target: "tidegate::plugin",
                consumer,
                partition,
                dropped,
                "dropped {dropped} log lines: a plugin's lane may write {LOG_LINES_PER_SECOND} in a second"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LaneLog {
    fn drop(&mut self) {
        let dropped = self.state().budget.dropped;
        self.report(dropped);
    }
}

impl Budget {
    /// Opens a new window where the last one is over, and then answers how many lines that one dropped.
    fn roll(&mut self, now: Timestamp) -> u64 {
        if self.window.is_some_and(|window| now.since(window) < Duration::from_secs(1)) {
            return 0;
        }
        self.window = Some(now);
        self.lines = 0;
        std::mem::take(&mut self.dropped)
    }

    fn admit(&mut self) -> bool {
        if self.lines < LOG_LINES_PER_SECOND {
            self.lines += 1;
            true
        } else {
            self.dropped += 1;
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_over_the_rate_are_dropped_and_their_number_is_told_once() {
        let mut budget = Budget::default();
        assert_eq!(budget.roll(Timestamp(0)), 0);
        let admitted = (0..LOG_LINES_PER_SECOND + 7).filter(|_| budget.admit()).count();
        assert_eq!(admitted, LOG_LINES_PER_SECOND as usize);
        assert_eq!(budget.roll(Timestamp(999_999)), 0, "the second is not over");
        assert!(!budget.admit());
        assert_eq!(budget.roll(Timestamp(1_000_000)), 8);
        assert!(budget.admit());
        assert_eq!(budget.roll(Timestamp(2_000_000)), 0, "what was told is not told again");
    }
}
