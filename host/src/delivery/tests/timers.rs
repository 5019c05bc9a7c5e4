//! Timers: when they come, in which order, and that they come once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::rig::{Journal, Rig, Running, add_one, config};
use crate::clock::Clock;
use crate::config::{ConsumerConfig, OnDeadLetter};
use crate::delivery::LaneState;
use crate::delivery::status::Report;
use crate::effects::Context;
use crate::event::{Attribute, Data, EventParts};
use crate::handler::{Delivery, Failure};
use crate::limits::LANE_BATCH_DELIVERIES;
use crate::log::{Position, Wait};
use crate::timer::{TIMER_NAME, TIMER_TOPIC, TIMER_TYPE};

const MINUTE: Duration = Duration::from_mins(1);
const MICROSECOND: Duration = Duration::from_micros(1);

/// A delivery in short: `id` of an event, `key/name` of a timer.
fn line(delivery: &Delivery) -> String {
    let event = &delivery.event;
    match event.extension(TIMER_NAME).and_then(Attribute::as_text) {
        Some(name) if event.kind() == TIMER_TYPE => format!("{}/{name}", event.key()),
        _ => event.id().to_owned(),
    }
}

/// Deliveries in their order, with their attempts.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A consumer of `t` that notes each delivery before it makes it.
async fn start(
    rig: &Rig,
    lines: &Lines,
    handle: impl Fn(&Delivery, &mut Context) -> Result<(), Failure> + Send + Sync + 'static,
) -> Running {
    start_as(rig, lines, config(&["t"]), handle).await
}

/// The same, of this configuration.
async fn start_as(
    rig: &Rig,
    lines: &Lines,
    config: ConsumerConfig,
    handle: impl Fn(&Delivery, &mut Context) -> Result<(), Failure> + Send + Sync + 'static,
) -> Running {
    let lines = lines.clone();
    let program = rig.program(&Journal::default(), move |delivery, context| {
        lines.0.lock().unwrap().push(line(delivery));
        handle(delivery, context)
    });
    rig.start(config, program).await
}

/// Waits until there is nothing to do for the lane, which has so many timers then.
async fn rests(running: &Running, timers: u64) {
    running.reaches(|report| is_at_rest(report) && report.timers == timers).await;
}

fn is_at_rest(report: &Report) -> bool {
    matches!(report.state, LaneState::Idle | LaneState::Parked)
}

