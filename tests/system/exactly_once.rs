//! Guarantee 4: exactly-once effects, of native handlers and of plugins.

use serde_json::json;
use tidegate::{Failure, Outgoing, handler_fn};

use crate::house::{House, all, at_once, event_with, guest, ids, publish, topic};

fn outgoing(kind: &str) -> Outgoing {
    Outgoing { kind: kind.to_owned(), ..Outgoing::default() }
}

/// A consumer that counts in state and publishes, and then does what `fail` says.
fn counting(
    fail: impl Fn(&tidegate::Delivery) -> Result<(), Failure> + Send + Sync + 'static,
) -> impl tidegate::Handler {
    handler_fn(move |delivery, context| {
        let count =
            context.get(b"count")?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
        context.set(b"count", &(count + 1).to_le_bytes())?;
        context.publish("out", outgoing("Counted.v1"))?;
        fail(delivery)
    })
}

#[test]
fn a_failed_delivery_leaves_no_state_and_no_event_behind() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    let fails = |delivery: &tidegate::Delivery| match (delivery.event.id(), delivery.attempt) {
        ("b", 1) => Err(Failure::transient("flaky", "once")),
        ("c", _) => Err(Failure::permanent("poison", "always")),
        ("d", 1) => panic!("out of order"),
        _ => Ok(()),
    };
    for id in ["a", "b", "c", "d", "e"] {
        publish(&bus, "in", id, id);
    }
    bus.subscribe("c", at_once(), counting(fails)).unwrap();
    house.until(|| bus.bus().consumers().unwrap()[0].counts.handled == 4);
    assert_eq!(all(&bus, "out").len(), 4, "a, b, d and e");
    let letters = bus.bus().dead_letters("c", 0, 10).unwrap();
    assert_eq!(letters.len(), 1);
    let bus = house.cut_power(bus);
    assert_eq!(all(&bus, "out").len(), 4);
    assert_eq!(bus.bus().consumers().unwrap()[0].counts.handled, 4);
}

#[test]
fn progress_state_and_events_survive_or_are_lost_together_when_the_power_goes() {
    let house = House::new();
    let mut bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    for n in 0..300 {
        publish(&bus, "in", &format!("{n}"), &format!("{}", n % 7));
    }
    // Again and again the power goes while the consumer is somewhere in its work.
    for round in 0..15 {
        bus.subscribe("c", at_once(), counting(|_| Ok(()))).unwrap();
        house.until(|| bus.bus().consumers().unwrap()[0].counts.handled >= (round * 20).min(250));
        bus = house.cut_power(bus);
        let handled = bus.bus().consumers().unwrap()[0].counts.handled;
        assert_eq!(all(&bus, "out").len() as u64, handled, "an event for each delivery that counts");
    }
    bus.subscribe("c", at_once(), counting(|_| Ok(()))).unwrap();
    house.until(|| bus.bus().consumers().unwrap()[0].counts.handled == 300);
    let mut out = ids(&bus, "out");
    out.sort_unstable();
    out.dedup();
    assert_eq!(out.len(), 300, "each event once");
    assert_eq!(bus.bus().consumers().unwrap()[0].dead_letters, 0);
}

#[test]
fn a_plugins_effects_take_place_once_whatever_its_attempts_come_to() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    let faults = ["transient", "trap", "panic", "grow", "recurse"];
    for (n, fault) in faults.iter().enumerate() {
        let data = json!({ "fail": fault, "until_attempt": 3 }).to_string();
        bus.publish("in", event_with(&format!("{n}"), "k", &data)).unwrap();
    }
    let plugin = guest("counter").settings(json!({ "topic": "out" }).to_string());
    bus.subscribe_plugin("c", at_once(), plugin).unwrap();
    house.until(|| bus.bus().consumers().unwrap()[0].counts.handled == faults.len() as u64);
    let consumer = &bus.bus().consumers().unwrap()[0];
    assert_eq!((consumer.counts.retries, consumer.dead_letters), (2 * faults.len() as u64, 0));
    // The guest counts before it fails, and publishes its count.
    let counts: Vec<u64> = all(&bus, "out")
        .iter()
        .map(|record| record.event.data_as::<serde_json::Value>().unwrap()["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [1, 2, 3, 4, 5]);
}
