//! Upcasters: consumers see one version of an event type, whatever was published.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::{
    AggregateConfig, Config, ConsumerConfig, PluginLimits, SchemaPolicy, TopicConfig, UpcasterConfig,
};
use tidegate::schema::{Compatibility, Schema};
use tidegate::upcast::{LiftError, Lifted};
use tidegate::{
    Aggregate, At, Blocking, Delivery, Event, Fact, Failure, FailureKind, Handler, Outcome, Position,
    Rejection, ReloadOutcome, UpcasterError, handler_fn,
};

use crate::cli_process::Directory;
use crate::house::{
    House, PluginFile, SHUTDOWN, all, at_once, caught_up, event_with, guest, guest_file, handled, letters,
    topic,
};

/// What a consumer has seen, as id, attempt, type and what its data say of their lifts.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    /// A handler that notes what it sees, and fails for good what is asked of it.
    fn handler(&self, fails: &str) -> impl Handler + use<> {
        let (seen, fails) = (Arc::clone(&self.0), fails.to_owned());
        handler_fn(move |delivery, _| {
            let data: Value = delivery.event.data_as()?;
            let lifted: Vec<_> =
                data["lifted"].as_array().into_iter().flatten().map(Value::to_string).collect();
            let line = format!("{} {} {}", delivery.event.id(), delivery.event.kind(), lifted.join(", "));
            seen.lock().unwrap().push(line.replace('"', "").trim_end().to_owned());
            if delivery.event.id() == fails && !delivery.redriven {
                return Err(Failure::permanent("told-to", "told to fail"));
            }
            Ok(())
        })
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn lifter() -> UpcasterConfig {
    UpcasterConfig::new(guest_file("lifter"))
}

/// Settings by which the guest lifts these types.
fn steps(steps: &[(&str, &str)]) -> String {
    json!({ "steps": steps }).to_string()
}

/// A lift in Rust that says so in the data.
fn native(event: &Event) -> Result<Lifted, Failure> {
    let mut data: Value = event.data_as()?;
    match data["lifted"].as_array_mut() {
        Some(lifted) => lifted.push("native".into()),
        None => data["lifted"] = json!(["native"]),
    }
    Lifted::json(&data)
}

fn publish(bus: &Blocking, id: &str, key: &str, json: &str) {
    bus.publish("in", event_with(id, key, json)).unwrap();
}

fn version(bus: &Blocking) -> String {
    bus.bus().upcasters()[0].version.version.clone()
}

#[test]
fn consumers_see_one_version_fresh_redriven_after_a_seek_and_after_a_restart() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    let seen = Seen::default();
    publish(&bus, "old", "k", "{}");
    bus.subscribe("c", at_once(), seen.handler("bad")).unwrap();
    publish(&bus, "bad", "k", "{}");
    let new = Event::new("new", "/tests", "Test.v2").subject("k").json_text(r#"{"lifted": ["no"]}"#);
    bus.publish("in", new.build().unwrap()).unwrap();
    caught_up(&bus, "c");
    let both = ["old Test.v2 Test.v2 by 1", "bad Test.v2 Test.v2 by 1", "new Test.v2 no"];
    assert_eq!(seen.lines(), both);
    bus.redrive("c", vec![letters(&bus, "c")[0].id]).unwrap();
    house.until(|| handled(&bus, "c") == 3);
    assert_eq!(seen.lines(), ["bad Test.v2 Test.v2 by 1"]);
    bus.seek("c", None, None, Position::Earliest).unwrap();
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), both);
    bus.shutdown(SHUTDOWN);

    let bus = house.open();
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    bus.subscribe("d", at_once(), seen.handler("")).unwrap();
    caught_up(&bus, "d");
    assert_eq!(seen.lines(), both);
}

#[test]
fn a_retried_delivery_is_lifted_like_the_first() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    let settings =
        json!({ "topic": "out", "faults": { "Test.v2": { "fail": "transient", "until_attempt": 3 } } });
    bus.subscribe_plugin("c", at_once(), guest("counter").settings(settings.to_string())).unwrap();
    publish(&bus, "a", "k", "{}");
    house.until(|| handled(&bus, "c") == 1);
    assert_eq!(all(&bus, "out")[0].event.data_as::<Value>().unwrap()["attempt"], 3, "each was of Test.v2");
}

