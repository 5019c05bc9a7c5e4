//! Guarantee 8: isolation.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tidegate::config::{Grants, PluginConfig, PluginLimits};
use tidegate::{Blocking, ConsumerError};
use tidegate_guests::{NOT_A_COMPONENT, Surroundings};

use crate::house::{
    House, START, all, at_once, consumer, event_with, guest, guest_file, handled, ids, letters, publish,
    topic,
};

/// A hostile plugin's config: everything granted, and little time.
fn hostile() -> PluginConfig {
    let limits = PluginLimits::default().deadline(Duration::from_millis(500));
    guest("hostile").grants(Grants::nothing().publish("out").state().log()).limits(limits)
}

/// Why a plugin is refused.
fn refusal(plugin: PluginConfig) -> String {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let refused = bus.subscribe_plugin("c", at_once(), plugin).unwrap_err();
    assert!(matches!(refused, ConsumerError::Load { .. }), "{refused:?}");
    assert!(bus.bus().consumers().unwrap().is_empty(), "nothing is registered");
    // The bus goes on.
    bus.subscribe_plugin("c", at_once(), guest("idle")).unwrap();
    publish(&bus, "in", "a", "k");
    bus.caught_up("c").unwrap();
    assert_eq!(handled(&bus, "c"), 1);
    refused.to_string()
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing: {message}");
    }
}

/// The code of the only dead letter, once there is one.
fn code(house: &House, bus: &Blocking) -> String {
    house.settles(|| consumer(bus, "c").dead_letters == 1);
    letters(bus, "c")[0].reason.code.clone()
}