/// What an event of these tests asks for by its id: `set NAME MINUTES`, `cancel NAME`, or nothing.
fn obey(delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
    let words: Vec<&str> = delivery.event.id().split(' ').collect();
    match words[..] {
        ["set", name, minutes, ..] => {
            let due = context.now().after(MINUTE * minutes.parse().unwrap());
            Ok(context.set_timer(name, due, None)?)
        }
        ["cancel", name, ..] => Ok(context.cancel_timer(name)?),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn a_timer_comes_when_it_is_due_once_and_says_what_it_is() {
    let rig = Rig::new();
    rig.topic("t").await;
    let out = rig.topic("out").await;
    let (lines, seen) = (Lines::default(), Arc::new(Mutex::new(None)));
    let start_time = rig.clock.now();
    let due = start_time.after(MINUTE);
    let noted = Arc::clone(&seen);
    let running = start(&rig, &lines, move |delivery, context| {
        add_one(context, "count")?;
        if delivery.event.kind() == TIMER_TYPE {
            *noted.lock().unwrap() = Some(delivery.clone());
            let event = EventParts { kind: "Came.v1".into(), ..EventParts::default() };
            Ok(context.publish("out", event)?)
        } else {
            Ok(context.set_timer("unpaid", due, Some(Data::Json("17".into())))?)
        }
    })
    .await;
    rig.publish("t", &[("a", "e1")]).await;
    rests(&running, 1).await;
    rig.clock.advance_to(due.before(MICROSECOND));
    rig.publish("t", &[("b", "e2")]).await;
    running.reaches(|report| is_at_rest(report) && report.timers == 2).await;
    assert_eq!(lines.all(), ["e1", "e2"]);
    rig.clock.advance_to(due);
    rests(&running, 0).await;
    assert_eq!(lines.all(), ["e1", "e2", "a/unpaid", "b/unpaid"]);
    assert_eq!(running.count("count"), 4);
    let ids = ["c/$timers/0/0/0", "c/$timers/0/1/0"];
    assert_eq!(rig.ids(out), ids, "what a timer causes has an id that a repeated delivery repeats");

    let delivery = seen.lock().unwrap().take().unwrap();
    let event = &delivery.event;
    assert_eq!((&*delivery.topic, delivery.offset, delivery.attempt), (TIMER_TOPIC, 1, 1));
    assert_eq!((delivery.now, delivery.appended), (due, due));
    assert_eq!((event.id(), event.source()), ("c/t/0/1/timers/unpaid", "/tidegate/consumers/c"));
    assert_eq!(event.subject(), Some("b"));
    assert_eq!(event.time(), Some(due.to_string().as_str()));
    assert_eq!(event.data(), Some(&Data::Json("17".into())));
    let text = |name| event.extension(name).and_then(Attribute::as_text);
    assert_eq!((text("causationid"), text("correlationid")), (Some("e2"), Some("e2")));
}

#[tokio::test]
async fn a_timer_is_replaced_and_cancelled_by_its_name_within_its_key() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    rig.publish("t", &[("a", "set x 1"), ("b", "set x 2 b"), ("a", "set x 5"), ("a", "set y 3")]).await;
    rests(&running, 3).await;
    rig.publish("t", &[("a", "cancel y"), ("a", "cancel never"), ("b", "cancel y b")]).await;
    rests(&running, 2).await;
    rig.clock.advance(MINUTE * 4);
    rests(&running, 1).await;
    rig.clock.advance(MINUTE);
    rests(&running, 0).await;
    assert_eq!(lines.all()[7..], ["b/x", "a/x"]);
}

#[tokio::test]
async fn a_timer_comes_after_what_was_accepted_before_it_was_due_and_before_what_came_later() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    rig.publish("t", &[("a", "set x 2")]).await;
    rests(&running, 1).await;
    running.consumer.pause();
    running.reaches(|report| report.state == LaneState::Paused).await;
    for id in ["at 1", "at 2", "at 3"] {
        rig.clock.advance(MINUTE);
        rig.publish("t", &[("a", id)]).await;
    }
    running.consumer.resume();
    running
        .reaches(|report| is_at_rest(report) && report.timers == 0 && report.next.values().sum::<u64>() == 4)
        .await;
    assert_eq!(lines.all(), ["set x 2", "at 1", "at 2", "a/x", "at 3"]);
}

#[tokio::test]
async fn a_delivery_that_fails_sets_and_cancels_nothing() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        obey(delivery, context)?;
        if delivery.event.id().ends_with("bad") { Err(Failure::permanent("bad", "bad")) } else { Ok(()) }
    })
    .await;
    rig.publish("t", &[("a", "set x 1"), ("a", "set y 1 bad"), ("a", "cancel x bad"), ("a", "set x 9 bad")])
        .await;
    rests(&running, 1).await;
    rig.clock.advance(MINUTE);
    rests(&running, 0).await;
    assert_eq!(lines.all()[4..], ["a/x"]);
}

