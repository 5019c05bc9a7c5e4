//! Aggregates: commands, events in streams, snapshots, and what an aggregate was at any version or time.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::config::{
    AggregateConfig, ConsumerConfig, OnDeadLetter, Order, PluginConfig, Retention, RetryPolicy, TopicConfig,
};
use tidegate::{
    Aggregate, AggregateError, AggregateProblem, AggregateStatus, At, Blocking, ConsumerError, Delivery,
    Event, ExecuteError, Fact, Failure, LoadError, Outcome, Position, Rejection, ReloadOutcome,
};

use crate::house::{House, SHUTDOWN, START, all, caught_up, consumer, guest_file, handled, letters};

/// What a test waits at the most, of the bus's clock.
pub const WAIT: Duration = Duration::from_hours(1);

/// An example plugin's file.
pub fn plugin_file(name: &str) -> PathBuf {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins").join(name).with_extension("wasm");
    assert!(path.exists(), "{} is not there: `cargo xtask plugins` builds it", path.display());
    path
}

pub fn topics(bus: &Blocking) {
    bus.create_topic("account-commands", TopicConfig::new(1)).unwrap();
    bus.create_topic("accounts", TopicConfig::new(1).sequence(true)).unwrap();
}

pub fn commands() -> ConsumerConfig {
    let retry =
        RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(1)).attempts(3);
    ConsumerConfig::new(["account-commands"]).retry(retry)
}

pub fn stream() -> AggregateConfig {
    AggregateConfig::new("accounts")
}

/// The accounts, run by a component.
fn start(bus: &Blocking, aggregate: AggregateConfig) {
    let plugin = PluginConfig::new(plugin_file("accounts")).aggregate(aggregate);
    bus.subscribe_plugin("accounts", commands(), plugin).unwrap();
}

/// A bus with accounts.
fn accounts(house: &House) -> Blocking {
    let bus = house.open();
    topics(&bus);
    start(&bus, stream());
    bus
}

pub fn command(id: &str, account: &str, kind: &str, data: &Value) -> Event {
    Event::new(id, "/teller", kind).subject(account).json(data).build().unwrap()
}

fn open(account: &str) -> Event {
    command(&format!("open-{account}"), account, "OpenAccount.v1", &json!({"owner": "ann"}))
}

fn deposit(id: &str, account: &str, cents: u64) -> Event {
    command(id, account, "Deposit.v1", &json!({ "cents": cents }))
}

fn withdraw(id: &str, account: &str, cents: u64) -> Event {
    command(id, account, "Withdraw.v1", &json!({ "cents": cents }))
}

pub fn execute(bus: &Blocking, command: Event) -> Outcome {
    bus.execute("accounts", command, WAIT).unwrap()
}

