//! Deliveries: what a plugin may do, and how it fails.

use std::collections::BTreeMap;

use super::guest::Guest;
use super::lane::{Lane, State, all, delivery, load, run, run_with};
use crate::config::Grants;
use crate::handler::{Failure, FailureKind};

const STATE: &str = r#"
  (import "tidegate:plugin/state@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#;

const PUBLISH: &str = r#"(import "tidegate:plugin/publisher@0.1.0" "publish" (func $publish (param i32 i32)))
  (data (i32.const 1100) "\80\00\00\00\06\00\00\00")
  (data (i32.const 1132) "\80\00\00\00\06\00\00\00")"#;

fn state() -> State {
    State(Some(BTreeMap::new()))
}

#[tokio::test]
async fn a_trap_fails_the_delivery_with_its_place() {
    let guest = Guest {
        parts: "(func $inner_part unreachable)",
        handle: "(call $inner_part) (i32.const 256)",
        ..Guest::default()
    };
    let failure = run(&guest).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "unreachable"));
    let backtrace = failure.backtrace.unwrap();
    let frames: Vec<_> = backtrace.lines().collect();
    assert!(frames[0].ends_with("guest!inner_part"), "innermost first: {backtrace}");
    assert!(frames[1].ends_with("guest!handle"), "{backtrace}");
    assert!(
        !failure.message.contains("backtrace") && failure.message.contains("unreachable"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn each_kind_of_trap_has_a_code_of_its_own() {
    let cases = [
        ("(drop (i32.div_u (i32.const 1) (local.get $a))) (i32.const 256)", "division-by-zero"),
        ("(i32.load (i32.const 0x7fffffff))", "out-of-bounds-memory"),
        ("(call $handle (local.get 0))", "stack-overflow"),
        ("(i32.const 0x7fffff00)", "invalid-call"),
    ];
    for (handle, code) in cases {
        let failure = run(&Guest { handle, ..Guest::default() }).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, code), "{failure}");
    }
}

#[tokio::test]
async fn a_delivery_past_its_deadline_times_out_and_other_tasks_go_on_meanwhile() {
    let guest = Guest { handle: "(loop $l (br $l)) unreachable", ..Guest::default() };
    let plugin = load(&guest, all()).await.unwrap();
    let mut lane = Lane::new(&plugin, all(), state()).await;
    let delivery = delivery(1);
    let spinning = lane.deliver(&delivery);
    let mut turns = 0_u32;
    let others = async {
        loop {
            turns += 1;
            tokio::task::yield_now().await;
        }
    };
    let failure = tokio::select! {
        outcome = spinning => outcome.unwrap_err(),
        () = others => unreachable!("it never ends"),
    };
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Timeout, "deadline"));
    assert!(failure.backtrace.is_some_and(|backtrace| backtrace.contains("guest!handle")));
    assert!(turns > 1, "one thread, and the guest yields on it");
}

#[tokio::test]
async fn time_in_calls_to_the_host_counts_towards_the_deadline() {
    let guest = Guest {
        parts: r#"(import "tidegate:plugin/context@0.1.0" "now" (func $now (result i64)))"#,
        handle: "(loop $l (local.set $b (call $now)) (br $l)) unreachable",
        ..Guest::default()
    };
    assert_eq!(run(&guest).await.unwrap_err().kind, FailureKind::Timeout);
}

#[tokio::test]
async fn a_guest_that_wants_more_memory_than_it_may_have_fails_with_memory() {
    let guest = Guest {
        handle: "(if (i32.eq (memory.grow (i32.const 64)) (i32.const -1)) (then unreachable)) (i32.const 256)",
        ..Guest::default()
    };
    let failure = run(&guest).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Memory, "memory"));
    assert!(failure.message.contains("may have 1048576"), "{}", failure.message);
}

#[tokio::test]
async fn a_guest_that_copes_with_a_refused_growth_succeeds() {
    let guest = Guest { handle: "(drop (memory.grow (i32.const 64))) (i32.const 256)", ..Guest::default() };
    run(&guest).await.unwrap();
}

#[tokio::test]
async fn a_table_has_a_bound() {
    let guest = Guest {
        parts: "(table $t 1 funcref)",
        handle:
            "(if (i32.eq (table.grow $t (ref.null func) (i32.const 30000)) (i32.const -1)) (then unreachable))
                 (i32.const 256)",
        ..Guest::default()
    };
    let failure = run(&guest).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Memory, "table"));
}

#[tokio::test]
async fn a_failure_of_the_guest_is_told_as_it_says() {
    let failure = run(&Guest { handle: "(i32.const 320)", ..Guest::default() }).await.unwrap_err();
    let said = Failure::transient("busy", "later").with_retry_after(std::time::Duration::from_millis(1500));
    assert_eq!(failure, said);
}

#[tokio::test]
async fn a_failed_delivery_gives_the_context_back_and_its_instance_is_never_used_again() {
    let guest = Guest {
        parts: STATE,
        // Attempt 1 traps after it wrote.
        handle: "(call $set (i32.const 64) (i32.const 5) (i32.const 96) (i32.const 5) (i32.const 1024))
                 (if (i32.eq (i32.load offset=32 (local.get 0)) (i32.const 1)) (then unreachable))
                 (i32.const 256)",
        uses_state: true,
        ..Guest::default()
    };
    let plugin = load(&guest, all()).await.unwrap();
    let mut lane = Lane::new(&plugin, all(), state()).await;
    lane.deliver(&delivery(1)).await.unwrap_err();
    assert!(lane.batch.context.take().state.is_empty(), "nothing of it is left");
    assert_eq!(lane.deliver(&delivery(2)).await.unwrap_err().code, "instance-poisoned");
    let fresh = Lane::new(&plugin, all(), state()).await;
    lane.instance = fresh.instance;
    let effects = lane.deliver(&delivery(2)).await.unwrap();
    assert_eq!(effects.state[&b"guest"[..]].as_deref(), Some(&b"1.2.3"[..]));
}

