//! Hostile aggregates: whatever `decide` and `evolve` do, their command pays, and all others get everything.

use std::time::Duration;

use serde_json::Value;
use tidegate::config::{ConsumerConfig, PluginConfig, PluginLimits, RetryPolicy};
use tidegate::{AggregateError, At, Blocking, Event, ExecuteError, FailureKind, Outcome};
use tidegate_guests::{Deed, Evolved, Fault, Happened, Sight};

use crate::aggregates::{WAIT, command, stream, topics};
use crate::house::{House, all, guest_file, letters};

/// A bus with the guest, which gets one attempt at each command, and little time.
fn decider(house: &House) -> Blocking {
    let bus = house.open();
    topics(&bus);
    start(&bus);
    bus
}

fn start(bus: &Blocking) {
    let commands = ConsumerConfig::new(["account-commands"]).retry(RetryPolicy::default().attempts(1));
    let limits = PluginLimits::default().deadline(Duration::from_secs(1));
    let plugin = PluginConfig::new(guest_file("decider")).limits(limits).aggregate(stream());
    bus.subscribe_plugin("accounts", commands, plugin).unwrap();
}

fn order(id: &str, key: &str, deed: &Deed) -> Event {
    command(id, key, "Decide.v1", &serde_json::to_value(deed).unwrap())
}

/// A command of which one event comes.
fn well(id: &str, key: &str) -> Event {
    order(id, key, &Deed { count: 1, ..Deed::default() })
}

