//! Plugins that fetch their deliveries: what differs from those that are called, and that nothing else does.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Waker};

use super::guest::Guest;
use super::lane::{Lane, State, all, delivery, load};
use crate::handler::{Failure, FailureKind};
use crate::plugin::LoadError;

const STATE: &str = r#"
  (import "tidegate:plugin/state@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#;

/// Sets `guest`, or `1.2.3`, to the other.
const SET_GUEST: &str =
    "(call $set (i32.const 64) (i32.const 5) (i32.const 96) (i32.const 5) (i32.const 1024))";
const SET_VERSION: &str =
    "(call $set (i32.const 96) (i32.const 5) (i32.const 64) (i32.const 5) (i32.const 1024))";

fn state() -> State {
    State(Some(BTreeMap::new()))
}

async fn lane(handle: String) -> Lane {
    let handle: &'static str = handle.leak();
    let guest = Guest { parts: STATE, handle, uses_state: true, fetches: true, ..Guest::default() };
    Lane::new(&load(&guest, all()).await.unwrap(), all(), state()).await
}

/// A guest whose first attempt goes well, and which then does this.
async fn well_then(otherwise: &str) -> Lane {
    let is_first = "(i32.eq (i32.load offset=32 (local.get 0)) (i32.const 1))";
    lane(format!("(if {is_first} (then {SET_GUEST}) (else {SET_VERSION} {otherwise})) (i32.const 256)")).await
}

/// Makes a first delivery, whose effects are kept for the batch's commit.
async fn first(lane: &mut Lane) {
    lane.begin([delivery(1)]);
    lane.make().await.unwrap();
}

/// Makes a second one, which fails. Only the effects of the first are left then.
async fn second(lane: &mut Lane) -> Failure {
    let failure = lane.deliver(&delivery(2)).await.unwrap_err();
    let left: Vec<_> = lane.batch.context.take().state.into_keys().collect();
    assert_eq!(left, [b"guest"], "{failure}");
    failure
}

#[tokio::test]
async fn an_instance_works_on_one_delivery_after_the_other() {
    let mut lane = lane(format!("{SET_GUEST} (i32.const 256)")).await;
    for attempt in 1..100 {
        let effects = lane.deliver(&delivery(attempt)).await.unwrap();
        assert_eq!(effects.state[&b"guest"[..]].as_deref(), Some(&b"1.2.3"[..]));
    }
}

#[tokio::test]
async fn a_failure_of_the_guest_is_told_as_it_says_and_the_guest_goes_on() {
    let is_first = "(i32.eq (i32.load offset=32 (local.get 0)) (i32.const 1))";
    let mut lane = lane(format!("{SET_GUEST} (select (i32.const 320) (i32.const 256) {is_first})")).await;
    let said = Failure::transient("busy", "later").with_retry_after(std::time::Duration::from_millis(1500));
    assert_eq!(lane.deliver(&delivery(1)).await.unwrap_err(), said);
    assert_eq!(lane.deliver(&delivery(2)).await.unwrap().state.len(), 1);
}

#[tokio::test]
async fn a_trap_costs_its_delivery_and_the_instance() {
    let mut lane = well_then("unreachable").await;
    first(&mut lane).await;
    let failure = second(&mut lane).await;
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "unreachable"));
    assert!(failure.backtrace.is_some_and(|backtrace| backtrace.contains("guest!handle")));
    assert_eq!(lane.deliver(&delivery(1)).await.unwrap_err().code, "instance-poisoned");
}

#[tokio::test]
async fn each_delivery_has_a_deadline_of_its_own() {
    let mut lane = well_then("(loop $l (br $l))").await;
    first(&mut lane).await;
    let failure = second(&mut lane).await;
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Timeout, "deadline"));
    assert_eq!(lane.deliver(&delivery(1)).await.unwrap_err().code, "instance-poisoned");
}

#[tokio::test]
async fn time_that_deliveries_take_together_is_bounded_by_no_deadline() {
    // Each sleeps for more than half of the 100 ms that it may take.
    let guest = Guest {
        parts: r#"
          (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
          (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#,
        handle: "(call $block (call $timer (i64.const 60000000))) (i32.const 256)",
        wasi: true,
        fetches: true,
        ..Guest::default()
    };
    let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), state()).await;
    for attempt in 1..5 {
        lane.deliver(&delivery(attempt)).await.unwrap();
    }
}