#[tokio::test]
async fn state_needs_its_grant() {
    let handle = "(call $set (i32.const 64) (i32.const 5) (i32.const 96) (i32.const 5) (i32.const 1024))
                  (if (i32.load8_u (i32.const 1024)) (then unreachable))
                  (i32.const 256)";
    let guest = Guest { parts: STATE, handle, ..Guest::default() };
    assert_eq!(run_with(&guest, Grants::nothing().state(), state()).await.unwrap().state.len(), 1);
    let failure = run_with(&guest, Grants::nothing(), state()).await.unwrap_err();
    assert_eq!(failure.code, "unreachable", "the call answered with an error");
}

#[tokio::test]
async fn state_that_cannot_be_read_fails_the_delivery_whatever_the_guest_makes_of_it() {
    let handle = "(call $get (i32.const 64) (i32.const 5) (i32.const 1024)) (i32.const 256)";
    let guest = Guest { parts: STATE, handle, ..Guest::default() };
    let failure = run_with(&guest, all(), State(None)).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Transient, "state-unavailable"));
}

#[tokio::test]
async fn publishing_needs_a_grant_for_the_topic() {
    let handle = "(call $publish (i32.const 1100) (i32.const 1300))
                  (if (i32.load8_u (i32.const 1300)) (then unreachable))
                  (i32.const 256)";
    let guest = Guest { parts: PUBLISH, handle, ..Guest::default() };
    let effects = run_with(&guest, Grants::nothing().publish("alerts"), state()).await.unwrap();
    let (_, event) = &effects.events[0];
    assert_eq!((event.id(), event.kind()), ("counter/readings/3/41/0", "alerts"));
    let failure = run_with(&guest, Grants::nothing().publish("other"), state()).await.unwrap_err();
    assert_eq!(failure.code, "unreachable");
}

#[tokio::test]
async fn the_same_delivery_has_the_same_effects_and_another_attempt_draws_other_numbers() {
    let guest = Guest {
        parts: r#"
          (import "tidegate:plugin/context@0.1.0" "random" (func $random (param i32 i32)))
          (import "tidegate:plugin/context@0.1.0" "now" (func $now (result i64)))
          (import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#,
        handle: "(call $random (i32.const 32) (i32.const 1024))
                 (call $set (i32.const 64) (i32.const 5) (i32.load (i32.const 1024)) (i32.load (i32.const 1028)) (i32.const 1100))
                 (i64.store (i32.const 1200) (call $now))
                 (f64.store (i32.const 1208) (f64.div (f64.const 0) (f64.const 0)))
                 (call $set (i32.const 96) (i32.const 5) (i32.const 1200) (i32.const 16) (i32.const 1100))
                 (i32.const 256)",
        ..Guest::default()
    };
    let plugin = load(&guest, all()).await.unwrap();
    let mut seen = Vec::new();
    for attempt in [1, 1, 2] {
        let mut lane = Lane::new(&plugin, all(), state()).await;
        seen.push(lane.deliver(&delivery(attempt)).await.unwrap().state);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
    let times = seen[0][&b"1.2.3"[..]].clone().unwrap();
    assert_eq!(times[..8], 1_700_000_000_000_000_i64.to_le_bytes());
    assert_eq!(times[8..], 0x7ff8_0000_0000_0000_u64.to_le_bytes(), "the canonical NaN");
}

#[tokio::test]
async fn what_a_guest_hands_over_in_one_call_is_bounded() {
    let guest = Guest {
        parts: STATE,
        // 7 MiB of key out of 8 MiB of memory.
        handle: "(drop (memory.grow (i32.const 120)))
                 (call $set (i32.const 0) (i32.const 0x700000) (i32.const 0) (i32.const 0) (i32.const 1024))
                 (i32.const 256)",
        ..Guest::default()
    };
    let mut options = super::lane::options(all());
    options.limits.memory_bytes = 16 << 20;
    let plugin = super::lane::runtime(None).load(guest.component().into(), options).await.unwrap();
    let failure = Lane::new(&plugin, all(), state()).await.deliver(&delivery(1)).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "invalid-call"), "{failure}");
}

#[tokio::test]
async fn deliveries_one_after_the_other_share_an_instance() {
    let guest = Guest {
        parts: "(global $calls (mut i32) (i32.const 0))",
        handle: "(global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                 (if (i32.eq (global.get $calls) (i32.const 3)) (then unreachable))
                 (i32.const 256)",
        ..Guest::default()
    };
    let plugin = load(&guest, all()).await.unwrap();
    let mut lane = Lane::new(&plugin, all(), state()).await;
    lane.deliver(&delivery(1)).await.unwrap();
    lane.deliver(&delivery(1)).await.unwrap();
    lane.deliver(&delivery(1)).await.unwrap_err();
}

#[tokio::test]
async fn two_runtimes_in_one_process_do_not_know_each_other() {
    let guest = Guest::default();
    let (one, two) = (load(&guest, all()).await.unwrap(), load(&guest, all()).await.unwrap());
    let mut first = Lane::new(&one, all(), state()).await;
    let mut second = Lane::new(&two, all(), state()).await;
    let (one_delivery, two_delivery) = (delivery(1), delivery(1));
    let (a, b) = tokio::join!(first.deliver(&one_delivery), second.deliver(&two_delivery));
    a.unwrap();
    b.unwrap();
    drop((first, one));
    second.deliver(&delivery(1)).await.unwrap();
}
