//! A row of an outbox, and the event that it stands for.

use serde_json::Value;

use crate::config::{OutboxConfig, check_name};
use crate::event::{Attribute, Data, Event, EventParts, is_json};
use crate::limits::OUTBOX_FAILURE_BYTES_MAX;

/// A row, as it lies in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub position: u64,
    pub content: Content,
}

/// What a row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Its columns.
    Columns(Box<Columns>),
    /// More bytes than the largest event: they were not fetched.
    TooLarge { bytes: u64 },
    /// Something that the column doesn't allow, which the database accepted all the same.
    Unreadable { reason: String },
}

impl Default for Content {
    fn default() -> Self {
        Self::Columns(Box::default())
    }
}

/// The columns of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    pub id: String,
    pub topic: Option<String>,
    pub kind: String,
    pub subject: Option<String>,
    pub partitionkey: Option<String>,
    pub source: Option<String>,
    pub time: Option<String>,
    pub datacontenttype: Option<String>,
    pub dataschema: Option<String>,
    pub extensions: Option<String>,
    pub data: Option<String>,
    pub data_binary: Option<Vec<u8>>,
}

/// An event with the topic that it goes to.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    pub position: u64,
    pub topic: String,
    pub event: Event,
}

/// A row that is none, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub position: u64,
    pub reason: String,
}

impl Failure {
    /// A failure with its reason, cut where it is long.
    pub fn new(position: u64, mut reason: String) -> Self {
        if reason.len() > OUTBOX_FAILURE_BYTES_MAX {
            let end = reason.floor_char_boundary(OUTBOX_FAILURE_BYTES_MAX);
            reason.truncate(end);
        }
        // PostgreSQL's text has no NUL.
        Self { position, reason: reason.replace('\0', "\\0") }
    }
}

impl Row {
    /// Makes the row an event.
    pub fn into_event(self, config: &OutboxConfig, event_bytes_max: usize) -> Result<Outbound, Failure> {
        let position = self.position;
        let made = match self.content {
            Content::Columns(columns) => event(*columns, config, event_bytes_max),
            Content::TooLarge { bytes } => Err(format!(
                "the row has {bytes} bytes, more than the {event_bytes_max} of the largest event: raise \
                 `event_bytes_max`, or keep the data elsewhere and name it by `dataref`"
            )),
            Content::Unreadable { reason } => Err(reason),
        };
        match made {
            Ok((topic, event)) => Ok(Outbound { position, topic, event }),
            Err(reason) => Err(Failure::new(position, reason)),
        }
    }
}

fn event(columns: Columns, config: &OutboxConfig, event_bytes_max: usize) -> Result<(String, Event), String> {
    let topic = columns.topic.or_else(|| config.topic.clone());
    let topic =
        topic.ok_or("the row names no topic, and the outbox's configuration has no `topic` either")?;
    check_name(&topic).map_err(|error| format!("`topic`: {error}"))?;
    if !config.allows(&topic) {
        return Err(format!("topic `{topic}` is not among the `topics` of the outbox's configuration"));
    }
    let mut extensions = match &columns.extensions {
        Some(text) => read_extensions(text)?,
        None => Vec::new(),
    };
    if let Some(key) = columns.partitionkey {
        extensions.push(("partitionkey".to_owned(), Attribute::Text(key)));
    }
    let data = match (columns.data, columns.data_binary) {
        (_, Some(bytes)) => Some(Data::Binary(bytes)),
        (Some(text), None) if columns.datacontenttype.as_deref().is_none_or(is_json) => {
            Some(Data::Json(text))
        }
        (Some(text), None) => Some(Data::Text(text)),
        (None, None) => None,
    };
    let parts = EventParts {
        id: columns.id,
        source: columns.source.unwrap_or_else(|| config.source.clone()),
        kind: columns.kind,
        subject: columns.subject,
        time: columns.time,
        datacontenttype: columns.datacontenttype,
        dataschema: columns.dataschema,
        extensions,
        data,
    };
    let event = Event::try_from(parts).map_err(|error| error.to_string())?;
    event.check_size(event_bytes_max).map_err(|error| error.to_string())?;
    Ok((topic, event))
}

