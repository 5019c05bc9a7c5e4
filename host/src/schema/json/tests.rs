//! What is found to be compatible, and what is not.

#![allow(clippy::needless_pass_by_value, reason = "the values of `json!` read best where they are passed")]

mod alternatives;
mod documents;
mod hostile;
mod objects;
mod references;
mod schemas;
mod sound;
mod values;

use serde_json::Value;

use super::{Rule, breaks};

/// Reader, writer, and the breaks to be found, as text: `path rule`, one a line.
type Case = (&'static str, Value, Value, &'static [(&'static str, Rule)]);

fn check(cases: Vec<Case>) {
    for (name, reader, writer, expected) in cases {
        let found = breaks(&reader, &writer);
        let pairs: Vec<_> = found.iter().map(|found| (found.path.as_str(), found.rule)).collect();
        assert_eq!(pairs, expected, "{name}: {found:#?}");
    }
}

/// Whether the first schema as a reader takes what the second writes, and what is found the other way round.
fn check_one_way(cases: Vec<Case>) {
    for (name, wide, narrow, expected) in cases {
        check(vec![(name, wide.clone(), narrow.clone(), &[]), (name, narrow, wide, expected)]);
    }
}

#[test]
fn a_break_says_what_and_why() {
    let old = serde_json::json!({"properties": {"price": {"type": "integer", "minimum": 0}}});
    let new = serde_json::json!({"properties": {"price": {"type": "integer", "minimum": 5}}, "required": ["price"]});
    let details: Vec<_> = breaks(&new, &old).into_iter().map(|found| found.detail).collect();
    assert_eq!(
        details,
        [
            "`price` is required by the reader, and not by the writer",
            "`minimum` is 5 for the reader, and 0 for the writer",
        ]
    );
}