#[tokio::test]
async fn a_timer_waits_behind_its_key_and_is_retried_and_given_up_on_as_any_event() {
    let rig = Rig::new();
    rig.topic("t").await;
    let (lines, works) = (Lines::default(), Arc::new(AtomicBool::new(false)));
    let mended = Arc::clone(&works);
    let running = start(&rig, &lines, move |delivery, context| {
        obey(delivery, context)?;
        let is_bad = line(delivery) == "a/x" && !mended.load(Ordering::SeqCst);
        if is_bad || (delivery.event.id() == "slow" && delivery.attempt < 3) {
            return Err(Failure::transient("busy", "try later"));
        }
        Ok(())
    })
    .await;
    rig.publish("t", &[("a", "set x 1"), ("b", "set x 1 b")]).await;
    rests(&running, 2).await;
    // It fails, and its key's timer comes due while it waits for its retry.
    rig.clock.advance_to(rig.clock.now().after(MINUTE).before(MICROSECOND));
    rig.publish("t", &[("a", "slow")]).await;
    running.reaches(|report| report.held == 1).await;
    rig.clock.advance(MICROSECOND);
    running.settles(3).await;
    let of_a = || -> Vec<_> { lines.all().into_iter().filter(|line| !line.contains('b')).collect() };
    let attempts = ["set x 1", "slow", "slow", "slow", "a/x", "a/x", "a/x", "a/x"];
    assert_eq!(of_a(), attempts);
    assert!(lines.all().contains(&"b/x".to_owned()));
    let letter = rig.log.dead_letters(running.id, 0, 10).unwrap().remove(0);
    assert_eq!((&*letter.topic, letter.offset, letter.attempts.len()), (TIMER_TOPIC, 0, 4));
    assert_eq!(letter.event.as_ref().unwrap().key(), "a");

    works.store(true, Ordering::SeqCst);
    rig.log.redrive("c", vec![letter.id]).await.unwrap();
    running.reaches(|report| report.counts.handled == 5 && is_at_rest(report)).await;
    assert_eq!(of_a()[attempts.len()..], ["a/x"]);
    assert!(running.rows().held.is_empty());
}

#[tokio::test]
async fn a_timer_survives_the_power_and_a_restart_and_comes_late_rather_than_never() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    rig.publish("t", &[("a", "set x 1"), ("a", "set y 2"), ("b", "set z 3")]).await;
    rests(&running, 3).await;
    drop(running);
    let rig = rig.after_power_cut();
    rig.clock.advance(MINUTE * 2);
    let running = start(&rig, &lines, obey).await;
    rests(&running, 1).await;
    running.stop().await;
    let rig = rig.reopened();
    rig.clock.advance(MINUTE * 10);
    let running = start(&rig, &lines, obey).await;
    rests(&running, 0).await;
    assert_eq!(lines.all()[3..], ["a/x", "a/y", "b/z"]);
}

#[tokio::test]
async fn a_timer_that_was_read_ahead_and_is_changed_by_the_batch_comes_as_it_was_changed() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        if line(delivery) == "a/first" {
            context.cancel_timer("second")?;
            let due = context.now().after(MINUTE * 5);
            context.set_timer("third", due, None)?;
            return Ok(context.set_timer("first", due, None)?);
        }
        obey(delivery, context)
    })
    .await;
    rig.publish(
        "t",
        &[("a", "set first 1"), ("a", "set second 1"), ("a", "set third 1"), ("a", "set fourth 1")],
    )
    .await;
    rests(&running, 4).await;
    rig.clock.advance(MINUTE);
    rests(&running, 2).await;
    assert_eq!(lines.all()[4..], ["a/first", "a/fourth"]);
    rig.clock.advance(MINUTE * 5);
    running.reaches(|report| report.counts.handled == 8 && is_at_rest(report)).await;
    assert_eq!(lines.all()[6..], ["a/third", "a/first"]);
}

#[tokio::test]
async fn a_timer_for_a_moment_that_has_passed_comes_at_once_and_one_may_set_itself_again() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        let count = delivery.offset;
        match delivery.event.kind() {
            TIMER_TYPE if count == 3 => Ok(()),
            TIMER_TYPE => Ok(context.set_timer("tick", context.now().after(MINUTE), None)?),
            _ => Ok(context.set_timer("tick", context.now(), None)?),
        }
    })
    .await;
    rig.publish("t", &[("a", "e1")]).await;
    rests(&running, 1).await;
    for _ in 0..3 {
        running.reaches(|report| is_at_rest(report) && report.timers == 1).await;
        rig.clock.advance_to(rig.clock.now().after(MINUTE));
    }
    rests(&running, 0).await;
    assert_eq!(lines.all(), ["e1", "a/tick", "a/tick", "a/tick", "a/tick"]);
}