/// Attributes as the JSON format of `CloudEvents` has them.
fn read_extensions(text: &str) -> Result<Vec<(String, Attribute)>, String> {
    let wrong = |error: &dyn std::fmt::Display| {
        format!("`extensions` is no JSON object of strings, integers and booleans: {error}")
    };
    let members: serde_json::Map<String, Value> =
        serde_json::from_str(text).map_err(|error| wrong(&error))?;
    let attribute = |(name, value): (String, Value)| {
        let value = match value {
            Value::String(text) => Attribute::Text(text),
            Value::Bool(value) => Attribute::Boolean(value),
            Value::Null => return None,
            Value::Number(number) => {
                let Some(number) = number.as_i64().and_then(|number| i32::try_from(number).ok()) else {
                    return Some(Err(wrong(&format!("`{name}` is {number}, and an integer has 32 bits"))));
                };
                Attribute::Integer(number)
            }
            Value::Array(_) | Value::Object(_) => {
                return Some(Err(wrong(&format!("`{name}` is a list or an object"))));
            }
        };
        Some(Ok((name, value)))
    };
    members.into_iter().filter_map(attribute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OutboxConfig {
        OutboxConfig::sqlite("shop.db", "/shop")
    }

    fn columns() -> Columns {
        Columns { id: "7".to_owned(), kind: "OrderPlaced.v1".to_owned(), ..Columns::default() }
    }

    fn made(columns: Columns, config: &OutboxConfig) -> Result<Outbound, Failure> {
        Row { position: 3, content: Content::Columns(Box::new(columns)) }.into_event(config, 64 << 10)
    }

    #[test]
    fn a_row_needs_a_topic_and_a_type_and_has_defaults_for_the_rest() {
        let outbound = made(columns(), &config().topic("orders")).unwrap();
        assert_eq!((outbound.topic.as_str(), outbound.position), ("orders", 3));
        assert_eq!((outbound.event.source(), outbound.event.key()), ("/shop", "7"));
        let named = Columns {
            topic: Some("payments".to_owned()),
            source: Some("/till".to_owned()),
            subject: Some("customer-4".to_owned()),
            partitionkey: Some("k".to_owned()),
            data: Some(r#"{"eur": 12.50}"#.to_owned()),
            extensions: Some(
                r#"{"priority": 3, "test": true, "traceparent": "00-1", "none": null}"#.to_owned(),
            ),
            ..columns()
        };
        let outbound = made(named, &config().topic("orders")).unwrap();
        assert_eq!(outbound.topic, "payments");
        let event = outbound.event;
        assert_eq!((event.source(), event.subject(), event.key()), ("/till", Some("customer-4"), "k"));
        assert_eq!(event.data(), Some(&Data::Json(r#"{"eur": 12.50}"#.to_owned())));
        assert_eq!(event.extension("priority"), Some(&Attribute::Integer(3)));
        assert_eq!(event.extension("test"), Some(&Attribute::Boolean(true)));
        assert_eq!(event.extensions().len(), 4);
    }

    #[test]
    fn text_is_json_unless_the_media_type_says_otherwise() {
        let with = |media_type: &str, text: &str| {
            let columns = Columns {
                datacontenttype: Some(media_type.to_owned()),
                data: Some(text.to_owned()),
                ..columns()
            };
            made(columns, &config().topic("t")).map(|outbound| outbound.event.data().cloned())
        };
        assert_eq!(with("text/plain", "hello"), Ok(Some(Data::Text("hello".to_owned()))));
        assert_eq!(with("application/vnd.x+json", "{}"), Ok(Some(Data::Json("{}".to_owned()))));
        assert!(with("application/json", "hello").unwrap_err().reason.contains("`data`"));
        let bytes = Columns { data_binary: Some(vec![0, 255]), ..columns() };
        let outbound = made(bytes, &config().topic("t")).unwrap();
        assert_eq!(outbound.event.data(), Some(&Data::Binary(vec![0, 255])));
    }

    #[test]
    fn what_is_no_event_says_why() {
        let row = |change: fn(&mut Columns)| {
            let mut columns = columns();
            columns.topic = Some("orders".to_owned());
            change(&mut columns);
            made(columns, &config().topics(["orders"])).unwrap_err().reason
        };
        for (change, reason) in [
            ((|c| c.topic = None) as fn(&mut Columns), "names no topic"),
            (|c| c.topic = Some("a b".to_owned()), "`topic`: \"a b\" is no name"),
            (|c| c.topic = Some("payments".to_owned()), "topic `payments` is not among"),
            (|c| c.kind = String::new(), "`type` is"),
            (|c| c.id = String::new(), "`id` is"),
            (|c| c.time = Some("soon".to_owned()), "`time` is"),
            (|c| c.data = Some("{".to_owned()), "`data` is not JSON"),
            (|c| c.extensions = Some("[]".to_owned()), "`extensions` is no JSON object"),
            (|c| c.extensions = Some(r#"{"a": 1.5}"#.to_owned()), "`a` is 1.5"),
            (|c| c.extensions = Some(r#"{"a": {}}"#.to_owned()), "`a` is a list or an object"),
            (|c| c.extensions = Some(r#"{"A": 1}"#.to_owned()), "can't name an extension"),
            (|c| c.data = Some(format!("\"{}\"", "x".repeat(70_000))), "at most 65536"),
        ] {
            let found = row(change);
            assert!(found.contains(reason), "{found}");
        }
        let large = Row { position: 1, content: Content::TooLarge { bytes: 1 << 40 } };
        assert!(large.into_event(&config(), 100).unwrap_err().reason.contains("1099511627776 bytes"));
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let failure = Failure::new(1, "é".repeat(OUTBOX_FAILURE_BYTES_MAX));
        assert!(failure.reason.len() <= OUTBOX_FAILURE_BYTES_MAX);
        assert_eq!(Failure::new(1, "a\0b".to_owned()).reason, "a\\0b");
    }
}
