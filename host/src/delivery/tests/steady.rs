//! What lanes do while nothing but the handlers fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::rig::{DEADLINE, Gate, Hanging, Journal, Rig, add_one, config};
use crate::clock::Clock;
use crate::config::{OnDeadLetter, Order, RetryPolicy};
use crate::delivery::LaneState;
use crate::effects::Context;
use crate::event::EventParts;
use crate::handler::{Delivery, Failure, FailureKind, handler_fn};
use crate::ids::LaneId;
use crate::limits::{LANE_BATCH_TIME, TRAP_REST};
use crate::log::{Position, Wait};

fn busy() -> Failure {
    Failure::transient("busy", "try later")
}

/// The nth attempt at the event with this id fails.
fn fails(delivery: &Delivery, id: &str, attempts: u32) -> Result<(), Failure> {
    if delivery.event.id() == id && delivery.attempt <= attempts { Err(busy()) } else { Ok(()) }
}

#[tokio::test]
async fn events_of_a_key_are_delivered_in_order_and_other_keys_go_on() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let program = rig.program(&journal, |delivery, _| fails(delivery, "a1", 2));
    rig.publish("t", &[("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3"), ("b", "b2")]).await;
    let running = rig.start(config(&["t"]), program).await;
    running.settles(5).await;
    assert_eq!(journal.lines(), ["a1/1", "b1/1", "b2/1", "a1/2", "a1/3", "a2/1", "a3/1"]);
    let rows = running.rows();
    assert_eq!((rows.progress.counts.handled, rows.progress.counts.retries), (5, 2));
    assert!(rows.held.is_empty());
}

#[tokio::test]
async fn order_of_the_partition_holds_the_whole_lane_back() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let program = rig.program(&journal, |delivery, _| fails(delivery, "a1", 1));
    rig.publish("t", &[("a", "a1"), ("b", "b1"), ("a", "a2")]).await;
    let running = rig.start(config(&["t"]).order(Order::Partition), program).await;
    running.settles(3).await;
    assert_eq!(journal.lines(), ["a1/1", "a1/2", "b1/1", "a2/1"]);
}

#[tokio::test]
async fn events_of_several_topics_come_in_the_order_of_their_commits() {
    let rig = Rig::new();
    rig.topic("s").await;
    rig.topic("t").await;
    let expected: Vec<String> = (0..40).map(|at| format!("{at}/1")).collect();
    for at in 0..40 {
        let topic = if at % 3 == 0 { "s" } else { "t" };
        rig.publish(topic, &[("key", &at.to_string())]).await;
    }
    let journal = Journal::default();
    let running = rig.start(config(&["t", "s"]), rig.program(&journal, |_, _| Ok(()))).await;
    running.settles(40).await;
    assert_eq!(journal.lines(), expected);
}

#[tokio::test]
async fn a_failed_delivery_leaves_nothing_behind_and_a_repeated_one_takes_effect_once() {
    let rig = Rig::new();
    rig.topic("t").await;
    let out = rig.topic("out").await;
    let journal = Journal::default();
    let program = rig.program(&journal, |delivery, context| {
        add_one(context, "count")?;
        context.publish("out", EventParts { kind: "Seen.v1".into(), ..EventParts::default() }).unwrap();
        if delivery.attempt == 1 && delivery.offset % 2 == 0 { Err(busy()) } else { Ok(()) }
    });
    for at in 0..10 {
        rig.publish("t", &[("key", &at.to_string())]).await;
    }
    let running = rig.start(config(&["t"]), program).await;
    running.settles(10).await;
    assert_eq!(running.count("count"), 10);
    let expected: Vec<String> = (0..10).map(|at| format!("c/t/0/{at}/0")).collect();
    assert_eq!(rig.ids(out), expected, "one event of each delivery, in order, by the id that repeats");
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_that_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let program = rig.program(&journal, |delivery, context| {
        add_one(context, "count")?;
        assert!(delivery.event.id() != "bad", "the bad one");
        Ok(())
    });
    rig.publish("t", &[("a", "bad"), ("b", "good")]).await;
    let running = rig.start(config(&["t"]), program).await;
    running.settles(2).await;
    assert_eq!(journal.len(), 5);
    assert_eq!(running.count("count"), 1);
    let letter = rig.log.dead_letters(running.id, 0, 10).unwrap().remove(0);
    assert_eq!((letter.reason.kind, letter.reason.code.as_str()), (FailureKind::Trap, "panic"));
    assert_eq!(letter.reason.message, "the bad one");
    assert_eq!(letter.attempts.len(), 4);
    assert_eq!(letter.event.unwrap().id(), "bad");
}

#[tokio::test]
async fn a_delivery_that_runs_out_of_time_fails_and_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.topic("t").await;
    let hanging = Hanging::default();
    rig.publish("t", &[("a", "slow")]).await;
    let running = rig.start(config(&["t"]), rig.native(hanging.clone(), "1")).await;
    hanging.begun.notified().await;
    let started = rig.clock.now();
    rig.clock.advance(DEADLINE);
    running.reaches(|report| matches!(report.state, LaneState::Waiting { .. })).await;
    let rows = running.rows();
    let attempt = &rows.held[&0].attempts[0];
    assert_eq!((attempt.failure.kind, attempt.at), (FailureKind::Timeout, started));
    assert_eq!(running.count("hung"), 0);
}

