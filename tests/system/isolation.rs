//! Guarantee 8: isolation. What hostile plugins do to it is in [`hostile`](crate::hostile).

use std::path::Path;

use tidegate::config::{Grants, PluginConfig};
use tidegate::{Blocking, ConsumerError};
use tidegate_guests::{NOT_A_COMPONENT, Surroundings};

use crate::house::{
    House, START, all, at_once, consumer, event_with, guest, guest_file, handled, ids, letters, publish,
    topic,
};

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
    bus.publish("in", event_with("a", "k", r#"{"act": "publish-to", "topic": "forbidden"}"#)).unwrap();
    bus.subscribe_plugin("c", at_once(), guest("hostile")).unwrap();
    assert_eq!(code(&house, &bus), "topic-not-granted");
    assert_eq!(ids(&bus, "forbidden"), [""; 0]);
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
fn a_plugin_that_traps_while_it_is_loaded_is_refused() {
    let message = refusal(guest("describe_traps"));
    assert_says(&message, &["`c`", "describe_traps.wasm", "describe itself", "trap"]);
}

#[test]
fn a_plugin_file_that_is_not_there_is_named() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let refused = bus.subscribe_plugin("c", at_once(), PluginConfig::new(Path::new("/nowhere/x.wasm")));
    assert_says(&refused.unwrap_err().to_string(), &["`c`", "/nowhere/x.wasm", "No such file"]);
}
