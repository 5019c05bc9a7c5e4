//! The doctor: what will hurt is found on a real bus, and named on the command line.

use std::time::Duration;

use tidegate::config::{ConsumerConfig, RetryPolicy, TopicConfig};
use tidegate::{Blocking, Clock, DoctorOptions, Event, Failure, Severity, handler_fn};

use crate::cli_process::Directory;
use crate::house::{House, at_once, caught_up, consumer, event, topic};

/// What is found, as `check: subject`.
fn found(bus: &Blocking) -> Vec<String> {
    let findings = bus.doctor(DoctorOptions::default()).unwrap();
    findings.into_iter().map(|finding| format!("{}: {}", finding.check, finding.subject)).collect()
}

#[test]
fn a_bus_in_which_nothing_is_wrong_has_no_findings() {
    let house = House::new();
    let bus = house.open();
    assert_eq!(found(&bus), Vec::<String>::new());
    bus.create_topic("in", TopicConfig::new(8)).unwrap();
    bus.subscribe("c", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    for at in 0..500 {
        bus.publish("in", event(&at.to_string(), &at.to_string())).unwrap();
    }
    caught_up(&bus, "c");
    assert_eq!(found(&bus), Vec::<String>::new());
}

#[test]
fn what_recent_events_are_like_is_found() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(4)).unwrap();
    let mut events: Vec<Event> = (0..50).map(|at| event(&at.to_string(), &at.to_string())).collect();
    events.extend((0..80).map(|at| event(&format!("hot-{at}"), "one-shop")));
    events.push(Event::new("u", "/tests", "Unversioned").build().unwrap());
    let large = format!("\"{}\"", "x".repeat(70 << 10));
    events.push(Event::new("l", "/tests", "Large.v1").json_text(large).build().unwrap());
    bus.publish_all(events.into_iter().map(|event| ("in", event)).collect()).unwrap();
    let findings = bus.doctor(DoctorOptions::default()).unwrap();
    let seen: Vec<_> = findings.iter().map(|finding| (&*finding.check, &*finding.seen)).collect();
    assert_eq!(
        seen.iter().map(|(check, _)| *check).collect::<Vec<_>>(),
        ["unversioned-types", "large-events", "hot-partition"]
    );
    assert!(seen[0].1.contains("`Unversioned`") && !seen[0].1.contains("Test.v1"), "{seen:?}");
    assert!(seen[1].1.starts_with("1 of its newest 132 events"), "{seen:?}");
    assert!(seen[2].1.contains("have key `one-shop`"), "{seen:?}");
    // An hour ago there was such traffic; a day later that is none that counts.
    house.clock.advance(Duration::from_hours(48));
    let others: Vec<Event> = (0..400).map(|at| event(&format!("later-{at}"), &at.to_string())).collect();
    bus.publish_all(others.into_iter().map(|event| ("in", event)).collect()).unwrap();
    assert!(!found(&bus).contains(&"hot-partition: topic `in`".to_owned()));
}

#[test]
fn consumers_that_do_not_come_on_are_found_until_they_do() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let fails = handler_fn(|delivery, _| match delivery.event.id() {
        "poison" => Err(Failure::permanent("no", "never")),
        "slow" => Err(Failure::transient("busy", "come again")),
        _ => Ok(()),
    });
    let retry = RetryPolicy::default().backoff(Duration::from_mins(1), Duration::from_mins(1));
    bus.subscribe("c", ConsumerConfig::new(["in"]).held_max(1).retry(retry), fails).unwrap();
    for (id, key) in [("poison", "a"), ("slow", "b"), ("behind", "b")] {
        bus.publish("in", event(id, key)).unwrap();
    }
    house.settles(|| found(&bus).len() == 3);
    assert_eq!(
        found(&bus),
        ["no-progress: consumer `c`", "dead-letters: consumer `c`", "held-near-bound: consumer `c`"]
    );
    let stands = bus.doctor(DoctorOptions::default()).unwrap().remove(0);
    assert!(stands.severity == Severity::Problem && stands.remedy.contains("held_max"), "{stands}");
    bus.pause("c").unwrap();
    house.settles(|| consumer(&bus, "c").lanes[0].state == tidegate::LaneState::Paused);
    assert!(found(&bus).contains(&"no-progress: consumer `c`".to_owned()));
    let letter = bus.bus().dead_letters("c", 0, 1).unwrap()[0].id;
    bus.discard("c", vec![letter]).unwrap();
    bus.resume("c").unwrap();
    house.until(|| bus.bus().dead_letters("c", 0, 9).unwrap().len() == 1);
    house.settles(|| found(&bus) == ["dead-letters: consumer `c`"]);
    bus.unsubscribe("c").unwrap();
    assert_eq!(found(&bus), ["detached: consumer `c`", "dead-letters: consumer `c`"]);
}