#[tokio::test]
async fn more_timers_than_a_batch_takes_come_in_the_order_in_which_they_are_due() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    let count = LANE_BATCH_DELIVERIES * 2 + 7;
    // Those that are set first are due last.
    let ids: Vec<_> = (0..count).map(|at| format!("set n{at} {}", count - at)).collect();
    for ids in ids.chunks(100) {
        let events: Vec<_> = ids.iter().map(|id| ("a", id.as_str())).collect();
        rig.publish("t", &events).await;
    }
    rests(&running, count as u64).await;
    rig.clock.advance(MINUTE * u32::try_from(count).unwrap());
    rests(&running, 0).await;
    let expected: Vec<_> = (0..count).rev().map(|at| format!("a/n{at}")).collect();
    assert_eq!(lines.all()[count..], expected);
}

#[tokio::test]
async fn seeking_and_redriving_leave_timers_alone() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    rig.publish("t", &[("a", "set x 1")]).await;
    rests(&running, 1).await;
    rig.log.seek("c", None, None, Position::Latest).await.unwrap();
    rig.clock.advance(MINUTE);
    rests(&running, 0).await;
    assert_eq!(lines.all(), ["set x 1", "a/x"]);
    assert!(running.rows().held.values().all(|held| held.wait != Wait::Operator));
}

#[tokio::test]
async fn a_lane_that_is_late_keeps_the_order_of_timers_that_it_has_only_just_set() {
    let rig = Rig::new();
    rig.topic("t").await;
    for (after, key, id) in
        [(0, "a", "set x 2"), (0, "a", "set y 9"), (1, "a", "at 1"), (2, "a", "at 3"), (0, "a", "cancel y")]
    {
        rig.clock.advance(MINUTE * after);
        rig.publish("t", &[(key, id)]).await;
    }
    rig.clock.advance(MINUTE * 60);
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    running.reaches(|report| is_at_rest(report) && report.counts.handled == 6).await;
    assert_eq!(lines.all(), ["set x 2", "set y 9", "at 1", "a/x", "at 3", "cancel y"]);
    assert_eq!(running.rows().progress.timers, crate::timer::TimerCounts { next: 2, set: 0 });
}

#[tokio::test]
async fn a_timer_that_comes_in_the_batch_that_has_set_it_and_fails_is_held_as_any_other() {
    let rig = Rig::new();
    rig.topic("t").await;
    rig.publish("t", &[("a", "set x 0"), ("a", "e2")]).await;
    rig.clock.advance(MINUTE);
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        obey(delivery, context)?;
        if delivery.event.kind() == TIMER_TYPE && delivery.attempt < 3 {
            return Err(Failure::transient("busy", "try later"));
        }
        Ok(())
    })
    .await;
    running.settles(2).await;
    let made: Vec<_> = lines.all();
    assert_eq!(made.iter().filter(|line| *line == "a/x").count(), 3, "{made:?}");
    assert_eq!(running.rows().progress.counts.handled, 3);
}

#[tokio::test]
async fn a_timer_comes_once_where_each_delivery_is_marked_after_a_crash() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, obey).await;
    rig.publish("t", &[("a", "set x 1")]).await;
    rests(&running, 1).await;
    drop(running);
    rig.publish("t", &[("b", "set y 9 b")]).await;
    let rig = rig.after_power_cut();
    rig.clock.advance(MINUTE);
    let running = start(&rig, &lines, obey).await;
    running.reaches(|report| is_at_rest(report) && report.next.values().sum::<u64>() == 2).await;
    rests(&running, 1).await;
    assert_eq!(lines.all(), ["set x 1", "set y 9 b", "a/x"]);
}