/// The version that a command was accepted with.
#[track_caller]
pub fn accepted(bus: &Blocking, command: Event) -> u64 {
    match execute(bus, command) {
        Outcome::Accepted { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn rejected(bus: &Blocking, command: Event) -> Rejection {
    match execute(bus, command) {
        Outcome::Rejected(rejection) => rejection,
        other => panic!("{other:?}"),
    }
}

/// What is in an account, and its version.
fn balance(bus: &Blocking, account: &str) -> (i64, u64) {
    let state = bus.aggregate("accounts", account).unwrap().unwrap();
    let cents = state.json::<Value>().unwrap()["cents"].as_i64().unwrap();
    (cents, state.version)
}

pub fn status(bus: &Blocking) -> AggregateStatus {
    bus.bus().aggregates().remove(0)
}

#[test]
fn concurrent_commands_to_one_aggregate_are_serialized() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    assert_eq!(accepted(&bus, deposit("d", "a", 100)), 2);
    let mut versions: Vec<u64> = thread::scope(|scope| {
        let teller = |teller: u32| {
            let bus = &bus;
            scope.spawn(move || {
                let withdrawals = (0..4).map(|n| withdraw(&format!("{teller}-{n}"), "a", 10));
                let outcomes = withdrawals.map(|command| execute(bus, command)).collect::<Vec<_>>();
                outcomes.into_iter().filter_map(|outcome| match outcome {
                    Outcome::Accepted { version, .. } => Some(version),
                    Outcome::Rejected(rejection) => {
                        assert_eq!(rejection.code, "overdrawn");
                        None
                    }
                    other => panic!("{other:?}"),
                })
            })
        };
        let tellers: Vec<_> = (0..8).map(teller).collect();
        tellers.into_iter().flat_map(|teller| teller.join().unwrap()).collect()
    });
    versions.sort_unstable();
    assert_eq!(versions, (3..13).collect::<Vec<_>>(), "ten of the 32, each with a version of its own");
    assert_eq!(balance(&bus, "a"), (0, 12));
}

#[test]
fn a_retried_command_takes_effect_once_and_has_the_same_answer_after_a_restart_too() {
    let house = House::new();
    let mut bus = accounts(&house);
    accepted(&bus, open("a"));
    let first = execute(&bus, deposit("d", "a", 5));
    let no = execute(&bus, withdraw("w", "a", 6));
    assert_eq!(accepted(&bus, deposit("d2", "a", 5)), 3);
    for _ in 0..2 {
        assert_eq!(execute(&bus, deposit("d", "a", 5)), first);
        assert_eq!(execute(&bus, withdraw("w", "a", 6)), no, "though there is enough now");
        bus = house.cut_power(bus);
        start(&bus, stream());
    }
    assert_eq!(balance(&bus, "a"), (10, 3));
}

#[test]
fn a_command_that_a_crash_came_between_is_decided_once() {
    let house = House::new();
    let mut bus = accounts(&house);
    accepted(&bus, open("a"));
    for n in 0..20_u64 {
        let id = format!("d{n}");
        bus.publish("account-commands", deposit(&id, "a", 1)).unwrap();
        // Anywhere between its two commits.
        (0..n * 200).for_each(|_| thread::yield_now());
        bus = house.cut_power(bus);
        start(&bus, stream());
        // A delivery that the crash came upon is tried again after a while.
        let outcome = thread::scope(|scope| {
            let asked = scope.spawn(|| execute(&bus, deposit(&id, "a", 1)));
            house.until(|| asked.is_finished());
            asked.join().unwrap()
        });
        assert_eq!(outcome, Outcome::Accepted { version: n + 2, events: 1 });
    }
    assert_eq!(balance(&bus, "a"), (20, 21));
}

#[test]
fn a_rejection_changes_nothing_and_says_why() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    accepted(&bus, deposit("d", "a", 5));
    let before = all(&bus, "accounts").len();
    let rejection = rejected(&bus, withdraw("w", "a", 6));
    assert_eq!((rejection.code.as_str(), rejection.data), ("overdrawn", Some(json!(5))));
    assert!(rejection.message.contains("account `a` has 5 cents"), "{}", rejection.message);
    assert_eq!(rejected(&bus, deposit("x", "b", 5)).code, "not-open");
    let wrong = command("y", "a", "Deposit.v1", &json!({"cents": -1}));
    assert_eq!(rejected(&bus, wrong).code, "bad-command");
    assert_eq!(execute(&bus, deposit("z", "a", 0)), Outcome::Accepted { version: 2, events: 0 });
    assert_eq!(all(&bus, "accounts").len(), before);
    assert_eq!(balance(&bus, "a"), (5, 2));
    assert!(letters(&bus, "accounts").is_empty() && bus.aggregate("accounts", "b").unwrap().is_none());
}

#[test]
fn what_a_command_comes_to_says_where_it_comes_from() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    let opened = &all(&bus, "accounts")[0].event;
    assert_eq!(
        (opened.kind(), opened.subject(), opened.sequence()),
        ("AccountOpened.v1", Some("a"), Some(1))
    );
    assert_eq!(opened.source(), "/tidegate/consumers/accounts");
    assert_eq!(opened.extension("causationid").unwrap().to_string(), "open-a");
    assert_eq!(opened.data_as::<Value>().unwrap(), json!({"owner": "ann"}));
}

/// Commands as data: what to decide, and how often.
pub struct Scripted;

impl Aggregate for Scripted {
    type State = Vec<String>;

    fn decide(&self, _: Option<&Vec<String>>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        match command.event.kind() {
            "Fail.v1" => panic!("it always fails"),
            "FailFirst.v1" if command.attempt == 1 => panic!("it fails first"),
            _ => {
                let facts: Vec<String> = command.event.data_as().unwrap_or_default();
                Ok(facts.into_iter().map(Fact::new).collect())
            }
        }
    }

