//! Guarantee 6: retries.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tidegate::config::{ConsumerConfig, PluginLimits, RetryPolicy};
use tidegate::{Blocking, Clock, Failure, FailureKind, Handler, LaneState, Timestamp, handler_fn};

use crate::house::{House, START, at_once, consumer, event_with, guest, handled, letters, publish, topic};

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn retrying(policy: RetryPolicy) -> ConsumerConfig {
    ConsumerConfig::new(["in"]).retry(policy)
}

fn failing() -> impl Handler {
    handler_fn(|_, _| Err(Failure::transient("busy", "at every attempt")))
}

/// When the only lane makes its next retry.
fn due(bus: &Blocking) -> Option<Timestamp> {
    consumer(bus, "c").lanes[0].next_retry
}

/// An attempt as a handler saw it.
#[derive(Clone, Copy)]
struct Seen {
    /// The delivery's time: from the second attempt on, when it was due.
    now: Timestamp,
    /// When it was made.
    made: Timestamp,
}

#[test]
fn retries_back_off_with_full_jitter_and_none_is_made_before_it_is_due() {
    const EVENTS: usize = 60;
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let seen: Arc<Mutex<BTreeMap<String, Vec<Seen>>>> = Arc::default();
    let (notes, clock) = (Arc::clone(&seen), Arc::clone(&house.clock));
    let handler = handler_fn(move |delivery, context| {
        let attempt = Seen { now: context.now(), made: clock.now() };
        notes.lock().unwrap().entry(delivery.event.id().to_owned()).or_default().push(attempt);
        Err(Failure::transient("busy", "at every attempt"))
    });
    for n in 0..EVENTS {
        publish(&bus, "in", &n.to_string(), &n.to_string());
    }
    let policy = RetryPolicy::default().attempts(4).backoff(millis(20), millis(50));
    bus.subscribe("c", retrying(policy), handler).unwrap();
    // Each step of the clock is worked off before the next, so that an attempt is made and fails at one moment.
    while consumer(&bus, "c").dead_letters < EVENTS as u64 {
        house.settles(|| {
            let consumer = consumer(&bus, "c");
            match consumer.lanes[0].state {
                LaneState::Waiting { until } => until > house.clock.now(),
                LaneState::Idle => consumer.dead_letters == EVENTS as u64,
                _ => false,
            }
        });
        house.clock.advance(millis(1));
    }
    let seen = seen.lock().unwrap();
    for (made, bound_ms) in [(1, 20), (2, 40), (3, 50)] {
        let waits: Vec<_> =
            seen.values().map(|attempts| attempts[made].now.since(attempts[made - 1].made)).collect();
        assert!(waits.iter().all(|wait| *wait <= millis(bound_ms)), "attempt {made}: {waits:?}");
        let early = waits.iter().filter(|wait| **wait < millis(bound_ms) / 2).count();
        assert!((EVENTS / 4..=EVENTS * 3 / 4).contains(&early), "attempt {made} is spread evenly: {waits:?}");
    }
    for attempts in seen.values() {
        assert_eq!(attempts.len(), 4);
        assert!(attempts[1..].iter().all(|attempt| attempt.made >= attempt.now), "none before it is due");
        assert!(attempts[1..].windows(2).all(|pair| pair[1].now >= pair[0].made));
    }
}

#[test]
fn attempts_are_bounded_in_number_and_the_last_one_makes_a_dead_letter() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    let policy = RetryPolicy::default().attempts(3).backoff(millis(1), millis(1));
    bus.subscribe("c", retrying(policy), failing()).unwrap();
    house.until(|| consumer(&bus, "c").dead_letters == 1);
    bus.caught_up("c").unwrap();
    let letter = &letters(&bus, "c")[0];
    assert_eq!(letter.attempts.len(), 3);
    assert_eq!(letter.reason.kind, FailureKind::Transient);
    assert_eq!(consumer(&bus, "c").counts.retries, 2);
    assert_eq!(consumer(&bus, "c").held, 0);
}

