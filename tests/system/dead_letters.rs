//! Guarantee 7: nothing is dropped in silence.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidegate::config::{ConsumerConfig, Retention, RetryPolicy, TopicConfig};
use tidegate::{
    AdminError, Blocking, Delivery, Event, Failure, FailureKind, Handler, Outgoing, ReadError, Trimmed,
    handler_fn,
};

use crate::house::{
    House, SHUTDOWN, START, all, at_once, consumer, event, event_with, guest, handled, ids, letters, publish,
    topic,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);

/// What was handled.
type Handled = Arc<Mutex<Vec<Delivery>>>;

/// A handler that notes what it handles, and fails for good whatever begins with `bad`, unless it was redriven and
/// `mended` says that it is well now.
fn picky(handled: &Handled, mended: bool) -> impl Handler + use<> {
    let handled = Arc::clone(handled);
    handler_fn(move |delivery, context| {
        if delivery.event.id().starts_with("bad") && !(mended && delivery.redriven) {
            return Err(Failure::permanent("bad", "it is bad"));
        }
        handled.lock().unwrap().push(delivery.clone());
        context.publish("out", Outgoing { kind: "Handled.v1".to_owned(), ..Outgoing::default() })?;
        Ok(())
    })
}

fn trim(bus: &Blocking) -> Trimmed {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(bus.bus().trim()).unwrap()
}

/// A topic `in` that keeps events for a second.
fn short_lived(bus: &Blocking, force: bool) {
    let retention = Retention::keep_for(SECOND).force(force);
    bus.create_topic("in", TopicConfig::new(1).retention(retention)).unwrap();
}

#[test]
fn a_dead_letter_keeps_the_whole_event_its_origin_every_attempt_and_the_version() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("in", TopicConfig::new(4)).unwrap();
    publish(&bus, "in", "first", "k");
    let event = Event::new("a", "/tests", "Bad.v1")
        .subject("some-subject")
        .extension("partitionkey", "k")
        .extension("correlationid", "a-story")
        .json_text(r#"{"fail":"trap","why":"é"}"#)
        .build()
        .unwrap();
    house.clock.advance(HOUR);
    let published = bus.publish("in", event.clone()).unwrap();
    let retry = RetryPolicy::default().attempts(3).backoff(SECOND, SECOND);
    bus.subscribe_plugin("c", ConsumerConfig::new(["in"]).retry(retry), guest("counter")).unwrap();
    house.until(|| consumer(&bus, "c").dead_letters == 1);
    let version = bus.bus().plugins()[0].version.clone();
    let bus = house.cut_power(bus);

    let letter = &letters(&bus, "c")[0];
    assert_eq!(letter.event.as_deref(), Some(&event), "whole, and as it was published");
    assert_eq!(letter.topic, "in");
    assert_eq!((letter.partition, letter.offset), (published.partition, published.offset));
    assert_eq!(letter.offset_last, letter.offset);
    assert_eq!(letter.commit, all(&bus, "in")[1].commit);
    assert_eq!(letter.appended, START.after(HOUR));
    assert_eq!(letter.attempts.len(), 3);
    assert_eq!(letter.first_attempt, letter.attempts[0].at);
    assert!(letter.attempts.windows(2).all(|pair| pair[0].at < pair[1].at), "each with its time");
    assert!(letter.at >= letter.attempts[2].at);
    for attempt in &letter.attempts {
        assert_eq!((attempt.failure.kind, attempt.failure.code.as_str()), (FailureKind::Trap, "unreachable"));
        assert_eq!(attempt.version, version);
    }
    let backtraces: Vec<_> =
        letter.attempts.iter().map(|attempt| attempt.failure.backtrace.as_deref()).collect();
    let backtrace = letter.reason.backtrace.as_deref().unwrap();
    assert!(backtrace.contains("tidegate_guests::hostile"), "names the guest's functions: {backtrace}");
    assert_eq!(backtraces, [Some(backtrace), None, None], "told once, where it is the same");
    assert_eq!(
        (version.name.as_str(), version.version.as_str(), version.hash.len()),
        ("counter", "0.1.0", 64)
    );
    assert_eq!(letter.version, version);
    assert_eq!(letter.reason.message, letter.attempts[2].failure.message);
    assert!(!letter.redriven);
}

