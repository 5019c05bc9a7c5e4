//! What holding events against schemas costs who publishes them.

use anyhow::Result;
use tidegate::Event;
use tidegate::config::{SchemaPolicy, TopicConfig};
use tidegate::schema::Schema;

use super::bus::{KEYS, Measured, PARTITIONS};
use super::rates::publish_groups;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;

/// Groups of orders to a topic that requires schemas, and to one that doesn't: in JSON, and the same orders in Protobuf. And the
/// one language beside the other.
pub fn schema_cost(scale: &Scale) -> Result<Vec<Row>> {
    let (mut json, mut protobuf, mut languages) = (Rounds::default(), Rounds::default(), Rounds::default());
    for round in 0..scale.rounds {
        let measured = strict()?;
        let publish = |topic, language| orders(&measured, topic, language, scale.group_events);
        // The second one finds a larger file.
        for (rounds, language) in [(&mut json, Language::Json), (&mut protobuf, Language::Protobuf)] {
            rounds.push_in_turn(round, || publish("strict", language), || publish("plain", language))?;
        }
        let measured = strict()?;
        let publish = |language| orders(&measured, "strict", language, scale.group_events);
        languages.push_in_turn(round, || publish(Language::Protobuf), || publish(Language::Json))?;
    }
    let beside = "a topic that doesn't require schemas";
    Ok(vec![
        json.row("schema-cost", "events/s", beside, Goal::AtLeast(0.5)),
        protobuf.row("schema-cost-protobuf", "events/s", beside, Goal::AtLeast(0.7)),
        languages.row("schema-cost-languages", "events/s", "the same orders in JSON", Goal::AtLeast(1.0)),
    ])
}

/// A bus with a topic that requires schemas, and those.
fn strict() -> Result<Measured> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    bus.create_topic("strict", TopicConfig::new(PARTITIONS).schemas(SchemaPolicy::Required))?;
    bus.register_schema("OrderPlaced.v1", Schema::json(JSON_SCHEMA)?, None)?;
    bus.register_schema("OrderSent.v1", Schema::protobuf(PROTO)?, None)?;
    Ok(measured)
}

/// Publishes orders in groups. Returns the rate.
fn orders(measured: &Measured, topic: &str, language: Language, count: usize) -> Result<f64> {
    let event = |number: usize| language.event(&format!("{topic}-{language:?}-{number}"), number);
    publish_groups(measured, topic, event, count)
}

/// How an order is written.
#[derive(Clone, Copy, Debug)]
enum Language {
    Json,
    Protobuf,
}

impl Language {
    fn event(self, id: &str, number: usize) -> Result<Event> {
        let event = match self {
            Self::Json => Event::new(id, "/benches/orders", "OrderPlaced.v1").json_text(json_order(number)),
            Self::Protobuf => Event::new(id, "/benches/orders", "OrderSent.v1")
                .binary("application/protobuf", protobuf_order(number)),
        };
        Ok(event.subject(format!("customer-{}", number % KEYS)).time("2026-01-01T12:00:00Z").build()?)
    }
}

/// What an order is.
const JSON_SCHEMA: &str = r#"{
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

/// The same, as far as Protobuf says it.
const PROTO: &str = r#"syntax = "proto3";
message OrderSent {
  string order = 1;
  string customer = 2;
  string placed = 3;
  string note = 4;
  repeated Line lines = 5;
  message Line { string product = 1; double price = 2; uint32 count = 3; }
}"#;

/// What an order has three of.
const LINES: [(&str, f64, u8); 3] = [("tea, black", 4.5, 2), ("teapot, cast iron", 79.9, 1), ("cup", 9.0, 6)];

/// An order of about 256 bytes.
fn json_order(number: usize) -> String {
    let lines = LINES.map(|(product, price, count)| {
        format!(r#"{{"product":"{product}","price":{price},"count":{count}}}"#)
    });
    format!(
        r#"{{"order":"order-{number}","customer":"customer-{}","placed":"2026-01-01T12:00:00Z","note":"ring twice","lines":[{}]}}"#,
        number % KEYS,
        lines.join(",")
    )
}

/// The same as a message. Each length has one byte.
fn protobuf_order(number: usize) -> Vec<u8> {
    let delimited = |number: u8, bytes: &[u8]| {
        let len = u8::try_from(bytes.len()).unwrap_or(u8::MAX);
        [&[number << 3 | 2, len][..], bytes].concat()
    };
    let text = |number: u8, text: &str| delimited(number, text.as_bytes());
    let line = |(product, price, count): (&str, f64, u8)| {
        let price = [&[2 << 3 | 1][..], &price.to_le_bytes()].concat();
        delimited(5, &[text(1, product), price, vec![3 << 3, count]].concat())
    };
    let head = [
        text(1, &format!("order-{number}")),
        text(2, &format!("customer-{}", number % KEYS)),
        text(3, "2026-01-01T12:00:00Z"),
        text(4, "ring twice"),
    ];
    [head.concat(), LINES.map(line).concat()].concat()
}
