//! Schemas of events: what the data of an event type is, version by version.
//!
//! An event type that has schemas carries its version, as in `OrderPlaced.v2`: `OrderPlaced` is the *subject*, which has a
//! schema for each of its versions, numbered from 1, and a compatibility mode that each new version is held to. A schema stays
//! as it was registered: another one is another version.

mod compatibility;
#[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
mod compiled;
mod json;
#[cfg(feature = "schemas-protobuf")]
mod protobuf;
mod rule;
mod subject;

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use compatibility::{Compatibility, Incompatible, UnknownCompatibility};
#[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
pub(crate) use compiled::Compiled;
pub use rule::{Break, Rule};
pub use subject::{SchemaRefusal, SchemaVersion, SubjectStatus};
pub(crate) use subject::{Subject, Version, check};

use crate::limits::{SCHEMA_BYTES_MAX, SUBJECT_BYTES_MAX, VIOLATION_CHARS_MAX};

/// An event type with its version: `OrderPlaced.v2`.
///
/// ```
/// use tidegate::schema::VersionedType;
///
/// let placed: VersionedType = "OrderPlaced.v2".parse()?;
/// assert_eq!((placed.subject(), placed.version()), ("OrderPlaced", 2));
/// assert_eq!(placed.to_string(), "OrderPlaced.v2");
/// assert!("OrderPlaced".parse::<VersionedType>().is_err());
/// # Ok::<(), tidegate::schema::SchemaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VersionedType {
    subject: String,
    version: u32,
}

impl VersionedType {
    /// What is before the version.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The version, from 1.
    pub fn version(&self) -> u32 {
        self.version
    }
}

impl fmt::Display for VersionedType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.v{}", self.subject, self.version)
    }
}

impl std::str::FromStr for VersionedType {
    type Err = SchemaError;

    fn from_str(text: &str) -> Result<Self, SchemaError> {
        let (subject, version) =
            split(text).ok_or_else(|| SchemaError::Unversioned(cut(text, VIOLATION_CHARS_MAX)))?;
        if subject.len() > SUBJECT_BYTES_MAX {
            return Err(SchemaError::SubjectSize { bytes: subject.len(), max: SUBJECT_BYTES_MAX });
        }
        Ok(Self { subject: subject.to_owned(), version })
    }
}

/// The subject and the version of an event type; nothing where it has no version, or one that isn't written as a version is.
pub(crate) fn split(event_type: &str) -> Option<(&str, u32)> {
    let (subject, version) = event_type.rsplit_once(".v")?;
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit()) && !version.starts_with('0');
    Some((subject, version.parse().ok()?)).filter(|_| is_number && !subject.is_empty())
}

/// As much of a text from outside as an error says.
fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The language that a schema is written in.
///
/// ```
/// use tidegate::schema::{Schema, SchemaFormat};
///
/// assert_eq!(Schema::json("true")?.format(), SchemaFormat::JsonSchema);
/// # Ok::<(), tidegate::schema::SchemaError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SchemaFormat {
    /// JSON Schema: drafts 4, 6, 7, 2019-09 and 2020-12, by `$schema`; without it, 2020-12.
    JsonSchema,
    /// Protobuf: the text of a `.proto`, of syntax `proto2` or `proto3`. Events carry its first message.
    Protobuf,
}

impl SchemaFormat {
    /// The cargo feature that reads it.
    fn feature(self) -> &'static str {
        match self {
            Self::JsonSchema => "schemas-json",
            Self::Protobuf => "schemas-protobuf",
        }
    }

    /// Whether this build can hold events against schemas of it.
    pub(crate) fn is_built(self) -> bool {
        match self {
            Self::JsonSchema => cfg!(feature = "schemas-json"),
            Self::Protobuf => cfg!(feature = "schemas-protobuf"),
        }
    }

    pub(crate) fn not_built(self) -> SchemaError {
        SchemaError::NotBuilt { format: self, feature: self.feature() }
    }
}

impl fmt::Display for SchemaFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonSchema => "JSON Schema",
            Self::Protobuf => "Protobuf",
        })
    }
}

/// A schema: its language and its text.
///
/// ```
/// use tidegate::schema::Schema;
///
/// let schema = Schema::json(r#"{"type": "object", "required": ["price"]}"#)?;
/// assert_eq!(schema.text(), r#"{"type": "object", "required": ["price"]}"#);
/// # #[cfg(feature = "schemas-json")]
/// assert!(Schema::json(r#"{"type": "objekt"}"#).is_err());
/// # Ok::<(), tidegate::schema::SchemaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schema {
    format: SchemaFormat,
    text: String,
}

impl Schema {
    /// A JSON Schema. References lead into the schema itself, by `#` or `#/$defs/NAME`: nothing is fetched. Patterns are matched in
    /// linear time, so look-around and back-references are refused. `format` is checked, where it is one that JSON Schema
    /// defines. What could take a validator very long is refused too: a schema that leads back to itself at the same place in
    /// the data, or by references and alternatives to 10,000 others or 128 within one another; and more than 100 patterns.
    ///
    /// # Errors
    ///
    /// The text is too long, no JSON, or no such schema. A build without the feature `schemas-json` finds out only the first
    /// two.
    pub fn json(text: impl Into<String>) -> Result<Self, SchemaError> {
        let schema = Self { format: SchemaFormat::JsonSchema, text: text.into() };
        schema.check()?;
        Ok(schema)
    }

