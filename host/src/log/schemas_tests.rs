//! Schemas: registered for good, one after the other, and asked for where a topic requires them.

use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use redb::ReadableTable;

use super::hidden_tests::hide;
use super::schema::Tables;
use super::schemas::Subjects;
use super::tests::{open, options, topic, try_open};
use super::*;
use crate::clock::{SystemClock, SystemRandom};
use crate::config::{SchemaPolicy, TopicConfig};
use crate::event::Event;
use crate::limits::{JOURNAL_BYTES, SCHEMA_VERSIONS_MAX, SCHEMAS_BYTES_MAX, SUBJECTS_MAX};
use crate::schema::{Compatibility, Schema, SchemaRefusal, SchemaVersion, Subject};

fn schema(properties: &str) -> Schema {
    Schema::json(format!(r#"{{"type": "object", "properties": {{{properties}}}}}"#)).unwrap()
}

/// Two that go together neither way.
fn text() -> Schema {
    schema(r#""a": {"type": "string"}"#)
}

fn number() -> Schema {
    schema(r#""a": {"type": "number"}"#)
}

fn register(
    log: &Log,
    event_type: &str,
    schema: &Schema,
    mode: Option<Compatibility>,
) -> Result<SchemaVersion, AdminError> {
    block_on(log.register_schema(&event_type.parse().unwrap(), schema, mode))
}

#[test]
fn schemas_are_there_after_the_end_of_the_process_or_the_power() {
    for how in [MemoryMedium::end_process, MemoryMedium::cut_power] {
        let disk = MemoryMedium::new();
        let log = open(&disk);
        let first = register(&log, "T.v1", &text(), None).unwrap();
        register(&log, "T.v2", &number(), Some(Compatibility::None)).unwrap();
        register(&log, "U.v1", &text(), Some(Compatibility::Full)).unwrap();
        let before = log.subjects();
        how(&disk);
        drop(log);
        let log = open(&disk);
        assert_eq!(log.subjects(), before);
        let modes: Vec<_> = before.iter().map(|subject| (&*subject.name, subject.compatibility)).collect();
        assert_eq!(modes, [("T", Compatibility::None), ("U", Compatibility::Full)]);
        assert_eq!(register(&log, "T.v1", &text(), None).unwrap(), first);
        register(&log, "V.v1", &text(), None).unwrap();
        assert_eq!(log.subjects().len(), 3);
    }
}

#[test]
fn versions_follow_one_another_and_never_change() {
    let log = open(&MemoryMedium::new());
    let gap = |outcome| matches!(outcome, Err(AdminError::SchemaGap { next: 1, .. }));
    assert!(gap(register(&log, "T.v2", &text(), None)), "there is no version 1");
    register(&log, "T.v1", &text(), None).unwrap();
    let same = Schema::json("{ \"properties\":{\"a\":{\"type\":\"string\"}},\"type\":\"object\" }").unwrap();
    let there = register(&log, "T.v1", &same, None).unwrap();
    assert_eq!(there.schema, text(), "what says the same is the same");
    let taken = register(&log, "T.v1", &number(), None);
    assert!(matches!(taken, Err(AdminError::SchemaTaken { next: 2, .. })), "{taken:?}");
    register(&log, "T.v2", &schema(r#""a": {"type": "string"}, "b": {}"#), None).unwrap();
    assert_eq!(log.subjects()[0].versions.len(), 2);
}

#[test]
fn a_version_that_breaks_the_mode_is_refused_and_another_mode_stays() {
    let log = open(&MemoryMedium::new());
    register(&log, "T.v1", &text(), None).unwrap();
    let broken = register(&log, "T.v2", &number(), None);
    let Err(AdminError::Incompatible(incompatible)) = broken else { panic!("{broken:?}") };
    assert_eq!((incompatible.reader, incompatible.writer, &*incompatible.breaks[0].path), (2, 1, "/a"));
    assert_eq!(log.subjects()[0].versions.len(), 1);
    // A mode that the new version breaks isn't taken over either.
    assert!(register(&log, "T.v2", &number(), Some(Compatibility::Forward)).is_err());
    assert_eq!(log.subjects()[0].compatibility, Compatibility::Backward);
    register(&log, "T.v1", &text(), Some(Compatibility::None)).unwrap();
    register(&log, "T.v2", &number(), None).unwrap();
    assert_eq!(log.subjects()[0].compatibility, Compatibility::None);
}

#[test]
fn of_two_that_register_the_same_version_at_once_one_is_first() {
    let cases =
        [(text(), true, false), (number(), false, false), (text(), true, true), (number(), false, true)];
    for (other, is_same, has_a_version) in cases {
        let steps = Steps::default();
        let (medium, clock) = (Box::new(MemoryMedium::new()), Arc::new(SystemClock::new()));
        let log =
            Log::open(options(JOURNAL_BYTES), medium, clock, Arc::new(SystemRandom), Some(steps.clone()))
                .unwrap();
        let event_type = if has_a_version { "T.v2" } else { "T.v1" };
        if has_a_version {
            let first = "T.v1".parse().unwrap();
            let open = schema("");
            let mut call = Box::pin(log.register_schema(&first, &open, None));
            let mut context = Context::from_waker(Waker::noop());
            while call.as_mut().poll(&mut context).is_pending() {
                steps.step();
            }
        }
        let event_type = event_type.parse().unwrap();
        // Both have decided before either is written.
        let mut calls = [text(), other].map(|schema| {
            let (log, event_type) = (&log, &event_type);
            Box::pin(async move { log.register_schema(event_type, &schema, None).await })
        });
        let mut context = Context::from_waker(Waker::noop());
        let mut outcomes: [Option<Result<SchemaVersion, AdminError>>; 2] = [const { None }; 2];
        for _ in 0..4 {
            for (call, outcome) in calls.iter_mut().zip(&mut outcomes) {
                if outcome.is_none()
                    && let Poll::Ready(ready) = call.as_mut().poll(&mut context)
                {
                    *outcome = Some(ready);
                }
            }
            steps.step();
        }
        let [Some(first), Some(second)] = outcomes else { panic!("not done: {outcomes:?}") };
        let first = first.unwrap();
        match second {
            Ok(second) => assert!(is_same && second == first, "{second:?}"),
            Err(error) => assert!(!is_same && matches!(error, AdminError::SchemaTaken { .. }), "{error}"),
        }
        let subjects = log.subjects();
        let before = usize::from(has_a_version);
        assert_eq!((subjects.len(), &subjects[0].versions[before..]), (1, &[first][..]));
    }
}

#[test]
fn a_topic_that_requires_schemas_takes_only_what_is_valid_by_them() {
    let disk = MemoryMedium::new();
    let log = open(&disk);
    topic(&log, "t", TopicConfig::new(1).schemas(SchemaPolicy::Required));
    let typed = |event_type: &str, data: &str| {
        Event::new(format!("{event_type} {data}"), "/s", event_type).json_text(data).build().unwrap()
    };
    let publish = |log: &Log, event: Event| match block_on(log.append(vec![("t", event)])) {
        Ok(_) => None,
        Err(PublishError::Schema(refusal)) => Some(refusal),
        Err(other) => panic!("{other}"),
    };
    let refused = publish(&log, typed("T", "{}"));
    assert!(matches!(refused, Some(SchemaRefusal::Unversioned { .. })), "{refused:?}");
    let refused = publish(&log, typed("T.v1", "{}"));
    assert!(matches!(refused, Some(SchemaRefusal::Unregistered { versions: 0, .. })), "{refused:?}");
    register(&log, "T.v1", &text(), None).unwrap();
    log.close();
    drop(log);
    let log = open(&disk);
    assert_eq!(publish(&log, typed("T.v1", r#"{"a": "b"}"#)), None);
    let wrong = typed("T.v1", r#"{"a": 1}"#);
    let refused = publish(&log, wrong.clone());
    assert!(matches!(&refused, Some(SchemaRefusal::Invalid { path, .. }) if path == "/a"), "{refused:?}");
    let transaction = block_on(log.transact("own.", {
        let wrong = wrong.clone();
        move |transaction| transaction.publish("t", wrong).map(drop)
    }));
    assert!(
        matches!(transaction, Err(TransactionError::Refused(PublishError::Schema(_)))),
        "{transaction:?}"
    );
    let id = log.topic_id("t").unwrap();
    assert!(log.directory().check_schema(id, &wrong).is_err(), "what a consumer publishes");
    assert_eq!(log.next_offset(id, 0), 1);
    topic(&log, "t", TopicConfig::new(1));
    assert_eq!(publish(&log, wrong), None, "they are not required any more");
}

#[test]
fn a_damaged_or_missing_row_keeps_the_file_shut() {
    let damages: [fn(&mut Tables<'_>); 4] = [
        |tables| {
            let mut row = tables.schemas.get((1, 1)).unwrap().unwrap().value().to_vec();
            *row.last_mut().unwrap() ^= 1;
            tables.schemas.insert((1, 1), row.as_slice()).unwrap();
        },
        |tables| {
            let row = tables.schemas.get((1, 1)).unwrap().unwrap().value().to_vec();
            tables.schemas.insert((1, 2), row.as_slice()).unwrap();
        },
        |tables| assert!(tables.schemas.remove((1, 1)).unwrap()),
        |tables| tables.schemas.remove_in::<(u32, u32)>(..).unwrap(),
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let disk = MemoryMedium::new();
        let log = open(&disk);
        register(&log, "T.v1", &text(), None).unwrap();
        log.close();
        drop(log);
        hide(&disk, damage);
        let error = try_open(&disk).map(drop).unwrap_err().to_string();
        assert!(error.contains("schema"), "damage {number}: {error}");
    }
}

#[test]
fn there_are_no_more_schemas_than_a_bus_holds() {
    let long = |bytes: usize| -> Schema {
        let value =
            serde_json::json!({ "format": "json-schema", "text": format!("{{}}{}", " ".repeat(bytes - 2)) });
        serde_json::from_value(value).unwrap()
    };
    let log = open(&MemoryMedium::new());
    for mode in [Compatibility::None, Compatibility::Full, Compatibility::Backward] {
        register(&log, "Long.v1", &long(SCHEMAS_BYTES_MAX / 2), Some(mode)).unwrap();
    }
    register(&log, "Long.v2", &long(SCHEMAS_BYTES_MAX / 2 - 100), None).unwrap();
    register(&log, "T.v1", &long(100), None).unwrap();
    let error = register(&log, "T.v2", &text(), None).unwrap_err();
    assert!(error.to_string().contains(&SCHEMAS_BYTES_MAX.to_string()), "{error}");
}

#[test]
fn a_bus_has_no_more_subjects_than_its_bound() {
    let mut subjects = Subjects::default();
    let plan = |subjects: &Subjects| {
        subjects.standing("New").plan(&"New.v1".parse().unwrap(), text(), None).map(drop)
    };
    for number in 0..SUBJECTS_MAX {
        plan(&subjects).unwrap();
        let name = format!("T{number}").into();
        let subject = Subject { name, compatibility: Compatibility::None, versions: Vec::new() };
        subjects.insert(u32::try_from(number).unwrap(), subject);
    }
    let error = plan(&subjects).unwrap_err();
    assert!(matches!(error, AdminError::TooManySchemas { max: SUBJECTS_MAX, .. }), "{error}");
}

#[test]
fn a_subject_has_no_more_versions_than_its_bound() {
    let log = open(&MemoryMedium::new());
    for number in 1..=SCHEMA_VERSIONS_MAX {
        register(&log, &format!("T.v{number}"), &text(), None).unwrap();
    }
    let error = register(&log, &format!("T.v{}", SCHEMA_VERSIONS_MAX + 1), &text(), None).unwrap_err();
    assert!(error.to_string().contains("versions of a subject"), "{error}");
}
