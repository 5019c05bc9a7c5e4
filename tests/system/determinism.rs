//! Guarantee 10: determinism, for each delivery.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tidegate::config::{ConsumerConfig, Grants, RetryPolicy};
use tidegate::testing::SeededRandom;
use tidegate::{Blocking, Bus, Clock, Event, Options};
use tidegate_guests::Testimony;

use crate::house::{House, START, all, at_once, consumer, guest, letters, publish, topic};

fn witness() -> tidegate::config::PluginConfig {
    guest("witness").settings(json!({ "topic": "out", "and": "more" }).to_string())
}

fn open(house: &House, seed: u64) -> Blocking {
    let options = Options::new(house.folder.path())
        .clock(Arc::clone(&house.clock) as Arc<_>)
        .random(Arc::new(SeededRandom::new(seed)))
        .medium(house.disk.clone());
    Bus::open_with(options).unwrap().blocking()
}

/// What a witness publishes of some events, on a bus of its own.
fn run(seed: u64) -> Vec<Event> {
    let house = House::new();
    let bus = open(&house, seed);
    topic(&bus, "in");
    topic(&bus, "out");
    for n in 0..5 {
        publish(&bus, "in", &n.to_string(), "k");
        house.clock.advance(Duration::from_millis(17));
    }
    bus.subscribe_plugin("c", at_once(), witness()).unwrap();
    bus.caught_up("c").unwrap();
    all(&bus, "out").into_iter().map(|record| (*record.event).clone()).collect()
}

fn testimonies(bus: &Blocking) -> Vec<Testimony> {
    all(bus, "out").iter().map(|record| record.event.data_as().unwrap()).collect()
}

#[test]
fn the_same_events_and_seed_have_the_same_effects_byte_for_byte() {
    let (first, second) = (run(7), run(7));
    assert_eq!(first.len(), 5);
    let bytes = |events: &[Event]| events.iter().map(Event::to_json).collect::<Vec<_>>();
    assert_eq!(bytes(&first), bytes(&second));
    assert_ne!(bytes(&first), bytes(&run(8)), "the seed is where the random bytes come from");
}

#[test]
fn a_delivery_that_is_made_again_has_the_same_random_bytes_and_each_attempt_has_its_own() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    publish(&bus, "in", "a", "k");
    publish(&bus, "in", "b", "k");
    bus.subscribe_plugin("c", at_once(), witness()).unwrap();
    bus.caught_up("c").unwrap();
    let before = testimonies(&bus);
    assert_ne!(before[0].random, before[1].random, "each delivery has its own");
    assert_ne!(before[0].random[0], before[0].random[1], "and the numbers go on within it");
    // The events that it made are dropped as duplicates the second time, so another topic shows them again.
    topic(&bus, "again");
    bus.unsubscribe("c").unwrap();
    bus.seek("c", None, None, tidegate::Position::Earliest).unwrap();
    let bus = house.cut_power(bus);
    let again = witness()
        .grants(Grants::nothing().publish("again"))
        .settings(json!({ "topic": "again", "and": "more" }).to_string());
    bus.subscribe_plugin("c", at_once(), again).unwrap();
    bus.caught_up("c").unwrap();
    let after: Vec<Testimony> =
        all(&bus, "again").iter().map(|record| record.event.data_as().unwrap()).collect();
    assert_eq!(after.len(), 2);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((&before.random, before.nan, before.now), (&after.random, after.nan, after.now));
    }
}

#[test]
fn now_is_when_the_event_was_appended_and_at_a_retry_when_that_was_due() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    house.clock.advance(Duration::from_mins(1));
    let retry = RetryPolicy::default().attempts(3).backoff(Duration::from_secs(9), Duration::from_secs(9));
    let config = ConsumerConfig::new(["in"]).retry(retry);
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let handler = tidegate::handler_fn(move |delivery, context| {
        notes.lock().unwrap().push((delivery.attempt, delivery.now, context.now(), context.random(8)));
        Err(tidegate::Failure::transient("busy", "at every attempt"))
    });
    bus.subscribe("c", config, handler).unwrap();
    let mut due = vec![START];
    for made in 1..3 {
        house.settles(|| {
            seen.lock().unwrap().len() == made
                && consumer(&bus, "c").lanes[0].next_retry.is_some_and(|next| next > *due.last().unwrap())
        });
        due.push(consumer(&bus, "c").lanes[0].next_retry.unwrap());
        // It is made late: what counts is when it was due.
        house.clock.advance_to(due[made].after(Duration::from_millis(1234)));
    }
    house.settles(|| letters(&bus, "c").len() == 1);
    let seen = seen.lock().unwrap();
    for ((attempt, delivery_now, context_now, random), (n, due)) in seen.iter().zip((1..).zip(due)) {
        assert_eq!((*attempt, *delivery_now, *context_now), (n, due, due));
        assert_eq!(seen.iter().filter(|(.., other)| other == random).count(), 1, "each attempt has its own");
    }
    assert!(house.clock.now() > START);
}

#[test]
fn a_nan_has_the_same_bits_whatever_it_was_computed_from() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    for n in 0..8 {
        publish(&bus, "in", &n.to_string(), "k");
    }
    bus.subscribe_plugin("c", at_once(), witness()).unwrap();
    bus.caught_up("c").unwrap();
    let testimonies = testimonies(&bus);
    assert_eq!(testimonies.len(), 8);
    assert!(
        testimonies.iter().all(|told| told.nan & 0x7fff_ffff_ffff_ffff == 0x7ff8_0000_0000_0000),
        "{testimonies:?}"
    );
}

#[test]
fn an_instance_is_thrown_away_after_a_failed_delivery() {
    let house = House::new();
    let mut options = Options::new(house.folder.path()).medium(house.disk.clone());
    options.config.event_bytes_max = 64 << 10;
    let bus = Bus::open_with(options).unwrap().blocking();
    topic(&bus, "in");
    topic(&bus, "out");
    // With these settings a testimony is not much smaller than an event may be, and with a long id it is larger.
    let settings = json!({ "topic": "out", "long": "x".repeat(58_000) }).to_string();
    for id in ["a", "b", &"long".repeat(1000), "c"] {
        publish(&bus, "in", id, "k");
    }
    bus.subscribe_plugin("c", at_once(), witness().settings(settings)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(letters(&bus, "c")[0].reason.code, "event-size");
    // The witness counts the deliveries of its instance.
    let handled: Vec<_> = testimonies(&bus).iter().map(|told| told.handled).collect();
    assert_eq!(handled, [1, 2, 1], "its memory is a cache, and gone with it");
}
