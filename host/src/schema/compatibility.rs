//! What a new version of a schema may change.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::rule::{Break, Rule};
use super::{Schema, SchemaFormat, json};
use crate::limits::{SCHEMA_BREAKS_MAX, VIOLATION_CHARS_MAX};

/// What a new version of a subject's schema may change, by the names of Confluent's Schema Registry.
///
/// ```
/// use tidegate::schema::Compatibility;
///
/// assert_eq!("full-transitive".parse(), Ok(Compatibility::FullTransitive));
/// assert_eq!(Compatibility::default(), Compatibility::Backward);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compatibility {
    /// Anything.
    None,
    /// Who knows the new version can read what was written by the one before: consumers are changed first.
    #[default]
    Backward,
    /// The same, of all versions before.
    BackwardTransitive,
    /// Who knows the version before can read what is written by the new one: producers are changed first.
    Forward,
    /// The same, of all versions before.
    ForwardTransitive,
    /// Both ways.
    Full,
    /// Both ways, of all versions before.
    FullTransitive,
}

impl Compatibility {
    const NAMES: [(Self, &'static str); 7] = [
        (Self::None, "none"),
        (Self::Backward, "backward"),
        (Self::BackwardTransitive, "backward-transitive"),
        (Self::Forward, "forward"),
        (Self::ForwardTransitive, "forward-transitive"),
        (Self::Full, "full"),
        (Self::FullTransitive, "full-transitive"),
    ];

    fn reads_older(self) -> bool {
        matches!(self, Self::Backward | Self::BackwardTransitive | Self::Full | Self::FullTransitive)
    }

    fn is_read_by_older(self) -> bool {
        matches!(self, Self::Forward | Self::ForwardTransitive | Self::Full | Self::FullTransitive)
    }

    fn is_transitive(self) -> bool {
        matches!(self, Self::BackwardTransitive | Self::ForwardTransitive | Self::FullTransitive)
    }

    /// Holds a new version of a subject against those before, of which `earlier` has the numbers in ascending order.
    ///
    /// ```
    /// use tidegate::schema::{Compatibility, Schema};
    ///
    /// let v1 = Schema::json(r#"{"properties": {"price": {"type": "integer"}}}"#)?;
    /// let v2 = Schema::json(r#"{"properties": {"price": {"type": "number"}}}"#)?;
    /// Compatibility::Backward.check("OrderPlaced", 2, &v2, [(1, &v1)])?;
    /// let error = Compatibility::Full.check("OrderPlaced", 2, &v2, [(1, &v1)]).unwrap_err();
    /// assert_eq!(error.breaks[0].path, "/price");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first version that it doesn't go with, beginning with the one before.
    pub fn check<'s>(
        self,
        subject: &str,
        version: u32,
        schema: &Schema,
        earlier: impl IntoIterator<Item = (u32, &'s Schema), IntoIter: DoubleEndedIterator>,
    ) -> Result<(), Incompatible> {
        let count = if self.is_transitive() { usize::MAX } else { 1 };
        for (older_version, older) in earlier.into_iter().rev().take(count) {
            let directions = [
                (self.reads_older(), (version, schema), (older_version, older)),
                (self.is_read_by_older(), (older_version, older), (version, schema)),
            ];
            for (is_asked, (reader_version, reader), (writer_version, writer)) in directions {
                let mut breaks = if is_asked { breaks(reader, writer) } else { Vec::new() };
                if breaks.is_empty() {
                    continue;
                }
                let more = breaks.len().saturating_sub(SCHEMA_BREAKS_MAX);
                breaks.truncate(SCHEMA_BREAKS_MAX);
                let (subject, mode) = (subject.to_owned(), self);
                let (reader, writer) = (reader_version, writer_version);
                return Err(Incompatible { subject, mode, version, reader, writer, breaks, more });
            }
        }
        Ok(())
    }
}

/// Where the reader can't read what the writer writes.
fn breaks(reader: &Schema, writer: &Schema) -> Vec<Break> {
    match (reader.format, writer.format) {
        (SchemaFormat::JsonSchema, SchemaFormat::JsonSchema) => match (reader.value(), writer.value()) {
            (Ok(reader), Ok(writer)) => json::breaks(&reader, &writer),
            // Both were checked when they were made.
            (Err(error), _) | (_, Err(error)) => not_comparable(error.to_string()),
        },
        #[cfg(feature = "schemas-protobuf")]
        (SchemaFormat::Protobuf, SchemaFormat::Protobuf) => {
            use super::protobuf::{Definition, breaks};

            match (Definition::new(reader.text()), Definition::new(writer.text())) {
                (Ok(reader), Ok(writer)) => breaks(&reader, &writer),
                (Err(error), _) | (_, Err(error)) => not_comparable(error.to_string()),
            }
        }
        #[cfg(not(feature = "schemas-protobuf"))]
        (SchemaFormat::Protobuf, SchemaFormat::Protobuf) => {
            not_comparable(SchemaFormat::Protobuf.not_built().to_string())
        }
        (reader, writer) => {
            not_comparable(format!("the reader's schema is {reader}, and the writer's is {writer}"))
        }
    }
}

fn not_comparable(detail: String) -> Vec<Break> {
    vec![Break::here(Rule::NotComparable, detail)]
}

impl fmt::Display for Compatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(mode, _)| mode == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// A word that is no compatibility mode.
///
/// ```
/// use tidegate::schema::Compatibility;
///
/// let error = "sideways".parse::<Compatibility>().unwrap_err();
/// assert!(error.to_string().contains("backward-transitive"));
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{0}` is no compatibility mode: those are none, backward, forward and full, and the last three with `-transitive`, as in \
     backward-transitive"
)]
pub struct UnknownCompatibility(String);

impl FromStr for Compatibility {
    type Err = UnknownCompatibility;

    fn from_str(text: &str) -> Result<Self, UnknownCompatibility> {
        let found = Self::NAMES.iter().find(|(_, name)| *name == text);
        found
            .map(|(mode, _)| *mode)
            .ok_or_else(|| UnknownCompatibility(super::cut(text, VIOLATION_CHARS_MAX)))
    }
}

/// A version of a schema that breaks its subject's compatibility mode.
///
/// ```
/// use tidegate::schema::{Compatibility, Schema};
///
/// let (old, new) = (Schema::json(r#"{"type": "number"}"#)?, Schema::json(r#"{"type": "string"}"#)?);
/// let error = Compatibility::Forward.check("Price", 2, &new, [(1, &old)]).unwrap_err();
/// assert_eq!((error.reader, error.writer), (1, 2), "who knows version 1 can't read version 2");
/// # Ok::<(), tidegate::schema::SchemaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "version {version} of `{subject}` is not {mode}: who knows version {reader} can't read what version {writer} writes: {}{}",
    breaks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    if *more > 0 { format!("; and {more} more") } else { String::new() }
)]
pub struct Incompatible {
    /// The subject.
    pub subject: String,
    /// What it is held to.
    pub mode: Compatibility,
    /// The new version.
    pub version: u32,
    /// The version of who reads.
    pub reader: u32,
    /// The version of who writes.
    pub writer: u32,
    /// What breaks it, the first ones.
    pub breaks: Vec<Break>,
    /// How many more there are.
    pub more: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(properties: &str, required: &str) -> Schema {
        let text = format!(
            r#"{{"type": "object", "additionalProperties": false, "properties": {{{properties}}}, "required": [{required}]}}"#
        );
        Schema { format: SchemaFormat::JsonSchema, text }
    }

