//! An event as a NATS message: `CloudEvents`' NATS protocol binding.
//!
//! Version 1.0.2 of the binding has structured mode alone, and no headers. The draft of 1.0.3 adds binary mode, and the
//! header that tells them apart; who reads messages as 1.0.2 says doesn't look at it.

use async_nats::header::{NATS_EXPECTED_STREAM, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;

use crate::config::ContentMode;
use crate::event::Data;
use crate::handler::Delivery;
use crate::relay::attributes::{PREFIX, STRUCTURED, attributes, percent_encoded, trace_headers};
use crate::relay::identity::identity_in;

const CONTENT_TYPE: &str = "Content-Type";

/// The headers and the payload of a delivery's event.
pub(super) fn message(delivery: &Delivery, mode: ContentMode, stream: Option<&str>) -> (HeaderMap, Bytes) {
    let event = &*delivery.event;
    let mut headers = HeaderMap::new();
    // The topic is part of it: the same source and id in two topics are two events, and may share a stream.
    headers.insert(NATS_MESSAGE_ID, identity_in(&delivery.topic, event));
    if let Some(stream) = stream {
        headers.insert(NATS_EXPECTED_STREAM, stream);
    }
    for (name, value) in trace_headers(event) {
        // NATS takes printable text without a line break.
        if let Ok(value) = value.parse::<HeaderValue>() {
            headers.insert(name, value);
        }
    }
    let payload = match mode {
        ContentMode::Binary => {
            for (name, value) in attributes(event) {
                headers.insert(format!("{PREFIX}{name}"), value);
            }
            let implied = matches!(event.data(), Some(Data::Json(_))).then_some("application/json");
            if let Some(media_type) = event.datacontenttype().or(implied) {
                headers.insert(format!("{PREFIX}datacontenttype"), percent_encoded(media_type));
            }
            Bytes::copy_from_slice(event.data().map_or(&[], Data::as_bytes))
        }
        ContentMode::Structured => {
            headers.insert(CONTENT_TYPE, STRUCTURED);
            Bytes::from(event.to_json())
        }
    };
    (headers, payload)
}
