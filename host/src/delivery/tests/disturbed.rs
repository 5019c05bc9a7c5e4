//! What lanes do when the process ends or the storage fails.

use std::io::ErrorKind;
use std::time::Duration;

use super::rig::{DEADLINE, Hanging, Journal, Rig, add_one, config};
use crate::clock::Clock;
use crate::delivery::LaneState;
use crate::event::EventParts;
use crate::handler::{Failure, FailureKind};
use crate::limits::STORAGE_RETRY_MAX;
use crate::log::Wait;

#[tokio::test]
async fn the_schedule_of_retries_and_their_count_survive_a_restart() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let program = rig.program(&journal, |_, _| Err(Failure::transient("busy", "try later")));
    rig.publish("t", &[("a", "a1"), ("a", "a2")]).await;
    let running = rig.start(config(&["t"]), program).await;
    running.reaches(|report| matches!(report.state, LaneState::Waiting { .. }) && report.held == 2).await;
    let Wait::Until(due) = running.rows().held[&0].wait else { panic!("a1 waits for its retry") };
    running.stop().await;

    let rig = rig.reopened();
    let program = rig.program(&journal, |delivery, context| {
        assert!(delivery.attempt == 1 || delivery.now == context.now());
        Ok(())
    });
    let running = rig.start(config(&["t"]), program).await;
    running.reaches(|report| report.state == LaneState::Waiting { until: due }).await;
    assert_eq!(journal.lines(), ["a1/1"], "not before its time");
    running.settles(2).await;
    assert_eq!(rig.clock.now(), due);
    assert_eq!(journal.lines(), ["a1/1", "a1/2", "a2/1"]);
}

#[tokio::test]
async fn what_was_not_committed_when_the_power_went_out_is_done_again_and_takes_effect_once() {
    let rig = Rig::new();
    rig.topic("t").await;
    for at in 0..5 {
        rig.publish("t", &[("key", &at.to_string())]).await;
    }
    let hanging = Hanging::default();
    let running = rig.start(config(&["t"]), rig.native(hanging.clone(), "1")).await;
    hanging.begun.notified().await;
    running.consumer.stop(Duration::ZERO).await;
    let rig = rig.after_power_cut();
    let journal = Journal::default();
    let running =
        rig.start(config(&["t"]), rig.program(&journal, |_, context| add_one(context, "count"))).await;
    running.settles(5).await;
    assert_eq!(journal.lines(), ["0/1", "1/1", "2/1", "3/1", "4/1"]);
    assert_eq!((running.count("count"), running.count("hung")), (5, 0));
    assert_eq!(running.rows().progress.marked, None);
}

#[tokio::test]
async fn a_delivery_that_kills_the_process_time_and_again_becomes_a_dead_letter() {
    let mut rig = Rig::new();
    rig.topic("t").await;
    rig.publish("t", &[("a", "killer"), ("a", "next")]).await;
    let hanging = Hanging::default();
    // After the first crash, which nothing foretold, each delivery is marked.
    for crashes in 0..4 {
        let running = rig.start(config(&["t"]), rig.native(hanging.clone(), "1")).await;
        if crashes > 1 {
            running.reaches(|report| matches!(report.state, LaneState::Waiting { .. })).await;
            rig.clock.advance(DEADLINE);
        }
        hanging.begun.notified().await;
        assert_eq!(running.rows().progress.marked.is_some(), crashes > 0);
        running.consumer.stop(Duration::ZERO).await;
        rig = rig.after_power_cut();
    }
    assert_eq!(hanging.journal.lines(), ["killer/1", "killer/1", "killer/2", "killer/3"]);
    let journal = Journal::default();
    let running = rig.start(config(&["t"]), rig.program(&journal, |_, _| Ok(()))).await;
    running.settles(2).await;
    assert_eq!(journal.lines(), ["next/1"]);
    let letter = rig.log.dead_letters(running.id, 0, 1).unwrap().remove(0);
    assert_eq!(letter.reason.kind, FailureKind::HostCrash);
    assert_eq!(letter.attempts.len(), 3);
    assert_eq!(letter.event.unwrap().id(), "killer");
}

#[tokio::test]
async fn a_delivery_cut_off_by_hand_is_not_taken_for_a_crash() {
    let rig = Rig::new();
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1")]).await;
    let rig = rig.after_power_cut();
    let hanging = Hanging::default();
    let running = rig.start(config(&["t"]), rig.native(hanging.clone(), "1")).await;
    hanging.begun.notified().await;
    assert!(running.rows().progress.marked.is_some());
    running.consumer.stop(Duration::ZERO).await;
    let journal = Journal::default();
    let running = rig.start(config(&["t"]), rig.program(&journal, |_, _| Ok(()))).await;
    running.settles(1).await;
    assert_eq!(journal.lines(), ["a1/1"]);
}

#[tokio::test]
async fn when_a_commit_fails_the_lane_goes_on_from_what_is_durable() {
    let rig = Rig::new();
    rig.topic("t").await;
    for at in 0..5 {
        rig.publish("t", &[("key", &at.to_string())]).await;
    }
    let journal = Journal::default();
    let program = rig.program(&journal, |_, context| {
        // The half of it that a failing write leaves is not the whole of the commit.
        context.set(b"filler", &[7; 16 << 10]).unwrap();
        add_one(context, "count")
    });
    let running = rig.start_paused(config(&["t"]), program).await;
    rig.disk.fail_at(rig.disk.operations()..u64::MAX, ErrorKind::Other);
    running.consumer.resume();
    running.reaches(|report| matches!(report.state, LaneState::Failing { .. })).await;
    rig.disk.works_again();
    rig.log.usable().await.unwrap();
    rig.clock.advance(STORAGE_RETRY_MAX);
    running.settles(5).await;
    assert_eq!(journal.len(), 10, "the batch was made twice");
    assert_eq!(running.count("count"), 5, "each event took effect once, however often it was delivered");
    assert_eq!(running.rows().progress.counts.handled, 5);
}

#[tokio::test]
async fn a_full_disk_stops_who_publishes_says_so_and_loses_nothing() {
    let rig = Rig::new();
    rig.topic("t").await;
    let out = rig.topic("out").await;
    rig.publish("t", &[("a", "a1"), ("b", "b1")]).await;
    let journal = Journal::default();
    let program = rig.program(&journal, |_, context| {
        context.publish("out", EventParts { kind: "Seen.v1".into(), ..EventParts::default() }).unwrap();
        Ok(())
    });
    let running = rig.start_paused(config(&["t"]), program).await;
    rig.disk.set_free_bytes(Some(10));
    running.consumer.resume();
    running.reaches(|report| matches!(report.state, LaneState::DiskFull { free: 10, min: 1000 })).await;
    rig.disk.set_free_bytes(None);
    rig.clock.advance(STORAGE_RETRY_MAX);
    running.settles(2).await;
    assert_eq!(rig.ids(out).len(), 2);
}
