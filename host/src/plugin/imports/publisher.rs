//! `publisher`.

use super::bound;
use crate::effects::{EmitError, Outgoing};
use crate::event::Data;
use crate::plugin::bindings::tidegate::plugin::publisher::{self, Error, Refusal};
use crate::plugin::host::Host;

impl publisher::Host for Host {
    fn publish(&mut self, topic: String, event: publisher::Outgoing) -> wasmtime::Result<Result<(), Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted(topic)));
        };
        Ok(context.publish(&topic, event.into()).map_err(Error::from))
    }
}

impl From<publisher::Outgoing> for Outgoing {
    fn from(event: publisher::Outgoing) -> Self {
        Self {
            id: event.id.unwrap_or_default(),
            source: event.source.unwrap_or_default(),
            kind: event.type_,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, value.into())).collect(),
            data: event.data.map(Data::from),
        }
    }
}

impl From<EmitError> for Error {
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::NotGranted(topic) => Self::NotGranted(topic),
            EmitError::UnknownTopic(topic) => Self::UnknownTopic(topic),
            EmitError::Invalid(error) => {
                Self::Invalid(Refusal { attribute: error.attribute().to_owned(), message: error.to_string() })
            }
            EmitError::Schema(refusal) => {
                let attribute = if refusal.is_of_data() { "data" } else { "type" };
                Self::Invalid(Refusal { attribute: attribute.to_owned(), message: refusal.to_string() })
            }
            EmitError::EventSize { max, .. } => Self::EventSize(bound(max)),
            EmitError::EffectsSize { events_max, bytes_max } => {
                Self::EffectsSize((bound(events_max), bound(bytes_max)))
            }
        }
    }
}
