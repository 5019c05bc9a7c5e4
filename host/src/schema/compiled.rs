//! Schemas that events can be held against.

#[cfg(feature = "schemas-json")]
use super::json;
#[cfg(feature = "schemas-protobuf")]
use super::protobuf;
use super::{Schema, SchemaError, SchemaFormat};
use crate::event::Event;

/// A schema that events can be held against.
#[derive(Debug)]
pub(crate) enum Compiled {
    #[cfg(feature = "schemas-json")]
    Json(json::Validator),
    #[cfg(feature = "schemas-protobuf")]
    Protobuf(protobuf::Definition),
}

/// Where data breaks its schema, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// A JSON Pointer into the data; empty for all of it.
    pub path: String,
    /// It doesn't say the data.
    pub reason: String,
}

impl Compiled {
    pub fn new(schema: &Schema) -> Result<Self, SchemaError> {
        match schema.format {
            #[cfg(feature = "schemas-json")]
            SchemaFormat::JsonSchema => json::Validator::new(schema.value()?).map(Self::Json),
            #[cfg(feature = "schemas-protobuf")]
            SchemaFormat::Protobuf => protobuf::Definition::new(&schema.text).map(Self::Protobuf),
            #[cfg(not(all(feature = "schemas-json", feature = "schemas-protobuf")))]
            format => Err(format.not_built()),
        }
    }

    /// Holds an event's data against it.
    pub fn check(&self, event: &Event) -> Result<(), Violation> {
        match self {
            #[cfg(feature = "schemas-json")]
            Self::Json(validator) => validator.check(event),
            #[cfg(feature = "schemas-protobuf")]
            Self::Protobuf(definition) => definition.check(event),
        }
    }
}