#[test]
fn a_lag_is_found_with_its_age_and_the_retention_that_it_comes_to() {
    use tidegate::config::Retention;

    let house = House::new();
    let bus = house.open();
    let hour = Duration::from_hours(1);
    let retention = Retention::keep_for(hour);
    bus.create_topic("in", TopicConfig::new(1).retention(retention)).unwrap();
    bus.subscribe("c", at_once().paused(true), handler_fn(|_, _| Ok(()))).unwrap();
    bus.publish("in", event("1", "k")).unwrap();
    house.clock.advance(hour * 2);
    house.settles(|| found(&bus).len() == 2);
    let lag = bus.doctor(DoctorOptions::default()).unwrap().remove(1);
    assert_eq!((&*lag.check, lag.severity), ("retention-before-lag", Severity::Warning));
    assert!(lag.seen.contains("keeps 1h, it is 1 events behind, of 2h"), "{lag}");
    bus.resume("c").unwrap();
    caught_up(&bus, "c");
    assert_eq!(found(&bus), Vec::<String>::new());
    assert!(house.clock.now() > tidegate::Timestamp(0));
}

#[test]
fn old_versions_that_nothing_lifts_are_found() {
    use tidegate::config::AggregateConfig;
    use tidegate::upcast::Lifted;
    use tidegate::{Aggregate, Delivery, Fact, Rejection};

    struct Door;

    impl Aggregate for Door {
        type State = bool;

        fn decide(&self, _: Option<&bool>, _: &Delivery) -> Result<Vec<Fact>, Rejection> {
            Ok(vec![Fact::new("Opened.v1")])
        }

        fn evolve(&self, _: Option<bool>, _: &Event) -> Result<bool, Failure> {
            Ok(true)
        }
    }

    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.create_topic("doors", TopicConfig::new(1).sequence(true)).unwrap();
    bus.subscribe_aggregate("doors", at_once(), AggregateConfig::new("doors"), Door).unwrap();
    for (id, kind) in [("1", "Open.v1"), ("2", "Open.v2")] {
        bus.publish("in", Event::new(id, "/tests", kind).subject("front").build().unwrap()).unwrap();
    }
    caught_up(&bus, "doors");
    assert_eq!(found(&bus), ["missing-lift: topic `in`"]);
    let lift = bus.bus().add_upcaster("doors", "Open.v1", "Open.v2", |_| Ok(Lifted::default()));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(lift).unwrap();
    assert_eq!(found(&bus), Vec::<String>::new());
}

#[test]
fn the_command_line_names_what_will_hurt_and_says_so_by_its_exit_code() {
    let configuration = "[topics.in]\npartitions = 1\n[consumers.counter]\nplugin = \"counter.wasm\"\ntopics = [\"in\"]\n\
        grants = { state = true }\n";
    let directory = Directory::new(configuration);
    directory.put_guest("counter", "counter.wasm");
    let running = directory.serve();
    assert!(directory.done(&["doctor"]).contains("nothing was found"));
    assert_eq!(directory.json(&["doctor"]), Vec::<serde_json::Value>::new());
    // A warning is no failure.
    let unversioned =
        r#"{"specversion":"1.0","id":"1","source":"/t","type":"Plain","partitionkey":"k","data":1}"#;
    assert_eq!(directory.run_with(&["publish", "in", "-"], unversioned).code, 0);
    let warned = directory.json(&["doctor"]);
    assert_eq!(
        (warned.len(), &warned[0]["check"], &warned[0]["severity"]),
        (1, &"unversioned-types".into(), &"warning".into())
    );
    let lines = directory.done(&["doctor"]);
    for part in ["warning: unversioned-types: topic `in`", "  seen: ", "  why:  ", "  do:   "] {
        assert!(lines.contains(part), "{lines}");
    }
    running.end();
    // Without a process as well, and with what only the file says.
    directory.configure(&configuration.replace("state = true", "state = true, publish = [\"nowhere\"]"));
    let broken = directory.run(&["doctor"]);
    assert_eq!(broken.code, 1, "{broken:?}");
    assert!(broken.out.starts_with("problem: unknown-topic: consumer `counter`"), "{broken:?}");
    assert!(broken.out.contains("`tidegate topics create nowhere`"), "{broken:?}");
}
