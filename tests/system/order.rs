//! Guarantee 3: order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::config::{ConsumerConfig, OnDeadLetter, Order, RetryPolicy, TopicConfig};
use tidegate::{Failure, Handler, handler_fn};

use crate::house::{House, at_once, publish, topic};

/// What was handled, in its order.
type Handled = Arc<Mutex<Vec<String>>>;

/// A handler that notes what it handles, and fails each id in `failing` at its first attempt.
fn flaky(handled: &Handled, failing: &'static [&'static str]) -> impl Handler + use<> {
    let handled = Arc::clone(handled);
    handler_fn(move |delivery, _| {
        let id = delivery.event.id();
        if failing.contains(&id) && delivery.attempt == 1 {
            return Err(Failure::transient("flaky", "at the first attempt"));
        }
        handled.lock().unwrap().push(id.to_owned());
        Ok(())
    })
}

fn far_retry() -> RetryPolicy {
    RetryPolicy::default().backoff(Duration::from_secs(100), Duration::from_secs(100))
}

/// Publishes ids whose first letter is their key, and lets a consumer with `config` handle them: first what is possible
/// at once, then the rest.
fn handled_before_and_after_the_retry(config: ConsumerConfig, ids: &[&str]) -> (Vec<String>, Vec<String>) {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handled = Handled::default();
    for id in ids {
        publish(&bus, "in", id, &id[..1]);
    }
    bus.subscribe("c", config.retry(far_retry()), flaky(&handled, &["a1"])).unwrap();
    let waits = |state: &tidegate::LaneState| matches!(state, tidegate::LaneState::Waiting { .. });
    house.settles(|| bus.bus().consumers().unwrap()[0].lanes.iter().all(|lane| waits(&lane.state)));
    let before = handled.lock().unwrap().clone();
    house.clock.advance(Duration::from_secs(100));
    house.settles(|| handled.lock().unwrap().len() == ids.len());
    let after = handled.lock().unwrap().clone();
    (before, after)
}

#[test]
fn while_an_event_waits_for_its_retry_its_key_waits_and_all_others_go_on() {
    let ids = ["a1", "b1", "a2", "b2", "a3"];
    let (before, after) = handled_before_and_after_the_retry(ConsumerConfig::new(["in"]), &ids);
    assert_eq!(before, ["b1", "b2"]);
    assert_eq!(after, ["b1", "b2", "a1", "a2", "a3"]);
}

#[test]
fn with_order_by_partition_the_whole_lane_waits() {
    let config = ConsumerConfig::new(["in"]).order(Order::Partition);
    let (before, after) = handled_before_and_after_the_retry(config, &["a1", "b1", "a2"]);
    assert_eq!(before, [""; 0]);
    assert_eq!(after, ["a1", "b1", "a2"]);
}

#[test]
fn without_order_nothing_waits() {
    let config = ConsumerConfig::new(["in"]).order(Order::None);
    let (before, after) = handled_before_and_after_the_retry(config, &["a1", "b1", "a2"]);
    assert_eq!(before, ["b1", "a2"]);
    assert_eq!(after, ["b1", "a2", "a1"]);
}

#[test]
fn a_lane_that_holds_as_many_events_as_it_may_stops_and_says_so() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handled = Handled::default();
    for id in ["a1", "a2", "a3", "b1"] {
        publish(&bus, "in", id, &id[..1]);
    }
    let config = ConsumerConfig::new(["in"]).held_max(2).retry(far_retry());
    bus.subscribe("c", config, flaky(&handled, &["a1"])).unwrap();
    let stalled = tidegate::LaneState::Stalled { held_max: 2 };
    house.settles(|| bus.bus().consumers().unwrap()[0].lanes[0].state == stalled);
    assert_eq!(*handled.lock().unwrap(), [""; 0], "`b1` is not taken either");
    house.clock.advance(Duration::from_secs(100));
    bus.caught_up("c").unwrap();
    assert_eq!(*handled.lock().unwrap(), ["a1", "a2", "a3", "b1"]);
}

