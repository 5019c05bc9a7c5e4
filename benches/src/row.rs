//! A line of the report.

use anyhow::Result;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::time::{Waits, median};

/// What the ratio of ours to what stands beside it is to be.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// Of rates: more is better.
    AtLeast(f64),
    /// Of waits: less is better.
    AtMost(f64),
}

impl Goal {
    fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(goal) => ratio >= goal,
            Self::AtMost(goal) => ratio <= goal,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(goal) => write!(f, ">= {goal}"),
            Self::AtMost(goal) => write!(f, "<= {goal}"),
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A line of the report.
#[derive(Debug, Serialize)]
pub struct Row {
    pub id: String,
    pub unit: &'static str,
    /// The median over the rounds.
    pub ours: f64,
    /// The same of what stands beside it.
    pub beside: f64,
    pub beside_name: &'static str,
    /// The median of the rounds' ratios, ours to beside.
    pub ratio: f64,
    pub goal: Goal,
    pub met: bool,
    /// The smallest and the largest of the rounds' ratios.
    pub spread: [f64; 2],
}

/// What the rounds of a benchmark have measured, for one line.
#[derive(Default)]
pub struct Rounds {
    ours: Vec<f64>,
    beside: Vec<f64>,
}

impl Rounds {
    /// Those of a benchmark that has but one.
    pub fn one(ours: f64, beside: f64) -> Self {
        Self { ours: vec![ours], beside: vec![beside] }
    }

    /// Adds a round.
    pub fn push(&mut self, ours: f64, beside: f64) {
        self.ours.push(ours);
        self.beside.push(beside);
    }

    /// Adds a round of two that are measured one after the other in the same place: each is the first one in turn.
    pub fn push_in_turn(
        &mut self,
        round: usize,
        ours: impl FnOnce() -> Result<f64>,
        beside: impl FnOnce() -> Result<f64>,
    ) -> Result<()> {
        if round.is_multiple_of(2) {
            let ours = ours()?;
            self.push(ours, beside()?);
        } else {
            let beside = beside()?;
            self.push(ours()?, beside);
        }
        Ok(())
    }

    /// The line.
    pub fn row(
        &self,
        id: impl Into<String>,
        unit: &'static str,
        beside_name: &'static str,
        goal: Goal,
    ) -> Row {
        let ratios: Vec<_> = self.ours.iter().zip(&self.beside).map(|(ours, beside)| ours / beside).collect();
        let ratio = median(&ratios);
        Row {
            id: id.into(),
            unit,
            ours: median(&self.ours),
            beside: median(&self.beside),
            beside_name,
            ratio,
            goal,
            met: goal.is_met(ratio),
            spread: [
                ratios.iter().copied().fold(f64::INFINITY, f64::min),
                ratios.iter().copied().fold(0.0, f64::max),
            ],
        }
    }
}

/// What is told of waits: the part of them that stay within it.
pub type Quantiles = &'static [(&'static str, f64)];
pub const P50_P99: Quantiles = &[("p50", 0.5), ("p99", 0.99)];
pub const P50_P99_MAX: Quantiles = &[("p50", 0.5), ("p99", 0.99), ("max", 1.0)];

/// What the rounds of a benchmark have measured of waits: a line for each quantile.
pub struct WaitRounds {
    quantiles: Quantiles,
    rounds: Vec<Rounds>,
}

impl WaitRounds {
    pub fn new(quantiles: Quantiles) -> Self {
        Self { quantiles, rounds: quantiles.iter().map(|_| Rounds::default()).collect() }
    }

    /// Adds a round.
    pub fn push(&mut self, ours: &mut Waits, beside: &mut Waits) {
        for (rounds, (_, part)) in self.rounds.iter_mut().zip(self.quantiles) {
            rounds.push(ours.quantile(*part), beside.quantile(*part));
        }
    }

    /// The lines, named by `id` and the quantile.
    pub fn rows(&self, id: &str, beside_name: &'static str, goal: Goal) -> impl Iterator<Item = Row> {
        let quantiles = self.rounds.iter().zip(self.quantiles);
        quantiles.map(move |(rounds, (name, _))| rounds.row(format!("{id}-{name}"), "µs", beside_name, goal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_the_median_of_the_rounds_ratios() {
        let mut rounds = Rounds::default();
        // A slow round is slow for both.
        for (ours, beside) in [(8.0, 10.0), (0.9, 1.0), (7.0, 10.0)] {
            rounds.push(ours, beside);
        }
        let row = rounds.row("r", "events/s", "peer", Goal::AtLeast(0.8));
        assert!((row.ratio - 0.8).abs() < 1e-9 && row.met, "{row:?}");
        assert!((row.spread[0] - 0.7).abs() < 1e-9 && (row.spread[1] - 0.9).abs() < 1e-9, "{row:?}");
        assert!(!rounds.row("r", "µs", "peer", Goal::AtMost(0.75)).met);
    }
}
