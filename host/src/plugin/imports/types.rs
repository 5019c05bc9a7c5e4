//! The words that host and plugin share, from one side to the other.

use crate::event::{Attribute, Data, Event};
use crate::handler::{Delivery, Failure};
use crate::plugin::bindings::tidegate::plugin::types;

impl types::Host for crate::plugin::host::Host {}

/// The extension attributes of an event, as [`event`] refers to them.
pub(in crate::plugin) fn extensions(event: &Event) -> Vec<(&str, types::AttributeParam<'_>)> {
    event.extensions().map(|(name, value)| (name, value.into())).collect()
}

/// A delivery as the guest gets it: it refers to the host's own, whose extension attributes these are.
pub(in crate::plugin) fn delivery<'a>(
    delivery: &'a Delivery,
    extensions: &'a [(&'a str, types::AttributeParam<'a>)],
) -> types::Delivery<'a> {
    types::Delivery {
        topic: &delivery.topic,
        partition: delivery.partition,
        offset: delivery.offset,
        appended: delivery.appended.0,
        attempt: delivery.attempt,
        first_attempt: delivery.first_attempt.0,
        redriven: delivery.redriven,
        event: event(&delivery.event, extensions),
    }
}

/// An event as the guest gets it: it refers to the host's own, whose extension attributes these are.
pub(in crate::plugin) fn event<'a>(
    event: &'a Event,
    extensions: &'a [(&'a str, types::AttributeParam<'a>)],
) -> types::Event<'a> {
    types::Event {
        id: event.id(),
        source: event.source(),
        type_: event.kind(),
        subject: event.subject(),
        time: event.time(),
        datacontenttype: event.datacontenttype(),
        dataschema: event.dataschema(),
        extensions,
        data: event.data().map(types::DataParam::from),
    }
}

impl<'a> From<&'a Attribute> for types::AttributeParam<'a> {
    fn from(value: &'a Attribute) -> Self {
        match value {
            Attribute::Boolean(value) => Self::Boolean(*value),
            Attribute::Integer(value) => Self::Integer(*value),
            Attribute::Text(text) => Self::Text(text),
            Attribute::Binary(bytes) => Self::Binary(bytes),
            Attribute::Uri(uri) => Self::Uri(uri),
            Attribute::UriReference(reference) => Self::UriReference(reference),
            Attribute::Timestamp(time) => Self::Timestamp(time),
        }
    }
}

impl From<types::AttributeResult> for Attribute {
    fn from(value: types::AttributeResult) -> Self {
        match value {
            types::AttributeResult::Boolean(value) => Self::Boolean(value),
            types::AttributeResult::Integer(value) => Self::Integer(value),
            types::AttributeResult::Text(text) => Self::Text(text),
            types::AttributeResult::Binary(bytes) => Self::Binary(bytes),
            types::AttributeResult::Uri(uri) => Self::Uri(uri),
            types::AttributeResult::UriReference(reference) => Self::UriReference(reference),
            types::AttributeResult::Timestamp(time) => Self::Timestamp(time),
        }
    }
}

impl<'a> From<&'a Data> for types::DataParam<'a> {
    fn from(data: &'a Data) -> Self {
        match data {
            Data::Json(text) => Self::Json(text),
            Data::Text(text) => Self::Text(text),
            Data::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<types::DataResult> for Data {
    fn from(data: types::DataResult) -> Self {
        match data {
            types::DataResult::Json(text) => Self::Json(text),
            types::DataResult::Text(text) => Self::Text(text),
            types::DataResult::Binary(bytes) => Self::Binary(bytes),
        }
    }
}

impl From<types::Failure> for Failure {
    fn from(failure: types::Failure) -> Self {
        let (make, reason): (fn(String, String) -> Self, _) = match failure {
            types::Failure::Transient(reason) => (Self::transient, reason),
            types::Failure::Permanent(reason) => (Self::permanent, reason),
        };
        let failure = make(reason.code, reason.message);
        match reason.retry_after_ms {
            Some(ms) => failure.with_retry_after(std::time::Duration::from_millis(ms)),
            None => failure,
        }
    }
}