#[tokio::test]
async fn at_held_max_the_lane_stops_says_so_and_goes_on_when_it_can() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let works = Arc::new(AtomicBool::new(false));
    let program = {
        let works = Arc::clone(&works);
        rig.program(&journal, move |_, _| if works.load(Ordering::Relaxed) { Ok(()) } else { Err(busy()) })
    };
    rig.publish("t", &[("a", "a"), ("b", "b"), ("c", "c"), ("d", "d")]).await;
    let running = rig.start(config(&["t"]).held_max(2), program).await;
    running.reaches(|report| report.state == LaneState::Stalled { held_max: 2 }).await;
    assert_eq!(journal.len(), 2);
    let status = running.consumer.status().remove(0);
    assert_eq!((status.held, status.lag_events), (2, 2));
    works.store(true, Ordering::Relaxed);
    rig.clock.advance(DEADLINE);
    running.settles(4).await;
    assert_eq!(running.rows().progress.counts.handled, 4);
}

#[tokio::test]
async fn a_redriven_dead_letter_takes_effect_once() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let is_fixed = Arc::new(AtomicBool::new(false));
    let program = {
        let is_fixed = Arc::clone(&is_fixed);
        rig.program(&journal, move |_, context| {
            add_one(context, "count")?;
            if is_fixed.load(Ordering::Relaxed) {
                Ok(())
            } else {
                Err(Failure::permanent("bad", "no such account"))
            }
        })
    };
    rig.publish("t", &[("a", "a1")]).await;
    let running = rig.start(config(&["t"]), program).await;
    running.settles(1).await;
    let letters = rig.log.dead_letters(running.id, 0, 10).unwrap();
    is_fixed.store(true, Ordering::Relaxed);
    rig.log.redrive("c", vec![letters[0].id]).await.unwrap();
    running.reaches(|report| report.counts.handled == 1 && report.state == LaneState::Idle).await;
    assert!(rig.log.redrive("c", vec![letters[0].id]).await.is_err());
    assert_eq!(journal.lines(), ["a1/1", "a1/1"]);
    assert_eq!(running.count("count"), 1);
    assert!(running.rows().held.is_empty());
    assert_eq!(rig.log.dead_letter_count(running.id).unwrap(), 0);
}

#[tokio::test]
async fn a_parked_key_waits_for_the_operator_and_goes_on_in_order() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let is_fixed = Arc::new(AtomicBool::new(false));
    let program = {
        let is_fixed = Arc::clone(&is_fixed);
        rig.program(&journal, move |delivery, _| {
            let is_bad = delivery.event.id() == "a1" && !is_fixed.load(Ordering::Relaxed);
            if is_bad { Err(Failure::permanent("bad", "no such account")) } else { Ok(()) }
        })
    };
    rig.publish("t", &[("a", "a1"), ("a", "a2"), ("b", "b1")]).await;
    let running = rig.start(config(&["t"]).on_dead_letter(OnDeadLetter::Park), program).await;
    running.reaches(|report| report.state == LaneState::Parked && report.held == 2).await;
    assert_eq!(journal.lines(), ["a1/1", "b1/1"]);
    assert_eq!(running.rows().held[&0].wait, Wait::Operator);
    is_fixed.store(true, Ordering::Relaxed);
    let letter = rig.log.dead_letters(running.id, 0, 1).unwrap().remove(0);
    rig.log.redrive("c", vec![letter.id]).await.unwrap();
    running.reaches(|report| report.counts.handled == 3).await;
    assert_eq!(journal.lines(), ["a1/1", "b1/1", "a1/1", "a2/1"]);
}

#[tokio::test]
async fn a_seek_moves_a_lane_that_runs() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    rig.publish("t", &[("a", "a1"), ("a", "a2")]).await;
    let running = rig.start(config(&["t"]), rig.program(&journal, |_, _| Ok(()))).await;
    running.settles(2).await;
    rig.log.seek("c", None, None, Position::Offset(1)).await.unwrap();
    running.reaches(|report| report.counts.handled == 3).await;
    assert_eq!(journal.lines(), ["a1/1", "a2/1", "a2/1"]);
}

#[tokio::test]
async fn another_version_takes_over_between_deliveries_and_attempts_go_on_counting() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let first = rig.program(&journal, |delivery, _| fails(delivery, "a1", 9));
    rig.publish("t", &[("a", "a1"), ("a", "a2"), ("b", "b1")]).await;
    let running = rig.start(config(&["t"]), first).await;
    running.reaches(|report| matches!(report.state, LaneState::Waiting { .. })).await;
    let second = {
        let journal = journal.clone();
        handler_fn(move |delivery: &Delivery, context: &mut Context| {
            journal.note(delivery);
            assert_eq!(context.version(), "2");
            Ok(())
        })
    };
    running.consumer.switch(rig.native(second, "2"));
    running.consumer.switched().await;
    assert_eq!(running.consumer.status()[0].version.version, "2");
    running.settles(3).await;
    assert_eq!(journal.lines(), ["a1/1", "b1/1", "a1/2", "a2/1"]);
    assert_eq!(running.rows().progress.version.version, "2");
}

