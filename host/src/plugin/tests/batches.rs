//! Deliveries that follow each other without the lane, for both ways in which a plugin gets them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::guest::Guest;
use super::lane::{Lane, State, all, delivery, load};
use super::log::{LOG, watched};
use crate::handler::{Delivery, Failure, FailureKind};

const BOTH: [bool; 2] = [false, true];

async fn lane(guest: &Guest) -> Lane {
    Lane::new(&load(guest, all()).await.unwrap(), all(), State(Some(BTreeMap::new()))).await
}

/// The attempts tell the deliveries apart.
fn deliveries(attempts: impl IntoIterator<Item = u32>) -> impl Iterator<Item = Delivery> {
    attempts.into_iter().map(|attempt| Delivery { offset: 40 + u64::from(attempt), ..delivery(attempt) })
}

/// A guest that sets a key of as many characters as the attempt has, and fails the third.
fn fails_the_third(fetches: bool, failure: &'static str) -> Guest {
    let handle = format!(
        "(call $set (i32.const 64) (i32.load offset=32 (local.get 0)) (i32.const 96) (i32.const 5) (i32.const 1024))
         (if (i32.eq (i32.load offset=32 (local.get 0)) (i32.const 3)) (then {failure}))
         (i32.const 256)"
    );
    Guest {
        parts: r#"(import "tidegate:plugin/state@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))"#,
        handle: handle.leak(),
        uses_state: true,
        fetches,
        ..Guest::default()
    }
}

fn left(lane: &mut Lane) -> Vec<Vec<u8>> {
    lane.batch.context.take().state.into_keys().collect()
}

#[tokio::test]
async fn what_succeeded_before_a_failure_is_kept_and_what_comes_after_it_is_not_begun() {
    for fetches in BOTH {
        let mut lane = lane(&fails_the_third(fetches, "(return (i32.const 320))")).await;
        lane.begin(deliveries(1..=5));
        let said = Failure::transient("busy", "later").with_retry_after(Duration::from_millis(1500));
        assert_eq!(lane.make().await.unwrap_err(), said);
        assert_eq!(lane.batch.under_way().attempt, 3, "fetches: {fetches}");
        assert_eq!(left(&mut lane), [&b"g"[..], b"gu"]);
        // A guest that says that it failed goes on.
        lane.begin(deliveries(4..=5));
        lane.make().await.unwrap();
        assert_eq!(left(&mut lane), [&b"gues"[..], b"guest"]);
    }
}

#[tokio::test]
async fn a_trap_costs_the_delivery_under_way() {
    for fetches in BOTH {
        let mut lane = lane(&fails_the_third(fetches, "unreachable")).await;
        lane.begin(deliveries(1..=5));
        assert_eq!(lane.make().await.unwrap_err().kind, FailureKind::Trap);
        assert_eq!(lane.batch.under_way().attempt, 3, "fetches: {fetches}");
        assert_eq!(left(&mut lane), [&b"g"[..], b"gu"]);
    }
}

#[tokio::test]
async fn each_delivery_has_the_whole_time() {
    for fetches in BOTH {
        // Each sleeps for more than half of the 100 ms that it may take, the fifth for all of it.
        let guest = Guest {
            parts: r#"
              (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
              (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#,
            handle: "(call $block (call $timer (select (i64.const 101000000) (i64.const 60000000)
                       (i32.eq (i32.load offset=32 (local.get 0)) (i32.const 5)))))
                     (i32.const 256)",
            wasi: true,
            fetches,
            ..Guest::default()
        };
        let mut lane = lane(&guest).await;
        lane.begin(deliveries(1..=6));
        assert_eq!(lane.make().await.unwrap_err().kind, FailureKind::Timeout);
        assert_eq!(lane.batch.under_way().attempt, 5, "fetches: {fetches}");
    }
}

#[tokio::test]
async fn state_that_cannot_be_read_fails_the_delivery_that_asked_for_it() {
    for fetches in BOTH {
        let guest = Guest {
            parts: r#"(import "tidegate:plugin/state@0.1.0" "get" (func $get (param i32 i32 i32)))"#,
            handle: "(if (i32.eq (i32.load offset=32 (local.get 0)) (i32.const 2))
                       (then (call $get (i32.const 64) (i32.const 5) (i32.const 1024))))
                     (i32.const 256)",
            uses_state: true,
            fetches,
            ..Guest::default()
        };
        let mut lane = Lane::new(&load(&guest, all()).await.unwrap(), all(), State(None)).await;
        lane.begin(deliveries(1..=3));
        assert_eq!(lane.make().await.unwrap_err().code, "state-unavailable");
        assert_eq!(lane.batch.under_way().attempt, 2, "fetches: {fetches}");
    }
}

#[tokio::test]
async fn a_line_carries_the_ids_of_the_delivery_under_way() {
    for fetches in BOTH {
        let handle = "(call $log (i32.const 3) (i32.const 64) (i32.const 5)) (i32.const 256)";
        let mut lane = lane(&Guest { parts: LOG, handle, fetches, ..Guest::default() }).await;
        lane.begin(deliveries(1..=3));
        let (outcome, lines) = watched(lane.make()).await;
        outcome.unwrap();
        let offsets: Vec<_> = lines.iter().map(|line| line["offset"].as_str()).collect();
        assert_eq!(offsets, ["41", "42", "43"], "fetches: {fetches}");
    }
}
