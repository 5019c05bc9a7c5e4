//! Guarantee 9: hot reload.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, RetryPolicy, TopicConfig};
use tidegate::{Blocking, ConsumerError, ReloadOutcome};
use tidegate_guests::{Count, NOT_A_COMPONENT};

use crate::house::{House, all, at_once, consumer, event_with, guest_file, handled, letters, publish, topic};

/// A plugin's file, whose content changes.
struct File {
    folder: TempDir,
}

impl File {
    fn of(guest: &str) -> Self {
        let file = Self { folder: TempDir::new().unwrap() };
        file.becomes(guest);
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("plugin.wasm")
    }

    fn becomes(&self, guest: &str) {
        self.holds(&std::fs::read(guest_file(guest)).unwrap());
    }

    fn holds(&self, bytes: &[u8]) {
        std::fs::write(self.path(), bytes).unwrap();
    }

    fn plugin(&self) -> PluginConfig {
        PluginConfig::new(self.path())
            .grants(Grants::nothing().publish("out").state())
            .settings(json!({ "topic": "out" }).to_string())
    }
}

fn counts(bus: &Blocking) -> Vec<Count> {
    all(bus, "out").iter().map(|record| record.event.data_as().unwrap()).collect()
}

fn running(bus: &Blocking) -> String {
    bus.bus().plugins()[0].version.version.clone()
}

fn topics(bus: &Blocking) {
    topic(bus, "in");
    topic(bus, "out");
}

#[test]
fn a_new_version_takes_over_between_two_deliveries_without_loss_repetition_or_disorder() {
    const EVENTS: usize = 600;
    let house = House::new();
    let bus = house.open();
    for name in ["in", "out"] {
        bus.create_topic(name, TopicConfig::new(2)).unwrap();
    }
    let file = File::of("counter");
    bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
    let switched = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..EVENTS {
                // One in ten fails at its first attempt.
                let data = if n % 10 == 0 { r#"{"fail":"transient","until_attempt":2}"# } else { "{}" };
                let event = event_with(&format!("{n:04}"), &format!("key-{}", n % 7), data);
                bus.publish("in", event).unwrap();
                if n == EVENTS / 2 {
                    while !switched.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                }
            }
        });
        house.until(|| handled(&bus, "c") > EVENTS as u64 / 4);
        file.becomes("counter_v2");
        let outcome = bus.reload("c").unwrap();
        assert!(
            matches!(outcome, ReloadOutcome::Switched { ref from, ref to }
            if from.version == "0.1.0" && to.version == "0.2.0"),
            "{outcome:?}"
        );
        switched.store(true, Ordering::SeqCst);
    });
    house.until(|| handled(&bus, "c") == EVENTS as u64);

    let mut by_key: BTreeMap<String, Vec<Count>> = BTreeMap::new();
    for count in counts(&bus) {
        by_key.entry(count.key.clone()).or_default().push(count);
    }
    assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), EVENTS, "none lost, none twice");
    for counts in by_key.values() {
        assert!(counts.iter().zip(1..).all(|(count, n)| count.count == n), "state goes on: {counts:?}");
        assert!(counts.is_sorted_by_key(|count| count.id.clone()), "in the order of the key: {counts:?}");
        assert!(counts.is_sorted_by_key(|count| count.version), "no way back: {counts:?}");
        assert!(counts[0].version == 1 && counts.last().unwrap().version == 2, "both ran: {counts:?}");
    }
    assert!(letters(&bus, "c").is_empty());
    assert_eq!((running(&bus).as_str(), bus.bus().plugins()[0].reloads), ("0.2.0", 1));
}

#[test]
fn attempts_go_on_counting_over_a_reload_and_keep_the_version_that_made_them() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let file = File::of("counter");
    bus.publish("in", event_with("a", "k", r#"{"fail": "transient"}"#)).unwrap();
    let second = Duration::from_secs(1);
    let retry = RetryPolicy::default().attempts(2).backoff(second, second);
    bus.subscribe_plugin("c", at_once().retry(retry), file.plugin()).unwrap();
    house.settles(|| consumer(&bus, "c").lanes[0].next_retry.is_some());
    file.becomes("counter_v2");
    bus.reload("c").unwrap();
    house.until(|| consumer(&bus, "c").dead_letters == 1);
    let letter = &letters(&bus, "c")[0];
    let versions: Vec<_> = letter.attempts.iter().map(|attempt| attempt.version.version.as_str()).collect();
    assert_eq!(versions, ["0.1.0", "0.2.0"]);
    assert_eq!(letter.version.version, "0.2.0");
}

#[test]
fn a_bad_candidate_is_refused_and_the_running_version_goes_on() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let file = File::of("counter");
    bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
    publish(&bus, "in", "0", "k");
    let bad: [(&dyn Fn(), &str); 6] = [
        (&|| file.holds(b"garbage"), "not WebAssembly"),
        (&|| file.holds(NOT_A_COMPONENT), "core WebAssembly module"),
        (&|| file.becomes("other_world"), "does not export"),
        (&|| file.becomes("bad_describe"), "\"forbidden\""),
        (&|| file.becomes("describe_traps"), "describe itself"),
        (&|| file.becomes("state_v2"), "state version 2"),
    ];
    for (n, (change, why)) in bad.into_iter().enumerate() {
        change();
        let refused = bus.reload("c").unwrap_err().to_string();
        for word in [why, "`c`", "plugin.wasm"] {
            assert!(refused.contains(word), "{word:?} is missing: {refused}");
        }
        let plugin = &bus.bus().plugins()[0];
        assert_eq!(plugin.refused.as_deref(), Some(refused.as_str()));
        assert_eq!((plugin.version.version.as_str(), plugin.reloads), ("0.1.0", 0));
        publish(&bus, "in", &format!("{}", n + 1), "k");
        bus.caught_up("c").unwrap();
        assert_eq!(counts(&bus).last().map(|count| (count.count, count.version)), Some((n as u64 + 2, 1)));
    }
    file.becomes("counter_v2");
    bus.reload("c").unwrap();
    assert_eq!(bus.bus().plugins()[0].refused, None, "until one is accepted");
}