#[test]
fn redriving_takes_effect_once_and_only_for_that_consumer() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    publish(&bus, "in", "bad", "k");
    publish(&bus, "in", "good", "k");
    let (handled, others) = (Handled::default(), Handled::default());
    bus.subscribe("c", at_once(), picky(&handled, true)).unwrap();
    let notes = Arc::clone(&others);
    let other = handler_fn(move |delivery, _| {
        notes.lock().unwrap().push(delivery.clone());
        Ok(())
    });
    bus.subscribe("other", at_once(), other).unwrap();
    house.settles(|| consumer(&bus, "c").dead_letters == 1);
    bus.caught_up("c").unwrap();
    bus.caught_up("other").unwrap();

    let letter = letters(&bus, "c")[0].id;
    bus.redrive("c", vec![letter]).unwrap();
    let again = bus.redrive("c", vec![letter]);
    assert!(matches!(again, Err(AdminError::UnknownDeadLetter { .. })), "{again:?}");
    bus.caught_up("c").unwrap();
    bus.caught_up("other").unwrap();
    assert!(letters(&bus, "c").is_empty());
    {
        let handled = handled.lock().unwrap();
        let seen: Vec<_> = handled.iter().map(|delivery| (delivery.event.id(), delivery.redriven)).collect();
        assert_eq!(seen, [("good", false), ("bad", true)]);
        assert_eq!(handled[1].attempt, 1, "its attempts begin anew");
    }
    assert_eq!(ids(&bus, "in"), ["bad", "good"], "never back to the topic");
    assert_eq!(others.lock().unwrap().len(), 2, "so that no other consumer gets it again");
    // Not a second time after a loss of power either.
    let bus = house.cut_power(bus);
    bus.subscribe("c", at_once(), picky(&handled, true)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(ids(&bus, "out").len(), 2);
    assert_eq!(handled.lock().unwrap().len(), 2);
}

#[test]
fn a_redrive_is_durable_when_it_is_acknowledged() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    publish(&bus, "in", "bad", "k");
    let handled = Handled::default();
    bus.subscribe("c", at_once(), picky(&handled, true)).unwrap();
    house.settles(|| consumer(&bus, "c").dead_letters == 1);
    bus.unsubscribe("c").unwrap();
    bus.redrive("c", vec![letters(&bus, "c")[0].id]).unwrap();
    let bus = house.cut_power(bus);
    assert_eq!((letters(&bus, "c").len(), consumer(&bus, "c").held), (0, 1));
    bus.subscribe("c", at_once(), picky(&handled, true)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(handled.lock().unwrap().len(), 1);
}

#[test]
fn a_redriven_event_that_fails_again_is_a_new_letter_that_says_so() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.publish("in", event_with("a", "k", r#"{"fail": "transient"}"#)).unwrap();
    let retry =
        RetryPolicy::default().attempts(3).backoff(Duration::from_millis(1), Duration::from_millis(1));
    bus.subscribe_plugin("c", ConsumerConfig::new(["in"]).retry(retry), guest("counter")).unwrap();
    house.until(|| consumer(&bus, "c").dead_letters == 1);
    let first = letters(&bus, "c").remove(0);
    bus.redrive("c", vec![first.id]).unwrap();
    house.until(|| letters(&bus, "c").first().is_some_and(|letter| letter.id != first.id));
    let second = letters(&bus, "c").remove(0);
    assert!(second.redriven && !first.redriven);
    assert_eq!(second.attempts.len(), 3, "as many attempts as at first");
    assert_eq!(second.event, first.event);
    assert_eq!((second.topic, second.offset, second.commit), (first.topic, first.offset, first.commit));
}

#[test]
fn a_discarded_letter_is_gone_and_the_others_stay() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    publish(&bus, "in", "bad-1", "k");
    publish(&bus, "in", "bad-2", "k");
    let handled = Handled::default();
    bus.subscribe("c", at_once(), picky(&handled, true)).unwrap();
    house.settles(|| consumer(&bus, "c").dead_letters == 2);
    let (first, second) = (letters(&bus, "c")[0].id, letters(&bus, "c")[1].id);
    let partly = bus.discard("c", vec![first, 999]);
    assert!(matches!(partly, Err(AdminError::UnknownDeadLetter { letter: 999, .. })), "{partly:?}");
    assert_eq!(letters(&bus, "c").len(), 2, "all or none");
    bus.discard("c", vec![first]).unwrap();
    let bus = house.cut_power(bus);
    let left: Vec<_> = letters(&bus, "c").iter().map(|letter| letter.id).collect();
    assert_eq!(left, [second]);
    assert!(handled.lock().unwrap().is_empty());
}