#[track_caller]
fn version(bus: &Blocking, command: Event) -> u64 {
    match bus.execute("accounts", command, WAIT).unwrap() {
        Outcome::Accepted { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

/// Gives a command, and one to another aggregate that has to go well. Returns what the first one was given up on for.
#[track_caller]
fn pays(bus: &Blocking, id: &str, key: &str, deed: &Deed) -> (FailureKind, String) {
    let before = all(bus, "accounts").len();
    let told = bus.execute("accounts", order(id, key, deed), WAIT);
    let Err(ExecuteError::GivenUp { failure, letter, .. }) = told else { panic!("{id}: {told:?}") };
    assert_eq!(letters(bus, "accounts").last().unwrap().id, letter);
    let well = well(&format!("{id}/well"), "neighbour");
    version(bus, well);
    assert_eq!(all(bus, "accounts").len(), before + 1, "{id}: what failed has left something behind");
    (failure.kind, failure.code)
}

fn failures() -> [(Fault, FailureKind, &'static str); 6] {
    [
        (Fault::Trap, FailureKind::Trap, "unreachable"),
        (Fault::Panic, FailureKind::Trap, "unreachable"),
        (Fault::Spin, FailureKind::Timeout, "deadline"),
        (Fault::SpinInHost, FailureKind::Timeout, "deadline"),
        (Fault::Grow, FailureKind::Memory, "memory"),
        (Fault::Recurse, FailureKind::Trap, "out-of-bounds-memory"),
    ]
}

#[test]
fn a_decide_that_goes_wrong_costs_its_command_alone() {
    let house = House::new();
    let bus = decider(&house);
    for (fault, kind, code) in failures() {
        let deed = Deed { fault: Some(fault), count: 1, ..Deed::default() };
        assert_eq!(pays(&bus, &format!("{fault:?}"), "k", &deed), (kind, code.to_owned()), "{fault:?}");
    }
    assert_eq!(version(&bus, well("at last", "k")), 1);
}

#[test]
fn an_evolve_that_goes_wrong_costs_its_command_alone_and_nothing_is_appended() {
    let house = House::new();
    let bus = decider(&house);
    for (fault, kind, code) in failures() {
        let fact = Happened { fault: Some(fault), ..Happened::default() };
        let deed = Deed { count: 1, fact, ..Deed::default() };
        assert_eq!(pays(&bus, &format!("{fault:?}"), "k", &deed), (kind, code.to_owned()), "{fault:?}");
    }
    assert_eq!(version(&bus, well("at last", "k")), 1);
}

#[test]
fn an_event_at_which_evolve_goes_wrong_stops_its_aggregate_alone() {
    let house = House::new();
    let bus = decider(&house);
    assert_eq!(version(&bus, well("1", "k")), 1);
    let spins = Happened { fault: Some(Fault::Spin), ..Happened::default() };
    let event = Event::new("x", "/elsewhere", "Happened.v1").subject("k").json(&spins).build().unwrap();
    bus.publish("accounts", event).unwrap();
    let told = pays(&bus, "2", "k", &Deed::default());
    assert_eq!(told, (FailureKind::Timeout, "deadline".to_owned()));
    let shown = bus.aggregate("accounts", "k");
    assert!(
        matches!(&shown, Err(AggregateError::Failed { failure, .. }) if failure.kind == FailureKind::Timeout),
        "{shown:?}"
    );
    assert_eq!(bus.aggregate_at("accounts", "k", At::Version(1)).unwrap().unwrap().version, 1);
}

#[test]
fn answers_that_are_too_large_are_refused() {
    let house = House::new();
    let bus = decider(&house);
    let facts = |count, bytes| {
        let fact = Happened { bytes, ..Happened::default() };
        Deed { count, fact, ..Deed::default() }
    };
    let state = |state_bytes| {
        let fact = Happened { state_bytes, ..Happened::default() };
        Deed { count: 1, fact, ..Deed::default() }
    };
    let permanent = |code: &str| (FailureKind::Permanent, code.to_owned());
    let trap = |code: &str| (FailureKind::Trap, code.to_owned());
    assert_eq!(pays(&bus, "many", "k", &facts(2000, 1)), permanent("effects-size"));
    assert_eq!(pays(&bus, "much", "k", &facts(5, 900_000)), permanent("effects-size"));
    assert_eq!(pays(&bus, "one", "k", &facts(1, 1_500_000)), permanent("event-size"));
    assert_eq!(pays(&bus, "huge", "k", &facts(1, 8_000_000)), trap("invalid-call"));
    assert_eq!(pays(&bus, "state", "k", &state(1_100_000)), permanent("state-size"));
    assert_eq!(pays(&bus, "huge state", "k", &state(8_000_000)), trap("invalid-call"));
    let rejects = |bytes| Deed { rejection_bytes: Some(bytes), ..Deed::default() };
    assert_eq!(pays(&bus, "rejection", "k", &rejects(5000)), permanent("rejection-size"));
    // Within the bounds all of it may be.
    assert_eq!(version(&bus, order("facts", "k", &facts(1000, 1000))), 1000);
    assert_eq!(version(&bus, order("a state", "k", &state(900_000))), 1001);
    let rejected = bus.execute("accounts", order("a rejection", "k", &rejects(4000)), WAIT).unwrap();
    assert!(matches!(rejected, Outcome::Rejected(_)), "{rejected:?}");
}

#[test]
fn evolve_sees_no_clock_and_no_chance() {
    let house = House::new();
    let bus = decider(&house);
    for n in 0..5 {
        house.clock.advance(Duration::from_secs(1));
        version(&bus, well(&n.to_string(), "k"));
    }
    let decided: Vec<Sight> = all(&bus, "accounts")
        .iter()
        .map(|record| {
            serde_json::from_value(record.event.data_as::<Value>().unwrap()["decided"].clone()).unwrap()
        })
        .collect();
    assert!(decided.windows(2).all(|pair| pair[0].now < pair[1].now), "`decide` sees the time: {decided:?}");
    assert!(decided.windows(2).all(|pair| pair[0].random != pair[1].random), "and chance: {decided:?}");

    let state = || bus.aggregate("accounts", "k").unwrap().unwrap().state;
    let live = state();
    let evolved: Evolved = serde_json::from_slice(&live).unwrap();
    assert_eq!(evolved.seen.len(), 5);
    assert!(evolved.seen.iter().all(|sight| sight.now == 0), "{evolved:?}");
    // The last one was evolved in the lane, beside its decision; and all of them at once by a look from outside.
    let bus = house.cut_power(bus);
    start(&bus);
    assert_eq!(bus.aggregate("accounts", "k").unwrap().unwrap().state, live);
}