#[test]
fn an_event_goes_through_the_lifts_of_several_upcasters_in_wasm_and_in_rust() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let own = steps(&[("Test.v1", "Test.v2"), ("Test.v3", "Test.v5"), ("Test.v5", "Test.v6")]);
    bus.add_upcaster("native", "Test.v2", "Test.v3", native).unwrap();
    bus.add_upcaster_plugin("wasm", lifter().settings(own)).unwrap();
    let seen = Seen::default();
    bus.subscribe("c", at_once(), seen.handler("")).unwrap();
    publish(&bus, "a", "k", "{}");
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), ["a Test.v6 Test.v2 by 1, native, Test.v5 by 1, Test.v6 by 1"]);
    bus.remove_upcaster("native").unwrap();
    publish(&bus, "b", "k", "{}");
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), ["b Test.v2 Test.v2 by 1"]);
}

#[test]
fn identity_key_order_and_deduplication_are_those_of_what_was_published() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(1).sequence(true)).unwrap();
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    let events: Arc<Mutex<Vec<Event>>> = Arc::default();
    let noted = Arc::clone(&events);
    let note = handler_fn(move |delivery, _| {
        noted.lock().unwrap().push((*delivery.event).clone());
        Ok(())
    });
    bus.subscribe("c", at_once(), note).unwrap();
    for n in 0..40 {
        let event = Event::new(format!("{n}"), "/tests", if n % 3 == 0 { "Test.v1" } else { "Test.v2" });
        let event = event.subject(format!("key-{}", n % 4)).extension("traceparent", "00-1").json_text("{}");
        let event = event.time("2018-04-05T17:31:00Z").build().unwrap();
        bus.publish("in", event.clone()).unwrap();
        assert!(bus.publish("in", event).unwrap().duplicate);
    }
    caught_up(&bus, "c");
    let stored = all(&bus, "in");
    let delivered = events.lock().unwrap();
    assert_eq!(delivered.len(), 40);
    for (delivered, record) in delivered.iter().zip(&stored) {
        let (mut delivered, mut stored) =
            (delivered.clone().into_parts(), (*record.event).clone().into_parts());
        if stored.kind == "Test.v1" {
            assert_eq!(delivered.kind, "Test.v2");
            for parts in [&mut delivered, &mut stored] {
                (parts.kind, parts.data, parts.datacontenttype) = (String::new(), None, None);
            }
        }
        assert_eq!(delivered, stored);
    }
}

#[test]
fn a_lift_that_goes_wrong_costs_its_event_and_no_other() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let limits = PluginLimits::default().deadline(Duration::from_millis(200)).memory_bytes(2 << 20);
    bus.add_upcaster_plugin("up", lifter().limits(limits)).unwrap();
    let faults = [
        ("permanent", FailureKind::Permanent, "told-to", 1),
        ("trap", FailureKind::Trap, "unreachable", 2),
        ("panic", FailureKind::Trap, "unreachable", 2),
        ("spin", FailureKind::Timeout, "deadline", 2),
        ("grow", FailureKind::Memory, "memory", 2),
    ];
    for (fault, ..) in faults {
        publish(&bus, fault, fault, &json!({ "fault": fault }).to_string());
        publish(&bus, &format!("after {fault}"), "k", "{}");
    }
    publish(&bus, "nonsense", "n", r#"{"nonsense": true}"#);
    publish(&bus, "not an object", "o", "[]");
    publish(&bus, "last", "k", "{}");
    let seen = Seen::default();
    let twice = at_once().retry(at_once().retry.attempts(2));
    bus.subscribe("c", twice, seen.handler("")).unwrap();
    house.until(|| {
        letters(&bus, "c").len() == faults.len() + 2 && handled(&bus, "c") == faults.len() as u64 + 1
    });
    let after = faults.map(|(fault, ..)| format!("after {fault}"));
    let expected =
        after.iter().map(String::as_str).chain(["last"]).map(|id| format!("{id} Test.v2 Test.v2 by 1"));
    assert_eq!(seen.lines(), expected.collect::<Vec<_>>(), "in the order of their key");

    let letters = letters(&bus, "c");
    let letter = |id: &str| letters.iter().find(|letter| letter.event.as_ref().unwrap().id() == id).unwrap();
    for (fault, kind, code, attempts) in faults {
        let letter = letter(fault);
        assert_eq!((letter.reason.kind, &*letter.reason.code), (kind, code), "{fault}: {}", letter.reason);
        assert_eq!(letter.attempts.len(), attempts, "{fault}");
        let event = letter.event.as_ref().unwrap();
        assert_eq!((event.kind(), event.data_as::<Value>().unwrap()), ("Test.v1", json!({ "fault": fault })));
        assert!(letter.reason.message.starts_with("upcaster `up`, `Test.v1` to `Test.v2`: "), "{fault}");
    }
    for (id, code) in [("nonsense", "invalid-event"), ("not an object", "bad-data")] {
        let reason = &letter(id).reason;
        assert_eq!((reason.kind, &*reason.code), (FailureKind::Permanent, code), "{reason}");
    }
}