#[test]
fn retention_never_passes_what_a_consumer_has_not_had_yet() {
    let house = House::new();
    let bus = house.open();
    short_lived(&bus, false);
    topic(&bus, "out");
    let handled = Handled::default();
    bus.subscribe("c", at_once().paused(true), picky(&handled, false)).unwrap();
    for id in ["a", "b"] {
        publish(&bus, "in", id, "k");
    }
    house.clock.advance(HOUR);
    assert_eq!(trim(&bus).events, 0);
    assert_eq!(ids(&bus, "in"), ["a", "b"]);
    bus.resume("c").unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(handled.lock().unwrap().len(), 2);
    house.settles(|| trim(&bus).events == 2 || ids(&bus, "in").is_empty());
    assert_eq!(ids(&bus, "in"), [""; 0], "then nothing holds it back");
}

#[test]
fn retention_never_passes_a_held_event() {
    let house = House::new();
    let bus = house.open();
    short_lived(&bus, false);
    for id in ["before", "held", "after"] {
        publish(&bus, "in", id, id);
    }
    let handler = handler_fn(|delivery, _| match (delivery.event.id(), delivery.attempt) {
        ("held", 1) => Err(Failure::transient("busy", "at first")),
        _ => Ok(()),
    });
    let day = HOUR * 24;
    let retry = RetryPolicy::default().backoff(day, day);
    bus.subscribe("c", ConsumerConfig::new(["in"]).retry(retry), handler).unwrap();
    house.settles(|| handled(&bus, "c") == 2 && consumer(&bus, "c").held == 1);
    let due = consumer(&bus, "c").lanes[0].next_retry.unwrap();
    assert!(due > START.after(HOUR), "so late that retention comes first");
    house.clock.advance(HOUR);
    house.settles(|| trim(&bus).events == 1 || ids(&bus, "in").len() == 2);
    trim(&bus);
    assert_eq!(ids(&bus, "in"), ["held", "after"]);
    house.clock.advance_to(due);
    bus.caught_up("c").unwrap();
    assert_eq!((handled(&bus, "c"), letters(&bus, "c").len()), (3, 0));
}

#[test]
fn what_retention_removes_by_force_is_a_gap_in_the_dead_letter_queue() {
    let house = House::new();
    let bus = house.open();
    short_lived(&bus, true);
    topic(&bus, "out");
    let handled = Handled::default();
    bus.subscribe("c", at_once().paused(true), picky(&handled, false)).unwrap();
    for id in ["a", "b", "c"] {
        publish(&bus, "in", id, "k");
    }
    house.clock.advance(HOUR);
    publish(&bus, "in", "d", "k");
    house.settles(|| trim(&bus).events == 3 || ids(&bus, "in").len() == 1);
    let letters = letters(&bus, "c");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].reason.kind, FailureKind::Gap);
    assert_eq!((letters[0].topic.as_str(), letters[0].partition), ("in", 0));
    assert_eq!((letters[0].offset, letters[0].offset_last), (0, 2));
    let redriven = bus.redrive("c", vec![letters[0].id]).unwrap_err();
    assert!(redriven.to_string().contains("discard it"), "{redriven}");
    bus.resume("c").unwrap();
    bus.caught_up("c").unwrap();
    let handled = handled.lock().unwrap();
    assert_eq!(handled.iter().map(|delivery| delivery.event.id()).collect::<Vec<_>>(), ["d"]);
}

#[test]
fn a_damaged_record_costs_itself_and_is_a_dead_letter() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    let text = json!({ "marker": "the-one-that-is-damaged" }).to_string();
    bus.publish_all(vec![
        ("in", event("a", "k")),
        ("in", event_with("b", "k", &text)),
        ("in", event("c", "k")),
    ])
    .unwrap();
    bus.shutdown(SHUTDOWN);
    drop(bus);
    house.damage(b"the-one-that-is-damaged");

    let bus = house.open();
    let mut reader = bus.bus().read("in", None, tidegate::Position::Earliest).unwrap();
    let read: Vec<_> = (0..3).map(|_| reader.try_next()).collect();
    assert!(
        matches!(&read[1], Err(ReadError::Damaged { what, .. }) if what.contains("offsets 1 to 1")),
        "{read:?}"
    );
    let handled = Handled::default();
    bus.subscribe("c", at_once(), picky(&handled, false)).unwrap();
    bus.caught_up("c").unwrap();
    let handled = handled.lock().unwrap();
    assert_eq!(handled.iter().map(|delivery| delivery.event.id()).collect::<Vec<_>>(), ["a", "c"]);
    let letters = letters(&bus, "c");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].reason.kind, letters[0].offset), (FailureKind::Damaged, 1));
    assert!(letters[0].event.is_none());
}
