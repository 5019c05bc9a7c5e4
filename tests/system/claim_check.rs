//! The claim check: large data goes beside the log, comes back on delivery, and stays for as long as an event names it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::config::{
    BusConfig, ConsumerConfig, OnDeadLetter, Retention, RetryPolicy, SchemaPolicy, TopicConfig,
};
use tidegate::schema::Schema;
use tidegate::upcast::Lifted;
use tidegate::{
    Attribute, BlobError, Blocking, Data, EmitError, Event, Failure, FailureKind, LaneState, Outgoing,
    PublishError, TransactionError, handler_fn,
};

use crate::cli_process::{Directory, line};
use crate::house::{House, all, at_once, caught_up, consumer, event, handled, ids, letters, open, topic};

/// What a topic of these tests puts aside.
const OVER: usize = 20_000;

/// JSON of so many bytes.
fn json(len: usize) -> String {
    format!("\"{}\"", "x".repeat(len - 2))
}

fn large(id: &str, len: usize) -> Event {
    Event::new(id, "/tests", "Scanned.v1").subject("k").json_text(json(len)).build().unwrap()
}

/// A topic of one partition with a claim check.
fn checked(bus: &Blocking, name: &str) {
    bus.create_topic(name, TopicConfig::new(1).claim_check_over(OVER)).unwrap();
}

/// The digests of the blobs that are named.
fn digests(bus: &Blocking) -> Vec<String> {
    bus.bus().blobs(None, 1000).unwrap().into_iter().map(|blob| blob.digest).collect()
}

/// What a consumer of topic `in` has seen.
type Seen = Arc<Mutex<Vec<Event>>>;

/// Starts a consumer that fails at events whose id begins with `no`, and writes down what it sees.
fn subscribe(bus: &Blocking, config: ConsumerConfig) -> Seen {
    let seen = Seen::default();
    let sees = Arc::clone(&seen);
    let handler = handler_fn(move |delivery, _| {
        sees.lock().unwrap().push((*delivery.event).clone());
        if delivery.event.id().starts_with("no") {
            return Err(Failure::permanent("no", "not this one"));
        }
        Ok(())
    });
    bus.subscribe("c", config, handler).unwrap();
    seen
}

#[test]
fn large_data_is_kept_beside_the_log_and_delivered_as_it_was_published() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    let texts = Event::new("text", "/tests", "Scanned.v1").text("text/plain", "t".repeat(OVER + 1));
    let bytes = Event::new("bytes", "/tests", "Scanned.v1").binary("image/png", vec![0xff; OVER + 2]);
    let events = [
        large("json", OVER + 1),
        texts.build().unwrap(),
        bytes.extension("zone", "z").build().unwrap(),
        large("at the bound", OVER),
        event("small", "k"),
    ];
    for event in &events {
        bus.publish("in", event.clone()).unwrap();
    }
    let seen = subscribe(&bus, at_once());
    caught_up(&bus, "c");
    assert_eq!(*seen.lock().unwrap(), events);
    // The log has references, which lead to the data.
    let stored = all(&bus, "in");
    let is_aside: Vec<_> = stored.iter().map(|record| record.event.data().is_none()).collect();
    assert_eq!(is_aside, [true, true, true, false, false]);
    for (record, event) in stored.iter().zip(&events) {
        assert_eq!(*bus.bus().with_data(&record.event).unwrap(), *event);
        assert_eq!(record.event.extension("dataref").is_some(), record.event.data().is_none());
        assert!(record.event.size() < OVER + 200);
    }
    let usage = bus.bus().blob_usage();
    assert_eq!((usage.blobs, usage.bytes), (3, 3 * OVER as u64 + 4));
}