#[tokio::test]
async fn a_paused_lane_stands_still_and_then_goes_on() {
    let rig = Rig::new();
    rig.topic("t").await;
    let journal = Journal::default();
    let running = rig.start(config(&["t"]), rig.program(&journal, |_, _| Ok(()))).await;
    running.consumer.pause();
    running.reaches(|report| report.state == LaneState::Paused).await;
    rig.publish("t", &[("a", "a1")]).await;
    rig.clock.advance(DEADLINE);
    let status = running.consumer.status().remove(0);
    assert_eq!((status.state, status.lag_events, status.lag), (LaneState::Paused, 1, DEADLINE));
    assert_eq!(journal.len(), 0);
    running.consumer.resume();
    running.settles(1).await;
    assert_eq!(journal.lines(), ["a1/1"]);
    assert_eq!(running.consumer.status()[0].lag_events, 0);
}

#[tokio::test]
async fn what_a_lane_is_told_takes_effect_before_the_next_delivery() {
    let rig = Rig::new();
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1"), ("a", "a2")]).await;
    let gate = Gate::default();
    let running = rig.start(config(&["t"]), rig.native(gate.clone(), "1")).await;
    gate.begun.notified().await;
    running.consumer.pause();
    gate.goes_on.notify_one();
    running.reaches(|report| report.state == LaneState::Paused).await;
    assert_eq!(gate.journal.lines(), ["a1/1"]);
    assert_eq!(running.rows().progress.counts.handled, 1, "what it has done is durable");
}

#[tokio::test]
async fn a_lane_commits_after_a_while_however_little_it_has_done() {
    let rig = Rig::new();
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1"), ("a", "a2"), ("a", "a3")]).await;
    let (log, clock) = (Arc::clone(&rig.log), Arc::clone(&rig.clock));
    let (lane, durable) = (Arc::new(OnceLock::new()), Arc::new(Mutex::new(Vec::new())));
    let (of, seen) = (Arc::clone(&lane), Arc::clone(&durable));
    let program = rig.program(&Journal::default(), move |_, _| {
        seen.lock().unwrap().push(log.lane(*of.get().unwrap()).unwrap().progress.counts.handled);
        clock.advance(LANE_BATCH_TIME);
        Ok(())
    });
    let running = rig.start_paused(config(&["t"]), program).await;
    lane.set(LaneId { consumer: running.id, partition: 0 }).unwrap();
    running.consumer.resume();
    running.settles(3).await;
    assert_eq!(*durable.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn a_lane_that_is_stopped_finishes_and_one_that_hangs_is_cut_off_and_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.topic("t").await;
    let hanging = Hanging::default();
    rig.publish("t", &[("a", "a1")]).await;
    let running = rig.start(config(&["t"]), rig.native(hanging.clone(), "1")).await;
    hanging.begun.notified().await;
    let lane = running.rows();
    let id = running.id;
    assert_eq!(running.consumer.stop(Duration::ZERO).await, 1);
    assert_eq!(rig.log.lane(LaneId { consumer: id, partition: 0 }).unwrap(), lane);

    let journal = Journal::default();
    let running = rig.start(config(&["t"]), rig.program(&journal, |_, _| Ok(()))).await;
    running.settles(1).await;
    running.stop().await;
    assert_eq!(journal.lines(), ["a1/1"]);
}

#[tokio::test]
async fn a_lane_rests_after_a_trap_longer_after_each_and_a_success_ends_that() {
    const TOOK: Duration = Duration::from_millis(10);
    let rig = Rig::new();
    rig.topic("t").await;
    let (journal, clock) = (Journal::default(), Arc::clone(&rig.clock));
    let program = rig.program(&journal, move |delivery, _| {
        if delivery.event.id().starts_with("trap") {
            clock.advance(TOOK);
            panic!("it always does");
        }
        Ok(())
    });
    let ids = ["trap-1", "trap-2", "fine", "trap-3"];
    rig.publish("t", &ids.map(|id| (id, id))).await;
    let config = config(&["t"]).retry(RetryPolicy::default().attempts(1));
    let running = rig.start(config, program).await;
    let mut rests = Vec::new();
    for _ in 0..3 {
        running
            .reaches(|report| matches!(report.state, LaneState::Waiting { until } if until > rig.clock.now()))
            .await;
        let LaneState::Waiting { until } = running.consumer.status().remove(0).state else {
            unreachable!("it was just seen")
        };
        rests.push(until.since(rig.clock.now()));
        assert_eq!(running.rows().progress.counts.dead_letters, rests.len() as u64, "its letter is durable");
        rig.clock.advance_to(until);
    }
    assert_eq!(rests, [TOOK * TRAP_REST, TOOK * TRAP_REST * 2, TOOK * TRAP_REST]);
    running.settles(4).await;
    assert_eq!(journal.lines(), ["trap-1/1", "trap-2/1", "fine/1", "trap-3/1"]);
}
