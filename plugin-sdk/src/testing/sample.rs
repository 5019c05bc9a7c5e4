use serde_json::Value;

use crate::{Attribute, Delivery, Event, Outgoing, Raw, Timestamp};

/// A first delivery of this event, from partition 0 of topic `test`. An event without an id gets `1`, one without a
/// source gets `/test`; change what else the test needs.
///
/// ```
/// use tidegate_plugin::{Outgoing, testing};
///
/// let mut delivery = testing::delivery(Outgoing::new("Greeting.v1").subject("world").json("hello")?);
/// delivery.attempt = 2;
/// assert_eq!(delivery.event.key(), "world");
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
pub fn delivery(event: Outgoing) -> Delivery {
    Delivery {
        topic: "test".to_owned(),
        partition: 0,
        offset: 0,
        appended: Timestamp::default(),
        attempt: 1,
        first_attempt: Timestamp::default(),
        redriven: false,
        event: Event {
            id: event.id.unwrap_or_else(|| "1".to_owned()),
            source: event.source.unwrap_or_else(|| "/test".to_owned()),
            event_type: event.event_type,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions,
            data: event.data,
        },
    }
}

/// A first delivery of an event in the JSON format of `CloudEvents`, for tests on recorded input. Extension attributes
/// are booleans, integers and text; `data_base64` is not read.
///
/// # Panics
///
/// If the text is no such event: the test's input is wrong.
///
/// ```
/// use tidegate_plugin::testing::delivery_of_json;
///
/// let delivery = delivery_of_json(
///     r#"{"specversion": "1.0", "id": "1", "source": "/shop", "type": "OrderPlaced.v1", "data": {"eur": 12}}"#,
/// );
/// assert_eq!(delivery.event.event_type, "OrderPlaced.v1");
/// ```
#[track_caller]
pub fn delivery_of_json(json: &str) -> Delivery {
    let Ok(Value::Object(members)) = serde_json::from_str(json) else { panic!("no JSON object: {json}") };
    let mut event = Outgoing::default();
    for (name, value) in members {
        match (name.as_str(), value) {
            ("data", data) => event.data = Raw::Json(data.to_string()),
            ("id", Value::String(text)) => event.id = Some(text),
            ("source", Value::String(text)) => event.source = Some(text),
            ("type", Value::String(text)) => event.event_type = text,
            ("subject", Value::String(text)) => event.subject = Some(text),
            ("time", Value::String(text)) => event.time = Some(text),
            ("datacontenttype", Value::String(text)) => event.datacontenttype = Some(text),
            ("dataschema", Value::String(text)) => event.dataschema = Some(text),
            ("specversion", Value::String(version)) if version == "1.0" => {}
            (_, value) => event.extensions.push((name, attribute(&value))),
        }
    }
    assert!(event.id.is_some() && event.source.is_some() && !event.event_type.is_empty(), "no event: {json}");
    event.extensions.sort_by(|(a, _), (b, _)| a.cmp(b));
    delivery(event)
}

fn attribute(value: &Value) -> Attribute {
    match value {
        Value::Bool(value) => Attribute::Boolean(*value),
        Value::String(text) => Attribute::Text(text.clone()),
        other => match other.as_i64().map(i32::try_from) {
            Some(Ok(number)) => Attribute::Integer(number),
            _ => panic!("no attribute: {other}"),
        },
    }
}
