//! The words that the contract's worlds share, from one side to the other.

use std::time::Duration;

use crate::{
    Attribute, Event, Failure, Level, Raw,
    bindings::tidegate::plugin::{logging, types},
};

/// Data as the contract has it.
pub(crate) fn data(data: Raw) -> Option<types::Data> {
    match data {
        Raw::Empty => None,
        Raw::Json(json) => Some(types::Data::Json(json)),
        Raw::Text(text) => Some(types::Data::Text(text)),
        Raw::Binary(bytes) => Some(types::Data::Binary(bytes)),
    }
}

/// Data of the contract's.
pub(crate) fn raw(data: Option<types::Data>) -> Raw {
    match data {
        None => Raw::Empty,
        Some(types::Data::Json(json)) => Raw::Json(json),
        Some(types::Data::Text(text)) => Raw::Text(text),
        Some(types::Data::Binary(bytes)) => Raw::Binary(bytes),
    }
}

impl From<types::Event> for Event {
    fn from(event: types::Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            event_type: event.type_,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, value.into())).collect(),
            data: raw(event.data),
        }
    }
}

impl From<types::Attribute> for Attribute {
    fn from(attribute: types::Attribute) -> Self {
        match attribute {
            types::Attribute::Boolean(value) => Self::Boolean(value),
            types::Attribute::Integer(value) => Self::Integer(value),
            types::Attribute::Text(value) => Self::Text(value),
            types::Attribute::Binary(value) => Self::Binary(value),
            types::Attribute::Uri(value) => Self::Uri(value),
            types::Attribute::UriReference(value) => Self::UriReference(value),
            types::Attribute::Timestamp(value) => Self::Timestamp(value),
        }
    }
}

impl From<Attribute> for types::Attribute {
    fn from(attribute: Attribute) -> Self {
        match attribute {
            Attribute::Boolean(value) => Self::Boolean(value),
            Attribute::Integer(value) => Self::Integer(value),
            Attribute::Text(value) => Self::Text(value),
            Attribute::Binary(value) => Self::Binary(value),
            Attribute::Uri(value) => Self::Uri(value),
            Attribute::UriReference(value) => Self::UriReference(value),
            Attribute::Timestamp(value) => Self::Timestamp(value),
        }
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Transient(reason) => Self::Transient(reason.into()),
            Failure::Permanent(reason) => Self::Permanent(reason.into()),
        }
    }
}

impl From<crate::Reason> for types::Reason {
    fn from(reason: crate::Reason) -> Self {
        // A wait that outgrows the number is over the host's bound anyway.
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Self { code: reason.code, message: reason.message, retry_after_ms: reason.retry_after.map(millis) }
    }
}

impl From<Level> for logging::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}
