//! A consumer of the SDK in the bus's own process: the SDK's `Host` over a delivery's context.

use tidegate::{Attribute, Context, Data, Delivery, EmitError, Failure, Outgoing, Timestamp};
use tidegate_plugin as sdk;

/// A delivery's context, as the SDK knows it.
pub struct Native<'c>(pub &'c mut Context);

impl sdk::Host for Native<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, sdk::StateError> {
        self.0.get(key).map_err(state_error)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), sdk::StateError> {
        self.0.set(key, value).map_err(state_error)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), sdk::StateError> {
        self.0.delete(key).map_err(state_error)
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, limit: u32) -> Result<Vec<sdk::Entry>, sdk::StateError> {
        self.0.scan(start, end, usize::try_from(limit).unwrap_or(usize::MAX)).map_err(state_error)
    }

    fn publish(&mut self, topic: &str, event: sdk::Outgoing) -> Result<(), sdk::PublishError> {
        let event = Outgoing {
            id: event.id.unwrap_or_default(),
            source: event.source.unwrap_or_default(),
            kind: event.event_type,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, to_bus(value))).collect(),
            data: data_to_bus(event.data),
        };
        self.0.publish(topic, event).map_err(|error| match error {
            EmitError::UnknownTopic(topic) => sdk::PublishError::UnknownTopic { topic },
            other => sdk::PublishError::Invalid { attribute: String::new(), message: other.to_string() },
        })
    }

    fn set_timer(&mut self, name: &str, due: sdk::Timestamp, data: sdk::Raw) -> Result<(), sdk::TimerError> {
        let set = self.0.set_timer(name, Timestamp(due.as_micros()), data_to_bus(data));
        set.map_err(|error| sdk::TimerError::Invalid { message: error.to_string() })
    }

    fn cancel_timer(&mut self, name: &str) -> Result<(), sdk::TimerError> {
        let cancelled = self.0.cancel_timer(name);
        cancelled.map_err(|error| sdk::TimerError::Invalid { message: error.to_string() })
    }

    fn now(&self) -> sdk::Timestamp {
        sdk::Timestamp::from_micros(self.0.now().0)
    }

    fn random(&mut self, len: u32) -> Vec<u8> {
        self.0.random(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn consumer(&self) -> String {
        self.0.consumer().to_owned()
    }

    fn version(&self) -> String {
        self.0.version().to_owned()
    }

    fn settings_json(&self) -> String {
        "{}".to_owned()
    }

    fn log(&mut self, _: sdk::Level, _: &str) {}
}

/// Of what can't be in a simulation but a disk that fails.
#[expect(clippy::needless_pass_by_value, reason = "called as an error is mapped")]
fn state_error(error: tidegate::StateError) -> sdk::StateError {
    match error {
        tidegate::StateError::Unavailable(_) => sdk::StateError::Unavailable,
        _ => sdk::StateError::NotGranted,
    }
}

/// A delivery in the words of the SDK.
pub fn delivery(delivery: &Delivery) -> sdk::Delivery {
    let event = &delivery.event;
    let owned = |text: Option<&str>| text.map(str::to_owned);
    sdk::Delivery {
        topic: delivery.topic.to_string(),
        partition: delivery.partition,
        offset: delivery.offset,
        appended: sdk::Timestamp::from_micros(delivery.appended.0),
        attempt: delivery.attempt,
        first_attempt: sdk::Timestamp::from_micros(delivery.first_attempt.0),
        redriven: delivery.redriven,
        event: sdk::Event {
            id: event.id().to_owned(),
            source: event.source().to_owned(),
            event_type: event.kind().to_owned(),
            subject: owned(event.subject()),
            time: owned(event.time()),
            datacontenttype: owned(event.datacontenttype()),
            dataschema: owned(event.dataschema()),
            extensions: event.extensions().map(|(name, value)| (name.to_owned(), to_sdk(value))).collect(),
            data: match event.data() {
                None => sdk::Raw::Empty,
                Some(Data::Json(text)) => sdk::Raw::Json(text.clone()),
                Some(Data::Text(text)) => sdk::Raw::Text(text.clone()),
                Some(Data::Binary(bytes)) => sdk::Raw::Binary(bytes.clone()),
            },
        },
    }
}

/// A failure in the words of the bus.
#[expect(clippy::needless_pass_by_value, reason = "called as an error is mapped")]
pub fn failure(failure: sdk::Failure) -> Failure {
    let sdk::Reason { code, message, .. } = failure.reason();
    if failure.is_transient() {
        Failure::transient(code.clone(), message.clone())
    } else {
        Failure::permanent(code.clone(), message.clone())
    }
}

fn data_to_bus(data: sdk::Raw) -> Option<Data> {
    match data {
        sdk::Raw::Empty => None,
        sdk::Raw::Json(text) => Some(Data::Json(text)),
        sdk::Raw::Text(text) => Some(Data::Text(text)),
        sdk::Raw::Binary(bytes) => Some(Data::Binary(bytes)),
    }
}

fn to_bus(attribute: sdk::Attribute) -> Attribute {
    match attribute {
        sdk::Attribute::Boolean(value) => Attribute::Boolean(value),
        sdk::Attribute::Integer(value) => Attribute::Integer(value),
        sdk::Attribute::Text(value) => Attribute::Text(value),
        sdk::Attribute::Binary(value) => Attribute::Binary(value),
        sdk::Attribute::Uri(value) => Attribute::Uri(value),
        sdk::Attribute::UriReference(value) => Attribute::UriReference(value),
        sdk::Attribute::Timestamp(value) => Attribute::Timestamp(value),
    }
}

fn to_sdk(attribute: &Attribute) -> sdk::Attribute {
    match attribute.clone() {
        Attribute::Boolean(value) => sdk::Attribute::Boolean(value),
        Attribute::Integer(value) => sdk::Attribute::Integer(value),
        Attribute::Text(value) => sdk::Attribute::Text(value),
        Attribute::Binary(value) => sdk::Attribute::Binary(value),
        Attribute::Uri(value) => sdk::Attribute::Uri(value),
        Attribute::UriReference(value) => sdk::Attribute::UriReference(value),
        Attribute::Timestamp(value) => sdk::Attribute::Timestamp(value),
    }
}