    fn evolve(&self, state: Option<Vec<String>>, event: &Event) -> Result<Vec<String>, Failure> {
        if event.kind() == "Impossible.v1" {
            return Err(Failure::permanent("impossible", "it can't have happened"));
        }
        let mut state = state.unwrap_or_default();
        state.push(event.kind().to_owned());
        Ok(state)
    }
}

pub fn scripted(id: &str, key: &str, facts: &[&str]) -> Event {
    command(id, key, "Do.v1", &json!(facts))
}

/// A bus with a native aggregate.
pub fn native(house: &House) -> Blocking {
    let bus = house.open();
    topics(&bus);
    bus.subscribe_aggregate("accounts", commands(), stream(), Scripted).unwrap();
    bus
}

pub fn history(bus: &Blocking, key: &str) -> Vec<String> {
    bus.aggregate("accounts", key).unwrap().map_or_else(Vec::new, |state| state.json().unwrap())
}

#[test]
fn the_events_of_a_command_are_one_commit_or_none() {
    let house = House::new();
    let bus = native(&house);
    assert_eq!(
        execute(&bus, scripted("1", "k", &["A", "B", "C"])),
        Outcome::Accepted { version: 3, events: 3 }
    );
    let commits: Vec<_> = all(&bus, "accounts").iter().map(|record| record.commit).collect();
    assert!(commits.iter().all(|commit| *commit == commits[0]), "{commits:?}");
    // What can't be evolved is not appended, nor what came before it.
    let given_up = bus.execute("accounts", scripted("2", "k", &["D", "Impossible.v1"]), WAIT).unwrap_err();
    assert!(
        matches!(&given_up, ExecuteError::GivenUp { failure, .. } if failure.code == "impossible"),
        "{given_up}"
    );
    assert_eq!(all(&bus, "accounts").len(), 3);
    assert_eq!(accepted(&bus, scripted("3", "k", &["E"])), 4);
    assert_eq!(history(&bus, "k"), ["A", "B", "C", "E"]);
}

#[test]
fn a_program_that_fails_is_tried_again_and_given_up_on_and_who_waits_is_told() {
    let house = House::new();
    let bus = native(&house);
    let (first, never, next) = house.meanwhile(|| {
        let first = bus.execute("accounts", command("1", "k", "FailFirst.v1", &json!(["A"])), WAIT);
        let never = bus.execute("accounts", command("2", "k", "Fail.v1", &json!([])), WAIT);
        (first, never, bus.execute("accounts", scripted("3", "k", &["B"]), WAIT))
    });
    assert_eq!(first.unwrap(), Outcome::Accepted { version: 1, events: 1 });
    let letter = &letters(&bus, "accounts")[0];
    assert_eq!(letter.attempts.len(), 3);
    assert!(
        matches!(&never, Err(ExecuteError::GivenUp { letter: id, failure, .. })
            if *id == letter.id && failure.code == "panic"),
        "{never:?}"
    );
    assert_eq!(next.unwrap(), Outcome::Accepted { version: 2, events: 1 }, "the next ones go on");
    assert_eq!(history(&bus, "k"), ["A", "B"]);
}

/// What decides when a version is mended.
struct Mended;

impl Aggregate for Mended {
    type State = u32;

    fn decide(&self, _: Option<&u32>, _: &Delivery) -> Result<Vec<Fact>, Rejection> {
        Ok(vec![Fact::new("Mended.v1")])
    }

    fn evolve(&self, state: Option<u32>, _: &Event) -> Result<u32, Failure> {
        Ok(state.unwrap_or(0) + 1)
    }

    const STATE_VERSION: u32 = 2;
}

#[test]
fn a_dead_letter_that_is_put_back_to_work_is_decided_though_later_commands_were() {
    let house = House::new();
    let bus = native(&house);
    let failing = command("1", "k", "Fail.v1", &json!([]));
    bus.publish("account-commands", failing.clone()).unwrap();
    house.until(|| letters(&bus, "accounts").len() == 1);
    assert_eq!(house.meanwhile(|| accepted(&bus, scripted("2", "k", &["A"]))), 1);
    bus.unsubscribe("accounts").unwrap();
    bus.subscribe_aggregate("accounts", commands(), stream(), Mended).unwrap();
    bus.redrive("accounts", vec![letters(&bus, "accounts")[0].id]).unwrap();
    assert_eq!(bus.execute("accounts", failing, WAIT).unwrap(), Outcome::Accepted { version: 2, events: 1 });
}