    /// A Protobuf schema: the text of a `.proto`, of syntax `proto2` (that of a text that names none) or `proto3`. Events carry
    /// its first top-level message, in its binary form; the others are there for it. It imports nothing but Google's own files,
    /// such as `google/protobuf/timestamp.proto`, which are built in: nothing is fetched. Services and options are read, and
    /// mean nothing here. Editions aren't read yet, and neither is `message_set_wire_format`.
    ///
    /// ```
    /// use tidegate::schema::{Schema, SchemaFormat};
    ///
    /// let schema = Schema::protobuf("syntax = 'proto3'; message OrderPlaced { string order = 1; int64 price = 2; }")?;
    /// assert_eq!(schema.format(), SchemaFormat::Protobuf);
    /// # #[cfg(feature = "schemas-protobuf")]
    /// assert!(Schema::protobuf("message OrderPlaced { Price price = 1; }").is_err());
    /// # Ok::<(), tidegate::schema::SchemaError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The text is too long, no such `.proto`, or has no message; there are too many definitions in it, or they are nested too
    /// deep. A build without the feature `schemas-protobuf` finds out only the first.
    pub fn protobuf(text: impl Into<String>) -> Result<Self, SchemaError> {
        let schema = Self { format: SchemaFormat::Protobuf, text: text.into() };
        schema.check()?;
        Ok(schema)
    }

    /// The language that it is written in.
    pub fn format(&self) -> SchemaFormat {
        self.format
    }

    /// Its text, as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Checks it anew, where it comes from outside.
    ///
    /// # Errors
    ///
    /// See [`json`](Self::json) and [`protobuf`](Self::protobuf).
    pub fn check(&self) -> Result<(), SchemaError> {
        if self.text.len() > SCHEMA_BYTES_MAX {
            return Err(SchemaError::Size { bytes: self.text.len(), max: SCHEMA_BYTES_MAX });
        }
        if self.format == SchemaFormat::JsonSchema {
            self.value()?;
        }
        #[cfg(any(feature = "schemas-json", feature = "schemas-protobuf"))]
        if self.format.is_built() {
            Compiled::new(self)?;
        }
        Ok(())
    }

    /// The JSON of a JSON Schema.
    pub(crate) fn value(&self) -> Result<Value, SchemaError> {
        serde_json::from_str(&self.text).map_err(|error| SchemaError::NotJson(error.to_string()))
    }

    /// Whether both say the same. JSON may be written differently, a `.proto` has to be the same text.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        let is_same_json = || {
            self.format == SchemaFormat::JsonSchema
                && matches!((self.value(), other.value()), (Ok(this), Ok(other)) if this == other)
        };
        self.format == other.format && (self.text == other.text || is_same_json())
    }
}

/// Why a text is no schema, or has no place as one.
///
/// ```
/// use tidegate::schema::{Schema, SchemaError};
///
/// let error = Schema::json("{").unwrap_err();
/// assert!(matches!(error, SchemaError::NotJson(_)));
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaError {
    /// An event type without a version.
    #[error(
        "`{0}` names no version: an event type with a schema ends in one, as `OrderPlaced.v1` does, from `.v1`"
    )]
    Unversioned(String),
    /// The part before the version is too long.
    #[error(
        "the type before its version has {bytes} bytes, more than the {max} that the subject of a schema has"
    )]
    SubjectSize {
        /// Its length in bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The text is too long.
    #[error("the schema has {bytes} bytes, more than the {max} that one may have: split the event type")]
    Size {
        /// Its length in bytes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The text is no JSON.
    #[error("the schema is no JSON: {0}")]
    NotJson(String),
    /// This build can't check schemas of this language, and one that is registered stays for ever.
    #[error("this build of tidegate doesn't read {format}: it lacks the feature `{feature}`")]
    NotBuilt {
        /// The language.
        format: SchemaFormat,
        /// The cargo feature that reads it.
        feature: &'static str,
    },
    /// It is no JSON Schema, or one that could take very long.
    #[error("the schema is no JSON Schema, at `{path}`: {reason}")]
    Invalid {
        /// Where in the schema, as a JSON Pointer; empty for all of it.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// It is no `.proto` that can be a schema.
    #[error("the schema is no Protobuf that can be one{}: {reason}", spot(*.place))]
    NotProtobuf {
        /// The line and the column, from 1, where it is one place.
        place: Option<(usize, usize)>,
        /// What is wrong there.
        reason: String,
    },
}

/// A place in a text, within an error.
fn spot(place: Option<(usize, usize)>) -> String {
    place.map_or_else(String::new, |(line, column)| format!(", at line {line}, column {column}"))
}
