//! An event's attributes as headers: the same in `CloudEvents`' bindings to HTTP and to NATS.

use crate::event::Event;

/// What the names of the headers begin with.
pub(super) const PREFIX: &str = "ce-";

/// The media type of an event in structured mode.
pub(super) const STRUCTURED: &str = "application/cloudevents+json; charset=UTF-8";

/// The names of all attributes but `datacontenttype`, with their values as headers carry them.
pub(super) fn attributes(event: &Event) -> impl Iterator<Item = (&str, String)> {
    let core = [
        ("specversion", Some("1.0")),
        ("id", Some(event.id())),
        ("source", Some(event.source())),
        ("type", Some(event.kind())),
        ("subject", event.subject()),
        ("time", event.time()),
        ("dataschema", event.dataschema()),
    ];
    let core = core.into_iter().filter_map(|(name, value)| Some((name, percent_encoded(value?))));
    core.chain(event.extensions().map(|(name, value)| (name, percent_encoded(&value.to_string()))))
}

/// The headers by which the receiver's own tracing goes on in the event's trace, as W3C Trace Context says: outside of the
/// event, for whatever reads no `CloudEvents`.
pub(super) fn trace_headers(event: &Event) -> impl Iterator<Item = (&'static str, &str)> {
    let parent = event.traceparent();
    let state = parent.and_then(|_| event.tracestate());
    [("traceparent", parent), ("tracestate", state)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

/// As the bindings say: space, `"`, `%`, and what is not printable ASCII become `%xy`, byte by byte.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            push_encoded(&mut encoded, byte);
        }
    }
    encoded
}

pub(super) fn push_encoded(text: &mut String, byte: u8) {
    let digit = |nibble| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
    text.extend(['%', digit(byte >> 4), digit(byte & 0xF)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_as_the_bindings_example() {
        assert_eq!(percent_encoded("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(percent_encoded("100%\"~!\u{7f}\u{80}"), "100%25%22~!%7F%C2%80");
    }

    #[test]
    fn a_trace_goes_on_where_there_is_one() {
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let event = |parent: &str| {
            let event = Event::new("1", "/a", "t").extension("traceparent", parent);
            event.extension("tracestate", "vendor=1").build().unwrap()
        };
        let traced = event(parent);
        let found: Vec<_> = trace_headers(&traced).collect();
        assert_eq!(found, [("traceparent", parent), ("tracestate", "vendor=1")]);
        assert_eq!(trace_headers(&event("mine")).count(), 0, "another system would refuse it");
    }

    #[test]
    fn every_attribute_but_the_media_type_is_there_once() {
        let event = Event::new("1", "/a", "t")
            .subject("s")
            .time("2018-04-05T17:31:00Z")
            .dataschema("x:y")
            .extension("flag", true)
            .extension("partitionkey", "k k")
            .text("text/plain", "hello")
            .build()
            .unwrap();
        let found: Vec<_> = attributes(&event).collect();
        let expected = [
            ("specversion", "1.0"),
            ("id", "1"),
            ("source", "/a"),
            ("type", "t"),
            ("subject", "s"),
            ("time", "2018-04-05T17:31:00Z"),
            ("dataschema", "x:y"),
            ("flag", "true"),
            ("partitionkey", "k%20k"),
        ];
        assert_eq!(found, expected.map(|(name, value)| (name, value.to_owned())));
    }
}
