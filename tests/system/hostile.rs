//! Guarantee 8: whatever a plugin does, the host lives, its own consumer pays, and its neighbours get everything.
//!
//! A test for each kind of hostility. That neighbours keep their pace is measured: `cargo xtask hostile` runs these tests,
//! and the benchmark `hostile-neighbours`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, PluginLimits, RetryPolicy};
use tidegate::{Blocking, ConsumerError, DeadLetter, FailureKind};
use tidegate_guests::Count;

use crate::house::{
    House, all, at_once, caught_up, consumer, event_with, guest, guest_file, handled, ids, letters, topic,
};
use crate::written_guest::{Guest, OK};

/// Time of a hostile plugin's deliveries.
const DEADLINE: Duration = Duration::from_secs(1);

/// A bus with a neighbour: it reads topic `in` beside the hostile consumer, counts, and publishes what it counts.
struct Beside {
    house: House,
    bus: Blocking,
    folder: TempDir,
    /// Events of `in`.
    published: u64,
}

impl Beside {
    fn new() -> Self {
        let house = House::new();
        let bus = house.open();
        for name in ["in", "out", "counts"] {
            topic(&bus, name);
        }
        let neighbour = guest("counter")
            .grants(Grants::nothing().state().publish("counts"))
            .settings(r#"{"topic": "counts"}"#);
        bus.subscribe_plugin("neighbour", at_once(), neighbour).unwrap();
        Self { house, bus, folder: TempDir::new().unwrap(), published: 0 }
    }

    /// Publishes an event for each act.
    fn publish(&mut self, acts: &[Value]) {
        for act in acts {
            let id = self.published.to_string();
            self.bus.publish("in", event_with(&id, "k", &act.to_string())).unwrap();
            self.published += 1;
        }
    }

    /// Has a hostile plugin do these things, each once. Returns what became of those that failed.
    fn outcome(&mut self, plugin: PluginConfig, acts: &[Value]) -> Vec<(String, FailureKind, String)> {
        self.publish(acts);
        self.bus.subscribe_plugin("hostile", once(), plugin).unwrap();
        self.is_well();
        // Its own consumer goes on as well.
        caught_up(&self.bus, "hostile");
        let letters = letters(&self.bus, "hostile");
        assert_eq!(handled(&self.bus, "hostile") + letters.len() as u64, self.published, "each once");
        letters.into_iter().map(told).collect()
    }

    /// The bus lives: the neighbour gets one event more, and has got all of them, in order and once.
    fn is_well(&mut self) {
        self.publish(&[json!({ "act": "behave" })]);
        caught_up(&self.bus, "neighbour");
        assert!(letters(&self.bus, "neighbour").is_empty());
        let counts: Vec<Count> =
            all(&self.bus, "counts").iter().map(|record| record.event.data_as().unwrap()).collect();
        let told: Vec<_> = counts.iter().map(|count| (count.id.clone(), count.count)).collect();
        let expected: Vec<_> = (0..self.published).map(|n| (n.to_string(), n + 1)).collect();
        assert_eq!(told, expected);
    }

    /// Why a component is refused.
    fn refusal(&mut self, plugin: PluginConfig) -> String {
        let refused = self.bus.subscribe_plugin("hostile", once(), plugin).unwrap_err();
        assert!(matches!(refused, ConsumerError::Load { .. }), "{refused:?}");
        let names: Vec<_> =
            self.bus.bus().consumers().unwrap().into_iter().map(|consumer| consumer.name).collect();
        assert_eq!(names, ["neighbour"], "nothing is registered");
        self.is_well();
        refused.to_string()
    }

    /// A component that is written out in a test.
    fn written(&self, guest: &Guest) -> PluginConfig {
        self.stored(&guest.component())
    }

    fn stored(&self, bytes: &[u8]) -> PluginConfig {
        let path: PathBuf = self.folder.path().join("hostile.wasm");
        std::fs::write(&path, bytes).unwrap();
        PluginConfig::new(path)
            .grants(Grants::nothing().state().publish("out").publish("alerts"))
            .limits(PluginLimits::default().deadline(DEADLINE))
    }
}

fn told(letter: DeadLetter) -> (String, FailureKind, String) {
    (letter.event.unwrap().id().to_owned(), letter.reason.kind, letter.reason.code)
}

/// One attempt at each event, so that a test sees what became of it.
fn once() -> ConsumerConfig {
    at_once().retry(RetryPolicy::default().attempts(1))
}

/// The guest that does what its events say: everything granted, and little time.
fn hostile() -> PluginConfig {
    let limits = PluginLimits::default().deadline(DEADLINE);
    guest("hostile").grants(Grants::nothing().publish("out").state().log()).limits(limits)
}

/// What a hostile plugin does, and the kind and the code of the failure that it comes to, if it does.
type Act<'a> = (Value, Option<(FailureKind, &'a str)>);

