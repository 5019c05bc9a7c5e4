//! Guarantee 5: deduplication.

use std::time::Duration;

use tidegate::config::{Dedup, TopicConfig};
use tidegate::{Event, handler_fn};

use crate::house::{House, all, at_once, event, ids, publish, topic};

#[test]
fn an_event_published_again_returns_the_first_offset_and_appends_nothing() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let first = bus.publish("in", event("a", "k")).unwrap();
    let bus = house.cut_power(bus);
    let again = bus.publish("in", event("a", "k")).unwrap();
    assert!(again.duplicate && !first.duplicate);
    assert_eq!((again.partition, again.offset), (first.partition, first.offset));
    assert_eq!(ids(&bus, "in"), ["a"]);
}

#[test]
fn the_same_id_of_another_source_or_in_another_topic_is_another_event() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    publish(&bus, "in", "a", "k");
    publish(&bus, "out", "a", "k");
    let other = Event::new("a", "/elsewhere", "Test.v1").build().unwrap();
    assert!(!bus.publish("in", other).unwrap().duplicate);
    assert_eq!((all(&bus, "in").len(), all(&bus, "out").len()), (2, 1));
}

#[test]
fn the_window_ends_by_age() {
    let house = House::new();
    let bus = house.open();
    let hour = Duration::from_hours(1);
    bus.create_topic("in", TopicConfig::new(1).dedup(Dedup::new(hour, 1000))).unwrap();
    publish(&bus, "in", "a", "k");
    house.clock.advance(hour / 2);
    assert!(bus.publish("in", event("a", "k")).unwrap().duplicate);
    house.clock.advance(hour);
    publish(&bus, "in", "b", "k");
    assert!(!bus.publish("in", event("a", "k")).unwrap().duplicate);
}

#[test]
fn an_event_made_by_a_delivery_has_the_same_id_at_every_attempt() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    let seen = std::sync::Arc::new(std::sync::Mutex::new(0));
    let counter = std::sync::Arc::clone(&seen);
    let handler = handler_fn(move |_, context| {
        context.publish("out", tidegate::Outgoing { kind: "Made.v1".into(), ..Default::default() })?;
        *counter.lock().unwrap() += 1;
        Ok(())
    });
    bus.subscribe("maker", at_once(), handler).unwrap();
    publish(&bus, "in", "a", "k");
    bus.caught_up("maker").unwrap();
    // The same event once more, as after a seek: the consumer runs again, and its event is recognized.
    bus.seek("maker", None, None, tidegate::Position::Earliest).unwrap();
    bus.caught_up("maker").unwrap();
    assert_eq!(*seen.lock().unwrap(), 2);
    assert_eq!(ids(&bus, "out"), ["maker/in/0/0/0"]);
}