#[test]
fn commands_that_are_delivered_again_change_nothing() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    accepted(&bus, deposit("d", "a", 5));
    assert_eq!(rejected(&bus, withdraw("w", "a", 9)).code, "overdrawn");
    accepted(&bus, deposit("d2", "a", 5));
    let before = all(&bus, "accounts");
    let done = handled(&bus, "accounts");
    bus.bus().blocking().seek("accounts", None, None, Position::Earliest).unwrap();
    house.settles(|| handled(&bus, "accounts") == 2 * done);
    assert_eq!(all(&bus, "accounts"), before);

    // Under another name, with no outcome and no snapshot left.
    bus.unsubscribe("accounts").unwrap();
    bus.forget("accounts").unwrap();
    let plugin = PluginConfig::new(plugin_file("accounts")).aggregate(stream());
    bus.subscribe_plugin("renamed", commands(), plugin).unwrap();
    caught_up(&bus, "renamed");
    assert_eq!(all(&bus, "accounts"), before);
    let next = bus.execute("renamed", deposit("d3", "a", 5), WAIT).unwrap();
    assert_eq!(next, Outcome::Accepted { version: 4, events: 1 });
}

#[test]
fn snapshots_bound_what_rebuilding_an_aggregate_reads() {
    for (every, most) in [(10, 10), (100_000, 97)] {
        let house = House::new();
        let bus = house.open();
        topics(&bus);
        start(&bus, stream().snapshot_every(every));
        accepted(&bus, open("a"));
        for n in 0..96 {
            accepted(&bus, deposit(&format!("d{n}"), "a", 1));
        }
        assert_eq!(status(&bus).rebuilt, 1, "once it was in memory, nothing was read");
        assert_eq!(status(&bus).snapshots, 97 / u64::from(every));
        let bus = house.cut_power(bus);
        start(&bus, stream().snapshot_every(every));
        assert_eq!(accepted(&bus, deposit("last", "a", 1)), 98);
        let AggregateStatus { rebuilt, folded, .. } = status(&bus);
        assert_eq!((rebuilt, folded), (1, if every == 10 { 7 } else { most }));
        assert!(folded <= most);
        assert_eq!(balance(&bus, "a"), (97, 98));
    }
}

#[test]
fn what_others_append_to_the_stream_counts_and_never_collides() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    accepted(&bus, deposit("d", "a", 5));
    let gift = Event::new("gift", "/elsewhere", "Deposited.v1").subject("a").json(&json!({"cents": 100}));
    bus.publish("accounts", gift.build().unwrap()).unwrap();
    assert_eq!(accepted(&bus, withdraw("w", "a", 105)), 4, "it decides on what is there");
    let gift = Event::new("gift-2", "/elsewhere", "Deposited.v1").subject("a").json(&json!({"cents": 1}));
    bus.publish("accounts", gift.build().unwrap()).unwrap();
    let rejection = rejected(&bus, withdraw("w2", "a", 2));
    assert_eq!(rejection.data, Some(json!(1)), "a rejection as well");
    assert_eq!(balance(&bus, "a"), (1, 5));
    let numbers: Vec<_> = all(&bus, "accounts").iter().map(|record| record.event.sequence()).collect();
    assert_eq!(numbers, (1..6).map(Some).collect::<Vec<_>>());
    assert!(letters(&bus, "accounts").is_empty());
}

/// Somebody else is faster whenever a command to `busy` is decided.
struct Contended(Blocking);

impl Aggregate for Contended {
    type State = u32;

    fn decide(&self, state: Option<&u32>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        if command.event.key() == "busy" {
            let version = state.copied().unwrap_or(0);
            let other = Event::new(format!("{version}"), "/elsewhere", "Other.v1").subject("busy");
            self.0.publish("accounts", other.build().unwrap()).unwrap();
        }
        Ok(vec![Fact::new("Decided.v1")])
    }

    fn evolve(&self, state: Option<u32>, _: &Event) -> Result<u32, Failure> {
        Ok(state.unwrap_or(0) + 1)
    }
}