#[test]
fn events_larger_than_the_bound_need_a_claim_check() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "plain");
    bus.create_topic("in", TopicConfig::new(1).claim_check_over(8 << 20)).unwrap();
    let event = large("a", 3 << 20);
    let refused = bus.publish("plain", event.clone()).unwrap_err();
    assert!(matches!(refused, PublishError::EventSize { .. }), "{refused}");
    assert!(refused.to_string().contains("claim_check_over"), "{refused}");
    // More than the bus allows goes beside the log, whatever the topic's own bound.
    bus.publish("in", event.clone()).unwrap();
    let seen = subscribe(&bus, at_once());
    caught_up(&bus, "c");
    assert_eq!(*seen.lock().unwrap(), [event]);
    // A reference of the producer's own stands where that of the bus would.
    let own = Attribute::UriReference("https://example.com/scan".to_owned());
    let named = Event::new("b", "/tests", "T.v1").extension("dataref", own).json_text(json(3 << 20));
    let refused = bus.publish("in", named.build().unwrap());
    assert!(matches!(refused, Err(PublishError::EventSize { .. })), "{refused:?}");
    // Of a delivery either.
    let forwards = handler_fn(|_, context| {
        let own = Attribute::UriReference("https://example.com/scan".to_owned());
        let data = Some(Data::Json(json(3 << 20)));
        let extensions = vec![("dataref".to_owned(), own)];
        let refused =
            context.publish("in", Outgoing { kind: "T.v1".into(), data, extensions, ..Outgoing::default() });
        assert!(matches!(refused, Err(EmitError::EventSize { .. })), "{refused:?}");
        Ok(())
    });
    bus.subscribe("forwards", at_once(), forwards).unwrap();
    caught_up(&bus, "forwards");
    assert!(letters(&bus, "forwards").is_empty());
}

#[test]
fn a_consumer_may_ask_for_references_in_place_of_what_is_too_large_for_it() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    bus.publish("in", large("a", OVER + 1)).unwrap();
    bus.publish("in", large("b", 2 * OVER)).unwrap();
    let seen = subscribe(&bus, at_once().dataref_over(OVER as u64 + 1));
    caught_up(&bus, "c");
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen[0], large("a", OVER + 1));
    assert!(seen[1].data().is_none() && seen[1].extension("dataref").is_some());
    assert_eq!(*bus.bus().with_data(&Arc::new(seen[1].clone())).unwrap(), large("b", 2 * OVER));
}

#[test]
fn an_event_whose_data_is_lost_is_a_dead_letter_that_says_so_until_it_is_published_again() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    let events = [
        large("missing", OVER + 1),
        large("damaged", OVER + 2),
        large("cut", OVER + 3),
        large("fine", OVER + 4),
    ];
    let mut names = Vec::new();
    for event in &events {
        bus.publish("in", event.clone()).unwrap();
        names.extend(digests(&bus).into_iter().find(|digest| !names.contains(digest)));
    }
    let mut wrong = json(OVER + 2).into_bytes();
    wrong[5] ^= 1;
    house.disk.set_blob(&names[0], None);
    house.disk.set_blob(&names[1], Some(&wrong));
    house.disk.set_blob(&names[2], Some(json(OVER).as_bytes()));
    let seen = subscribe(&bus, at_once());
    caught_up(&bus, "c");
    assert_eq!(*seen.lock().unwrap(), [events[3].clone()], "the others don't keep it");
    let dead = letters(&bus, "c");
    let codes: Vec<_> = dead.iter().map(|letter| (letter.reason.kind, &*letter.reason.code)).collect();
    let damaged = (FailureKind::Damaged, "blob-damaged");
    assert_eq!(codes, [(FailureKind::Damaged, "blob-missing"), damaged, damaged]);
    assert!(
        dead.iter()
            .all(|letter| letter.attempts.len() == 1
                && letter.reason.message.contains("publish the same event"))
    );
    let problems = bus.bus().verify_blobs(None, 10).unwrap();
    assert_eq!(problems.iter().filter(|blob| blob.problem.is_some()).count(), 3);
    let read = bus.bus().with_data(&all(&bus, "in")[0].event);
    assert!(matches!(read, Err(BlobError::Missing { .. })), "{read:?}");
    // The remedy that the letters name.
    for event in &events {
        assert!(bus.publish("in", event.clone()).unwrap().duplicate);
    }
    bus.redrive("c", dead.iter().map(|letter| letter.id).collect()).unwrap();
    caught_up(&bus, "c");
    assert!(letters(&bus, "c").is_empty());
    assert_eq!(seen.lock().unwrap().len(), 4);
    assert!(bus.bus().verify_blobs(None, 10).unwrap().iter().all(|blob| blob.problem.is_none()));
}

