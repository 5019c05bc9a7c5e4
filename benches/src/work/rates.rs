//! How many a second.

use anyhow::Result;
use tidegate::Event;

use super::bus::{KEYS, Measured, data, event};
use crate::peers::Bare;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{rate, timed};

/// Events of one call of `publish_all`.
const GROUP_EVENTS: usize = 256;

/// Keys of a topic with many more than a group has events: each event of a group is of another one.
const MANY_KEYS: usize = 100_000;

/// Transactions one after the other. Bare redb writes the same row, and the event's JSON as a row of its own.
pub fn transaction_rate(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    let measured = Measured::new()?;
    let mut bare = Bare::new()?;
    let row = data();
    for round in 0..scale.rounds {
        let first = round * scale.samples;
        let numbers = first..first + scale.samples;
        let events = |number: usize| event(&format!("order-{number}"), number % KEYS);
        let ours: Vec<Event> = numbers.clone().map(events).collect::<Result<_>>()?;
        let encoded: Vec<String> = ours.iter().map(Event::to_json).collect();
        let (outcome, took) = timed(|| {
            numbers.zip(ours).try_for_each(|(number, event)| measured.transact(number as u64, event))
        });
        outcome?;
        let ours = rate(scale.samples, took);
        let (outcome, took) =
            timed(|| encoded.iter().try_for_each(|event| bare.commit(row.as_bytes(), event.as_bytes())));
        outcome?;
        rounds.push(ours, rate(scale.samples, took));
    }
    let beside = "bare redb: the same row, the event as a row";
    Ok(vec![rounds.row("transaction-rate", "1/s", beside, Goal::AtLeast(0.8))])
}

/// Groups of events to a topic that numbers its keys, and to one that doesn't.
pub fn sequence_cost(scale: &Scale) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (id, keys) in [("sequence-cost", KEYS), ("sequence-cost-keys", MANY_KEYS)] {
        let mut rounds = Rounds::default();
        for round in 0..scale.rounds {
            let measured = Measured::new()?;
            let publish = |topic| {
                // A large odd step spreads the keys, so that neighbours aren't neighbours in the index.
                let one = |number: usize| event(&format!("{topic}-{number}"), number * 7919 % keys);
                publish_groups(&measured, topic, one, scale.group_events)
            };
            // The second one finds a larger file.
            rounds.push_in_turn(round, || publish("numbered"), || publish("plain"))?;
        }
        rows.push(rounds.row(id, "events/s", "a topic that doesn't number its keys", Goal::AtLeast(0.8)));
    }
    Ok(rows)
}

/// Publishes events in groups. Returns the rate.
pub fn publish_groups(
    measured: &Measured,
    topic: &str,
    event: impl Fn(usize) -> Result<Event>,
    count: usize,
) -> Result<f64> {
    let groups: Vec<Vec<(&str, Event)>> = (0..count)
        .collect::<Vec<_>>()
        .chunks(GROUP_EVENTS)
        .map(|numbers| numbers.iter().map(|number| Ok((topic, event(*number)?))).collect())
        .collect::<Result<_>>()?;
    let (outcome, took) =
        timed(|| groups.into_iter().try_for_each(|group| measured.bus.publish_all(group).map(drop)));
    outcome?;
    Ok(rate(count, took))
}