#[test]
fn what_comes_of_a_lift_is_held_against_the_schema_of_its_type() {
    let house = House::new();
    let bus = house.open();
    let schema = |text| Schema::json(text).unwrap();
    bus.register_schema("Test.v1", schema("true"), Some(Compatibility::None)).unwrap();
    let lifted = r#"{"properties": {"lifted": {"items": {"type": "integer"}}}}"#;
    bus.register_schema("Test.v2", schema(lifted), None).unwrap();
    bus.create_topic("in", TopicConfig::new(1).schemas(SchemaPolicy::Required)).unwrap();
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    let seen = Seen::default();
    bus.subscribe("c", at_once(), seen.handler("")).unwrap();
    publish(&bus, "a", "k", "{}");
    caught_up(&bus, "c");
    let reason = &letters(&bus, "c")[0].reason;
    assert_eq!((reason.kind, &*reason.code), (FailureKind::Permanent, "schema"));
    assert!(
        reason.message.contains("upcaster `up`") && reason.message.contains("at `/lifted/0`"),
        "{reason}"
    );
    assert!(seen.lines().is_empty());
}

#[test]
fn another_version_of_an_upcaster_takes_over_and_a_bad_candidate_does_not() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let file = PluginFile::of("lifter");
    bus.add_upcaster_plugin("up", UpcasterConfig::new(file.path())).unwrap();
    let seen = Seen::default();
    bus.subscribe("c", at_once(), seen.handler("")).unwrap();
    publish(&bus, "a", "k", "{}");
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), ["a Test.v2 Test.v2 by 1"]);
    assert!(matches!(bus.reload_upcaster("up").unwrap(), ReloadOutcome::Unchanged { .. }));

    for (bad, words) in [
        ("counter", "runs a consumer, and is no upcaster: name it in `[consumers]`"),
        ("other_world", "`tidegate:plugin/lifter@0.1.0`"),
    ] {
        file.becomes(bad);
        let refused = bus.reload_upcaster("up").unwrap_err();
        assert!(
            matches!(refused, UpcasterError::Load { .. }) && refused.to_string().contains(words),
            "{refused}"
        );
        assert_eq!(bus.bus().upcasters()[0].refused.as_deref(), Some(&*refused.to_string()));
        publish(&bus, bad, "k", "{}");
        caught_up(&bus, "c");
        assert_eq!(seen.lines(), [format!("{bad} Test.v2 Test.v2 by 1")], "what runs goes on");
    }

    file.becomes("lifter_v2");
    let outcome = bus.reload_upcaster("up").unwrap();
    assert!(
        matches!(outcome, ReloadOutcome::Switched { ref from, ref to }
        if from.version == "0.1.0" && to.version == "0.2.0"),
        "{outcome:?}"
    );
    assert_eq!((version(&bus).as_str(), &bus.bus().upcasters()[0].refused), ("0.2.0", &None));
    publish(&bus, "b", "k", "{}");
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), ["b Test.v2 Test.v2 by 2"]);
}