#[test]
fn attempts_are_bounded_in_age_and_the_last_one_makes_a_dead_letter() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    let age = Duration::from_secs(10);
    let policy = RetryPolicy::default().attempts(100).backoff(millis(1000), millis(1000)).age(age);
    bus.subscribe("c", retrying(policy), failing()).unwrap();
    house.until(|| consumer(&bus, "c").dead_letters == 1);
    let letter = &letters(&bus, "c")[0];
    let ages: Vec<_> = letter.attempts.iter().map(|attempt| attempt.at.since(letter.first_attempt)).collect();
    assert!(letter.at.since(letter.first_attempt) >= age, "{ages:?}");
    assert!(ages.len() < 100 && ages[..ages.len() - 1].iter().all(|before| *before < age), "{ages:?}");
}

#[test]
fn a_consumer_may_ask_for_a_longer_wait_than_the_backoffs_bound_up_to_a_day() {
    const DAY: u64 = 24 * 60 * 60 * 1000;
    for (asked, waits) in [(5_000, 5_000), (60_000, 60_000), (2 * DAY, DAY)] {
        let house = House::new();
        let bus = house.open();
        topic(&bus, "in");
        let data = json!({ "fail": "transient", "retry_after_ms": asked }).to_string();
        bus.publish("in", event_with("a", "k", &data)).unwrap();
        let policy = RetryPolicy::default().backoff(millis(1), millis(10_000));
        bus.subscribe_plugin("c", retrying(policy), guest("counter")).unwrap();
        house.settles(|| due(&bus).is_some());
        assert_eq!(due(&bus), Some(START.after(millis(waits))));
    }
}

#[test]
fn the_schedule_and_the_number_of_attempts_survive_a_power_cut() {
    let house = House::new();
    let mut bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    let attempts: Arc<Mutex<Vec<u32>>> = Arc::default();
    let handler = || {
        let attempts = Arc::clone(&attempts);
        handler_fn(move |delivery, _| {
            attempts.lock().unwrap().push(delivery.attempt);
            Err(Failure::transient("busy", "at every attempt"))
        })
    };
    let policy = RetryPolicy::default().attempts(4).backoff(millis(60_000), millis(60_000));
    for attempt in 1..4 {
        bus.subscribe("c", retrying(policy), handler()).unwrap();
        house.settles(|| due(&bus).is_some_and(|due| due > house.clock.now()));
        let (before, now) = (due(&bus), house.clock.now());
        bus = house.cut_power(bus);
        assert_eq!(due(&bus), before, "the next attempt is due when it was");
        bus.subscribe("c", retrying(policy), handler()).unwrap();
        house.settles(|| consumer(&bus, "c").lanes[0].state != LaneState::Starting);
        assert_eq!(attempts.lock().unwrap().len(), attempt, "not again at once");
        house.clock.advance_to(before.unwrap());
        assert!(before.unwrap() >= now);
        house.settles(|| attempts.lock().unwrap().len() == attempt + 1);
        if attempt < 3 {
            house.settles(|| due(&bus).is_some_and(|due| Some(due) != before));
            // The retry that is under way is one that is due in the next round.
            bus.unsubscribe("c").unwrap();
        }
    }
    house.settles(|| consumer(&bus, "c").dead_letters == 1);
    assert_eq!(*attempts.lock().unwrap(), [1, 2, 3, 4]);
    assert_eq!(letters(&bus, "c")[0].attempts.len(), 4);
}