#[test]
fn nothing_is_granted_by_default() {
    let house = House::new();
    let bus = house.open();
    for name in ["in", "out"] {
        topic(&bus, name);
    }
    publish(&bus, "in", "a", "k");
    let echo = PluginConfig::new(guest_file("echo")).settings(r#"{"topic": "out"}"#);
    bus.subscribe_plugin("c", at_once(), echo).unwrap();
    assert_eq!(code(&house, &bus), "topic-not-granted");
    let message = letters(&bus, "c")[0].reason.message.clone();
    assert_says(&message, &["\"out\"", "grant it"]);
    assert_eq!(ids(&bus, "out"), [""; 0]);
}

#[test]
fn a_grant_for_one_topic_is_none_for_another() {
    let house = House::new();
    let bus = house.open();
    for name in ["in", "out", "forbidden"] {
        topic(&bus, name);
    }
    bus.publish("in", event_with("a", "k", r#"{"act": "publish-forbidden"}"#)).unwrap();
    bus.subscribe_plugin("c", at_once(), hostile()).unwrap();
    assert_eq!(code(&house, &bus), "topic-not-granted");
    assert_eq!(ids(&bus, "forbidden"), [""; 0]);
}

#[test]
fn hostile_deliveries_hurt_their_own_consumer_and_no_other() {
    let acts = [
        (json!({ "act": "fault", "fault": "spin" }), Some("deadline")),
        (json!({ "act": "fault", "fault": "spin-in-host" }), Some("deadline")),
        (json!({ "act": "fault", "fault": "grow" }), Some("memory")),
        (json!({ "act": "fault", "fault": "recurse" }), Some("out-of-bounds-memory")),
        (json!({ "act": "fault", "fault": "trap" }), Some("unreachable")),
        (json!({ "act": "allocate", "bytes": 200_000_000 }), Some("memory")),
        (json!({ "act": "log-flood", "count": 10_000 }), None),
        (json!({ "act": "log-bytes", "bytes": 1_000_000 }), None),
        (json!({ "act": "publish", "count": 2_000, "bytes": 10 }), Some("effects-size")),
        (json!({ "act": "publish", "count": 1, "bytes": 1_500_000 }), Some("event-size")),
        (json!({ "act": "publish-type", "bytes": 1_000_000 }), Some("invalid-event")),
        (json!({ "act": "publish-extensions", "count": 1_000 }), Some("invalid-event")),
        (json!({ "act": "publish-bad-attribute" }), Some("invalid-event")),
        (json!({ "act": "state", "count": 100, "bytes": 1_000_000 }), Some("effects-size")),
        (json!({ "act": "state", "count": 1, "bytes": 1_500_000 }), Some("state-value-size")),
        (json!({ "act": "state-key", "bytes": 2_000 }), Some("state-key-size")),
        (json!({ "act": "random", "bytes": 100_000_000 }), None),
        (json!({ "act": "scan" }), None),
        (json!({ "act": "behave" }), None),
    ];
    let house = House::new();
    let bus = house.open();
    for name in ["in", "out", "counts"] {
        topic(&bus, name);
    }
    for (n, (act, _)) in acts.iter().enumerate() {
        bus.publish("in", event_with(&n.to_string(), "k", &act.to_string())).unwrap();
    }
    let once = at_once().retry(tidegate::config::RetryPolicy::default().attempts(1));
    bus.subscribe_plugin("hostile", once.clone(), hostile()).unwrap();
    let neighbour = guest("counter")
        .grants(Grants::nothing().state().publish("counts"))
        .settings(r#"{"topic": "counts"}"#);
    bus.subscribe_plugin("neighbour", once, neighbour).unwrap();
    bus.caught_up("neighbour").unwrap();
    bus.caught_up("hostile").unwrap();

    assert_eq!(handled(&bus, "neighbour"), acts.len() as u64);
    assert!(letters(&bus, "neighbour").is_empty());
    assert_eq!(all(&bus, "counts").len(), acts.len());
    let letters = letters(&bus, "hostile");
    let told: Vec<_> = letters
        .iter()
        .map(|letter| (letter.event.as_ref().unwrap().id().to_owned(), letter.reason.code.clone()))
        .collect();
    let expected: Vec<_> = acts
        .iter()
        .enumerate()
        .filter_map(|(n, (_, code))| Some((n.to_string(), (*code)?.to_owned())))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(ids(&bus, "out"), [""; 0], "what a failed delivery published never was");
}

#[test]
fn long_strings_of_a_guest_are_cut() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    bus.publish("in", event_with("a", "k", r#"{"act": "fail-bytes", "bytes": 1000000}"#)).unwrap();
    bus.subscribe_plugin("c", at_once(), hostile()).unwrap();
    assert_eq!(code(&house, &bus).len(), 64);
    assert_eq!(letters(&bus, "c")[0].reason.message.len(), 4096);
}

#[test]
fn a_component_for_wasi_sees_nothing_of_the_machine() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    publish(&bus, "in", "a", "k");
    let wasi = PluginConfig::new(guest_file("wasi_user"))
        .grants(Grants::nothing().publish("out"))
        .settings(r#"{"topic": "out"}"#);
    bus.subscribe_plugin("c", at_once(), wasi).unwrap();
    bus.caught_up("c").unwrap();
    let seen: Surroundings = all(&bus, "out")[0].event.data_as().unwrap();
    assert!(seen.environment.is_empty() && seen.arguments.is_empty(), "{seen:?}");
    assert!(seen.initial_cwd.is_none() && seen.directories.is_empty(), "{seen:?}");
    assert_eq!(seen.wall_clock_seconds, START.0.unsigned_abs() / 1_000_000, "the delivery's time");
}

#[test]
fn a_plugin_that_asks_for_what_it_was_not_granted_is_refused_with_the_grant_to_add() {
    let message = refusal(guest("bad_describe"));
    assert_says(&message, &["`bad-describe`", "`c`", "bad_describe.wasm", "\"forbidden\"", "`publish`"]);
    let message = refusal(PluginConfig::new(guest_file("counter")));
    assert_says(&message, &["`counter`", "`c`", "counter.wasm", "`state = true`"]);
}

#[test]
fn what_is_no_component_is_refused_with_what_it_is_and_what_to_build() {
    let folder = tempfile::TempDir::new().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        PluginConfig::new(path)
    };
    let message = refusal(write("text.wasm", b"hello"));
    assert_says(&message, &["`c`", "text.wasm", "not WebAssembly", "`tidegate:plugin/consumer`"]);
    let message = refusal(write("module.wasm", NOT_A_COMPONENT));
    assert_says(&message, &["`c`", "module.wasm", "core WebAssembly module", "wasm-component-ld"]);
    let whole = std::fs::read(guest_file("idle")).unwrap();
    let message = refusal(write("half.wasm", &whole[..whole.len() / 2]));
    assert_says(&message, &["`c`", "half.wasm", "can't be compiled"]);
}

#[test]
fn a_component_of_another_world_is_refused_with_what_is_missing() {
    let message = refusal(guest("other_world"));
    assert_says(&message, &["`c`", "other_world.wasm", "`tidegate:plugin/handler@0.1.0`", "`greet`"]);
}

#[test]
fn a_plugin_that_goes_wrong_while_it_is_loaded_is_refused() {
    let message = refusal(guest("describe_traps"));
    assert_says(&message, &["`c`", "describe_traps.wasm", "describe itself", "trap"]);
    let limits = PluginLimits::default().deadline(Duration::from_millis(50));
    let message = refusal(guest("describe_spins").limits(limits));
    assert_says(&message, &["`c`", "describe_spins.wasm", "describe itself", "deadline"]);
    let message = refusal(guest("describe_bytes"));
    assert_says(&message, &["`c`", "describe_bytes.wasm", "version", "64"]);
}

#[test]
fn a_plugin_file_that_is_not_there_is_named() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let refused = bus.subscribe_plugin("c", at_once(), PluginConfig::new(Path::new("/nowhere/x.wasm")));
    assert_says(&refused.unwrap_err().to_string(), &["`c`", "/nowhere/x.wasm", "No such file"]);
}
