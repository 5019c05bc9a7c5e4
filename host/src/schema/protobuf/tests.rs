//! What is a schema, what it says of data, and what a new version may change.

#![allow(clippy::format_collect, reason = "texts of schemas are built of small pieces")]

mod changes;
mod data;
mod decoded;
mod messages;
mod schemas;
mod sound;
mod texts;

use super::Definition;
use super::check::Unknown;
use crate::schema::SchemaError;

fn definition(text: &str) -> Definition {
    Definition::new(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> SchemaError {
    Definition::new(text).expect_err(text)
}

/// Where bytes are no message of a definition, and why.
fn flaw(definition: &Definition, bytes: &[u8]) -> Option<(String, String)> {
    let flaw = definition.check_bytes(bytes, Unknown::Refused).err()?;
    let violation = flaw.violation();
    Some((violation.path, violation.reason))
}
