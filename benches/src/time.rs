//! The machine's time, which is what is measured here.

#![expect(clippy::disallowed_methods, reason = "what is measured is the machine's time, not the bus's")]

use std::time::{Duration, Instant};

/// How long something takes, with what it came to.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    let outcome = work();
    (outcome, begun.elapsed())
}

/// Measures how long something takes that no closure holds.
#[derive(Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn took(&self) -> Duration {
        self.0.elapsed()
    }
}

/// How long each of many like operations took.
#[derive(Default)]
pub struct Waits {
    micros: Vec<f64>,
}

impl Waits {
    pub fn push(&mut self, wait: Duration) {
        self.micros.push(wait.as_secs_f64() * 1e6);
    }

    pub fn extend(&mut self, others: Self) {
        self.micros.extend(others.micros);
    }

    /// The wait in microseconds that this part of all stays within: 1 is the longest. 0 where there is none.
    pub fn quantile(&mut self, part: f64) -> f64 {
        self.micros.sort_by(f64::total_cmp);
        quantile(&self.micros, part)
    }
}

/// The smallest of some sorted values within which this part of them lies.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among at most millions"
)]
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(rank.max(1) - 1).or(sorted.last()).copied().unwrap_or_default()
}

/// The median.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

/// How many a second.
#[expect(clippy::cast_precision_loss, reason = "at most millions")]
pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut waits = Waits::default();
        for micros in [5, 1, 4, 2, 3] {
            waits.push(Duration::from_micros(micros));
        }
        for (part, micros) in [(0.0, 1.0), (0.5, 3.0), (0.8, 4.0), (0.99, 5.0), (1.0, 5.0)] {
            assert!((waits.quantile(part) - micros).abs() < 1e-9, "{part}: {}", waits.quantile(part));
        }
        assert!(Waits::default().quantile(0.5).abs() < f64::EPSILON, "nothing was measured");
    }
}
