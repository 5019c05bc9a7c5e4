//! The JSON format of `CloudEvents` 1.0.2.

use std::borrow::Cow;
use std::fmt;

use data_encoding::BASE64;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::error::JsonError;
use super::parts::RESERVED;
use super::{Attribute, Data, Event, EventError, EventParts, media_type};
use crate::limits::EXTENSIONS_MAX;

/// Most members of an event's object: all that have a meaning, and as many extensions as an event may have.
const MEMBERS_MAX: usize = RESERVED.len() + EXTENSIONS_MAX;

const SPECVERSION: &str = "1.0";

impl Event {
    /// Reads an event in the JSON format. Data that is JSON is kept to the byte.
    ///
    /// A member whose value is `null` counts as absent; only `data` may be a `null` of its own, where it is JSON.
    ///
    /// ```
    /// # use tidegate::Event;
    /// let text = r#"{"specversion": "1.0", "id": "1", "source": "/a", "type": "t", "data": {"mag": 2.30}}"#;
    /// let event = Event::from_json(text, 1 << 20)?;
    /// assert_eq!(event.to_json(), r#"{"specversion":"1.0","id":"1","source":"/a","type":"t","data":{"mag": 2.30}}"#);
    /// # Ok::<(), tidegate::EventError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The text is not a JSON object; a member stands there twice; an attribute or the data breaks a rule of
    /// `CloudEvents` 1.0.2 or a bound of the bus; the event's [`size`](Self::size) is over `bytes_max`.
    pub fn from_json(json: impl AsRef<[u8]>, bytes_max: usize) -> Result<Self, EventError> {
        let members: Members<'_> = serde_json::from_slice(json.as_ref())
            .map_err(|error| EventError::Json(JsonError::from(error)))?;
        let event = Self::try_from(members.into_parts()?)?;
        event.check_size(bytes_max)?;
        Ok(event)
    }