#[tokio::test]
async fn a_timer_that_is_due_while_its_key_is_held_can_still_be_cancelled_and_replaced() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        obey(delivery, context)?;
        if delivery.event.id() == "slow" && delivery.attempt < 3 {
            return Err(Failure::transient("busy", "try later").with_retry_after(MINUTE * 5));
        }
        Ok(())
    })
    .await;
    rig.publish("t", &[("a", "set x 1"), ("a", "set y 1"), ("a", "set z 1"), ("b", "set x 1 b")]).await;
    rests(&running, 4).await;
    rig.publish("t", &[("a", "slow"), ("a", "cancel x"), ("a", "set y 30")]).await;
    running.reaches(|report| report.held == 3).await;
    rig.clock.advance(MINUTE);
    running.reaches(|report| report.timers == 3 && matches!(report.state, LaneState::Waiting { .. })).await;
    assert_eq!(lines.all()[4..], ["slow", "b/x"]);
    running.settles(7).await;
    assert_eq!(lines.all()[6..], ["slow", "slow", "cancel x", "set y 30", "a/z"]);
    rests(&running, 1).await;
    rig.clock.advance(MINUTE * 30);
    rests(&running, 0).await;
    assert_eq!(lines.all().last().unwrap(), "a/y");
}

/// The outcome of a delivery that fails at its first attempt, if its id is this one, and is tried again so many minutes later.
fn slow(delivery: &Delivery, id: &str, minutes: u32) -> Result<(), Failure> {
    if delivery.event.id() == id && delivery.attempt == 1 {
        return Err(Failure::transient("busy", "try later").with_retry_after(MINUTE * minutes));
    }
    Ok(())
}

/// A consumer whose `slow` is tried again after five minutes.
async fn start_slow(rig: &Rig, lines: &Lines, config: ConsumerConfig) -> Running {
    start_as(rig, lines, config, |delivery, context| {
        obey(delivery, context)?;
        slow(delivery, "slow", 5)
    })
    .await
}

#[tokio::test]
async fn a_timer_that_waits_for_its_key_comes_before_what_was_accepted_after_it_was_due() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start_slow(&rig, &lines, config(&["t"])).await;
    rig.publish("t", &[("a", "set x 1"), ("a", "set y 3"), ("a", "slow")]).await;
    running.reaches(|report| report.held == 1).await;
    for (count, later) in [(2, "later"), (3, "last")] {
        rig.clock.advance(MINUTE * 2);
        rig.publish("t", &[("a", later)]).await;
        running.reaches(|report| report.held == count).await;
    }
    running.settles(5).await;
    rests(&running, 0).await;
    assert_eq!(lines.all(), ["set x 1", "set y 3", "slow", "slow", "a/x", "later", "a/y", "last"]);
}

#[tokio::test]
async fn a_timer_that_is_set_while_later_events_of_its_key_wait_comes_before_them() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start_slow(&rig, &lines, config(&["t"])).await;
    rig.publish("t", &[("a", "slow"), ("a", "set x 1"), ("a", "set y 3"), ("a", "set z 3")]).await;
    for (count, later) in [(5, "later"), (6, "last")] {
        running.reaches(|report| report.held == count - 1).await;
        rig.clock.advance(MINUTE * 2);
        rig.publish("t", &[("a", later)]).await;
    }
    running.settles(6).await;
    rests(&running, 0).await;
    let after = &lines.all()[2..];
    assert_eq!(after, ["set x 1", "set y 3", "set z 3", "a/x", "later", "a/y", "a/z", "last"]);
}

#[tokio::test]
async fn a_timer_of_another_key_keeps_none_behind_what_was_accepted_after_it_was_due() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        obey(delivery, context)?;
        slow(delivery, "slow a", 5)?;
        slow(delivery, "slow b", 5)
    })
    .await;
    rig.publish("t", &[("b", "slow b"), ("b", "set z 1"), ("a", "slow a"), ("a", "set x 3")]).await;
    running.reaches(|report| report.held == 4).await;
    rig.clock.advance(MINUTE * 4);
    rig.publish("t", &[("a", "later")]).await;
    running.settles(5).await;
    rests(&running, 0).await;
    let after = &lines.all()[2..];
    assert_eq!(after, ["slow b", "set z 1", "slow a", "set x 3", "b/z", "a/x", "later"]);
}

