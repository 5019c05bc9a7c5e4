//! Files of every format that was released open, and components of every released contract run: `tests/fixtures`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, RetryPolicy, TopicConfig};
use tidegate::schema::{Compatibility, Schema};
use tidegate::testing::{ManualClock, SeededRandom, probe};
use tidegate::{Blocking, Bus, Clock, Event, Options, handler_fn};

use crate::house::{SHUTDOWN, START, at_once, caught_up, consumer, event, handled, ids, letters, topic};

#[path = "../fixtures/contents.rs"]
mod contents;
#[path = "../fixtures/write.rs"]
#[expect(dead_code, reason = "what writes a fixture is of no use here")]
mod write;

use contents::contents;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// A copy of a fixture, and the text that says what was in it when it was written.
fn copy(format: u32) -> (TempDir, String) {
    let fixture = fixtures().join(format!("format-{format}"));
    let folder = TempDir::new().unwrap();
    for file in ["tidegate.redb", "tidegate.journal"] {
        // Formats 1 to 4 had no journal.
        if file == "tidegate.redb" || format >= 5 {
            fs::copy(fixture.join(file), folder.path().join(file)).unwrap();
        }
    }
    if format >= 9 {
        fs::create_dir(folder.path().join("blobs")).unwrap();
        for blob in fs::read_dir(fixture.join("blobs")).unwrap() {
            let blob = blob.unwrap();
            fs::copy(blob.path(), folder.path().join("blobs").join(blob.file_name())).unwrap();
        }
    }
    (folder, fs::read_to_string(fixture.join("contents.txt")).unwrap())
}

/// A bus on a folder, at the time at which the fixtures were written.
fn open(folder: &Path) -> (Blocking, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    let options = Options::new(folder).clock(Arc::clone(&clock) as Arc<dyn Clock>);
    let options = options.random(Arc::new(SeededRandom::new(3)));
    (Bus::open_with(options).unwrap().blocking(), clock)
}

/// Every format up to the one that is written now.
fn formats() -> std::ops::RangeInclusive<u32> {
    1..=probe::FORMAT
}

#[test]
fn there_is_a_file_of_every_format_and_a_component_of_every_contract() {
    let missing: Vec<_> = formats()
        .map(|format| format!("format-{format}/tidegate.redb"))
        .chain([format!("contract-{}/counter-pull.wasm", probe::contract_version())])
        .filter(|file| !fixtures().join(file).is_file())
        .collect();
    assert!(missing.is_empty(), "tests/fixtures/README.md says how to make {missing:?}");
}

#[test]
fn a_file_of_every_format_opens_with_all_that_was_in_it() {
    for format in formats() {
        let (folder, written) = copy(format);
        let (bus, _) = open(folder.path());
        assert_eq!(contents(&bus).unwrap(), written, "format {format}");
        bus.shutdown(SHUTDOWN);
        let (again, _) = open(folder.path());
        assert_eq!(contents(&again).unwrap(), written, "format {format}, opened for the second time");
    }
}

#[test]
fn the_deduplication_of_an_old_file_goes_on() {
    for format in formats() {
        let (folder, _) = copy(format);
        let (bus, _) = open(folder.path());
        let before = ids(&bus, "orders");
        for event in write::events().unwrap() {
            assert!(bus.publish("orders", event.clone()).unwrap().duplicate, "format {format}: {event:?}");
        }
        assert_eq!(ids(&bus, "orders"), before);
    }
}

#[test]
fn the_consumers_of_an_old_file_go_on_where_they_were() {
    for format in formats() {
        let (folder, _) = copy(format);
        let (bus, clock) = open(folder.path());
        let (held, dead) = (consumer(&bus, "billing").held, letters(&bus, "billing"));
        assert_eq!((held, dead.len()), (2, 1), "format {format}");
        let retry = RetryPolicy::default().attempts(3);
        let handler = handler_fn(|delivery, context| {
            assert!(delivery.attempt > 1 || delivery.event.id() != "flaky", "its attempts go on counting");
            Ok(context.set(b"after", delivery.event.id().as_bytes())?)
        });
        bus.subscribe("billing", ConsumerConfig::new(["orders"]).retry(retry), handler).unwrap();
        bus.publish("orders", event("new", "c")).unwrap();
        clock.advance(Duration::from_hours(2));
        caught_up(&bus, "billing");
        assert_eq!(
            (consumer(&bus, "billing").held, letters(&bus, "billing").len()),
            (0, 1),
            "format {format}"
        );
        bus.redrive("billing", vec![dead[0].id]).unwrap();
        caught_up(&bus, "billing");
        assert!(letters(&bus, "billing").is_empty(), "format {format}");
        bus.subscribe("later", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(()))).unwrap();
        bus.resume("later").unwrap();
        caught_up(&bus, "later");
        assert_eq!(handled(&bus, "later"), 9, "format {format}: a paused consumer begins with all of it");
    }
}

