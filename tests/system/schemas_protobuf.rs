//! A topic that requires schemas has no event that breaks its `.proto`, whoever publishes.

use tidegate::config::{ConsumerConfig, SchemaPolicy, TopicConfig};
use tidegate::schema::{Compatibility, Rule, Schema, SchemaFormat, SchemaRefusal};
use tidegate::{AdminError, Blocking, Data, Event, Outgoing, PublishError, handler_fn};

use crate::house::{House, all, caught_up, ids, letters, topic};

const SCHEMA: &str = "syntax = 'proto3';
    message Priced { repeated Line lines = 1; }
    message Line { string name = 1; int64 price = 2; }";

/// One line, `name: \"a\", price: 5`; and one whose price is a string.
const RIGHT: &[u8] = &[0x0a, 5, 0x0a, 1, b'a', 0x10, 5];
const WRONG: &[u8] = &[0x0a, 5, 0x0a, 1, b'a', 0x10, 5, 0x0a, 3, 0x12, 1, b'5'];

/// A bus with topic `in` for anything, and topic `out` that requires schemas, of which `Priced.v1` has one.
fn bus(house: &House) -> Blocking {
    let bus = house.open();
    topic(&bus, "in");
    bus.create_topic("out", TopicConfig::new(1).schemas(SchemaPolicy::Required)).unwrap();
    bus.register_schema("Priced.v1", Schema::protobuf(SCHEMA).unwrap(), None).unwrap();
    bus
}

fn event(id: &str, media_type: &str, bytes: &[u8]) -> Event {
    Event::new(id, "/shop", "Priced.v1").binary(media_type, bytes).build().unwrap()
}

#[test]
fn a_message_that_breaks_its_schema_is_never_in_the_topic() {
    let house = House::new();
    let mut bus = bus(&house);
    for is_restarted in [false, true] {
        if is_restarted {
            bus = house.cut_power(bus);
        }
        let schema = &bus.bus().schemas()[0].versions[0].schema;
        assert_eq!((schema.format(), schema.text()), (SchemaFormat::Protobuf, SCHEMA));
        bus.publish("out", event("right", "application/protobuf", RIGHT)).unwrap();
        for (data, media_type, wrong_path, words) in [
            (WRONG, "application/protobuf", "/lines/1/price", "varint"),
            (RIGHT, "application/octet-stream", "", "datacontenttype"),
            (&RIGHT[..6], "application/protobuf", "/lines/0", "cut off"),
            (&[0x10, 5], "application/protobuf", "", "another version"),
        ] {
            let refused = bus.publish("out", event("wrong", media_type, data));
            let Err(PublishError::Schema(SchemaRefusal::Invalid { id, path, reason, .. })) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!((&*id, &*path), ("wrong", wrong_path), "{reason}");
            assert!(reason.contains(words), "{reason}");
        }
        let json = Event::new("json", "/shop", "Priced.v1").json_text("{}").build().unwrap();
        assert!(bus.publish("out", json).is_err());
    }
    assert_eq!(ids(&bus, "out"), ["right"]);
}

#[test]
fn what_a_consumer_publishes_is_held_to_the_schema_and_refused_for_good() {
    let house = House::new();
    let bus = bus(&house);
    for (id, data) in [("right", RIGHT), ("wrong", WRONG)] {
        bus.publish("in", event(id, "application/protobuf", data)).unwrap();
    }
    let copy = handler_fn(|delivery, context| {
        let outgoing = Outgoing {
            kind: delivery.event.kind().to_owned(),
            datacontenttype: delivery.event.datacontenttype().map(str::to_owned),
            data: delivery.event.data().cloned(),
            ..Outgoing::default()
        };
        Ok(context.publish("out", outgoing)?)
    });
    bus.subscribe("copy", ConsumerConfig::new(["in"]), copy).unwrap();
    caught_up(&bus, "copy");
    let letters = letters(&bus, "copy");
    let error = &letters[0].attempts.last().unwrap().failure.message;
    assert!(letters.len() == 1 && error.contains("`/lines/1/price`"), "{error}");
    let published = all(&bus, "out");
    assert_eq!(published.len(), 1);
    assert_eq!(published[0].event.data(), Some(&Data::Binary(RIGHT.to_vec())));
}

#[test]
fn a_new_version_is_held_to_the_ones_before_it_and_to_their_language() {
    let house = House::new();
    let bus = bus(&house);
    let register = |text: &str, mode| bus.register_schema("Priced.v2", Schema::protobuf(text).unwrap(), mode);
    let refused = register(&SCHEMA.replace("int64 price", "double price"), None);
    let Err(AdminError::Incompatible(found)) = refused else { panic!("{refused:?}") };
    assert_eq!((&*found.breaks[0].path, found.breaks[0].rule), ("/lines/*/price", Rule::FieldTypeChanged));
    let json = Schema::json("true").unwrap();
    let refused = bus.register_schema("Priced.v2", json.clone(), None);
    assert!(
        matches!(&refused, Err(AdminError::Incompatible(found)) if found.breaks[0].rule == Rule::NotComparable),
        "{refused:?}"
    );
    register(&SCHEMA.replace("price = 2;", "price = 2; string currency = 3;"), Some(Compatibility::Full))
        .unwrap();
    bus.register_schema("Priced.v3", json, Some(Compatibility::None)).unwrap();
    let bus = house.cut_power(bus);
    assert_eq!(bus.bus().schemas()[0].versions.len(), 3);
}
