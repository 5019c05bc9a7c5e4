//! Components that import WASI 0.2.

use super::guest::Guest;
use super::lane::{Lane, State, all, delivery, load, run};
use crate::handler::FailureKind;

const WASI: &str = r#"
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
  (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))
  (import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#;

fn guest(handle: &'static str) -> Guest {
    Guest { parts: WASI, handle, wasi: true, ..Guest::default() }
}

#[tokio::test]
async fn time_is_the_deliverys_and_moves_only_where_the_guest_sleeps() {
    let guest = guest(
        "(i64.store (i32.const 1024) (call $now))
         (call $block (call $timer (i64.const 50000000)))
         (i64.store (i32.const 1032) (call $now))
         (call $set (i32.const 64) (i32.const 5) (i32.const 1024) (i32.const 16) (i32.const 1100))
         (i32.const 256)",
    );
    let effects = run(&guest).await.unwrap();
    let times = effects.state[&b"guest"[..]].clone().unwrap();
    let now = 1_700_000_000_000_000_000_u64;
    assert_eq!(times[..8], now.to_le_bytes());
    assert_eq!(times[8..], (now + 50_000_000).to_le_bytes());
}

#[tokio::test]
async fn a_guest_that_sleeps_past_its_deadline_times_out() {
    let failure = run(&guest("(call $block (call $timer (i64.const 3600000000000))) (i32.const 256)")).await;
    assert_eq!(failure.unwrap_err().kind, FailureKind::Timeout);
    let naps = "(loop $l (call $block (call $timer (i64.const 1000000))) (br $l)) unreachable";
    let failure = run(&guest(naps)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout, "however short each sleep is");
}

#[tokio::test]
async fn chance_is_the_deliverys() {
    let guest = guest(
        "(i64.store (i32.const 1024) (call $random))
         (call $set (i32.const 64) (i32.const 5) (i32.const 1024) (i32.const 8) (i32.const 1100))
         (i32.const 256)",
    );
    let plugin = load(&guest, all()).await.unwrap();
    let mut seen = Vec::new();
    for attempt in [1, 1, 2] {
        let mut lane = Lane::new(&plugin, all(), State(Some([].into()))).await;
        seen.push(lane.deliver(&delivery(attempt)).await.unwrap().state);
    }
    assert_eq!(seen[0], seen[1]);
    assert_ne!(seen[0], seen[2]);
}

#[tokio::test]
async fn there_are_no_arguments_and_an_exit_is_a_trap() {
    let arguments = "(call $arguments (i32.const 1024))
                     (if (i32.load (i32.const 1028)) (then unreachable)) (i32.const 256)";
    run(&guest(arguments)).await.unwrap();
    let failure = run(&guest("(call $exit (i32.const 0)) (i32.const 256)")).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "exit"));
}

#[tokio::test]
async fn what_wasi_hands_out_is_bounded() {
    let failure =
        run(&guest("(loop $l (drop (call $timer (i64.const 1))) (br $l)) unreachable")).await.unwrap_err();
    assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Trap, "invalid-call"), "{failure}");
}
