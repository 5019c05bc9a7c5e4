//! The events of each key, numbered: optimistic concurrency, and one key's events without the others.

use std::thread;
use std::time::Duration;

use tidegate::config::{ConsumerConfig, Retention, TopicConfig};
use tidegate::{AdminError, Blocking, Event, FailureKind, Outgoing, PublishError, ReadError, handler_fn};

use crate::house::{House, all, event, letters, publish, topic};

fn sequenced(bus: &Blocking, partitions: u32) {
    bus.create_topic("t", TopicConfig::new(partitions).sequence(true)).unwrap();
}

/// The ids and numbers of a key's events behind a number.
fn of_key(bus: &Blocking, key: &str, after: u64) -> Vec<(u64, String)> {
    let mut reader = bus.bus().read_key("t", key, after).unwrap();
    std::iter::from_fn(|| reader.try_next().unwrap())
        .map(|record| (record.event.sequence().unwrap(), record.event.id().to_owned()))
        .collect()
}

#[test]
fn each_key_is_numbered_densely_from_1() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 3);
    // Three keys, in single events and in batches, over restarts, duplicates among them.
    let mut bus = bus;
    for round in 0..5 {
        for key in ["a", "b", "c"] {
            let single = format!("{key}{round}");
            let published = bus.publish("t", event(&single, key)).unwrap();
            assert_eq!(published.sequence, Some(round * 3 + 1));
            let again = bus.publish("t", event(&single, key)).unwrap();
            assert!(again.duplicate);
            assert_eq!((again.sequence, again.offset), (published.sequence, published.offset));
            let batch = ["x", "y", "x"].map(|id| ("t", event(&format!("{key}{round}{id}"), key)));
            let batch = bus.publish_all(batch.into()).unwrap();
            let numbers: Vec<_> = batch.iter().map(|published| published.sequence.unwrap()).collect();
            assert_eq!(numbers, [round * 3 + 2, round * 3 + 3, round * 3 + 2], "the third is a duplicate");
        }
        bus = house.cut_power(bus);
    }
    for key in ["a", "b", "c"] {
        let numbers: Vec<u64> = of_key(&bus, key, 0).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=15).collect::<Vec<_>>());
        assert_eq!(bus.bus().version("t", key).unwrap(), 15);
    }
    assert_eq!(bus.bus().version("t", "d").unwrap(), 0);
    let first = all(&bus, "t").into_iter().find(|record| record.event.id() == "a0").unwrap();
    let text = first.event.extension("sequence").unwrap().to_string();
    assert_eq!(text, "00000000000000000001", "its order as text is its order as a number");
}

#[test]
fn a_key_is_read_in_order_without_the_others() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 1);
    // More than one row of the index, among many events of another key.
    for number in 1..=150 {
        bus.publish_all(vec![
            ("t", event(&format!("k{number}"), "k")),
            ("t", event(&format!("o{number}"), "other")),
        ])
        .unwrap();
    }
    let expected =
        |after: u64| -> Vec<_> { (after + 1..=150).map(|number| (number, format!("k{number}"))).collect() };
    for after in [0, 1, 63, 64, 65, 127, 128, 149, 150, 151] {
        assert_eq!(of_key(&bus, "k", after), expected(after), "after {after}");
    }
    assert!(of_key(&bus, "nobody", 0).is_empty());
    // A reader goes on with what comes later.
    let mut reader = bus.bus().read_key("t", "k", 149).unwrap();
    assert_eq!(reader.try_next().unwrap().unwrap().event.id(), "k150");
    assert!(reader.try_next().unwrap().is_none());
    publish(&bus, "t", "k151", "k");
    assert_eq!(reader.try_next().unwrap().unwrap().event.id(), "k151");
}

#[test]
fn who_expects_another_number_is_refused_with_the_actual_one() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 2);
    let publish = |expected, ids: &[&str]| {
        bus.publish_expecting("t", expected, ids.iter().map(|id| event(id, "k")).collect())
    };
    assert_eq!(publish(0, &["a", "b"]).unwrap()[1].sequence, Some(2));
    for wrong in [0, 1, 3] {
        let refused = publish(wrong, &["c", "d"]).unwrap_err();
        let PublishError::VersionConflict { topic, key, expected, actual } = refused else {
            panic!("{refused:?}")
        };
        assert_eq!((topic.as_str(), key.as_str(), expected, actual), ("t", "k", wrong, 2));
    }
    assert_eq!(bus.bus().version("t", "k").unwrap(), 2, "nothing was appended");
    publish(2, &["c"]).unwrap();
    assert_eq!(of_key(&bus, "k", 2), [(3, "c".to_owned())]);
    assert!(publish(7, &[]).unwrap().is_empty());
}

#[test]
fn of_those_who_expect_the_same_number_one_wins() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 2);
    for round in 0..20 {
        let winners: Vec<_> = thread::scope(|scope| {
            let racers: Vec<_> = (0..4)
                .map(|racer| {
                    let bus = &bus;
                    scope.spawn(move || {
                        let mine = event(&format!("{round}-{racer}"), "k");
                        bus.publish_expecting("t", round, vec![mine])
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for refused in winners.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, PublishError::VersionConflict { actual, .. } if actual == round + 1));
        }
    }
}

#[test]
fn publishing_again_what_is_there_meets_any_expectation() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 2);
    let first = bus.publish_expecting("t", 0, vec![event("a", "k"), event("b", "k")]).unwrap();
    publish(&bus, "t", "c", "k");
    let again = bus.publish_expecting("t", 0, vec![event("a", "k"), event("b", "k")]).unwrap();
    assert!(again.iter().all(|published| published.duplicate));
    let places = |published: &[tidegate::Published]| -> Vec<_> {
        published.iter().map(|published| (published.offset, published.sequence)).collect()
    };
    assert_eq!(places(&first), places(&again));
    let partly = bus.publish_expecting("t", 0, vec![event("a", "k"), event("d", "k")]);
    assert!(matches!(partly, Err(PublishError::VersionConflict { actual: 3, .. })), "{partly:?}");
}