#[test]
fn a_permanent_failure_is_a_dead_letter_at_once() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.publish("in", event_with("a", "k", r#"{"fail": "permanent"}"#)).unwrap();
    bus.subscribe_plugin("c", at_once(), guest("counter")).unwrap();
    house.settles(|| consumer(&bus, "c").dead_letters == 1);
    let letter = &letters(&bus, "c")[0];
    assert_eq!((letter.reason.kind, letter.reason.code.as_str()), (FailureKind::Permanent, "told-to"));
    assert_eq!((letter.attempts.len(), consumer(&bus, "c").counts.retries), (1, 0));
}

#[test]
fn traps_time_outs_and_memory_overruns_are_failed_attempts_of_their_kind() {
    let faults = [
        ("trap", FailureKind::Trap, "unreachable"),
        ("panic", FailureKind::Trap, "unreachable"),
        // The guest keeps large frames on a stack of its own, in its memory: it runs off that first.
        ("recurse", FailureKind::Trap, "out-of-bounds-memory"),
        ("spin", FailureKind::Timeout, "deadline"),
        ("spin-in-host", FailureKind::Timeout, "deadline"),
        ("grow", FailureKind::Memory, "memory"),
    ];
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    for (fault, ..) in faults {
        bus.publish("in", event_with(fault, "k", &json!({ "fail": fault }).to_string())).unwrap();
        let mended = json!({ "fail": fault, "until_attempt": 2 }).to_string();
        bus.publish("in", event_with(&format!("{fault}, then well"), "k", &mended)).unwrap();
    }
    let policy = RetryPolicy::default().attempts(2).backoff(millis(1), millis(1));
    // Long enough that a busy machine comes to the other faults first.
    let limits = PluginLimits::default().deadline(millis(500));
    bus.subscribe_plugin("c", retrying(policy), guest("counter").limits(limits)).unwrap();
    house.until(|| handled(&bus, "c") == faults.len() as u64);
    let letters = letters(&bus, "c");
    assert_eq!(letters.len(), faults.len());
    for ((fault, kind, code), letter) in faults.into_iter().zip(letters) {
        assert_eq!(letter.event.unwrap().id(), fault);
        let failures = letter.attempts.iter().map(|attempt| &attempt.failure);
        let told: Vec<_> = failures.map(|failure| (failure.kind, failure.code.as_str())).collect();
        assert_eq!(told, [(kind, code); 2], "{fault}");
    }
}

#[test]
fn a_panic_of_a_native_handler_is_a_failed_attempt_that_hurts_nothing_else() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "bad", "k");
    publish(&bus, "in", "good", "k");
    let handler = handler_fn(|delivery, _| {
        assert!(delivery.event.id() != "bad", "this event is bad");
        Ok(())
    });
    let policy = RetryPolicy::default().attempts(2).backoff(millis(1), millis(1));
    bus.subscribe("c", retrying(policy), handler).unwrap();
    house.until(|| handled(&bus, "c") == 1);
    let letter = &letters(&bus, "c")[0];
    assert_eq!((letter.reason.kind, letter.reason.code.as_str()), (FailureKind::Trap, "panic"));
    assert_eq!((letter.reason.message.as_str(), letter.attempts.len()), ("this event is bad", 2));
}

#[test]
fn a_delivery_that_ends_the_process_is_found_out_and_its_neighbours_are_not_blamed() {
    let house = House::new();
    let mut bus = house.open();
    topic(&bus, "in");
    for id in ["before", "killer", "after"] {
        publish(&bus, "in", id, id);
    }
    let (deaths, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(())));
    // While the gate is closed, the delivery of `killer` never ends: the process does, as far as the disk can tell.
    let closed = gate.lock().unwrap();
    let handler = || {
        let (deaths, gate) = (Arc::clone(&deaths), Arc::clone(&gate));
        handler_fn(move |delivery, _| {
            if delivery.event.id() == "killer" {
                deaths.fetch_add(1, Ordering::SeqCst);
                drop(gate.lock());
            }
            Ok(())
        })
    };
    let mut lives = 0;
    loop {
        lives += 1;
        assert!(lives < 10, "it is found out in the end");
        bus.subscribe("c", at_once(), handler()).unwrap();
        house.until(|| deaths.load(Ordering::SeqCst) == lives || consumer(&bus, "c").dead_letters > 0);
        if deaths.load(Ordering::SeqCst) < lives {
            break;
        }
        bus = house.cut_power(bus);
    }
    // The first death comes without a mark. The three after it are the delivery's.
    assert_eq!(deaths.load(Ordering::SeqCst), 4);
    house.until(|| handled(&bus, "c") == 2);
    let letters = letters(&bus, "c");
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].event.as_ref().unwrap().id(), "killer");
    assert_eq!(letters[0].reason.kind, FailureKind::HostCrash);
    assert_eq!(letters[0].attempts.len(), 3);
    drop(closed);
}
