//! Guarantee 1: acknowledged means on disk.

use std::sync::Arc;
use std::thread;

use tidegate::{PublishError, ReadError};

use crate::house::{House, event, ids, publish, topic};

#[test]
fn acknowledged_means_on_disk() {
    let house = House::new();
    let mut bus = house.open();
    topic(&bus, "in");
    for round in 0..20 {
        publish(&bus, "in", &format!("{round}"), "k");
        // The power goes the moment that the acknowledgement is there.
        bus = house.cut_power(bus);
        assert_eq!(ids(&bus, "in").len(), round + 1);
    }
}

#[test]
fn acknowledged_means_on_disk_for_publishers_that_share_a_commit() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let acknowledged: Vec<String> = thread::scope(|scope| {
        let publishers: Vec<_> = (0..8)
            .map(|publisher| {
                let bus = &bus;
                scope.spawn(move || {
                    let ids = (0..25).map(move |n| format!("{publisher}-{n}"));
                    ids.inspect(|id| publish(bus, "in", id, id)).collect::<Vec<_>>()
                })
            })
            .collect();
        publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
    });
    let bus = house.cut_power(bus);
    let durable = ids(&bus, "in");
    assert!(acknowledged.iter().all(|id| durable.contains(id)));
    assert_eq!(durable.len(), acknowledged.len());
}

#[test]
fn nothing_is_visible_before_it_is_durable() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    house.disk.fail_syncs(true);
    let failed = bus.publish("in", event("a", "k"));
    assert!(matches!(failed, Err(PublishError::InDoubt(_))), "{failed:?}");
    let reader = bus.bus().read("in", None, tidegate::Position::Earliest);
    if let Ok(mut reader) = reader {
        assert!(matches!(reader.try_next(), Ok(None) | Err(ReadError::Reopening)));
    }
}

#[test]
fn a_commit_in_doubt_says_so_and_the_same_event_can_be_published_again() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    house.disk.fail_syncs(true);
    assert!(matches!(bus.publish("in", event("a", "k")), Err(PublishError::InDoubt(_))));
    house.disk.fail_syncs(false);
    let again = loop {
        match bus.publish("in", event("a", "k")) {
            Err(PublishError::Reopening) => thread::yield_now(),
            answer => break answer.unwrap(),
        }
    };
    assert_eq!(again.offset, 0);
    assert_eq!(ids(&bus, "in"), ["a"]);
}

#[test]
fn many_events_at_once_are_durable_together_or_not_at_all() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "other");
    let wrong = bus.publish_all(vec![("in", event("a", "k")), ("nowhere", event("b", "k"))]);
    assert!(matches!(wrong, Err(PublishError::UnknownTopic(topic)) if topic == "nowhere"));
    assert_eq!(ids(&bus, "in"), [""; 0]);
    bus.publish_all(vec![("in", event("a", "k")), ("other", event("b", "k"))]).unwrap();
    let bus = house.cut_power(bus);
    assert_eq!((ids(&bus, "in"), ids(&bus, "other")), (vec!["a".to_owned()], vec!["b".to_owned()]));
}

#[test]
fn a_bus_is_shared_by_many_threads_and_two_buses_live_in_one_process() {
    let (first, second) = (House::new(), House::new());
    let (one, two) = (Arc::new(first.open()), second.open());
    topic(&one, "in");
    topic(&two, "in");
    let other = Arc::clone(&one);
    thread::spawn(move || publish(&other, "in", "a", "k")).join().unwrap();
    assert_eq!(ids(&one, "in"), ["a"]);
    assert_eq!(ids(&two, "in"), [""; 0]);
}
