//! The types of fields.

use std::fmt::{self, Display, Formatter};

use super::definition::{EnumId, MessageId};
use super::wire::WireType;
use crate::schema::cut;

/// Most characters of a name in a sentence.
const SHOWN_MAX: usize = 60;

/// A name in backticks, shortened.
pub(super) fn shown(name: &str) -> String {
    format!("`{}`", cut(name, SHOWN_MAX))
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
    Enum(EnumId),
    Message(MessageId),
    /// A message between two marks, in place of one with its length.
    Group(MessageId),
}

impl Kind {
    /// How one value of it is written.
    pub fn wire_type(self) -> WireType {
        match self {
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::Eight,
            Self::Float | Self::Fixed32 | Self::Sfixed32 => WireType::Four,
            Self::Int32
            | Self::Int64
            | Self::Uint32
            | Self::Uint64
            | Self::Sint32
            | Self::Sint64
            | Self::Bool
            | Self::Enum(_) => WireType::Varint,
            Self::String | Self::Bytes | Self::Message(_) => WireType::Length,
            Self::Group(_) => WireType::Start,
        }
    }

    /// Whether repeated values of it may stand one behind the other, under one key.
    pub fn is_packable(self) -> bool {
        !matches!(self.wire_type(), WireType::Length | WireType::Start)
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Double => "double",
            Self::Float => "float",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Sint32 => "sint32",
            Self::Sint64 => "sint64",
            Self::Fixed32 => "fixed32",
            Self::Fixed64 => "fixed64",
            Self::Sfixed32 => "sfixed32",
            Self::Sfixed64 => "sfixed64",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Enum(_) => "an enum",
            Self::Message(_) => "a message",
            Self::Group(_) => "a group",
        })
    }
}