/// Has the guest do each of these, and checks what becomes of it: a failure, or none.
#[track_caller]
fn assert_pays(acts: &[Act<'_>]) -> Beside {
    let mut beside = Beside::new();
    let told = beside.outcome(hostile(), &acts.iter().map(|(act, _)| act.clone()).collect::<Vec<_>>());
    let failed = |(n, (_, failure)): (usize, &Act<'_>)| {
        failure.map(|(kind, code)| (n.to_string(), kind, code.to_owned()))
    };
    assert_eq!(told, acts.iter().enumerate().filter_map(failed).collect::<Vec<_>>());
    beside
}

/// Has a written component handle an event, and checks how it fails.
#[track_caller]
fn assert_written_pays(guest: &Guest, kind: FailureKind, code: &str) {
    let mut beside = Beside::new();
    let plugin = beside.written(guest);
    let told = beside.outcome(plugin, &[json!({})]);
    // It does so with every event.
    assert_eq!(told, ["0", "1"].map(|id| (id.to_owned(), kind, code.to_owned())));
}

#[track_caller]
fn assert_says(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing: {message}");
    }
}

fn fault(fault: &str) -> Value {
    json!({ "act": "fault", "fault": fault })
}

#[test]
fn an_endless_loop_runs_out_of_its_time() {
    let timeout = Some((FailureKind::Timeout, "deadline"));
    assert_pays(&[
        (fault("spin"), timeout),
        (fault("spin-in-host"), timeout),
        (json!({ "act": "behave" }), None),
    ]);
}

#[test]
fn endless_recursion_runs_out_of_its_stack() {
    // A Rust guest keeps its frames in memory, and comes to the end of that first.
    assert_pays(&[(fault("recurse"), Some((FailureKind::Trap, "out-of-bounds-memory")))]);
    let parts = "(func $recurse (param i32) (result i32) \
                 (i32.add (call $recurse (i32.add (local.get 0) (i32.const 1))) (i32.const 1)))";
    let handle = "(drop (call $recurse (i32.const 0))) (i32.const 256)";
    assert_written_pays(&Guest { parts, handle, ..Guest::default() }, FailureKind::Trap, "stack-overflow");
}

#[test]
fn a_memory_bomb_gets_no_more_than_it_may_have() {
    let memory = Some((FailureKind::Memory, "memory"));
    assert_pays(&[
        (fault("grow"), memory),
        (json!({ "act": "allocate", "bytes": 200_000_000 }), memory),
        // It takes what it may have, again and again.
        (json!({ "act": "allocate", "bytes": 50_000_000 }), None),
        (json!({ "act": "allocate", "bytes": 50_000_000 }), None),
    ]);
    let mut beside = Beside::new();
    let message = beside.refusal(guest("big_memory"));
    assert_says(&message, &["`hostile`", "big_memory.wasm", "memory"]);
}