/// A bus with a topic that has a claim check, and keeps its events for a day.
fn keeping_a_day(house: &House) -> Blocking {
    let bus = house.open();
    let day = Retention::keep_for(Duration::from_hours(24));
    bus.create_topic("in", TopicConfig::new(1).claim_check_over(OVER).retention(day)).unwrap();
    bus
}

#[test]
fn data_stays_as_long_as_an_event_a_dead_letter_or_a_redriven_event_names_it() {
    let house = House::new();
    let bus = keeping_a_day(&house);
    let seen = subscribe(&bus, at_once());
    bus.publish("in", large("no-1", OVER + 1)).unwrap();
    bus.publish("in", large("no-2", OVER + 2)).unwrap();
    bus.publish("in", large("yes", OVER + 3)).unwrap();
    caught_up(&bus, "c");
    bus.trim().unwrap();
    assert_eq!(bus.bus().blob_usage().blobs, 3);
    house.clock.advance(Duration::from_hours(48));
    bus.trim().unwrap();
    assert!(ids(&bus, "in").is_empty());
    assert_eq!(bus.bus().blob_usage().blobs, 2, "the dead letters have theirs");
    // A redriven event has its data, and names it until it is done with.
    let dead = letters(&bus, "c");
    bus.pause("c").unwrap();
    bus.redrive("c", vec![dead[0].id]).unwrap();
    bus.trim().unwrap();
    assert_eq!((letters(&bus, "c").len(), bus.bus().blob_usage().blobs), (1, 2));
    bus.resume("c").unwrap();
    caught_up(&bus, "c");
    assert_eq!(seen.lock().unwrap().last(), Some(&large("no-1", OVER + 1)));
    bus.discard("c", vec![dead[1].id]).unwrap();
    bus.trim().unwrap();
    assert_eq!((letters(&bus, "c").len(), bus.bus().blob_usage().blobs), (1, 1));
    // A consumer that is forgotten takes its letters along.
    bus.unsubscribe("c").unwrap();
    bus.forget("c").unwrap();
    bus.trim().unwrap();
    assert_eq!((bus.bus().blob_usage().blobs, digests(&bus)), (0, vec![]));
}

#[test]
fn a_letter_that_parks_its_key_is_redriven_and_discarded_with_its_data() {
    let house = House::new();
    let bus = keeping_a_day(&house);
    subscribe(&bus, at_once().on_dead_letter(OnDeadLetter::Park));
    bus.publish("in", large("no", OVER + 1)).unwrap();
    bus.publish("in", event("behind", "k")).unwrap();
    caught_up(&bus, "c");
    bus.redrive("c", vec![letters(&bus, "c")[0].id]).unwrap();
    caught_up(&bus, "c");
    let again = letters(&bus, "c");
    assert_eq!((again.len(), again[0].redriven), (1, true));
    bus.discard("c", vec![again[0].id]).unwrap();
    caught_up(&bus, "c");
    house.clock.advance(Duration::from_hours(48));
    bus.trim().unwrap();
    assert_eq!((ids(&bus, "in").len(), bus.bus().blob_usage().blobs), (0, 0));
}

#[test]
fn a_redriven_event_that_is_done_with_lets_go_of_its_data() {
    let house = House::new();
    let bus = keeping_a_day(&house);
    let handler = handler_fn(|delivery, _| {
        if delivery.redriven {
            return Ok(());
        }
        Err(Failure::permanent("no", "not the first time"))
    });
    bus.subscribe("c", at_once(), handler).unwrap();
    bus.publish("in", large("a", OVER + 1)).unwrap();
    caught_up(&bus, "c");
    house.clock.advance(Duration::from_hours(48));
    bus.redrive("c", vec![letters(&bus, "c")[0].id]).unwrap();
    caught_up(&bus, "c");
    assert!(letters(&bus, "c").is_empty());
    bus.trim().unwrap();
    assert_eq!((ids(&bus, "in").len(), bus.bus().blob_usage().blobs), (0, 0));
}