#[tokio::test]
async fn a_timer_that_waits_before_a_later_event_can_still_be_cancelled_and_replaced() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start_slow(&rig, &lines, config(&["t"])).await;
    rig.publish("t", &[("a", "set x 1"), ("a", "set y 1"), ("a", "set z 1"), ("a", "slow")]).await;
    rig.publish("t", &[("a", "cancel x"), ("a", "set y 30")]).await;
    running.reaches(|report| report.held == 3).await;
    rig.clock.advance(MINUTE * 2);
    rig.publish("t", &[("a", "later"), ("a", "cancel z")]).await;
    running.reaches(|report| report.held == 5 && report.timers == 3).await;
    // What is held is read back from the log.
    drop(running);
    let running = start_slow(&rig, &lines, config(&["t"])).await;
    running.settles(8).await;
    rests(&running, 1).await;
    let after = &lines.all()[4..];
    assert_eq!(after, ["slow", "cancel x", "set y 30", "a/z", "later", "cancel z"], "each once");
    rig.clock.advance(MINUTE * 30);
    rests(&running, 0).await;
    assert_eq!(lines.all().last().unwrap(), "a/y");
}

#[tokio::test]
async fn a_timer_that_fails_before_later_events_of_its_key_keeps_its_place_and_so_does_its_dead_letter() {
    for on_dead_letter in [OnDeadLetter::Continue, OnDeadLetter::Park] {
        let rig = Rig::new();
        rig.topic("t").await;
        let lines = Lines::default();
        let config = config(&["t"]).on_dead_letter(on_dead_letter);
        let running = start_as(&rig, &lines, config, |delivery, context| {
            obey(delivery, context)?;
            match line(delivery).as_str() {
                "a/x" if delivery.attempt == 1 => Err(Failure::transient("busy", "try later")),
                "a/y" if !delivery.redriven => Err(Failure::permanent("no", "never")),
                _ => slow(delivery, "slow", 5),
            }
        })
        .await;
        rig.publish("t", &[("a", "set x 1"), ("a", "set y 1"), ("a", "slow")]).await;
        running.reaches(|report| report.held == 1).await;
        rig.clock.advance(MINUTE * 2);
        rig.publish("t", &[("a", "later"), ("b", "other"), ("a", "last")]).await;
        running.reaches(|report| report.held == 3).await;
        running.settles(6).await;
        rests(&running, 0).await;
        let made =
            [&["set x 1", "set y 1", "slow", "other", "slow", "a/x", "a/x", "a/y"][..], &["later", "last"]];
        match on_dead_letter {
            OnDeadLetter::Continue => assert_eq!(lines.all(), made.concat()),
            OnDeadLetter::Park => {
                assert_eq!(lines.all(), made[0]);
                let letter = rig.log.dead_letters(running.id, 0, 1).unwrap().remove(0);
                rig.log.redrive("c", vec![letter.id]).await.unwrap();
                running.settles(6).await;
                running.reaches(|report| report.held == 0).await;
                assert_eq!(lines.all()[8..], ["a/y", "later", "last"]);
            }
        }
    }
}

#[tokio::test]
async fn a_held_event_passes_no_timer_of_its_key_while_a_topic_is_read_again() {
    let rig = Rig::new();
    rig.topic("old").await;
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start_slow(&rig, &lines, config(&["old", "t"])).await;
    rig.publish("old", &[("b", "old")]).await;
    rig.publish("t", &[("a", "set x 1"), ("a", "slow")]).await;
    running.reaches(|report| report.held == 1 && report.counts.handled == 2).await;
    rig.clock.advance(MINUTE * 2);
    rig.publish("t", &[("a", "later")]).await;
    running.reaches(|report| report.held == 2).await;
    running.consumer.pause();
    running.reaches(|report| report.state == LaneState::Paused).await;
    rig.log.seek("c", Some("old"), None, Position::Earliest).await.unwrap();
    rig.clock.advance(MINUTE * 5);
    running.consumer.resume();
    running.settles(4).await;
    rests(&running, 0).await;
    let lines = lines.all().split_off(3);
    assert_eq!(lines, ["slow", "old", "a/x", "later"]);
}