#[test]
fn lifts_that_lead_back_or_compete_are_refused_and_what_runs_goes_on() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    let refused = |steps_of: &[(&str, &str)]| {
        let error = bus.add_upcaster_plugin("other", lifter().settings(steps(steps_of))).unwrap_err();
        assert_eq!(bus.bus().upcasters().len(), 1, "{error}");
        error.to_string()
    };
    for (steps_of, words) in [
        (&[("Test.v2", "Test.v1")][..], "doesn't lead to a later version"),
        (&[("Test.v2", "Other.v3")], "leads to another event type"),
        (&[("Test", "Test.v3")], "names no version"),
        (&[], "it names no lift"),
        (&[("A.v1", "A.v2"), ("A.v1", "A.v3")], "`A.v1` is lifted by upcaster `other` already"),
        (&[("Test.v1", "Test.v3")], "`Test.v1` is lifted by upcaster `up` already"),
    ] {
        let error = refused(steps_of);
        assert!(error.contains("upcaster `other`") && error.contains(words), "{error}");
    }
    let native = bus.add_upcaster("native", "Test.v1", "Test.v4", native).unwrap_err();
    assert!(matches!(native, UpcasterError::Lift { source: LiftError::Taken { .. }, .. }), "{native}");
    let settings = bus.add_upcaster_plugin("other", lifter().settings(r#"{"steps": 7}"#)).unwrap_err();
    assert!(settings.to_string().contains("bad-settings"), "{settings}");
    let taken = bus.add_upcaster_plugin("up", lifter()).unwrap_err();
    assert!(matches!(taken, UpcasterError::Exists(_)), "{taken}");
    let unknown = bus.remove_upcaster("other").unwrap_err();
    assert!(matches!(unknown, UpcasterError::Unknown(_)), "{unknown}");

    let seen = Seen::default();
    bus.subscribe("c", at_once(), seen.handler("")).unwrap();
    publish(&bus, "a", "k", "{}");
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), ["a Test.v2 Test.v2 by 1"]);
}

#[test]
fn the_accepted_version_runs_after_a_restart_whatever_lies_in_its_file() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let file = PluginFile::of("lifter");
    let config = UpcasterConfig::new(file.path());
    bus.add_upcaster_plugin("up", config.clone()).unwrap();
    // What a forgotten consumer leaves is cleared away, and what upcasters need is not.
    bus.subscribe_plugin("gone", at_once(), guest("idle")).unwrap();
    bus.unsubscribe("gone").unwrap();
    bus.forget("gone").unwrap();
    bus.shutdown(SHUTDOWN);

    file.becomes("counter");
    let bus = house.open();
    bus.add_upcaster_plugin("up", config.clone()).unwrap();
    let status = bus.bus().upcasters().remove(0);
    assert_eq!(status.version.version, "0.1.0");
    assert!(status.refused.unwrap().contains("is no upcaster"));
    let seen = Seen::default();
    publish(&bus, "a", "k", "{}");
    bus.subscribe("c", at_once(), seen.handler("")).unwrap();
    caught_up(&bus, "c");
    assert_eq!(seen.lines(), ["a Test.v2 Test.v2 by 1"]);
    bus.shutdown(SHUTDOWN);

    file.becomes("lifter_v2");
    let bus = house.open();
    bus.add_upcaster_plugin("up", config.clone()).unwrap();
    assert_eq!(version(&bus), "0.2.0", "a good candidate takes over");
    bus.remove_upcaster("up").unwrap();
    std::fs::remove_file(file.path()).unwrap();
    assert!(
        matches!(bus.add_upcaster_plugin("up", config), Err(UpcasterError::File { .. })),
        "it was removed"
    );
}