#[test]
fn a_full_blob_store_refuses_large_events_until_there_is_room() {
    let house = House::new();
    let mut config = BusConfig::default();
    config.blobs_bytes_max = 2 * OVER as u64;
    let bus = house.open_with(config).unwrap();
    let day = Retention::keep_for(Duration::from_hours(24));
    bus.create_topic("kept", TopicConfig::new(1).claim_check_over(OVER).retention(day)).unwrap();
    checked(&bus, "out");
    topic(&bus, "in");
    bus.publish("kept", large("a", OVER + 1)).unwrap();
    let refused = bus.publish("kept", large("b", OVER + 2));
    assert!(
        matches!(refused, Err(PublishError::BlobsFull { bytes, max, .. })
            if (bytes, max) == (2 * OVER as u64 + 3, 2 * OVER as u64)),
        "{refused:?}"
    );
    // So it is for a lane, which tries again.
    let publishes = handler_fn(|_, context| {
        let data = Some(Data::Json(json(OVER + 2)));
        Ok(context.publish("out", Outgoing { kind: "Made.v1".into(), data, ..Outgoing::default() })?)
    });
    bus.subscribe("c", at_once(), publishes).unwrap();
    bus.publish("in", event("small", "k")).unwrap();
    let state = || consumer(&bus, "c").lanes[0].state.clone();
    house.settles(
        || matches!(state(), LaneState::Failing { reason } if reason.contains("blob store would have")),
    );
    house.clock.advance(Duration::from_hours(48));
    bus.trim().unwrap();
    house.until(|| handled(&bus, "c") == 1);
    assert_eq!((all(&bus, "out").len(), letters(&bus, "c").len()), (1, 0));
}

#[test]
fn one_blob_serves_all_events_with_the_same_data() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    checked(&bus, "other");
    for id in ["a", "b"] {
        bus.publish("in", large(id, OVER + 1)).unwrap();
        bus.publish("other", large(id, OVER + 1)).unwrap();
    }
    let blobs = bus.bus().blobs(None, 10).unwrap();
    assert_eq!((blobs.len(), blobs[0].holders), (1, 4));
}

#[test]
fn what_was_acknowledged_has_its_data_after_a_power_cut() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    bus.publish("in", large("a", OVER + 1)).unwrap();
    let bus = house.cut_power(bus);
    let seen = subscribe(&bus, at_once());
    caught_up(&bus, "c");
    assert_eq!(*seen.lock().unwrap(), [large("a", OVER + 1)]);
}

#[test]
fn references_in_the_name_of_the_bus_are_refused_and_those_of_producers_left_alone() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    topic(&bus, "plain");
    bus.publish("in", large("a", OVER + 1)).unwrap();
    let reference = all(&bus, "in")[0].event.extension("dataref").unwrap().clone();
    let with =
        |dataref: Attribute| Event::new("b", "/tests", "T.v1").extension("dataref", dataref).build().unwrap();
    for name in ["in", "plain"] {
        let refused = bus.publish(name, with(reference.clone()));
        assert!(
            matches!(&refused, Err(PublishError::Invalid(error)) if error.attribute() == "dataref"),
            "{refused:?}"
        );
    }
    let forged = with(reference.clone());
    let in_transaction = bus.transaction(move |transaction| transaction.publish("in", forged));
    assert!(matches!(in_transaction, Err(TransactionError::Refused(PublishError::Invalid(_)))));
    // `../` and the like are nothing that the bus would look for.
    let foreign = with(Attribute::UriReference("file:///etc/passwd".to_owned()));
    bus.publish("in", foreign.clone()).unwrap();
    let seen = subscribe(&bus, at_once());
    caught_up(&bus, "c");
    assert_eq!(seen.lock().unwrap()[1], foreign);
    assert_eq!(*bus.bus().with_data(&all(&bus, "in")[1].event).unwrap(), foreign);
    // A consumer can't publish one either.
    bus.create_topic("out", TopicConfig::new(1)).unwrap();
    let forger = handler_fn(move |_, context| {
        let extensions = vec![("dataref".to_owned(), reference.clone())];
        let forged = Outgoing { kind: "T.v1".into(), extensions, ..Outgoing::default() };
        assert!(matches!(context.publish("out", forged), Err(EmitError::Invalid(_))));
        Ok(())
    });
    bus.subscribe("forger", at_once(), forger).unwrap();
    caught_up(&bus, "forger");
    assert_eq!(letters(&bus, "forger").len(), 0);
}