#[test]
fn held_events_and_their_order_survive_a_restart() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handled = Handled::default();
    for id in ["a1", "a2", "b1"] {
        publish(&bus, "in", id, &id[..1]);
    }
    let config = || ConsumerConfig::new(["in"]).retry(far_retry());
    bus.subscribe("c", config(), flaky(&handled, &["a1"])).unwrap();
    house.settles(|| bus.bus().consumers().unwrap()[0].held == 2);
    let bus = house.cut_power(bus);
    bus.subscribe("c", config(), flaky(&handled, &["a1"])).unwrap();
    house.clock.advance(Duration::from_secs(100));
    bus.caught_up("c").unwrap();
    let handled = handled.lock().unwrap();
    let of_a: Vec<_> = handled.iter().filter(|id| id.starts_with('a')).collect();
    assert_eq!(of_a, ["a1", "a2"], "the attempt before the restart counts, and `a2` stays behind");
}

#[test]
fn a_consumer_may_park_a_key_behind_its_dead_letter_until_an_operator_settles_it() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handled = Handled::default();
    let (notes, mended) = (Arc::clone(&handled), Arc::new(Mutex::new(false)));
    let is_mended = Arc::clone(&mended);
    let handler = handler_fn(move |delivery, _| {
        if delivery.event.id() == "a1" && !*is_mended.lock().unwrap() {
            return Err(Failure::permanent("poison", "it is poisoned"));
        }
        notes.lock().unwrap().push(delivery.event.id().to_owned());
        Ok(())
    });
    bus.subscribe("c", at_once().on_dead_letter(OnDeadLetter::Park), handler).unwrap();
    for id in ["a1", "a2", "b1"] {
        publish(&bus, "in", id, &id[..1]);
    }
    house.settles(|| !handled.lock().unwrap().is_empty() && bus.bus().consumers().unwrap()[0].held == 2);
    assert_eq!(*handled.lock().unwrap(), ["b1"]);
    *mended.lock().unwrap() = true;
    let letter = bus.bus().dead_letters("c", 0, 10).unwrap()[0].id;
    bus.redrive("c", vec![letter]).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(*handled.lock().unwrap(), ["b1", "a1", "a2"], "redriven, it takes its old place");
}

#[test]
fn events_of_many_keys_on_many_lanes_keep_the_order_of_their_key() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(4)).unwrap();
    bus.create_topic("more", TopicConfig::new(4)).unwrap();
    let handled: Arc<Mutex<BTreeMap<String, Vec<u32>>>> = Arc::default();
    let notes = Arc::clone(&handled);
    let handler = handler_fn(move |delivery, _| {
        let n: u32 = delivery.event.id().parse().map_err(|_| Failure::permanent("id", "no number"))?;
        // One in five fails once or twice.
        if n.is_multiple_of(5) && delivery.attempt <= 1 + n % 2 {
            return Err(Failure::transient("flaky", "now and then"));
        }
        notes.lock().unwrap().entry(delivery.event.key().to_owned()).or_default().push(n);
        Ok(())
    });
    let retry = RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(1));
    bus.subscribe("c", ConsumerConfig::new(["in", "more"]).retry(retry), handler).unwrap();
    for n in 0..600 {
        publish(&bus, ["in", "more"][n % 2], &n.to_string(), &format!("key-{}", n % 17));
    }
    // Backoff is drawn from up to a millisecond; the clock stands still unless it is moved.
    let clock = Arc::clone(&house.clock);
    let (done, is_done) = std::sync::mpsc::sync_channel::<()>(1);
    let mover = std::thread::spawn(move || {
        while is_done.try_recv().is_err() {
            clock.advance(Duration::from_millis(1));
            std::thread::yield_now();
        }
    });
    bus.caught_up("c").unwrap();
    done.send(()).unwrap();
    mover.join().unwrap();
    let handled = handled.lock().unwrap();
    assert_eq!(handled.values().map(Vec::len).sum::<usize>(), 600);
    for (key, numbers) in handled.iter() {
        assert!(numbers.is_sorted(), "{key}: {numbers:?}");
    }
}
