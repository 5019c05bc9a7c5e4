//! What consumers see of events that are lifted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::rig::{Gate, Journal, Rig, Running, config};
use crate::config::Order;
use crate::effects::Context;
use crate::event::Event;
use crate::handler::{Delivery, Failure, FailureKind, Handler, Program};
use crate::ids::LaneId;
use crate::limits::READ_BYTES_MAX;
use crate::log::Position;
use crate::upcast::{Lift, Lifted, Lifts, NativeUpcaster, Upcaster};

/// Lifts from `Test.v1` to `Test.v2` by a function.
fn by(lift: impl Fn(&Event) -> Result<Lifted, Failure> + Send + Sync + 'static) -> Arc<Lifts> {
    let upcaster: Arc<dyn Upcaster> =
        Arc::new(NativeUpcaster::new(Lift::new("Test.v1", "Test.v2").unwrap(), lift));
    Arc::new(Lifts::of([("up", &upcaster)]).unwrap())
}

fn all_well(event: &Event) -> Result<Lifted, Failure> {
    Lifted::json(&format!("lifted {}", event.id()))
}

/// What was delivered, as id, attempt and type.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Seen {
    fn program(
        &self,
        rig: &Rig,
        fails: impl Fn(&Delivery) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn Program> {
        let seen = self.clone();
        rig.program(&Journal::default(), move |delivery, _| {
            let event = &delivery.event;
            let data = event.data_as::<String>().unwrap_or_default();
            assert!(data.is_empty() || data == format!("lifted {}", event.id()), "{event:?}");
            seen.0.lock().unwrap().push(format!("{}/{} {}", event.id(), delivery.attempt, event.kind()));
            if fails(delivery) { Err(Failure::transient("busy", "try later")) } else { Ok(()) }
        })
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn letters(rig: &Rig, running: &Running) -> Vec<crate::log::DeadLetter> {
    rig.log.dead_letters(running.id, 0, 100).unwrap()
}

#[tokio::test]
async fn consumers_see_the_later_version_fresh_retried_after_a_restart_and_after_a_seek() {
    let mut rig = Rig::new();
    rig.lifts = by(all_well);
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1"), ("b", "b1"), ("a", "a2")]).await;
    let seen = Seen::default();
    let fails = |delivery: &Delivery| delivery.event.id() == "a1" && delivery.attempt == 1;
    let running = rig.start(config(&["t"]), seen.program(&rig, fails)).await;
    running.settles(3).await;
    assert_eq!(seen.lines(), ["a1/1 Test.v2", "b1/1 Test.v2", "a1/2 Test.v2", "a2/1 Test.v2"]);
    running.stop().await;

    let mut rig = rig.reopened();
    rig.lifts = by(all_well);
    rig.publish("t", &[("a", "a3")]).await;
    let running = rig.start(config(&["t"]), seen.program(&rig, |_| false)).await;
    running.settles(4).await;
    assert_eq!(seen.lines(), ["a3/1 Test.v2"]);
    rig.log.seek("c", None, None, Position::Earliest).await.unwrap();
    running.reaches(|report| report.counts.handled == 8).await;
    assert_eq!(seen.lines(), ["a1/1 Test.v2", "b1/1 Test.v2", "a2/1 Test.v2", "a3/1 Test.v2"]);
}

#[tokio::test]
async fn what_cannot_be_lifted_is_a_dead_letter_as_it_was_published_and_the_others_go_on() {
    let mut rig = Rig::new();
    rig.lifts = by(|event| match event.id() {
        "bad" => Err(Failure::permanent("no-price", "there is no price")),
        _ => all_well(event),
    });
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1"), ("b", "bad"), ("b", "b2"), ("a", "a2")]).await;
    let seen = Seen::default();
    let running = rig.start(config(&["t"]), seen.program(&rig, |_| false)).await;
    running.settles(4).await;
    assert_eq!(seen.lines(), ["a1/1 Test.v2", "b2/1 Test.v2", "a2/1 Test.v2"]);
    let letters = letters(&rig, &running);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((letter.reason.kind, letter.reason.code.as_str()), (FailureKind::Permanent, "no-price"));
    assert_eq!(letter.reason.message, "upcaster `up`, `Test.v1` to `Test.v2`: there is no price");
    assert_eq!(letter.event.as_ref().unwrap().kind(), "Test.v1");
}

#[tokio::test]
async fn a_redriven_letter_is_lifted_anew() {
    let mut rig = Rig::new();
    rig.lifts = by(|_| Err(Failure::permanent("no-price", "there is no price")));
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1")]).await;
    let seen = Seen::default();
    let running = rig.start(config(&["t"]), seen.program(&rig, |_| false)).await;
    running.settles(1).await;
    running.consumer.lift_by(&by(all_well));
    let letter = letters(&rig, &running)[0].id;
    rig.log.redrive("c", vec![letter]).await.unwrap();
    running.reaches(|report| report.counts.handled == 1).await;
    assert_eq!(seen.lines(), ["a1/1 Test.v2"]);
}

#[tokio::test]
async fn a_lift_that_fails_for_now_is_tried_again_and_its_key_waits() {
    let mut rig = Rig::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    rig.lifts = by(move |event| match event.id() {
        "a1" if counted.fetch_add(1, Ordering::SeqCst) < 2 => panic!("told to"),
        _ => all_well(event),
    });
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1"), ("b", "b1"), ("a", "a2")]).await;
    let seen = Seen::default();
    let running = rig.start(config(&["t"]), seen.program(&rig, |_| false)).await;
    running.settles(3).await;
    assert_eq!(seen.lines(), ["b1/1 Test.v2", "a1/3 Test.v2", "a2/1 Test.v2"]);
    assert_eq!(tries.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_event_whose_lift_always_traps_is_given_up_on_after_its_attempts() {
    let mut rig = Rig::new();
    rig.lifts = by(|event| if event.id() == "bad" { panic!("told to") } else { all_well(event) });
    rig.topic("t").await;
    rig.publish("t", &[("a", "a1"), ("b", "bad"), ("c", "c1")]).await;
    let seen = Seen::default();
    let running = rig.start(config(&["t"]), seen.program(&rig, |_| false)).await;
    running.settles(3).await;
    assert_eq!(seen.lines(), ["a1/1 Test.v2", "c1/1 Test.v2"]);
    let letter = &letters(&rig, &running)[0];
    assert_eq!((letter.attempts.len(), letter.reason.kind), (4, FailureKind::Trap));
    assert_eq!(letter.event.as_ref().unwrap().kind(), "Test.v1");
}

#[tokio::test]
async fn what_is_lifted_ahead_is_bounded_however_often_an_event_before_it_is_tried_again() {
    /// A lift that makes a quarter of what may be lifted ahead of a few bytes.
    const LIFTED: usize = READ_BYTES_MAX / 4;

    let mut rig = Rig::new();
    let lifted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let noted = Arc::clone(&lifted);
    rig.lifts = by(move |event| {
        noted.lock().unwrap().insert(event.id().to_owned());
        Lifted::json(&"x".repeat(LIFTED))
    });
    rig.topic("t").await;
    let ids: Vec<_> = (0..40).map(|number| format!("e{number}")).collect();
    let events: Vec<_> = ids.iter().map(|id| (id.as_str(), id.as_str())).collect();
    rig.publish("t", &events).await;
    let (clock, at_last) = (Arc::clone(&rig.clock), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&at_last);
    let program = rig.program(&Journal::default(), move |delivery, _| {
        if delivery.event.id() != "e0" {
            return Ok(());
        }
        // It is due again before others come.
        clock.advance(Duration::from_hours(1));
        seen.store(lifted.lock().unwrap().len(), Ordering::SeqCst);
        Err(Failure::transient("busy", "try later"))
    });
    let running = rig.start(config(&["t"]).order(Order::Partition), program).await;
    running.settles(40).await;
    assert_eq!(letters(&rig, &running)[0].attempts.len(), 4);
    let most = READ_BYTES_MAX / LIFTED + 1;
    assert!((2..=most).contains(&at_last.load(Ordering::SeqCst)), "{at_last:?}");
}

/// Notes the type of each event and what was lifted of it, and waits in its delivery until it may go on.
struct Waiting(Gate, Seen);

impl Handler for Waiting {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let lifted = delivery.event.data_as::<String>().unwrap_or_default();
        let line = format!("{} {lifted}", delivery.event.kind());
        self.1.0.lock().unwrap().push(line.trim_end().to_owned());
        self.0.handle(delivery, context).await
    }
}

#[tokio::test]
async fn what_was_lifted_ahead_is_lifted_anew_where_lifts_have_changed_before_its_delivery() {
    let said = |word: &'static str| by(move |event| Lifted::json(&format!("{word} {}", event.id())));
    let mut rig = Rig::new();
    rig.lifts = said("old");
    rig.topic("t").await;
    // With the first of them the others are lifted ahead.
    rig.publish("t", &[("a", "a1"), ("b", "b1"), ("c", "c1")]).await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let running = rig.start(config(&["t"]), rig.native(Waiting(gate.clone(), seen.clone()), "1")).await;
    gate.begun.notified().await;
    running.consumer.lift_by(&said("new"));
    for _ in 0..2 {
        gate.goes_on.notify_one();
        gate.begun.notified().await;
    }
    assert_eq!(seen.lines(), ["Test.v2 old a1", "Test.v2 new b1", "Test.v2 new c1"]);
}

#[tokio::test]
async fn what_is_published_after_lifts_have_changed_is_delivered_as_they_say() {
    let rig = Rig::new();
    let topic = rig.topic("t").await;
    let (gate, seen) = (Gate::default(), Seen::default());
    let running = rig.start(config(&["t"]), rig.native(Waiting(gate.clone(), seen.clone()), "1")).await;
    rig.publish("t", &[("a", "first")]).await;
    gate.begun.notified().await;
    let mut expected = vec!["Test.v1".to_owned()];
    for round in 0..6 {
        // A delivery is under way, and its batch would go on with the next one.
        let is_lifted = round % 2 == 0;
        running.consumer.lift_by(&if is_lifted { by(all_well) } else { Arc::default() });
        rig.publish("t", &[("a", &round.to_string())]).await;
        // Reading waits until lanes see it, which publishing doesn't.
        assert_eq!(rig.ids(topic).len(), expected.len() + 1);
        gate.goes_on.notify_one();
        gate.begun.notified().await;
        expected.push(if is_lifted { format!("Test.v2 lifted {round}") } else { "Test.v1".to_owned() });
        assert_eq!(*seen.0.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn the_delivery_that_may_have_ended_the_process_is_marked_before_its_event_is_lifted() {
    let rig = Rig::new();
    rig.topic("t").await;
    let running = rig.start(config(&["t"]), Seen::default().program(&rig, |_| false)).await;
    let lane = LaneId { consumer: running.id, partition: 0 };
    running.stop().await;
    rig.publish("t", &[("a", "a1"), ("b", "b1")]).await;

    let mut rig = rig.after_power_cut();
    let (log, marks) = (Arc::clone(&rig.log), Arc::new(Mutex::new(Vec::new())));
    let seen_marks = Arc::clone(&marks);
    rig.lifts = by(move |event| {
        let marked = log.lane(lane).unwrap().progress.marked;
        seen_marks.lock().unwrap().push((event.id().to_owned(), marked.map(|mark| mark.target)));
        all_well(event)
    });
    let seen = Seen::default();
    let running = rig.start(config(&["t"]), seen.program(&rig, |_| false)).await;
    running.settles(2).await;
    assert_eq!(seen.lines(), ["a1/1 Test.v2", "b1/1 Test.v2"]);
    let topic = rig.log.topic_id("t").unwrap();
    let expected = [("a1", 0), ("b1", 1)]
        .map(|(id, offset)| (id.to_owned(), Some(crate::log::Target::Fresh(topic, offset))));
    assert_eq!(*marks.lock().unwrap(), expected);
}