#[test]
fn a_table_bomb_gets_no_more_than_it_may_have() {
    let grow = |elements: u32| format!("(table.grow $t (ref.null func) (i32.const {elements}))");
    let handle = format!(
        "(if (i32.eq {} (i32.const -1)) (then unreachable)) (loop $l (drop {}) (br $l)) (i32.const 256)",
        grow(10),
        grow(1)
    );
    let handle: &'static str = handle.leak();
    let parts = "(table $t 1 funcref)";
    // What is refused to a guest shows in how it fails: here, by going on for ever.
    assert_written_pays(&Guest { parts, handle, ..Guest::default() }, FailureKind::Timeout, "deadline");
    let handle = "(if (i32.eq (table.grow $t (ref.null func) (i32.const 2000000000)) (i32.const -1)) \
                  (then unreachable)) (i32.const 256)";
    assert_written_pays(&Guest { parts, handle, ..Guest::default() }, FailureKind::Memory, "table");
    let mut beside = Beside::new();
    let plugin = beside.written(&Guest { parts: "(table $t 9000000 funcref)", ..Guest::default() });
    assert_says(&beside.refusal(plugin), &["`hostile`", "hostile.wasm", "table"]);
}

#[test]
fn a_log_flood_is_cut_and_hurts_nobody() {
    assert_pays(&[
        (json!({ "act": "log-flood", "count": 20_000 }), None),
        (json!({ "act": "log-bytes", "bytes": 1_000_000 }), None),
    ]);
}

#[test]
fn a_publish_flood_is_refused_and_leaves_nothing_behind() {
    let beside = assert_pays(&[
        (
            json!({ "act": "publish", "count": 2000, "bytes": 10 }),
            Some((FailureKind::Permanent, "effects-size")),
        ),
        (
            json!({ "act": "publish", "count": 10, "bytes": 900_000 }),
            Some((FailureKind::Permanent, "effects-size")),
        ),
        (
            json!({ "act": "publish", "count": 1, "bytes": 1_500_000 }),
            Some((FailureKind::Permanent, "event-size")),
        ),
    ]);
    assert_eq!(ids(&beside.bus, "out"), [""; 0]);
    // Within its bounds it may.
    let mut beside = Beside::new();
    let acts = [
        json!({ "act": "publish", "count": 1000, "bytes": 3000 }),
        json!({ "act": "publish", "count": 1000, "bytes": 3000 }),
    ];
    assert_eq!(beside.outcome(hostile(), &acts), []);
    assert_eq!(ids(&beside.bus, "out").len(), 2000);
}

#[test]
fn a_state_flood_is_refused_and_leaves_nothing_behind() {
    let permanent = |code| Some((FailureKind::Permanent, code));
    let beside = assert_pays(&[
        (json!({ "act": "state", "count": 100, "bytes": 1_000_000 }), permanent("effects-size")),
        (json!({ "act": "state", "count": 3000, "bytes": 2000 }), permanent("effects-size")),
        (json!({ "act": "state", "count": 1, "bytes": 1_500_000 }), permanent("state-value-size")),
        (json!({ "act": "state-key", "bytes": 2000 }), permanent("state-key-size")),
        (json!({ "act": "scan" }), None),
    ]);
    let state = beside.bus.bus().state("hostile", 0).unwrap();
    assert_eq!(state.scan(b"", None, 10).unwrap(), []);
}

