//! Asking a projection: what a question costs, and what those who ask cost its lanes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use tidegate::config::{ConsumerConfig, Grants};
use tidegate::{Blocking, Query};

use super::bus::{KEYS, Measured, fill, work_off};
use super::consume::guest;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{rate, timed};

/// Events that the model is made of.
const EVENTS: usize = 10_000;
/// Questions in a round.
const QUESTIONS: usize = 5_000;
/// Events that the backlog is published in at a time.
const FILL: usize = 4096;
/// The most that a question with a key may take, in microseconds: an instance that is started and taken down, on another thread.
const QUESTION_MAX: f64 = 200.0;

/// What a question takes whoever asks one after the other, on one lane.
pub fn query_cost(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for _ in 0..scale.rounds {
        let measured = Measured::new()?;
        model(&measured.bus)?;
        fill(&measured.bus, "plain", 0..EVENTS, FILL)?;
        work_off(&measured.bus, "model", EVENTS)?;
        let (outcome, took) = timed(|| (0..QUESTIONS).try_for_each(|number| ask(&measured.bus, number)));
        outcome?;
        rounds.push(1e6 / rate(QUESTIONS, took), QUESTION_MAX);
    }
    Ok(vec![rounds.row("query-cost", "µs", "the most for a question", Goal::AtMost(1.0))])
}

/// How fast a projection works off its backlog while somebody asks it all the time, beside how fast it is alone.
pub fn query_neighbours(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds {
        rounds.push_in_turn(
            round,
            || consume(scale.group_events, true),
            || consume(scale.group_events, false),
        )?;
    }
    Ok(vec![rounds.row("query-neighbours", "events/s", "the same, with nobody asking", Goal::AtLeast(0.5))])
}

fn consume(count: usize, is_asked: bool) -> Result<f64> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    model(bus)?;
    fill(bus, "plain", 0..count, FILL)?;
    let goes_on = AtomicBool::new(is_asked);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut numbers = 0..;
            while goes_on.load(Ordering::Relaxed) {
                numbers.next().map_or(Ok(()), |number| ask(bus, number))?;
            }
            anyhow::Ok(())
        });
        let rate = work_off(bus, "model", count);
        goes_on.store(false, Ordering::Relaxed);
        asking.join().unwrap_or(Ok(()))?;
        rate
    })
}

/// A model that counts the events of each key, and waits.
fn model(bus: &Blocking) -> Result<()> {
    let config = ConsumerConfig::new(["plain"]).paused(true);
    Ok(bus.subscribe_plugin("model", config, guest("model")?.grants(Grants::nothing().state()))?)
}

fn ask(bus: &Blocking, number: usize) -> Result<()> {
    let key = format!("customer-{}", number % KEYS);
    bus.query("model", Query::new("count-of").json(&key)?.key(key))?;
    Ok(())
}