#[test]
fn a_transaction_decides_by_what_it_reads() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 2);
    publish(&bus, "t", "a", "k");
    let outcome = bus
        .transaction(|transaction| {
            assert_eq!(transaction.version("t", "k")?, 1);
            let refused = transaction.publish_expecting("t", 0, event("b", "k"));
            assert!(matches!(refused, Err(PublishError::VersionConflict { actual: 1, .. })));
            transaction.publish_expecting("t", 1, event("b", "k"))?;
            transaction.publish_expecting("t", 2, event("c", "k"))?;
            assert!(transaction.publish_expecting("t", 0, event("a", "k"))?.duplicate);
            transaction.version("t", "k")
        })
        .unwrap();
    assert_eq!(outcome, 3);
    assert_eq!(of_key(&bus, "k", 1), [(2, "b".to_owned()), (3, "c".to_owned())]);
}

#[test]
fn what_a_consumer_publishes_is_numbered_too() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 2);
    topic(&bus, "in");
    let handler = handler_fn(|delivery, context| {
        let subject = Some("k".to_owned());
        let mut copy = Outgoing { kind: "Copy.v1".into(), subject, ..Outgoing::default() };
        if delivery.event.id() == "bad" {
            copy.extensions.push(("sequence".into(), "7".into()));
        }
        context.publish("t", copy)?;
        Ok(())
    });
    bus.subscribe("c", ConsumerConfig::new(["in"]), handler).unwrap();
    for id in ["1", "bad", "2"] {
        publish(&bus, "in", id, id);
    }
    house.until(|| of_key(&bus, "k", 0).len() == 2 && letters(&bus, "c").len() == 1);
    let numbers: Vec<u64> = of_key(&bus, "k", 0).iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 2]);
    let letter = letters(&bus, "c").remove(0);
    assert_eq!(letter.reason.kind, FailureKind::Permanent);
    assert!(letter.reason.message.contains("`sequence`"), "{}", letter.reason);
}

#[test]
fn numbers_outlive_retention() {
    let house = House::new();
    let bus = house.open();
    let retention = Retention::keep_for(Duration::from_hours(1));
    bus.create_topic("t", TopicConfig::new(1).sequence(true).retention(retention)).unwrap();
    for number in 1..=130 {
        publish(&bus, "t", &format!("{number}"), "k");
    }
    publish(&bus, "t", "lonely", "gone");
    house.clock.advance(Duration::from_hours(2));
    publish(&bus, "t", "131", "k");
    house.until(|| of_key(&bus, "k", 0) == [(131, "131".to_owned())]);
    assert!(of_key(&bus, "gone", 0).is_empty());
    let bus = house.cut_power(bus);
    assert_eq!(bus.bus().version("t", "k").unwrap(), 131);
    assert_eq!(bus.bus().version("t", "gone").unwrap(), 1);
    let published = bus.publish_expecting("t", 1, vec![event("back", "gone")]).unwrap();
    assert_eq!(published[0].sequence, Some(2));
    assert_eq!(of_key(&bus, "gone", 0), [(2, "back".to_owned())]);
}

#[test]
fn what_cannot_be_numbered_is_refused_with_the_remedy() {
    let house = House::new();
    let bus = house.open();
    sequenced(&bus, 2);
    topic(&bus, "plain");
    let own = Event::new("a", "/tests", "T").subject("k").extension("sequence", "1").build().unwrap();
    let refused = bus.publish("t", own.clone()).unwrap_err();
    assert!(
        matches!(&refused, PublishError::Invalid(error) if error.attribute() == "sequence"),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("numbers the events of each key by itself"), "{refused}");
    bus.publish("plain", own).unwrap();
    let mixed = bus.publish_expecting("t", 0, vec![event("a", "k"), event("b", "l")]);
    assert!(matches!(mixed, Err(PublishError::MixedKeys { .. })), "{mixed:?}");
    let plain = bus.publish_expecting("plain", 0, vec![event("b", "k")]);
    assert!(matches!(&plain, Err(PublishError::NotSequenced(topic)) if topic == "plain"), "{plain:?}");
    assert!(matches!(bus.bus().version("plain", "k"), Err(ReadError::NotSequenced(_))));
    assert!(matches!(bus.bus().read_key("plain", "k", 0), Err(ReadError::NotSequenced(_))));
    assert!(matches!(bus.bus().read_key("nowhere", "k", 0), Err(ReadError::UnknownTopic(_))));
    for (name, sequence) in [("t", false), ("plain", true)] {
        let partitions = if name == "t" { 2 } else { 1 };
        let refused = bus.create_topic(name, TopicConfig::new(partitions).sequence(sequence));
        assert!(matches!(refused, Err(AdminError::SequenceFixed { .. })), "{refused:?}");
    }
    assert!(all(&bus, "t").is_empty());
}