#[test]
fn who_appends_to_one_stream_all_the_time_holds_no_other_aggregate_up() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let both = (0..20).flat_map(|n| {
        let of = |key: &str| ("account-commands", scripted(&format!("{key}{n}"), key, &[]));
        [of("busy"), of("calm")]
    });
    bus.publish_all(both.collect()).unwrap();
    bus.subscribe_aggregate("accounts", commands(), stream(), Contended(bus.clone())).unwrap();
    house.until(|| {
        let consumer = consumer(&bus, "accounts");
        consumer.lag_events == 0 && consumer.held == 0
    });
    assert_eq!(bus.bus().version("accounts", "calm").unwrap(), 20);
    let letters = letters(&bus, "accounts");
    assert_eq!(letters.len(), 20, "each of the others was tried some times and given up on");
    assert!(letters.iter().all(|letter| letter.reason.code == "version-conflict"), "{letters:?}");
    assert!(
        all(&bus, "accounts")
            .iter()
            .all(|record| { (record.event.key() == "busy") == (record.event.kind() == "Other.v1") })
    );
    bus.shutdown(SHUTDOWN);
}

#[test]
fn an_event_that_the_program_does_not_know_stops_its_aggregate_and_no_other() {
    let house = House::new();
    let bus = accounts(&house);
    for account in ["a", "b"] {
        accepted(&bus, open(account));
    }
    bus.publish("accounts", Event::new("x", "/x", "Robbed.v1").subject("a").build().unwrap()).unwrap();
    let error = bus.execute("accounts", deposit("d", "a", 5), WAIT).unwrap_err();
    assert!(
        matches!(&error, ExecuteError::GivenUp { failure, .. } if failure.code == "bad-event"),
        "{error}"
    );
    assert!(error.to_string().contains("Robbed.v1"), "{error}");
    assert_eq!(accepted(&bus, deposit("d-b", "b", 5)), 2);
    assert!(matches!(bus.aggregate("accounts", "a"), Err(AggregateError::Failed { .. })));
    let before = bus.aggregate_at("accounts", "a", At::Version(1)).unwrap().unwrap();
    assert_eq!(before.version, 1);
}

#[test]
fn another_version_of_the_state_is_made_anew_from_the_events() {
    let house = House::new();
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("plugin.wasm");
    let becomes = |name: &str| {
        std::fs::copy(plugin_file(name), &file).unwrap();
    };
    becomes("accounts");
    let bus = house.open();
    topics(&bus);
    let plugin = PluginConfig::new(&file).aggregate(stream().snapshot_every(2));
    bus.subscribe_plugin("accounts", commands(), plugin).unwrap();
    accepted(&bus, open("a"));
    accepted(&bus, deposit("d", "a", 10));
    for n in 0..3 {
        accepted(&bus, withdraw(&format!("w{n}"), "a", 1));
    }
    becomes("accounts_v2");
    let outcome = bus.reload("accounts").unwrap();
    assert!(matches!(&outcome, ReloadOutcome::Switched { to, .. } if to.version == "0.2.0"), "{outcome:?}");
    assert_eq!(accepted(&bus, withdraw("w3", "a", 1)), 6);
    let AggregateStatus { folded, .. } = status(&bus);
    assert_eq!(folded, 5, "all of them, whatever snapshots there were");
    let state: Value = bus.aggregate("accounts", "a").unwrap().unwrap().json().unwrap();
    assert_eq!(state, json!({"owner": "ann", "cents": 6, "withdrawals": 4}));
    becomes("accounts");
    bus.reload("accounts").unwrap();
    assert_eq!(accepted(&bus, deposit("d2", "a", 4)), 7);
    assert_eq!(balance(&bus, "a"), (10, 7));
}

#[test]
fn the_state_at_any_version_and_time_is_what_it_was_then() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    start(&bus, stream().snapshot_every(3));
    house.clock.advance(Duration::from_secs(1));
    accepted(&bus, open("a"));
    for n in 1..10 {
        house.clock.advance(Duration::from_secs(1));
        accepted(&bus, deposit(&format!("d{n}"), "a", 1));
    }
    let at = |at: At| {
        let state = bus.aggregate_at("accounts", "a", at).unwrap()?;
        Some((state.version, state.json::<Value>().unwrap()["cents"].as_i64().unwrap(), state.since))
    };
    let second = |n: u64| START.after(Duration::from_secs(n));
    for version in 1..=10 {
        let then = Some((version, i64::try_from(version).unwrap() - 1, second(version)));
        assert_eq!(at(At::Version(version)), then);
        assert_eq!(at(At::Time(second(version))), then);
        assert_eq!(at(At::Time(second(version).after(Duration::from_millis(999)))), then);
    }
    assert_eq!(at(At::Latest), at(At::Version(10)));
    assert_eq!((at(At::Version(0)), at(At::Time(START))), (None, None));
    let beyond = bus.aggregate_at("accounts", "a", At::Version(11));
    assert!(
        matches!(beyond, Err(AggregateError::UnknownVersion { version: 11, last: 10, .. })),
        "{beyond:?}"
    );
    assert!(bus.aggregate("accounts", "nobody").unwrap().is_none());
    let unknown = bus.aggregate("nothing", "a");
    assert!(matches!(unknown, Err(AggregateError::NotRunning(_))), "{unknown:?}");
}

