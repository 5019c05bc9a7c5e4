//! How many a second.

use anyhow::Result;
use tidegate::Event;
use tidegate::config::{SchemaPolicy, TopicConfig};
use tidegate::schema::Schema;

use super::bus::{KEYS, Measured, PARTITIONS, data, event};
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

/// Groups of events with JSON to a topic that requires schemas, and to one that doesn't.
pub fn schema_cost(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds {
        let measured = Measured::new()?;
        let bus = &measured.bus;
        bus.create_topic("strict", TopicConfig::new(PARTITIONS).schemas(SchemaPolicy::Required))?;
        bus.register_schema("OrderPlaced.v1", Schema::json(SCHEMA)?, None)?;
        let publish = |topic| {
            let order = |number: usize| -> Result<Event> {
                let event = Event::new(format!("{topic}-{number}"), "/benches/orders", "OrderPlaced.v1");
                let event = event.subject(format!("customer-{}", number % KEYS)).time("2026-01-01T12:00:00Z");
                Ok(event.json_text(order(number)).build()?)
            };
            publish_groups(&measured, topic, order, scale.group_events)
        };
        // The second one finds a larger file.
        rounds.push_in_turn(round, || publish("strict"), || publish("plain"))?;
    }
    let beside = "a topic that doesn't require schemas";
    Ok(vec![rounds.row("schema-cost", "events/s", beside, Goal::AtLeast(0.5))])
}

/// What an order is.
const SCHEMA: &str = r#"{
    "type": "object", "required": ["order", "customer", "placed", "lines"], "additionalProperties": false,
    "properties": {
        "order": { "type": "string", "minLength": 1 },
        "customer": { "type": "string" },
        "placed": { "type": "string", "format": "date-time" },
        "note": { "type": "string" },
        "lines": { "type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["product", "price", "count"],
            "properties": {
                "product": { "type": "string" },
                "price": { "type": "number", "minimum": 0 },
                "count": { "type": "integer", "minimum": 1 }
            }
        } }
    }
}"#;

/// The data of one, of about 256 bytes.
fn order(number: usize) -> String {
    format!(
        r#"{{"order":"order-{number}","customer":"customer-{}","placed":"2026-01-01T12:00:00Z","note":"ring twice","lines":[{{"product":"tea, black","price":4.5,"count":2}},{{"product":"teapot, cast iron","price":79.9,"count":1}},{{"product":"cup","price":9,"count":6}}]}}"#,
        number % KEYS
    )
}

/// Publishes events in groups. Returns the rate.
fn publish_groups(
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