#[test]
fn whoever_publishes_may_publish_large_data() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    bus.create_topic("out", TopicConfig::new(1).claim_check_over(OVER).sequence(true)).unwrap();
    let len = 2 << 20;
    let both = vec![("in", large("a", len)), ("out", large("b", len + 1))];
    bus.publish_all(both).unwrap();
    bus.transaction(move |transaction| {
        transaction.publish("in", large("c", len + 2))?;
        transaction.publish_expecting("out", 1, large("d", len + 3))
    })
    .unwrap();
    bus.publish_expecting("out", 2, vec![large("e", len + 4)]).unwrap();
    let copies = handler_fn(|delivery, context| {
        let (data, subject) = (delivery.event.data().cloned(), Some("k".to_owned()));
        Ok(context
            .publish("out", Outgoing { kind: "Copied.v1".into(), subject, data, ..Outgoing::default() })?)
    });
    bus.subscribe("c", at_once(), copies).unwrap();
    caught_up(&bus, "c");
    let lens: Vec<_> = all(&bus, "out")
        .iter()
        .map(|record| match bus.bus().with_data(&record.event).unwrap().data() {
            Some(Data::Json(text)) => text.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lens, [len + 1, len + 3, len + 4, len, len + 2]);
    assert!(all(&bus, "out").iter().all(|record| record.event.data().is_none()));
    // A transaction that is undone leaves nothing.
    let before = bus.bus().blob_usage().blobs;
    let undone = bus.transaction(move |transaction| {
        transaction.publish("in", large("f", len + 9)).map_err(|_| "refused")?;
        Err::<(), _>("undone")
    });
    assert!(undone.is_err());
    bus.trim().unwrap();
    assert_eq!(bus.bus().blob_usage().blobs, before);
}

#[test]
fn data_is_held_against_its_schema_before_it_is_put_aside() {
    let house = House::new();
    let bus = house.open();
    let schema = Schema::json(r#"{"type": "string", "maxLength": 30000}"#).unwrap();
    bus.register_schema("Scanned.v1", schema, None).unwrap();
    let config = TopicConfig::new(1).claim_check_over(OVER).schemas(SchemaPolicy::Required);
    bus.create_topic("in", config).unwrap();
    bus.publish("in", large("a", OVER + 1)).unwrap();
    let refused = bus.publish("in", large("b", 40_000));
    assert!(matches!(refused, Err(PublishError::Schema(_))), "{refused:?}");
    assert_eq!(bus.bus().blob_usage().blobs, 1);
}

#[test]
fn upcasters_get_the_data() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    for at in 0..3 {
        bus.publish("in", large(&at.to_string(), OVER + 1 + at)).unwrap();
    }
    let lift = |event: &Event| {
        let len = event.data().map_or(0, |data| data.as_bytes().len());
        Ok(Lifted { data: Some(Data::Json(len.to_string())), ..Lifted::default() })
    };
    bus.add_upcaster("scans", "Scanned.v1", "Scanned.v2", lift).unwrap();
    let seen = subscribe(&bus, at_once().dataref_over(0));
    caught_up(&bus, "c");
    let lens: Vec<usize> = seen.lock().unwrap().iter().map(|event| event.data_as().unwrap()).collect();
    assert_eq!(lens, [OVER + 1, OVER + 2, OVER + 3]);
    let lifted = bus.lift("in", &all(&bus, "in")[0].event).unwrap();
    assert_eq!(lifted.data(), Some(&Data::Json((OVER + 1).to_string())));
}