#[test]
fn enormous_strings_and_lists_for_the_host_are_refused_or_cut() {
    let trap = |code| Some((FailureKind::Trap, code));
    let beside = assert_pays(&[
        (
            json!({ "act": "publish-type", "bytes": 1_000_000 }),
            Some((FailureKind::Permanent, "invalid-event")),
        ),
        (json!({ "act": "publish-type", "bytes": 20_000_000 }), trap("invalid-call")),
        (
            json!({ "act": "publish-extensions", "count": 1000 }),
            Some((FailureKind::Permanent, "invalid-event")),
        ),
        (json!({ "act": "publish", "count": 1, "bytes": 20_000_000 }), trap("invalid-call")),
        (json!({ "act": "state-key", "bytes": 20_000_000 }), trap("invalid-call")),
        (json!({ "act": "log-bytes", "bytes": 20_000_000 }), trap("invalid-call")),
        (json!({ "act": "random", "bytes": u32::MAX }), None),
        (json!({ "act": "fail-bytes", "bytes": 8_000_000 }), trap("invalid-call")),
        (json!({ "act": "publish-bad-attribute" }), Some((FailureKind::Permanent, "invalid-event"))),
    ]);
    assert_eq!(ids(&beside.bus, "out"), [""; 0]);
    let mut beside = Beside::new();
    let told = beside.outcome(hostile(), &[json!({ "act": "fail-bytes", "bytes": 1_000_000 })]);
    assert_eq!(told[0].2.len(), 64);
    assert_eq!(letters(&beside.bus, "hostile")[0].reason.message.len(), 4096);
    // A list that is longer than the guest's memory.
    let parts = r#"(import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#;
    let handle = "(call $set (i32.const 64) (i32.const -1) (i32.const 96) (i32.const 5) (i32.const 1024)) (i32.const 256)";
    let guest = Guest { parts, handle, ..Guest::default() };
    assert_written_pays(&guest, FailureKind::Trap, "invalid-call");
    let mut beside = Beside::new();
    assert_says(&beside.refusal(guest_config("describe_bytes")), &["describe_bytes.wasm", "version", "64"]);
}

fn guest_config(name: &str) -> PluginConfig {
    PluginConfig::new(guest_file(name)).limits(PluginLimits::default().deadline(DEADLINE))
}

#[test]
fn a_trap_on_every_third_event_costs_these_alone() {
    let mut beside = Beside::new();
    let acts: Vec<_> = (0..60)
        .map(|n| if n % 3 == 0 { fault("trap") } else { json!({ "act": "state-at", "key": format!("{n}") }) })
        .collect();
    let trapped: Vec<_> =
        (0..60).step_by(3).map(|n| (n.to_string(), FailureKind::Trap, "unreachable".to_owned())).collect();
    assert_eq!(beside.outcome(hostile(), &acts), trapped);
    let state = beside.bus.bus().state("hostile", 0).unwrap();
    assert_eq!(state.scan(b"", None, 100).unwrap().len(), 40, "what went well took effect");
}

#[test]
fn a_start_function_that_never_ends_is_refused_and_the_running_version_goes_on() {
    let endless = Guest { parts: "(func $spin (loop $l (br $l))) (start $spin)", ..Guest::default() };
    let mut beside = Beside::new();
    let plugin = beside.written(&endless);
    assert_says(&beside.refusal(plugin), &["`hostile`", "hostile.wasm", "deadline"]);
    assert_says(&beside.refusal(guest_config("describe_spins")), &["describe_spins.wasm", "deadline"]);
    // The same as the next version of one that runs.
    let plugin = beside.written(&Guest { handle: OK, ..Guest::default() });
    beside.bus.subscribe_plugin("hostile", once(), plugin).unwrap();
    std::fs::write(beside.folder.path().join("hostile.wasm"), endless.component()).unwrap();
    let refused = beside.bus.reload("hostile").unwrap_err();
    assert_says(&refused.to_string(), &["`hostile`", "deadline"]);
    beside.is_well();
    caught_up(&beside.bus, "hostile");
    assert_eq!(handled(&beside.bus, "hostile"), beside.published);
}

#[test]
fn a_component_bomb_is_refused_before_it_is_compiled() {
    let mut beside = Beside::new();
    // Loops over many locals: a value for each in each.
    let writes = (0..1000).map(|n| format!("(local.set {n} (i32.add (local.get {n}) (i32.const 1)))"));
    let loops = format!(
        "(component (core module (func (local {}) {} {} {})))",
        "i32 ".repeat(1000),
        "(loop ".repeat(1000),
        writes.collect::<String>(),
        "(br_if 0 (local.get 0)))".repeat(1000)
    );
    // Components that instantiate the one before twice.
    let level = |n: u32| {
        let before = n - 1;
        format!(
            "(component $c{n} (alias outer 1 $c{before} (component $p)) (instance (instantiate $p)) \
             (instance (instantiate $p)))"
        )
    };
    let doubling = format!(
        "(component (component $c0 (core module $m) (core instance (instantiate $m))) {} \
         (instance (instantiate $c50)))",
        (1..=50).map(level).collect::<String>()
    );
    let many = format!("(component {})", "(core module)".repeat(200));
    for (bomb, what) in
        [(loops, "values that meet"), (doubling, "instances"), (many, "modules and components")]
    {
        let bytes = wat::parse_str(&bomb).unwrap();
        assert!(bytes.len() < 20_000, "a small file: {}", bytes.len());
        let plugin = beside.stored(&bytes);
        assert_says(&beside.refusal(plugin), &["`hostile`", "hostile.wasm", "more than", what]);
    }
}

