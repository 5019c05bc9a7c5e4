//! What plugins write to the host's log.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use super::guest::Guest;
use super::lane::{State, all, run_with};
use crate::config::Grants;
use crate::limits::{LOG_LINE_BYTES_MAX, LOG_LINES_PER_SECOND};

/// The fields of a line by their names.
pub type Line = BTreeMap<&'static str, String>;

/// Keeps the lines of plugins.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<Line>>>);

struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tidegate::plugin"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::from([("level", event.metadata().level().to_string())]);
        event.record(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Does something, and tells what plugins have written to the log meanwhile.
pub async fn watched<T>(what: impl Future<Output = T>) -> (T, Vec<Line>) {
    let kept = Kept::default();
    let default = tracing::subscriber::set_default(kept.clone());
    let outcome = what.await;
    drop(default);
    let lines = kept.0.lock().unwrap();
    (outcome, lines.clone())
}

/// What a guest writes to the log in one delivery.
async fn lines(guest: &Guest, grants: Grants) -> Vec<Line> {
    let (outcome, lines) = watched(run_with(guest, grants, State::default())).await;
    outcome.unwrap();
    lines
}

pub const LOG: &str = r#"(import "tidegate:plugin/logging@0.1.0" "log" (func $log (param i32 i32 i32))) (global $n (mut i32) (i32.const 0))"#;

#[tokio::test]
async fn a_line_carries_the_ids_of_its_delivery() {
    let handle = "(call $log (i32.const 3) (i32.const 64) (i32.const 5)) (i32.const 256)";
    let written = lines(&Guest { parts: LOG, handle, ..Guest::default() }, all()).await;
    let expected = Line::from([
        ("level", "WARN".to_owned()),
        ("message", "guest".to_owned()),
        ("consumer", "\"counter\"".to_owned()),
        ("topic", "\"readings\"".to_owned()),
        ("partition", "3".to_owned()),
        ("offset", "41".to_owned()),
        ("attempt", "1".to_owned()),
    ]);
    assert_eq!(written, [expected]);
}

#[tokio::test]
async fn without_a_grant_nothing_is_written() {
    let handle = "(call $log (i32.const 3) (i32.const 64) (i32.const 5)) (i32.const 256)";
    let written = lines(&Guest { parts: LOG, handle, ..Guest::default() }, Grants::nothing()).await;
    assert!(written.is_empty());
}

#[tokio::test]
async fn a_flood_is_cut_off_and_the_number_of_dropped_lines_is_told() {
    let handle = "(loop $l
                   (call $log (i32.const 2) (i32.const 64) (i32.const 5))
                   (global.set $n (i32.add (global.get $n) (i32.const 1)))
                   (br_if $l (i32.lt_u (global.get $n) (i32.const 150))))
                  (i32.const 256)";
    let written = lines(&Guest { parts: LOG, handle, ..Guest::default() }, all()).await;
    let (last, lines) = written.split_last().unwrap();
    assert_eq!(lines.len(), LOG_LINES_PER_SECOND as usize);
    assert_eq!(last["dropped"], "50");
}

#[tokio::test]
async fn a_long_line_is_cut() {
    let handle = "(memory.fill (i32.const 8192) (i32.const 97) (i32.const 20000))
                  (call $log (i32.const 2) (i32.const 8192) (i32.const 20000))
                  (i32.const 256)";
    let written = lines(&Guest { parts: LOG, handle, ..Guest::default() }, all()).await;
    assert_eq!(written[0]["message"].len(), LOG_LINE_BYTES_MAX);
}

#[tokio::test]
async fn what_a_guest_prints_is_logged_line_by_line() {
    let guest = Guest {
        parts: r#"
          (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $stdout (result i32)))
          (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
            (func $write (param i32 i32 i32 i32)))
          (data (i32.const 1200) "one\ntwo\nthr")"#,
        handle: "(local.set $a (call $stdout))
                 (call $write (local.get $a) (i32.const 1200) (i32.const 11) (i32.const 1024))
                 (call $write (local.get $a) (i32.const 1203) (i32.const 1) (i32.const 1024))
                 (i32.const 256)",
        wasi: true,
        ..Guest::default()
    };
    let written = lines(&guest, all()).await;
    let text: Vec<_> = written.iter().map(|line| line["message"].as_str()).collect();
    assert_eq!(text, ["one", "two", "thr"]);
    assert!(lines(&guest, Grants::nothing()).await.is_empty());
}
