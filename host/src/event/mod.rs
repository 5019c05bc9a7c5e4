//! `CloudEvents` 1.0.2: the event, its checks, and its JSON format.

mod attribute;
mod builder;
mod causation;
mod data;
mod dataref;
mod error;
mod json;
mod lines;
mod media_type;
mod model;
mod parts;
mod texts;
mod timestamp;
mod uri;

pub use attribute::Attribute;
pub use builder::EventBuilder;
pub(crate) use causation::Causes;
pub use data::{Data, DataError};
pub(crate) use dataref::{BlobDigest, BlobRef};
pub use error::{EventError, JsonError};
pub use lines::{EventLines, LineError};
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
pub(crate) use media_type::is_json;
#[cfg(feature = "schemas-protobuf")]
pub(crate) use media_type::is_protobuf;
pub use model::Event;
pub(crate) use model::SEQUENCE;
pub use parts::EventParts;
pub(crate) use texts::Texts;