#[tokio::test]
async fn a_guest_that_sleeps_past_its_deadline_gives_the_context_back() {
    let guest = Guest {
        parts: r#"
          (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
          (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
          (import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#,
        handle: "(call $set (i32.const 64) (i32.const 5) (i32.const 96) (i32.const 5) (i32.const 1024))
                 (if (i32.eq (i32.load offset=32 (local.get 0)) (i32.const 2))
                   (then (call $block (call $timer (i64.const 3600000000000)))))
                 (i32.const 256)",
        wasi: true,
        fetches: true,
        ..Guest::default()
    };
    let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), state()).await;
    first(&mut lane).await;
    assert_eq!(second(&mut lane).await.kind, FailureKind::Timeout);
}

#[tokio::test]
async fn a_delivery_that_is_given_up_gives_the_context_back() {
    let mut lane = well_then("(loop $l (br $l))").await;
    first(&mut lane).await;
    lane.begin([delivery(2)]);
    {
        let mut spinning = pin!(lane.instance.deliver(&mut lane.batch));
        // Once, so that it is under way.
        assert!(spinning.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    lane.batch.context.discard();
    let left: Vec<_> = lane.batch.context.take().state.into_keys().collect();
    assert_eq!(left, [b"guest"]);
    assert_eq!(lane.deliver(&delivery(2)).await.unwrap_err().code, "instance-poisoned");
}

#[tokio::test]
async fn state_that_cannot_be_read_fails_the_delivery_whatever_the_guest_makes_of_it() {
    let handle = "(call $get (i32.const 64) (i32.const 5) (i32.const 1024)) (i32.const 256)";
    let guest = Guest { parts: STATE, handle, fetches: true, ..Guest::default() };
    let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), State(None)).await;
    let failure = lane.deliver(&delivery(1)).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Transient, "state-unavailable"));
}

#[tokio::test]
async fn a_guest_that_gives_up_on_state_that_cannot_be_read_has_failed_for_that() {
    let handle = "(call $get (i32.const 64) (i32.const 5) (i32.const 1024)) (i32.const 0)";
    let guest = Guest { parts: STATE, handle, fetches: true, ..Guest::default() };
    let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), State(None)).await;
    assert_eq!(lane.deliver(&delivery(1)).await.unwrap_err().code, "state-unavailable");
}

#[tokio::test]
async fn a_guest_that_returns_has_failed_its_delivery() {
    let mut lane = lane("(i32.const 0)".to_owned()).await;
    let failure = lane.deliver(&delivery(1)).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "returned"));
}

#[tokio::test]
async fn a_guest_that_fails_before_it_asks_for_a_delivery_fails_the_first_one() {
    let failures = [
        ("unreachable", FailureKind::Trap, "unreachable"),
        ("(loop $l (br $l))", FailureKind::Timeout, "deadline"),
    ];
    for (before, kind, code) in failures {
        let guest = Guest { before, fetches: true, ..Guest::default() };
        let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), state()).await;
        let failure = lane.deliver(&delivery(1)).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{before}");
        assert_eq!(lane.deliver(&delivery(2)).await.unwrap_err().code, "instance-poisoned");
    }
}

#[tokio::test]
async fn what_a_guest_does_before_it_asks_for_a_delivery_is_part_of_none() {
    let guest =
        Guest { parts: STATE, before: SET_GUEST, uses_state: true, fetches: true, ..Guest::default() };
    let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), state()).await;
    assert!(lane.deliver(&delivery(1)).await.unwrap().state.is_empty());
}

#[tokio::test]
async fn a_guest_that_asks_for_deliveries_elsewhere_is_refused() {
    let guest = Guest { describe: "(call $run)", fetches: true, ..Guest::default() };
    let error = load(&guest, all()).await.err().unwrap();
    let LoadError::Describe(failure) = error else { panic!("{error}") };
    assert_eq!(failure.code, "invalid-call");
    assert!(failure.message.contains("in `run` alone"), "{failure}");
}
