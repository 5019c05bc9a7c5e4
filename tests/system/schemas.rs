//! A topic that requires schemas has no event that breaks them, whoever publishes.

use tidegate::config::{ConsumerConfig, SchemaPolicy, TopicConfig};
use tidegate::schema::{Schema, SchemaRefusal};
use tidegate::{AdminError, Blocking, Event, Outgoing, PublishError, TransactionError, handler_fn};

use crate::house::{House, all, at_once, caught_up, guest, ids, letters, topic};

const SCHEMA: &str =
    r#"{"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}}"#;

/// A bus with topic `in` for anything, and topic `out` that requires schemas, of which `Priced.v1` has one.
fn bus(house: &House) -> Blocking {
    let bus = house.open();
    topic(&bus, "in");
    bus.create_topic("out", TopicConfig::new(1).schemas(SchemaPolicy::Required)).unwrap();
    bus.register_schema("Priced.v1", Schema::json(SCHEMA).unwrap(), None).unwrap();
    bus
}

fn typed(id: &str, event_type: &str, json: &str) -> Event {
    Event::new(id, "/shop", event_type).json_text(json).build().unwrap()
}

/// Those that are right, and those that are not.
fn events() -> [Event; 4] {
    [
        typed("right", "Priced.v1", r#"{"price": 1.5}"#),
        typed("wrong", "Priced.v1", r#"{"price": "1.5"}"#),
        typed("unversioned", "Priced", r#"{"price": 1.5}"#),
        typed("unregistered", "Priced.v2", r#"{"price": 1.5}"#),
    ]
}

#[test]
fn an_event_that_breaks_its_schema_is_never_in_the_topic() {
    let house = House::new();
    let bus = bus(&house);
    for event in events() {
        let outcome = bus.publish("out", event.clone());
        assert_eq!(outcome.is_ok(), event.id() == "right", "{outcome:?}");
        let again = event.clone();
        let outcome = bus.transaction(move |transaction| transaction.publish("out", again).map(drop));
        let is_refused = matches!(outcome, Err(TransactionError::Refused(PublishError::Schema(_))));
        assert_eq!(is_refused, event.id() != "right", "{outcome:?}");
    }
    let group = events().into_iter().map(|event| ("out", event)).collect();
    let refused = bus.publish_all(group);
    assert!(
        matches!(&refused, Err(PublishError::Schema(SchemaRefusal::Invalid { id, path, .. })) if id == "wrong" && path == "/price"),
        "{refused:?}"
    );
    assert_eq!(ids(&bus, "out"), ["right"], "of a group with a wrong one none is in");
    let bus = house.cut_power(bus);
    assert!(bus.publish("out", events()[1].clone()).is_err(), "after a restart too");
}

#[test]
fn what_a_consumer_publishes_is_held_to_the_schema_and_refused_for_good() {
    let house = House::new();
    let bus = bus(&house);
    for event in events() {
        bus.publish("in", event).unwrap();
    }
    let native = handler_fn(|delivery, context| {
        let data = delivery.event.data().cloned();
        let kind = delivery.event.kind().to_owned();
        Ok(context.publish("out", Outgoing { kind, data, ..Outgoing::default() })?)
    });
    bus.subscribe("native", ConsumerConfig::new(["in"]), native).unwrap();
    bus.subscribe_plugin("echo", at_once(), guest("echo").settings(r#"{"topic":"out"}"#)).unwrap();
    for name in ["native", "echo"] {
        caught_up(&bus, name);
        let letters = letters(&bus, name);
        let mut refused: Vec<_> = letters.iter().map(|letter| letter.event.as_ref().unwrap().id()).collect();
        refused.sort_unstable();
        assert_eq!(refused, ["unregistered", "unversioned", "wrong"], "{name}");
        let wrong = letters.iter().find(|letter| letter.event.as_ref().unwrap().id() == "wrong").unwrap();
        let error = &wrong.attempts.last().unwrap().failure.message;
        assert!(error.contains("`/price`"), "{name}: {error}");
        assert_eq!(wrong.attempts.len(), 1, "{name} isn't made to try again");
    }
    assert_eq!(all(&bus, "out").len(), 2);
    assert!(all(&bus, "out").iter().all(|record| record.event.kind() == "Priced.v1"));
}

#[test]
fn a_new_version_can_be_published_from_when_it_is_registered() {
    let house = House::new();
    let bus = bus(&house);
    let next = typed("next", "Priced.v2", r#"{"price": 2, "currency": "EUR"}"#);
    assert!(bus.publish("out", next.clone()).is_err());
    let broken = Schema::json(r#"{"required": ["currency"]}"#).unwrap();
    let refused = bus.register_schema("Priced.v2", broken, None);
    assert!(
        matches!(&refused, Err(AdminError::Incompatible(found)) if found.breaks[0].path == "/currency"),
        "{refused:?}"
    );
    let wider = SCHEMA.replace("}}", r#"}, "currency": {"type": "string"}}"#);
    bus.register_schema("Priced.v2", Schema::json(wider).unwrap(), None).unwrap();
    bus.publish("out", next).unwrap();
    bus.publish("out", typed("old", "Priced.v1", r#"{"price": 2}"#)).unwrap();
    assert_eq!(bus.bus().schemas()[0].versions.len(), 2);
}
