//! Putting an event together.

use serde::Serialize;

use super::{Attribute, Causes, Data, Event, EventError, EventParts, JsonError};
use crate::clock::Timestamp;

/// An event in the making, see [`Event::new`]. All checks wait for [`build`](Self::build).
///
/// ```
/// use tidegate::Event;
///
/// let event = Event::new("order-17", "/shop", "OrderPlaced.v1")
///     .subject("customer-4")
///     .time("2018-04-05T17:31:00Z")
///     .extension("correlationid", "cart-9")
///     .json(&["apples", "pears"])
///     .build()?;
/// assert_eq!(event.data_as::<Vec<String>>()?, ["apples", "pears"]);
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "an event comes of `build()`"]
pub struct EventBuilder {
    parts: EventParts,
    /// What went wrong when data was made JSON: told by `build`, so that calls can be chained.
    failure: Option<JsonError>,
    causes: Option<Causes>,
}

impl EventBuilder {
    pub(super) fn new(id: String, source: String, kind: String) -> Self {
        Self { parts: EventParts { id, source, kind, ..EventParts::default() }, failure: None, causes: None }
    }

    /// Sets what the event is about, within its source. It is the event's key unless there is a `partitionkey`.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.parts.subject = Some(subject.into());
        self
    }

    /// Sets when it happened, as in RFC 3339. The text is kept as it is.
    pub fn time(mut self, time: impl Into<String>) -> Self {
        self.parts.time = Some(time.into());
        self
    }

    /// Sets when it happened.
    pub fn at(self, time: Timestamp) -> Self {
        self.time(time.to_string())
    }

    /// Sets the media type of the data. Without one, data that is not [`Data::Binary`] is JSON.
    pub fn datacontenttype(mut self, media_type: impl Into<String>) -> Self {
        self.parts.datacontenttype = Some(media_type.into());
        self
    }

    /// Sets the schema that the data adheres to, an absolute URI.
    pub fn dataschema(mut self, uri: impl Into<String>) -> Self {
        self.parts.dataschema = Some(uri.into());
        self
    }

    /// Adds an extension attribute; its name is of lower-case letters and digits, and given once.
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.parts.extensions.push((name.into(), value.into()));
        self
    }

    /// Says which event caused this one, as the bus does for what a delivery publishes: `causationid` becomes the cause's id,
    /// `correlationid` the cause's, or its id where it has none, and `traceparent` and `tracestate` go on in the cause's trace.
    /// What is set as an extension stays.
    ///
    /// ```
    /// use tidegate::{Attribute, Event};
    ///
    /// let order = Event::new("order-17", "/shop", "OrderPlaced.v1").build()?;
    /// let refund = Event::new("refund-3", "/shop", "OrderRefunded.v1").caused_by(&order).build()?;
    /// assert_eq!(refund.extension("correlationid"), Some(&Attribute::from("order-17")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn caused_by(mut self, cause: &Event) -> Self {
        self.causes = Some(Causes::of(cause));
        self
    }

    /// Sets the data to a value, written as JSON.
    pub fn json(mut self, value: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => self.json_text(text),
            Err(failure) => {
                self.failure = Some(JsonError::from(failure));
                self
            }
        }
    }

    /// Sets the data to a JSON text, which is kept as it is.
    pub fn json_text(self, text: impl Into<String>) -> Self {
        self.data(Some(Data::Json(text.into())))
    }

    /// Sets the data to text of a media type that is not JSON, and `datacontenttype` with it.
    pub fn text(self, media_type: impl Into<String>, text: impl Into<String>) -> Self {
        self.datacontenttype(media_type).data(Some(Data::Text(text.into())))
    }

    /// Sets the data to bytes of a media type, and `datacontenttype` with it.
    pub fn binary(self, media_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.datacontenttype(media_type).data(Some(Data::Binary(bytes.into())))
    }

    /// Sets the data, or takes it away.
    pub fn data(mut self, data: Option<Data>) -> Self {
        self.parts.data = data;
        self.failure = None;
        self
    }

    /// Checks it all.
    ///
    /// # Errors
    ///
    /// The first attribute that breaks a rule of `CloudEvents` 1.0.2 or a bound of the bus.
    pub fn build(mut self) -> Result<Event, EventError> {
        if let Some(failure) = self.failure {
            return Err(EventError::Data(failure));
        }
        if let Some(causes) = self.causes {
            let origin = format!("{}#{}", self.parts.source, self.parts.id);
            causes.add_to(&mut self.parts, &origin, 0);
        }
        Event::try_from(self.parts)
    }
}