#[test]
fn a_file_with_the_running_version_changes_nothing() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let file = File::of("counter");
    bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
    let outcome = bus.reload("c").unwrap();
    assert!(matches!(outcome, ReloadOutcome::Unchanged { ref version } if version.version == "0.1.0"));
    assert_eq!(bus.bus().plugins()[0].reloads, 0);
}

#[test]
fn after_a_restart_the_accepted_version_runs_whatever_lies_in_the_plugin_folder() {
    let house = House::new();
    let mut bus = house.open();
    topics(&bus);
    let file = File::of("counter");
    bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
    file.becomes("counter_v2");
    bus.reload("c").unwrap();
    let changes: [&dyn Fn(); 4] =
        [&|| file.holds(b"garbage"), &|| file.becomes("state_v2"), &|| file.becomes("bad_describe"), &|| {
            std::fs::remove_file(file.path()).unwrap();
        }];
    for (n, change) in changes.into_iter().enumerate() {
        change();
        bus = house.cut_power(bus);
        bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
        publish(&bus, "in", &n.to_string(), "k");
        bus.caught_up("c").unwrap();
        assert_eq!(counts(&bus).last().map(|count| (count.count, count.version)), Some((n as u64 + 1, 2)));
        assert_eq!(running(&bus), "0.2.0");
        assert!(bus.bus().plugins()[0].refused.is_some(), "and it says why");
    }
}

#[test]
fn a_version_that_was_put_there_while_the_bus_was_down_is_taken_as_a_candidate() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let file = File::of("counter");
    bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
    publish(&bus, "in", "a", "k");
    bus.caught_up("c").unwrap();
    file.becomes("counter_v2");
    let bus = house.cut_power(bus);
    bus.subscribe_plugin("c", at_once(), file.plugin()).unwrap();
    publish(&bus, "in", "b", "k");
    bus.caught_up("c").unwrap();
    let versions: Vec<_> = counts(&bus).iter().map(|count| (count.count, count.version)).collect();
    assert_eq!(versions, [(1, 1), (2, 2)]);
}

#[test]
fn a_consumer_whose_stored_state_is_of_another_version_does_not_start() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    bus.subscribe_plugin("c", at_once(), File::of("counter").plugin()).unwrap();
    bus.unsubscribe("c").unwrap();
    // The accepted component is gone too, as after a backup of the database alone.
    std::fs::remove_dir_all(house.folder.path().join("components")).unwrap();
    let refused = bus.subscribe_plugin("c", at_once(), File::of("state_v2").plugin()).unwrap_err();
    assert!(matches!(refused, ConsumerError::StateVersion { found: 2, stored: 1, .. }), "{refused:?}");
    let message = refused.to_string();
    assert!(message.contains("`c`") && message.contains("forget this one first"), "{message}");
}

#[test]
fn only_a_running_plugin_can_be_reloaded() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    assert!(matches!(bus.reload("c"), Err(ConsumerError::NotRunning(name)) if name == "c"));
    bus.subscribe("c", at_once(), tidegate::handler_fn(|_, _| Ok(()))).unwrap();
    assert!(matches!(bus.reload("c"), Err(ConsumerError::Native(name)) if name == "c"));
}

#[test]
fn another_configuration_takes_topics_away_and_brings_them_without_delivering_anything_again() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    topic(&bus, "more");
    let file = File::of("counter");
    bus.subscribe_plugin("c", ConsumerConfig::new(["in", "more"]), file.plugin()).unwrap();
    for n in 0..20 {
        publish(&bus, ["in", "more"][n % 2], &format!("{n}"), "k");
    }
    bus.caught_up("c").unwrap();
    for topics in [vec!["in"], vec!["in", "more"]] {
        bus.reconfigure_plugin("c", ConsumerConfig::new(topics), file.plugin()).unwrap();
        publish(&bus, "in", &format!("after {}", handled(&bus, "c")), "k");
        bus.caught_up("c").unwrap();
    }
    // A topic that is taken back is read as a new one, from the configuration's start: here the earliest.
    assert_eq!(handled(&bus, "c"), 20 + 2 + 10);
    assert_eq!(counts(&bus).len(), 22, "and what it publishes again is recognized by its id");
}

#[test]
fn a_pause_that_the_configuration_takes_back_ends() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let file = File::of("counter");
    bus.subscribe_plugin("c", at_once().paused(true), file.plugin()).unwrap();
    publish(&bus, "in", "a", "k");
    assert!(consumer(&bus, "c").paused);
    bus.reconfigure_plugin("c", at_once(), file.plugin()).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(handled(&bus, "c"), 1);
}