/// Has key `a` set so many timers that are due in a minute: as many as one read of timers finds, for a batch of them.
async fn set_in_a_minute(rig: &Rig, count: usize) {
    let ids: Vec<_> = (0..count).map(|at| format!("set n{at:05} 1")).collect();
    let events: Vec<_> = ids.iter().map(|id| ("a", id.as_str())).collect();
    rig.publish("t", &events).await;
}

#[tokio::test]
async fn nothing_passes_a_timer_that_could_not_be_looked_at_as_too_many_wait() {
    let count = LANE_BATCH_DELIVERIES;
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start_slow(&rig, &lines, config(&["t"]).held_max(count)).await;
    set_in_a_minute(&rig, count).await;
    rig.publish("t", &[("b", "set z 2 b"), ("a", "slow")]).await;
    running.reaches(|report| report.held == 1).await;
    rig.clock.advance(MINUTE * 3);
    rig.publish("t", &[("b", "later")]).await;
    running.reaches(|report| matches!(report.state, LaneState::Stalled { .. })).await;
    assert_eq!(lines.all().len(), count + 2);
    rig.clock.advance(MINUTE * 5);
    rests(&running, 0).await;
    running.reaches(|report| report.counts.handled == 2 * count as u64 + 4).await;
    let after = lines.all().split_off(count + 2);
    assert_eq!((&*after[0], &after[count + 1..]), ("slow", &["b/z".to_owned(), "later".to_owned()][..]));
}

#[tokio::test]
async fn no_held_event_passes_a_timer_that_is_set_while_as_many_wait_as_may() {
    let count = LANE_BATCH_DELIVERIES;
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start_as(&rig, &lines, config(&["t"]).held_max(count), |delivery, context| {
        obey(delivery, context)?;
        slow(delivery, "slow a", 10)?;
        slow(delivery, "slow b", 5)
    })
    .await;
    set_in_a_minute(&rig, count).await;
    rig.publish("t", &[("a", "slow a"), ("b", "slow b"), ("b", "set z 2")]).await;
    running.reaches(|report| report.held == 3).await;
    rig.clock.advance(MINUTE * 3);
    rig.publish("t", &[("b", "later")]).await;
    running.reaches(|report| report.held == 4).await;
    // `set z 2` sets a timer that is due before `later` was accepted.
    rig.clock.advance(MINUTE * 3);
    running.reaches(|report| matches!(report.state, LaneState::Stalled { .. })).await;
    assert_eq!(lines.all()[count + 2..], ["slow b", "set z 2"]);
    rig.clock.advance(MINUTE * 5);
    running.reaches(|report| report.counts.handled == 2 * count as u64 + 5).await;
    let after = lines.all().split_off(2 * count + 5);
    assert_eq!(after, ["b/z", "later"]);
}

#[tokio::test]
async fn timers_that_wait_for_a_key_that_is_given_up_on_come_then() {
    let rig = Rig::new();
    rig.topic("t").await;
    let lines = Lines::default();
    let running = start(&rig, &lines, |delivery, context| {
        obey(delivery, context)?;
        if delivery.event.id() == "poison" { Err(Failure::transient("poison", "never")) } else { Ok(()) }
    })
    .await;
    rig.publish("t", &[("a", "set x 1"), ("a", "poison")]).await;
    running.reaches(|report| report.held == 1).await;
    rig.clock.advance(MINUTE);
    running.settles(2).await;
    rests(&running, 0).await;
    assert_eq!(lines.all(), ["set x 1", "poison", "poison", "poison", "poison", "a/x"]);
}
