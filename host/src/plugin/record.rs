//! A delivery as a plugin gets it that fetches its deliveries: `deliveries.next` in the contract has the format.

use crate::event::{Attribute, Data, Event};
use crate::handler::Delivery;

/// Bytes before the texts: those of the topic and of the event's seven attributes.
const HEAD: usize = 4 + 4 + 8 + 8 + 8 + 4 + 4 + 4 * 8;
/// Bytes of an extension before its name.
const EXTENSION: usize = 1 + 4 + 4;
/// How many of an event's attributes each has.
const REQUIRED: usize = 3;

/// Writes a delivery as a record.
pub(super) fn encode(delivery: &Delivery) -> Vec<u8> {
    let (topic, event) = (&*delivery.topic, &*delivery.event);
    let (texts, extensions, (case, data)) = (event.texts(), event.extensions(), data(event));
    let mut out = Vec::with_capacity(HEAD + topic.len() + event.size() + EXTENSION * extensions.len());
    out.extend_from_slice(&delivery.partition.to_le_bytes());
    out.extend_from_slice(&delivery.attempt.to_le_bytes());
    out.extend_from_slice(&delivery.offset.to_le_bytes());
    out.extend_from_slice(&delivery.appended.0.to_le_bytes());
    out.extend_from_slice(&delivery.first_attempt.0.to_le_bytes());
    out.extend_from_slice(&[u8::from(delivery.redriven), texts.present() >> REQUIRED, case, 0]);
    out.extend_from_slice(&bounded(extensions.len()).to_le_bytes());
    out.extend_from_slice(&bounded(topic.len()).to_le_bytes());
    for end in texts.ends() {
        out.extend_from_slice(&bounded(topic.len() + end).to_le_bytes());
    }
    out.extend_from_slice(topic.as_bytes());
    out.extend_from_slice(texts.all().as_bytes());
    for (name, value) in extensions {
        extension(&mut out, name, value);
    }
    out.extend_from_slice(data);
    out
}

fn data(event: &Event) -> (u8, &[u8]) {
    match event.data() {
        None => (0, &[]),
        Some(Data::Json(json)) => (1, json.as_bytes()),
        Some(Data::Text(text)) => (2, text.as_bytes()),
        Some(Data::Binary(bytes)) => (3, bytes),
    }
}

fn extension(out: &mut Vec<u8>, name: &str, value: &Attribute) {
    let mut put = |case: u8, value: &[u8]| {
        out.push(case);
        out.extend_from_slice(&bounded(name.len()).to_le_bytes());
        out.extend_from_slice(&bounded(value.len()).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    };
    match value {
        Attribute::Boolean(value) => put(0, &[u8::from(*value)]),
        Attribute::Integer(value) => put(1, &value.to_le_bytes()),
        Attribute::Text(value) => put(2, value.as_bytes()),
        Attribute::Binary(value) => put(3, value),
        Attribute::Uri(value) => put(4, value.as_bytes()),
        Attribute::UriReference(value) => put(5, value.as_bytes()),
        Attribute::Timestamp(value) => put(6, value.as_bytes()),
    }
}

fn bounded(len: usize) -> u32 {
    match u32::try_from(len) {
        Ok(len) => len,
        Err(_) => unreachable!("an event is bounded far below 4 GiB"),
    }
}