#[test]
fn what_the_cache_lets_go_of_in_the_middle_of_a_batch_comes_back_as_it_was() {
    for cache in [stream().cache_count(1), stream().cache_count(0), stream().cache_bytes(600)] {
        let house = House::new();
        let bus = house.open();
        topics(&bus);
        let keys = ["a", "b", "c"];
        let orders = (0..60)
            .map(|n| ("account-commands", scripted(&format!("{n}"), keys[n % 3], &["X", "Y"][..=(n % 2)])));
        bus.publish_all(orders.collect()).unwrap();
        bus.subscribe_aggregate("accounts", commands(), cache.snapshot_every(4), Scripted).unwrap();
        caught_up(&bus, "accounts");
        assert!(status(&bus).rebuilt > 30, "the cache is too small for all");
        let records = all(&bus, "accounts");
        assert_eq!(records.len(), 90);
        for key in keys {
            let of_key: Vec<_> = records.iter().filter(|record| record.event.key() == key).collect();
            assert!(of_key.iter().zip(1..).all(|(record, n)| record.event.sequence() == Some(n)));
            let kinds: Vec<_> = of_key.iter().map(|record| record.event.kind().to_owned()).collect();
            assert_eq!(history(&bus, key), kinds);
        }
        assert!(letters(&bus, "accounts").is_empty());
        for n in 0..60 {
            let (id, events) = (n.to_string(), 1 + n as u64 % 2);
            let is_of_it =
                |event: &Event| event.extension("causationid").is_some_and(|cause| cause.to_string() == id);
            let last = records.iter().rfind(|record| is_of_it(&record.event)).unwrap();
            let version = last.event.sequence().unwrap();
            let command = scripted(&id, keys[n % 3], &["X", "Y"][..=(n % 2)]);
            assert_eq!(execute(&bus, command), Outcome::Accepted { version, events }, "it was told so");
        }
    }
}

#[test]
fn a_wait_that_is_over_takes_nothing_back() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    bus.pause("accounts").unwrap();
    let waited = thread::scope(|scope| {
        let waiting =
            scope.spawn(|| bus.execute("accounts", deposit("d", "a", 5), Duration::from_millis(200)));
        house.until(|| waiting.is_finished());
        waiting.join().unwrap()
    });
    assert!(matches!(&waited, Err(ExecuteError::Expired { is_held: false, .. })), "{waited:?}");
    bus.resume("accounts").unwrap();
    assert_eq!(accepted(&bus, deposit("d", "a", 5)), 2);
    assert_eq!(balance(&bus, "a"), (5, 2));
}

#[test]
fn the_id_of_a_command_to_another_aggregate_is_refused() {
    let house = House::new();
    let bus = accounts(&house);
    accepted(&bus, open("a"));
    let same = command("open-a", "b", "OpenAccount.v1", &json!({"owner": "bob"}));
    let refused = bus.execute("accounts", same, WAIT);
    assert!(matches!(refused, Err(ExecuteError::IdReused(_))), "{refused:?}");
    let long = bus.execute("accounts", open(&"x".repeat(513)), WAIT);
    assert!(matches!(long, Err(ExecuteError::IdSize { len: 513, max: 512 })), "{long:?}");
}

