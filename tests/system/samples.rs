//! Events that have everything an event can have.

use hyper::HeaderMap;
use tidegate::{Attribute, Data, Event};

/// An event of each kind of data, each with attributes of all types.
pub fn events_of_all_kinds() -> Vec<Event> {
    let full = |id: &str| {
        Event::new(id, "/shop/%C3%A9?a=b", "com.example.Placed")
            .subject("Euro € 😀 100% \"x\"")
            .time("2018-04-05T17:31:00.123456789+02:00")
            .dataschema("https://example.com/schema.json#/definitions/order")
            .extension("flag", true)
            .extension("off", false)
            .extension("number", Attribute::Integer(i32::MIN))
            .extension("bytes", Attribute::Binary(vec![0, 255, 16]))
            .extension("uri", Attribute::Uri("urn:a:b".to_owned()))
            .extension("reference", Attribute::UriReference("../a?b#c".to_owned()))
            .extension("moment", Attribute::Timestamp("2018-01-01T00:00:00Z".to_owned()))
            .extension("partitionkey", "key 7")
    };
    let json = "{\"eur\": 12.50, \"note\": \"\u{e9}\",\n \"n\": 1e400}";
    let bytes: Vec<u8> = (0..=255).collect();
    let events = [
        full("json").json_text(json),
        full("json-declared").datacontenttype("application/vnd.shop+json; v=1").json_text("null"),
        full("text").text("text/plain; charset=utf-8", "Grüße\r\n\0"),
        full("empty-text").text("text/plain", ""),
        full("binary").binary("image/png", bytes.clone()),
        full("binary-json").binary("application/json", b"{".to_vec()),
        full("binary-undeclared").data(Some(Data::Binary(bytes))),
        full("no-data"),
        full("no-data-declared").datacontenttype("text/plain"),
        Event::new("id with spaces and %41", "urn:x", "t"),
    ];
    events.into_iter().map(|event| event.build().unwrap()).collect()
}

/// All attributes of an event but `datacontenttype`, as text.
pub fn attributes(event: &Event) -> Vec<(String, String)> {
    let core = [
        ("specversion", Some("1.0")),
        ("id", Some(event.id())),
        ("source", Some(event.source())),
        ("type", Some(event.kind())),
        ("subject", event.subject()),
        ("time", event.time()),
        ("dataschema", event.dataschema()),
    ];
    let core = core.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
    let extensions = event.extensions().map(|(name, value)| (name.to_owned(), value.to_string()));
    let mut all: Vec<_> = core.chain(extensions).collect();
    all.sort();
    all
}

/// The attributes that headers of a message carry in binary mode, decoded as the bindings say.
pub fn attributes_of_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<(String, String)> {
    let mut all: Vec<_> = headers
        .filter_map(|(name, value)| Some((name.strip_prefix("ce-")?.to_owned(), percent_decoded(value))))
        .collect();
    all.sort();
    all
}

/// The names and values of HTTP headers.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        assert!(byte.is_ascii_graphic() && *byte != b'"', "{text}");
        if *byte == b'%' {
            let hex = std::str::from_utf8(&after[..2]).unwrap();
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}