#[test]
fn a_topic_may_begin_and_end_its_claim_check_at_any_time() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.publish("in", large("a", OVER + 1)).unwrap();
    checked(&bus, "in");
    bus.publish("in", large("b", OVER + 1)).unwrap();
    topic(&bus, "in");
    bus.publish("in", large("c", OVER + 1)).unwrap();
    let seen = subscribe(&bus, at_once());
    caught_up(&bus, "c");
    assert_eq!(seen.lock().unwrap().len(), 3);
    assert!(seen.lock().unwrap().iter().all(|event| event.data().is_some()));
    assert_eq!(bus.bus().blob_usage().blobs, 1);
}

#[test]
fn data_that_can_not_be_read_now_is_tried_again() {
    let house = House::new();
    let bus = house.open();
    checked(&bus, "in");
    bus.publish("in", large("a", OVER + 1)).unwrap();
    house.disk.fail_blob_reads(true);
    let retry = RetryPolicy::default().backoff(Duration::from_secs(1), Duration::from_secs(1));
    let seen = subscribe(&bus, ConsumerConfig::new(["in"]).retry(retry));
    house.settles(|| consumer(&bus, "c").held == 1);
    house.disk.fail_blob_reads(false);
    house.until(|| consumer(&bus, "c").held == 0);
    assert_eq!(*seen.lock().unwrap(), [large("a", OVER + 1)]);
    assert!(letters(&bus, "c").is_empty());
}

#[test]
fn the_command_line_shows_references_and_data_and_checks_that_all_of_it_is_there() {
    let directory = Directory::new("");
    let created =
        directory.run(&["topics", "create", "scans", "--partitions", "1", "--claim-check-over", "20000"]);
    assert!(created.code == 0 && created.out.contains("a claim check over"), "{created:?}");
    let text = json(2 << 20);
    directory.put("events", format!("{}\n{}\n", line("a", "k", &text), line("b", "k", "1")).as_bytes());
    let file = directory.path().join("events");
    let published = directory.run(&["publish", "scans", file.to_str().unwrap()]);
    assert_eq!(
        (published.code, &*published.out),
        (0, "2 published, 0 duplicates dropped, 0 refused\n"),
        "{published:?}"
    );
    let read = directory.run(&["read", "scans", "--json"]);
    assert!(read.out.contains("tidegate:blob/sha256/") && read.out.len() < 2000, "{}", read.out);
    let read = directory.run(&["read", "scans", "--json", "--data"]);
    assert!(read.out.contains(&text) && !read.out.contains("dataref"));
    let listed = directory.run(&["blobs"]);
    assert!(listed.code == 0 && listed.out.contains("2.0 MiB"), "{listed:?}");
    let good = directory.run(&["blobs", "check"]);
    assert_eq!((good.code, &*good.out), (0, "1 blobs were read, 0 of them are missing or damaged\n"));
    let blob = std::fs::read_dir(directory.path().join("blobs")).unwrap().next().unwrap().unwrap();
    std::fs::write(blob.path(), "x").unwrap();
    let bad = directory.run(&["blobs", "check"]);
    assert!(bad.code == 1 && bad.out.contains("is damaged") && bad.out.contains("1 of them"), "{bad:?}");
    let read = directory.run(&["read", "scans", "--data"]);
    assert!(read.code == 1 && read.err.contains("the data of event `a` at 0/0"), "{read:?}");
}

#[test]
fn a_directory_without_a_claim_check_has_no_blob_store() {
    let folder = tempfile::TempDir::new().unwrap();
    let bus = open(folder.path());
    topic(&bus, "in");
    bus.publish("in", large("a", OVER + 1)).unwrap();
    assert!(bus.bus().blob_usage().blobs == 0 && !folder.path().join("blobs").exists());
    // With one, a blob is a file of its own, for its owner alone.
    checked(&bus, "in");
    bus.publish("in", large("b", OVER + 1)).unwrap();
    let file = folder.path().join("blobs").join(&digests(&bus)[0]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), json(OVER + 1));
}