#[test]
fn imports_that_are_not_offered_or_not_granted_are_refused() {
    let mut beside = Beside::new();
    for import in ["wasi:http/outgoing-handler@0.2.0", "tidegate:plugin/secrets@0.1.0", "env"] {
        let text = format!(r#"(component (import "{import}" (instance)))"#);
        let Ok(bytes) = wat::parse_str(&text) else { continue };
        let plugin = beside.stored(&bytes);
        assert_says(&beside.refusal(plugin), &["`hostile`", "hostile.wasm", import, "doesn't offer"]);
    }
    let message = beside.refusal(guest_config("counter"));
    assert_says(&message, &["`counter`", "counter.wasm", "`state = true`"]);
    let message = beside.refusal(guest_config("bad_describe"));
    assert_says(&message, &["`bad-describe`", "\"forbidden\"", "`publish`"]);
    // What it doesn't declare, and calls all the same.
    let to = |topic: &str| json!({ "act": "publish-to", "topic": topic });
    let denied = Some((FailureKind::Permanent, "topic-not-granted"));
    let beside = assert_pays(&[(to("counts"), denied), (to("in"), denied), (to("nowhere"), denied)]);
    assert_eq!(ids(&beside.bus, "out"), [""; 0]);
}

#[test]
fn names_with_dots_slashes_and_nul_lead_nowhere() {
    let names = ["../in", "in\0", "../../etc/passwd", "\0", ""];
    let denied = Some((FailureKind::Permanent, "topic-not-granted"));
    let mut acts: Vec<_> =
        names.iter().map(|name| (json!({ "act": "publish-to", "topic": name }), denied)).collect();
    acts.push((
        json!({ "act": "publish-as", "id": "../a\0" }),
        Some((FailureKind::Permanent, "invalid-event")),
    ));
    // A key of state is bytes: the lane's own, whatever they look like.
    acts.push((json!({ "act": "state-at", "key": "../../neighbour/0/count/k\0" }), None));
    let beside = assert_pays(&acts);
    let state = beside.bus.bus().state("hostile", 0).unwrap();
    assert_eq!(state.scan(b"", None, 10).unwrap().len(), 1);
    for name in names {
        assert!(beside.bus.create_topic(name, tidegate::config::TopicConfig::new(1)).is_err(), "{name:?}");
        assert!(beside.bus.subscribe_plugin(name, once(), hostile()).is_err(), "{name:?}");
    }
    let consumers = beside.bus.bus().consumers().unwrap();
    assert_eq!(consumers.len(), 2);
    assert!(consumer(&beside.bus, "hostile").refused.is_none());
    drop(beside);

    // What a component says of itself: the name `../` and NUL and a letter, and a topic that begins so.
    let mut beside = Beside::new();
    let nul = "(i32.store (i32.const 64) (i32.const 0x002f2e2e))";
    let plugin = beside.written(&Guest { describe: nul, ..Guest::default() });
    assert_says(&beside.refusal(plugin), &["`hostile`", "name", r"../\0t"]);
    let topic = "(i32.store (i32.const 128) (i32.const 0x002f2e2e))";
    let plugin = beside.written(&Guest { describe: topic, publishes: true, ..Guest::default() });
    assert_says(&beside.refusal(plugin), &["`hostile`", "topic", r"../\0ts"]);
    assert!(!beside.house.folder.path().join("../in").exists());
}