    /// The version that a third one doesn't go with, and whether that one reads or writes.
    fn broken(mode: Compatibility, versions: &[Schema; 3]) -> Option<(u32, bool)> {
        let earlier = [(1, &versions[0]), (2, &versions[1])];
        let error = mode.check("T", 3, &versions[2], earlier).err()?;
        let reads = error.writer == 3;
        Some((if reads { error.reader } else { error.writer }, reads))
    }

    #[test]
    fn each_mode_holds_a_version_to_what_it_says() {
        use Compatibility::*;
        let (a, ab) = (schema(r#""a": {}"#, ""), schema(r#""a": {}, "b": {}"#, ""));
        let narrow = schema(r#""a": {"type": "string"}, "b": {}"#, "");
        // One that reads all before; one that is read by all before; the version before is as new, and the first one isn't.
        let grown = [a.clone(), a.clone(), ab.clone()];
        let shrunk = [ab.clone(), ab.clone(), a.clone()];
        let late_reads = [ab.clone(), narrow.clone(), narrow.clone()];
        let late_read = [a.clone(), ab.clone(), ab.clone()];
        for (mode, expected) in [
            (None, [Option::None; 4]),
            (Backward, [Option::None, Some((2, false)), Option::None, Option::None]),
            (BackwardTransitive, [Option::None, Some((2, false)), Some((1, false)), Option::None]),
            (Forward, [Some((2, true)), Option::None, Option::None, Option::None]),
            (ForwardTransitive, [Some((2, true)), Option::None, Option::None, Some((1, true))]),
            (Full, [Some((2, true)), Some((2, false)), Option::None, Option::None]),
            (FullTransitive, [Some((2, true)), Some((2, false)), Some((1, false)), Some((1, true))]),
        ] {
            let found = [&grown, &shrunk, &late_reads, &late_read].map(|versions| broken(mode, versions));
            assert_eq!(found, expected, "{mode}");
        }
    }

    #[test]
    fn modes_are_written_as_they_are_read() {
        for (mode, name) in Compatibility::NAMES {
            assert_eq!((name.parse(), mode.to_string()), (Ok(mode), name.to_owned()));
            assert_eq!(serde_json::to_value(mode).unwrap(), name);
        }
        assert!("Backward".parse::<Compatibility>().is_err());
    }

    #[test]
    fn an_error_says_who_cant_read_what_and_stays_short() {
        let required: Vec<_> = (0..50).map(|number| format!(r#""p{number}""#)).collect();
        let (old, new) = (schema("", ""), schema("", &required.join(",")));
        let error = Compatibility::Backward.check("T", 2, &new, [(1, &old)]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("version 2 of `T` is not backward") && text.contains("required-added"),
            "{text}"
        );
        assert!(text.contains(&format!("and {} more", 50 - SCHEMA_BREAKS_MAX)), "{text}");
    }
}