#[test]
fn what_later_formats_have_is_there_in_their_files_and_can_be_begun_in_older_ones() {
    for format in formats() {
        let (folder, _) = copy(format);
        let (bus, _) = open(folder.path());
        if format == 1 {
            bus.create_topic("numbered", TopicConfig::new(2).sequence(true)).unwrap();
        }
        let first = match format {
            1 => 0,
            2..5 => 2,
            5 => 4,
            _ => 7,
        };
        assert_eq!(bus.bus().version("numbered", "k").unwrap(), first, "format {format}");
        let next = Event::new("next", "/shop", "Numbered.v1").subject("k").build().unwrap();
        assert_eq!(bus.publish("numbered", next).unwrap().sequence, Some(first + 1), "format {format}");
        let row = bus.bus().snapshot().unwrap().open_table(write::ROWS).unwrap();
        let row = row.and_then(|table| table.get("row").unwrap().map(|row| row.value()));
        assert_eq!(row, (format > 1).then_some(17), "format {format}");
        let schemas = bus.bus().schemas();
        let versions = schemas.first().map_or(0, |subject| subject.versions.len());
        assert_eq!(versions, if format > 6 { 2 } else { 0 }, "format {format}");
        let modes: Vec<_> = schemas.iter().map(|subject| subject.compatibility).collect();
        assert_eq!(modes, vec![Compatibility::FullTransitive; schemas.len()], "format {format}");
        let timers = bus.bus().timers("timing", None, None, 10).unwrap_or_default();
        let names: Vec<_> = timers.iter().map(|timer| timer.name.as_str()).collect();
        assert_eq!(
            names,
            if format > 7 { &["early", "late", "journal"][..] } else { &[] },
            "format {format}"
        );
        let scans = TopicConfig::new(1).claim_check_over(write::CHECKED_OVER);
        bus.create_topic("scans", scans).unwrap();
        bus.publish("scans", write::scan("next").unwrap()).unwrap();
        let blobs = bus.bus().verify_blobs(None, 10).unwrap();
        let found: Vec<_> = blobs.iter().map(|blob| (blob.holders, blob.problem.as_deref())).collect();
        assert_eq!(found, [(if format > 8 { 3 } else { 1 }, None)], "format {format}");
        // By their names, which format 8 had another table for.
        for name in names {
            bus.cancel_timer("timing", "k", name).unwrap();
        }
        let left = bus.bus().timers("timing", None, None, 10).unwrap_or_default();
        assert!(left.is_empty(), "format {format}: {left:?}");
        let next = format!("Order.v{}", versions + 1);
        bus.register_schema(&next, Schema::json("{}").unwrap(), None).unwrap();
    }
}

fn plugin(component: &str) -> PluginConfig {
    PluginConfig::new(fixtures().join("contract-0.1.0").join(component))
        .grants(Grants::nothing().publish("out").state())
        .settings(r#"{"topic":"out"}"#)
}

#[test]
fn a_component_of_contract_0_1_0_that_is_called_runs() {
    runs("counter.wasm");
}

#[test]
fn a_component_of_contract_0_1_0_that_fetches_its_deliveries_runs() {
    runs("counter-pull.wasm");
}

#[track_caller]
fn runs(component: &str) {
    let folder = TempDir::new().unwrap();
    let (bus, _) = open(folder.path());
    topic(&bus, "in");
    topic(&bus, "out");
    bus.subscribe_plugin("counter", at_once(), plugin(component)).unwrap();
    for id in ["a", "b"] {
        bus.publish("in", event(id, "k")).unwrap();
    }
    caught_up(&bus, "counter");
    assert_eq!(handled(&bus, "counter"), 2);
    let state = bus.bus().state("counter", 0).unwrap();
    assert!(state.get(b"count/k").unwrap().is_some(), "it keeps state");
    assert_eq!(ids(&bus, "out").len(), 2, "it publishes");
}