    /// Writes the event in the JSON format. Data that is JSON is written to the byte.
    pub fn to_json(&self) -> String {
        let mut out = self.attributes_to_json();
        match self.data() {
            None => {}
            Some(Data::Json(text)) => {
                out.push_str(r#","data":"#);
                out.push_str(text);
            }
            Some(Data::Text(text)) => {
                out.push_str(r#","data":"#);
                push_string(&mut out, text);
            }
            Some(Data::Binary(bytes)) => {
                out.push_str(r#","data_base64":""#);
                BASE64.encode_append(bytes, &mut out);
                out.push('"');
            }
        }
        out.push('}');
        out
    }

    /// Writes the event in the JSON format on one line. It differs from [`to_json`](Self::to_json) where the data is
    /// JSON with line breaks between its values: each becomes a space.
    pub fn to_json_line(&self) -> String {
        let text = self.to_json();
        // Within a JSON string a line break is always escaped.
        if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text }
    }

    fn attributes_to_json(&self) -> String {
        // Room for quotes, commas and a few escapes.
        let mut out = String::with_capacity(self.size() + self.size() / 4 + 128);
        out.push_str(r#"{"specversion":"1.0""#);
        let core = [
            ("id", Some(self.id())),
            ("source", Some(self.source())),
            ("type", Some(self.kind())),
            ("subject", self.subject()),
            ("time", self.time()),
            ("datacontenttype", self.datacontenttype()),
            ("dataschema", self.dataschema()),
        ];
        for (name, value) in core {
            if let Some(value) = value {
                push_name(&mut out, name);
                push_string(&mut out, value);
            }
        }
        for (name, value) in self.extensions() {
            push_name(&mut out, name);
            match value {
                Attribute::Boolean(_) | Attribute::Integer(_) => out.push_str(&value.to_string()),
                Attribute::Binary(_) => push_string(&mut out, &value.to_string()),
                Attribute::Text(text)
                | Attribute::Uri(text)
                | Attribute::UriReference(text)
                | Attribute::Timestamp(text) => push_string(&mut out, text),
            }
        }
        out
    }
}

/// Attribute names have nothing to escape.
fn push_name(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn push_string(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => {
                let digit = |nibble| char::from(b"0123456789abcdef"[usize::from(nibble)]);
                out.push_str("\\u00");
                out.extend([digit(control >> 4), digit(control & 0xF)]);
            }
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// The members of the object, each value as its text, so that every refusal can name the member.
struct Members<'a> {
    kept: Vec<(Cow<'a, str>, &'a RawValue)>,
    /// How many there are, kept or not.
    count: usize,
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the event's attributes and data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members { kept: Vec::with_capacity(16), count: 0 };
        while let Some(name) = map.next_key::<&RawValue>()? {
            members.count += 1;
            if members.count > MEMBERS_MAX {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let quoted = name.get();
            let name = if quoted.contains('\\') {
                Cow::Owned(serde_json::from_str(quoted).map_err(serde::de::Error::custom)?)
            } else {
                Cow::Borrowed(&quoted[1..quoted.len() - 1])
            };
            members.kept.push((name, map.next_value()?));
        }
        Ok(members)
    }
}

impl Members<'_> {
    fn into_parts(self) -> Result<EventParts, EventError> {
        if self.count > MEMBERS_MAX {
            let count = self.count - RESERVED.len();
            return Err(EventError::TooManyExtensions { count, count_max: EXTENSIONS_MAX });
        }
        let mut specversion = None;
        let (mut id, mut source, mut kind) = (None, None, None);
        let mut parts = EventParts::default();
        let (mut data, mut data_base64) = (None, None);
        for (at, (name, value)) in self.kept.iter().enumerate() {
            if self.kept[..at].iter().any(|(other, _)| other == name) {
                return Err(EventError::Duplicate { attribute: name.chars().take(64).collect() });
            }
            if name == "data" {
                data = Some(*value);
                continue;
            }
            if value.get() == "null" {
                continue;
            }
            match name.as_ref() {
                "specversion" => specversion = Some(string(name, value)?),
                "id" => id = Some(string(name, value)?),
                "source" => source = Some(string(name, value)?),
                "type" => kind = Some(string(name, value)?),
                "subject" => parts.subject = Some(string(name, value)?),
                "time" => parts.time = Some(string(name, value)?),
                "datacontenttype" => parts.datacontenttype = Some(string(name, value)?),
                "dataschema" => parts.dataschema = Some(string(name, value)?),
                "data_base64" => data_base64 = Some(*value),
                _ => parts.extensions.push((name.clone().into_owned(), attribute(name, value)?)),
            }
        }
        let specversion = specversion.ok_or(EventError::Missing { attribute: "specversion" })?;
        if specversion != SPECVERSION {
            let problem = "this version is not known here";
            return Err(EventError::invalid("specversion", &specversion, problem, "`1.0`"));
        }
        parts.id = id.ok_or(EventError::Missing { attribute: "id" })?;
        parts.source = source.ok_or(EventError::Missing { attribute: "source" })?;
        parts.kind = kind.ok_or(EventError::Missing { attribute: "type" })?;
        parts.data = match (data, data_base64) {
            (None, None) => None,
            (Some(value), None) => text_data(value, parts.datacontenttype.as_deref())?,
            (None, Some(value)) => Some(Data::Binary(base64(value)?)),
            (Some(_), Some(value)) => {
                let problem = "`data` stands beside it";
                return Err(EventError::invalid("data_base64", value.get(), problem, "one of the two"));
            }
        };
        Ok(parts)
    }
}

fn string(name: &str, value: &RawValue) -> Result<String, EventError> {
    let allowed = "a JSON string";
    if !value.get().starts_with('"') {
        return Err(EventError::invalid(name, value.get(), format!("it is {}", kind_of(value)), allowed));
    }
    serde_json::from_str(value.get()).map_err(|error| {
        EventError::invalid(name, value.get(), error.to_string(), "a string of Unicode characters")
    })
}

fn attribute(name: &str, value: &RawValue) -> Result<Attribute, EventError> {
    let text = value.get();
    match text.as_bytes() {
        b"true" => Ok(Attribute::Boolean(true)),
        b"false" => Ok(Attribute::Boolean(false)),
        [b'"', ..] => Ok(Attribute::Text(string(name, value)?)),
        [b'-' | b'0'..=b'9', ..] => text.parse().map(Attribute::Integer).map_err(|_| {
            let problem = "it is no whole number of 32 bits";
            EventError::invalid(name, text, problem, "a number from -2147483648 to 2147483647, or a string")
        }),
        _ => {
            let problem = format!("it is {}", kind_of(value));
            Err(EventError::invalid(name, text, problem, "a boolean, a whole number of 32 bits, or a string"))
        }
    }
}

fn text_data(value: &RawValue, datacontenttype: Option<&str>) -> Result<Option<Data>, EventError> {
    let Some(media_type) = datacontenttype.filter(|text| !media_type::is_json(text)) else {
        return Ok(Some(Data::Json(value.get().to_owned())));
    };
    if value.get() == "null" {
        return Ok(None);
    }
    if !value.get().starts_with('"') {
        let problem = format!("it is {}, and `datacontenttype` is {media_type:?}", kind_of(value));
        let allowed = "a JSON string with the text, unless `datacontenttype` declares JSON";
        return Err(EventError::invalid("data", value.get(), problem, allowed));
    }
    string("data", value).map(|text| Some(Data::Text(text)))
}

fn base64(value: &RawValue) -> Result<Vec<u8>, EventError> {
    let text = string("data_base64", value)?;
    let refuse = |problem: String| {
        let allowed = "bytes in Base64 as in RFC 4648, with padding and without line breaks";
        EventError::invalid("data_base64", &text, problem, allowed)
    };
    // The decoder alone would take several padded texts one after the other.
    if text.trim_end_matches('=').contains('=') {
        return Err(refuse("its padding is not at its end".to_owned()));
    }
    BASE64.decode(text.as_bytes()).map_err(|error| refuse(error.to_string()))
}

fn kind_of(value: &RawValue) -> &'static str {
    match value.get().as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests;