#[test]
fn readers_give_what_was_published_and_lifting_it_says_what_it_cannot_lift() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.add_upcaster_plugin("up", lifter()).unwrap();
    let limits = PluginLimits::default().deadline(Duration::from_millis(200));
    bus.reconfigure_upcaster("up", lifter().limits(limits)).unwrap();
    for (id, data) in
        [("a", "{}"), ("b", r#"{"fault": "permanent"}"#), ("c", r#"{"fault": "spin"}"#), ("d", "{}")]
    {
        publish(&bus, id, "k", data);
    }
    let stored: Vec<_> = all(&bus, "in").into_iter().map(|record| record.event).collect();
    assert!(stored.iter().all(|event| event.kind() == "Test.v1"));
    let lifted = bus.lift_all("in", &stored);
    let told: Vec<_> = lifted
        .iter()
        .map(|outcome| match outcome {
            Ok(event) => format!("{} {}", event.id(), event.kind()),
            Err(failure) => failure.code.clone(),
        })
        .collect();
    assert_eq!(told, ["a Test.v2", "told-to", "deadline", "d Test.v2"]);
    assert_eq!(bus.lift("in", &stored[0]).unwrap().kind(), "Test.v2");
    assert_eq!(bus.lift("nowhere", &stored[0]).unwrap_err().code, "unknown-topic");
}

/// What is in a till, in whole euros at first and in cents from version 2 on. Each version knows its own events alone.
struct Till<const VERSION: u32>;

impl<const VERSION: u32> Till<VERSION> {
    fn kind() -> String {
        format!("Added.v{VERSION}")
    }
}

impl<const VERSION: u32> Aggregate for Till<VERSION> {
    type State = u64;

    const STATE_VERSION: u32 = VERSION;

    fn decide(&self, _: Option<&u64>, _: &Delivery) -> Result<Vec<Fact>, Rejection> {
        let added = if VERSION == 1 { 2 } else { 150 };
        Ok(vec![Fact::new(Self::kind()).json(&added).unwrap()])
    }

    fn evolve(&self, state: Option<u64>, event: &Event) -> Result<u64, Failure> {
        if event.kind() != Self::kind() {
            return Err(Failure::permanent("unknown-type", event.kind()));
        }
        Ok(state.unwrap_or(0) + event.data_as::<u64>()?)
    }
}

#[test]
fn an_aggregate_is_rebuilt_of_lifted_events() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "commands");
    bus.create_topic("tills", TopicConfig::new(1).sequence(true)).unwrap();
    let subscribe = |bus: &Blocking, version: u32| {
        let (consumer, config) = (ConsumerConfig::new(["commands"]), AggregateConfig::new("tills"));
        match version {
            1 => bus.subscribe_aggregate("tills", consumer, config, Till::<1>).unwrap(),
            _ => bus.subscribe_aggregate("tills", consumer, config, Till::<2>).unwrap(),
        }
    };
    let add = |bus: &Blocking, id: &str| {
        let command = Event::new(id, "/tests", "Add.v1").subject("till").build().unwrap();
        bus.execute("tills", command, Duration::from_mins(1)).unwrap()
    };
    let held = |bus: &Blocking, at: At| {
        let state = bus.aggregate_at("tills", "till", at).unwrap().unwrap();
        state.json::<u64>().unwrap()
    };
    subscribe(&bus, 1);
    add(&bus, "a");
    add(&bus, "b");
    assert_eq!(held(&bus, At::Latest), 4);
    bus.shutdown(SHUTDOWN);

    let bus = house.open();
    bus.add_upcaster("cents", "Added.v1", "Added.v2", |event| Lifted::json(&(event.data_as::<u64>()? * 100)))
        .unwrap();
    subscribe(&bus, 2);
    assert_eq!(add(&bus, "c"), Outcome::Accepted { version: 3, events: 1 });
    assert_eq!(held(&bus, At::Latest), 550);
    assert_eq!(held(&bus, At::Version(1)), 200, "what was at any version is told in today's events");
    let kinds: Vec<_> = all(&bus, "tills").into_iter().map(|record| record.event.kind().to_owned()).collect();
    assert_eq!(kinds, ["Added.v1", "Added.v1", "Added.v2"], "the stream has what was decided");
}

