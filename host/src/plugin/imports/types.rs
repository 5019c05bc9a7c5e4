//! The words that host and plugin share, from one side to the other.

use crate::event::{Attribute, Data, Event};
use crate::handler::{Delivery, Failure};
use crate::plugin::bindings::tidegate::plugin::types;

impl types::Host for crate::plugin::host::Host {}

impl From<&Delivery> for types::Delivery {
    fn from(delivery: &Delivery) -> Self {
        Self {
            topic: delivery.topic.to_string(),
            partition: delivery.partition,
            offset: delivery.offset,
            appended: delivery.appended.0,
            attempt: delivery.attempt,
            first_attempt: delivery.first_attempt.0,
            redriven: delivery.redriven,
            event: (&*delivery.event).into(),
        }
    }
}

impl From<&Event> for types::Event {
    fn from(event: &Event) -> Self {
        Self {
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            type_: event.kind().to_owned(),
            subject: event.subject().map(str::to_owned),
            time: event.time().map(str::to_owned),
            datacontenttype: event.datacontenttype().map(str::to_owned),
            dataschema: event.dataschema().map(str::to_owned),
            extensions: event.extensions().map(|(name, value)| (name.to_owned(), value.into())).collect(),
            data: event.data().map(types::Data::from),
        }
    }
}

impl From<&Attribute> for types::Attribute {
    fn from(value: &Attribute) -> Self {
        match value {
            Attribute::Boolean(value) => Self::Boolean(*value),
            Attribute::Integer(value) => Self::Integer(*value),
            Attribute::Text(text) => Self::Text(text.clone()),
            Attribute::Binary(bytes) => Self::Binary(bytes.clone()),
            Attribute::Uri(uri) => Self::Uri(uri.clone()),
            Attribute::UriReference(reference) => Self::UriReference(reference.clone()),
            Attribute::Timestamp(time) => Self::Timestamp(time.clone()),
        }
    }
}

impl From<types::Attribute> for Attribute {
    fn from(value: types::Attribute) -> Self {
        match value {
            types::Attribute::Boolean(value) => Self::Boolean(value),
            types::Attribute::Integer(value) => Self::Integer(value),
            types::Attribute::Text(text) => Self::Text(text),
            types::Attribute::Binary(bytes) => Self::Binary(bytes),
            types::Attribute::Uri(uri) => Self::Uri(uri),
            types::Attribute::UriReference(reference) => Self::UriReference(reference),
            types::Attribute::Timestamp(time) => Self::Timestamp(time),
        }
    }
}

impl From<&Data> for types::Data {
    fn from(data: &Data) -> Self {
        match data {
            Data::Json(text) => Self::Json(text.clone()),
            Data::Text(text) => Self::Text(text.clone()),
            Data::Binary(bytes) => Self::Binary(bytes.clone()),
        }
    }
}

impl From<types::Data> for Data {
    fn from(data: types::Data) -> Self {
        match data {
            types::Data::Json(text) => Self::Json(text),
            types::Data::Text(text) => Self::Text(text),
            types::Data::Binary(bytes) => Self::Binary(bytes),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_attribute_and_data_crosses_unchanged() {
        let text = || "2024-01-01T00:00:00Z".to_owned();
        for attribute in [
            Attribute::Boolean(true),
            Attribute::Integer(i32::MIN),
            Attribute::Text(text()),
            Attribute::Binary(vec![0, 255]),
            Attribute::Uri(text()),
            Attribute::UriReference(text()),
            Attribute::Timestamp(text()),
        ] {
            assert_eq!(Attribute::from(types::Attribute::from(&attribute)), attribute);
        }
        for data in [Data::Json("1.50".to_owned()), Data::Text(text()), Data::Binary(vec![0, 255])] {
            assert_eq!(Data::from(types::Data::from(&data)), data);
        }
    }
}