#[test]
fn outcomes_are_kept_of_so_many_commands_and_no_more() {
    let house = House::new();
    let bus = native(&house);
    let first = scripted("0", "k", &[]);
    assert_eq!(execute(&bus, first.clone()), Outcome::Accepted { version: 0, events: 0 });
    for from in [1, 6_000] {
        let some = (from..from + 5_999).map(|n| ("account-commands", scripted(&n.to_string(), "k", &[])));
        bus.publish_all(some.collect()).unwrap();
    }
    caught_up(&bus, "accounts");
    let state = bus.bus().state("accounts", 0).unwrap();
    let (mut kept, mut after) = (0, None::<Vec<u8>>);
    loop {
        let some = state.scan(b"o/", after.as_deref(), 1000).unwrap();
        let Some((last, _)) = some.last() else { break };
        after = Some(last.clone());
        kept += some.len();
    }
    assert!((10_000..=10_064).contains(&kept), "{kept}");
    let gone = bus.execute("accounts", first, WAIT);
    assert!(matches!(gone, Err(ExecuteError::NotKept(_))), "{gone:?}");
}

#[test]
fn an_aggregate_that_cannot_be_one_is_refused_with_what_to_do() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    bus.create_topic("two", TopicConfig::new(2).sequence(true)).unwrap();
    bus.create_topic("plain", TopicConfig::new(1)).unwrap();
    let day = Retention::keep_for(Duration::from_hours(24));
    bus.create_topic("short", TopicConfig::new(1).sequence(true).retention(day)).unwrap();
    let several = ConsumerConfig::new(["account-commands", "plain"]);
    let cases = [
        (several, stream(), "has one topic of commands"),
        (commands().order(Order::None), stream(), "set it to `key` or `partition`"),
        (commands(), AggregateConfig::new("none"), "create it first"),
        (commands(), AggregateConfig::new("account-commands"), "create another one"),
        (commands(), AggregateConfig::new("plain"), "`sequence = true`"),
        (commands(), AggregateConfig::new("two"), "give both as many"),
        (commands(), AggregateConfig::new("short"), "take the retention away"),
    ];
    for (config, aggregate, words) in cases {
        let plugin = PluginConfig::new(plugin_file("accounts")).aggregate(aggregate);
        let refused = bus.subscribe_plugin("accounts", config, plugin).unwrap_err();
        assert!(matches!(refused, ConsumerError::Aggregate { .. }), "{refused:?}");
        assert!(refused.to_string().contains(words), "{words:?} is missing: {refused}");
    }
    let plain = PluginConfig::new(plugin_file("accounts"));
    let refused = bus.subscribe_plugin("accounts", commands(), plain).unwrap_err();
    assert!(
        matches!(&refused, ConsumerError::Load { source, .. } if matches!(**source, LoadError::Aggregate)),
        "{refused:?}"
    );
    let other = PluginConfig::new(guest_file("counter")).aggregate(stream());
    let refused = bus.subscribe_plugin("accounts", commands(), other).unwrap_err();
    assert!(
        matches!(&refused, ConsumerError::Load { source, .. } if matches!(**source, LoadError::NoAggregate(_))),
        "{refused:?}"
    );
    assert!(bus.bus().aggregates().is_empty());

    start(&bus, stream());
    let taken = bus.subscribe_aggregate("others", commands(), stream(), Scripted).unwrap_err();
    assert!(
        matches!(&taken, ConsumerError::Aggregate { problem: AggregateProblem::StreamTaken { other, .. }, .. }
            if other == "accounts"),
        "{taken:?}"
    );
    bus.unsubscribe("accounts").unwrap();
    let counter = crate::house::guest("counter");
    let state = bus.subscribe_plugin("accounts", commands(), counter).unwrap_err();
    assert!(
        matches!(state, ConsumerError::Aggregate { problem: AggregateProblem::State, .. }),
        "another's state is no state of its own: {state:?}"
    );
}

#[test]
fn a_command_that_parks_its_key_is_told_of_and_those_behind_it_wait() {
    let house = House::new();
    let bus = house.open();
    topics(&bus);
    let parking = commands().on_dead_letter(OnDeadLetter::Park);
    bus.subscribe_aggregate("accounts", parking, stream(), Scripted).unwrap();
    let waited = house.meanwhile(|| {
        let failing = bus.execute("accounts", command("1", "k", "Fail.v1", &json!([])), WAIT);
        (failing, bus.execute("accounts", scripted("2", "k", &["A"]), WAIT))
    });
    assert!(matches!(&waited.0, Err(ExecuteError::GivenUp { .. })), "{waited:?}");
    assert!(matches!(&waited.1, Err(ExecuteError::Expired { is_held: true, .. })), "{waited:?}");
    assert_eq!(house.meanwhile(|| accepted(&bus, scripted("3", "other", &["A"]))), 1);
}