/// Brings a bus to what the text of a configuration says. Returns what was refused.
fn apply(bus: &Blocking, text: &str) -> Vec<String> {
    let config = Config::from_toml(text, &guest_file("lifter")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let applied = runtime.block_on(tidegate::server::apply(bus.bus(), &config));
    applied.refused.iter().map(ToString::to_string).collect()
}

#[test]
fn a_lift_that_goes_from_one_upcaster_to_another_is_always_there() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let upcaster = |name: &str, file: &str, steps: &[(&str, &str)]| {
        let steps: Vec<_> = steps.iter().map(|(from, to)| vec![*from, *to]).collect();
        format!("[upcasters.{name}]\nplugin = '{file}.wasm'\nsettings = {{ steps = {steps:?} }}\n")
    };
    let (first, second) = (("Test.v1", "Test.v2"), ("Test.v2", "Test.v3"));
    let seen = Seen::default();
    bus.subscribe("c", at_once(), seen.handler("")).unwrap();
    let mut number = 0;
    let mut delivered = || {
        number += 1;
        publish(&bus, &number.to_string(), "k", "{}");
        caught_up(&bus, "c");
        seen.lines().remove(0).split(' ').nth(1).unwrap().to_owned()
    };

    let two = upcaster("a", "lifter", &[second]) + &upcaster("b", "lifter", &[first]);
    assert_eq!(apply(&bus, &two), [""; 0]);
    assert_eq!(delivered(), "Test.v3");
    // Each takes over what the other one gives up.
    let other = upcaster("a", "lifter", &[first]) + &upcaster("b", "lifter", &[second]);
    assert_eq!(apply(&bus, &other), [""; 0]);
    assert_eq!(delivered(), "Test.v3");
    // One that can't be started would take over: what it would take over stays.
    let broken = upcaster("a", "lifter", &[second]) + &upcaster("d", "nowhere", &[first]);
    let refused = apply(&bus, &broken).join("\n");
    assert_eq!(delivered(), "Test.v3");
    for words in ["upcaster `a` stays as it is until upcaster `d`", "upcaster `b` stays", "nowhere.wasm"] {
        assert!(refused.contains(words), "{refused}");
    }
    let mended = broken.replace("nowhere", "lifter_v2");
    assert_eq!(apply(&bus, &mended), [""; 0]);
    assert_eq!(delivered(), "Test.v3");
    let names: Vec<_> = bus.bus().upcasters().into_iter().map(|upcaster| upcaster.name).collect();
    assert_eq!(names, ["a", "d"]);
    // Two for one type: neither takes the place of what runs.
    let competing = upcaster("a", "lifter", &[first, second]) + &upcaster("d", "lifter", &[first]);
    let refused = apply(&bus, &competing).join("\n");
    assert!(refused.contains("`Test.v1` is lifted by upcaster `a` already"), "{refused}");
    assert_eq!(delivered(), "Test.v3");
}

#[test]
fn a_configuration_takes_no_upcaster_in_rust_for_one_of_its_own() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.add_upcaster("a", "Test.v1", "Test.v2", |_| Ok(Lifted::default())).unwrap();
    let same = "[upcasters.a]\nplugin = 'lifter.wasm'\nsettings = { steps = [[\"Test.v2\", \"Test.v3\"]] }\n";
    assert_eq!(apply(&bus, same).len(), 1);
    let event = Arc::new(Event::new("1", "/tests", "Test.v1").subject("k").json_text("{}").build().unwrap());
    let lift = bus.bus().lift("in", &event);
    let lifted = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(lift).unwrap();
    assert_eq!(lifted.kind(), "Test.v2");
}

#[test]
fn an_accepted_version_that_cannot_run_any_more_does_not_keep_its_file_from_it() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let file = PluginFile::new();
    let orders = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/order_upcaster.wasm");
    std::fs::copy(orders, file.path()).unwrap();
    bus.add_upcaster_plugin("up", UpcasterConfig::new(file.path())).unwrap();
    bus.shutdown(SHUTDOWN);

    // It doesn't know these settings, and what has come with them does.
    file.becomes("lifter");
    let config = UpcasterConfig::new(file.path()).settings(steps(&[("Test.v1", "Test.v2")]));
    let bus = house.open();
    bus.add_upcaster_plugin("up", config.clone()).unwrap();
    let status = bus.bus().upcasters().pop().unwrap();
    assert_eq!((&*status.version.name, status.refused), ("lifter", None));
    bus.shutdown(SHUTDOWN);

    // Where neither can run, it is the file that is told.
    file.becomes("counter");
    let bus = house.open();
    let refused = bus.add_upcaster_plugin("up", config.settings(r#"{"steps": 7}"#)).unwrap_err();
    assert!(refused.to_string().contains("is no upcaster"), "{refused}");
}

/// A directory whose configuration lifts the events of a counter's topic by `up.wasm`.
fn directory() -> Directory {
    Directory::new(
        r#"
        [topics.in]
        partitions = 1
        [topics.out]
        partitions = 1
        [upcasters.up]
        plugin = "up.wasm"
        limits = { deadline = "1s" }
        [consumers.echo]
        plugin = "echo.wasm"
        topics = ["in"]
        grants = { publish = ["out"] }
        settings = { topic = "out" }
        "#,
    )
}

/// The types and the lifts of the events that the consumer has published.
fn echoed(directory: &Directory) -> Vec<String> {
    let lines = directory.json(&["read", "out"]);
    lines
        .iter()
        .map(|line| format!("{} {}", line["event"]["type"], line["event"]["data"]["lifted"]))
        .collect()
}

#[test]
fn a_running_bus_lists_its_upcasters_follows_their_files_and_reads_lifted_events() {
    let directory = directory();
    assert!(directory.done(&["upcasters"]).contains("no upcasters run"));
    directory.put_guest("lifter", "up.wasm");
    directory.put_guest("echo", "echo.wasm");
    let running = directory.serve();
    directory.publish("in", &[("a", "k")], "{}");
    directory.publish("in", &[("b", "k")], r#"{"fault": "permanent"}"#);
    directory.until_handled("echo", 1);
    assert_eq!(echoed(&directory), [r#""Test.v2" ["Test.v2 by 1"]"#]);

    let listed = directory.json(&["upcasters", "list"]);
    assert_eq!(listed[0]["name"], "up");
    assert_eq!(listed[0]["lifts"], json!([{"from": "Test.v1", "to": "Test.v2"}]));
    assert_eq!(listed[0]["version"]["version"], "0.1.0");
    let table = directory.done(&["upcasters"]);
    assert!(
        ["up", "Test.v1", "Test.v2", "lifter", "0.1.0"].iter().all(|cell| table.contains(cell)),
        "{table}"
    );

    assert_eq!(directory.json(&["read", "in"])[0]["event"]["type"], "Test.v1");
    let lifted = directory.run(&["read", "in", "--lift", "--json"]);
    assert_eq!(lifted.code, 1, "{lifted:?}");
    assert!(lifted.out.contains(r#""type":"Test.v2""#) && lifted.out.lines().count() == 1, "{lifted:?}");
    assert!(lifted.err.contains("not lifted: 0/1 ") && lifted.err.contains("told-to"), "{lifted:?}");

    directory.put_guest("counter", "up.wasm");
    directory.until("the refusal", || directory.done(&["upcasters"]).contains("the newest file was refused"));
    directory.put_guest("lifter_v2", "up.wasm");
    directory.until("the new version", || directory.done(&["upcasters"]).contains("0.2.0"));
    directory.publish("in", &[("c", "k")], "{}");
    directory.until_handled("echo", 2);
    assert_eq!(echoed(&directory)[1], r#""Test.v2" ["Test.v2 by 2"]"#);
    assert!(directory.done(&["upcasters", "reload", "up"]).contains("already"));
    assert_eq!(running.end().0, 0);
    let nobody = directory.run(&["read", "in", "--lift"]);
    assert!(nobody.code == 1 && nobody.err.contains("nobody runs the bus"), "{nobody:?}");
}

#[test]
fn no_consumer_is_started_before_the_upcasters_of_the_configuration_are_there() {
    let directory = directory();
    directory.put_guest("echo", "echo.wasm");
    directory.publish("in", &[("a", "k")], "{}");
    let running = directory.serve();
    assert!(directory.log().contains("upcaster `up` is not there"), "{}", directory.log());
    assert!(directory.json(&["consumers"]).iter().all(|consumer| consumer["kind"] == "detached"));
    directory.put_guest("lifter", "up.wasm");
    directory.until("the consumer", || !directory.json(&["consumers"]).is_empty());
    directory.until_handled("echo", 1);
    assert_eq!(echoed(&directory), [r#""Test.v2" ["Test.v2 by 1"]"#]);
    assert_eq!(running.end().0, 0);
}

#[test]
fn the_example_lifts_orders() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/order_upcaster.wasm");
    bus.add_upcaster_plugin("orders", UpcasterConfig::new(file)).unwrap();
    let order = Event::new("1", "/shop", "OrderPlaced.v1").json_text(r#"{"order": "17", "price": 12.5}"#);
    let lifted = bus.lift("in", &order.build().unwrap().into()).unwrap();
    assert_eq!(lifted.kind(), "OrderPlaced.v2");
    let price = json!({"cents": 1250, "currency": "EUR"});
    assert_eq!(lifted.data_as::<Value>().unwrap(), json!({"order": "17", "price": price}));
}
