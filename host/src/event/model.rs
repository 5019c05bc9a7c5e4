//! The event.

use std::fmt;

use serde::Deserialize;

use super::parts::sort_extensions;
use super::texts::{self, Texts};
use super::{Attribute, Data, DataError, EventBuilder, EventError, EventParts, media_type};
use crate::limits::EVENT_BYTES_CEILING;

/// The extension attribute that orders the events of a source, or, from a topic that numbers them, of a key.
pub(crate) const SEQUENCE: &str = "sequence";

/// A `CloudEvents` 1.0 event. It is always valid.
///
/// `source` and `id` together identify it. Its [`key`](Self::key) picks the partition and carries the order.
///
/// ```
/// use tidegate::Event;
///
/// let event = Event::new("A234", "/sensors/7", "com.example.reading")
///     .subject("room 4")
///     .time("2018-04-05T17:31:00Z")
///     .json_text(r#"{"celsius": 21.50}"#)
///     .build()?;
/// assert_eq!(event.key(), "room 4");
///
/// let wrong = Event::new("A235", "not a URI", "com.example.reading").build();
/// assert_eq!(wrong.unwrap_err().attribute(), "source");
/// # Ok::<(), tidegate::EventError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    texts: Texts,
    /// In ascending order of their names.
    extensions: Vec<(String, Attribute)>,
    data: Option<Data>,
}

impl Event {
    /// Begins an event with what each needs: `id` (unique within its source), `source` (a URI-reference to the context
    /// in which it happened) and `type` (what kind of thing happened).
    #[expect(clippy::new_ret_no_self, reason = "an event comes of its builder, which checks it as a whole")]
    pub fn new(id: impl Into<String>, source: impl Into<String>, kind: impl Into<String>) -> EventBuilder {
        EventBuilder::new(id.into(), source.into(), kind.into())
    }

    /// An event that was checked when it was accepted. What later versions refuse, the log still gives back.
    pub(crate) fn from_accepted(
        texts: Texts,
        mut extensions: Vec<(String, Attribute)>,
        data: Option<Data>,
    ) -> Self {
        sort_extensions(&mut extensions);
        Self { texts, extensions, data }
    }

    /// Takes it apart; `Event::try_from` puts it together again.
    #[must_use]
    pub fn into_parts(self) -> EventParts {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        EventParts {
            id: self.id().to_owned(),
            source: self.source().to_owned(),
            kind: self.kind().to_owned(),
            subject: owned(self.subject()),
            time: owned(self.time()),
            datacontenttype: owned(self.datacontenttype()),
            dataschema: owned(self.dataschema()),
            extensions: self.extensions,
            data: self.data,
        }
    }

    /// The same event with the type and the data of another one, and what says how to read them.
    pub(crate) fn with_data_of(&self, other: Self) -> Self {
        let texts = Texts::new([
            Some(self.id()),
            Some(self.source()),
            Some(other.kind()),
            self.subject(),
            self.time(),
            other.datacontenttype(),
            other.dataschema(),
        ]);
        Self { texts, extensions: self.extensions.clone(), data: other.data }
    }

    /// `id`: unique within [`source`](Self::source).
    pub fn id(&self) -> &str {
        self.texts.required(texts::ID)
    }

    /// `source`: the context in which it happened, a URI-reference.
    pub fn source(&self) -> &str {
        self.texts.required(texts::SOURCE)
    }

    /// `type`: what kind of thing happened.
    pub fn kind(&self) -> &str {
        self.texts.required(texts::TYPE)
    }

    /// `subject`: what it is about, within its source.
    pub fn subject(&self) -> Option<&str> {
        self.texts.get(texts::SUBJECT)
    }

    /// `time`: when it happened, as in RFC 3339, to the letter as the producer wrote it.
    pub fn time(&self) -> Option<&str> {
        self.texts.get(texts::TIME)
    }

    /// `datacontenttype`: the media type of the data. Without one, data that is not binary is JSON.
    pub fn datacontenttype(&self) -> Option<&str> {
        self.texts.get(texts::DATACONTENTTYPE)
    }

    /// `dataschema`: the schema that the data adheres to, an absolute URI.
    pub fn dataschema(&self) -> Option<&str> {
        self.texts.get(texts::DATASCHEMA)
    }

    /// The texts of its own attributes.
    pub(crate) fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The extension attributes, in ascending order of their names.
    pub fn extensions(&self) -> impl ExactSizeIterator<Item = (&str, &Attribute)> {
        self.extensions.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The extension attribute of this name.
    pub fn extension(&self, name: &str) -> Option<&Attribute> {
        let found = self.extensions.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(&self.extensions[found].1)
    }

    /// The data.
    pub fn data(&self) -> Option<&Data> {
        self.data.as_ref()
    }

    /// Takes the data out.
    pub(super) fn take_data(&mut self) -> Option<Data> {
        self.data.take()
    }

    /// Sets the data.
    pub(super) fn put_data(&mut self, data: Data) {
        self.data = Some(data);
    }

    /// Sets an extension attribute that is not there.
    pub(super) fn put_extension(&mut self, name: &str, value: Attribute) {
        let at = self.extensions.partition_point(|(other, _)| other.as_str() < name);
        self.extensions.insert(at, (name.to_owned(), value));
    }

    /// Removes an extension attribute.
    pub(super) fn remove_extension(&mut self, name: &str) {
        self.extensions.retain(|(other, _)| other != name);
    }

    /// Reads JSON data as a value, which may borrow from the event.
    ///
    /// # Errors
    ///
    /// There is no data, it is not JSON, or its JSON has another shape. JSON nested more than 128 levels deep is
    /// refused here, as it could exhaust the stack.
    pub fn data_as<'a, T: Deserialize<'a>>(&'a self) -> Result<T, DataError> {
        match self.data().ok_or(DataError::Missing)? {
            Data::Json(text) => Ok(serde_json::from_str(text)?),
            Data::Binary(bytes) if self.declares_json() => Ok(serde_json::from_slice(bytes)?),
            Data::Text(_) | Data::Binary(_) => {
                let media_type = self.datacontenttype().unwrap_or("of no declared media type").to_owned();
                Err(DataError::NotJson { media_type })
            }
        }
    }

    fn declares_json(&self) -> bool {
        self.datacontenttype().is_some_and(media_type::is_json)
    }

    /// What picks the partition and carries the order: `partitionkey`, else `subject`, else `id`.
    pub fn key(&self) -> &str {
        let partition_key = self.extension("partitionkey").and_then(Attribute::as_text);
        partition_key.or(self.subject()).unwrap_or(self.id())
    }

    /// `sequence` as a number: the event's place among the events of its key, from 1, where it was read from a topic that
    /// [numbers](crate::config::TopicConfig::sequence) them.
    pub fn sequence(&self) -> Option<u64> {
        self.extension(SEQUENCE)?.as_text()?.parse().ok()
    }

    /// Checks that the event leaves its `sequence` to the topic, which numbers its events by itself.
    pub(crate) fn check_unnumbered(&self, topic: &str) -> Result<(), EventError> {
        match self.extension(SEQUENCE) {
            None => Ok(()),
            Some(value) => Err(EventError::invalid(
                SEQUENCE,
                &value.to_string(),
                format!("topic `{topic}` numbers the events of each key by itself"),
                "an event without it",
            )),
        }
    }

    /// The size in bytes that the bus's bounds apply to: the names and the canonical string forms of all attributes but
    /// `specversion`, and the data as bytes. It is the same however the event travelled.
    pub fn size(&self) -> usize {
        let extensions: usize = self.extensions.iter().map(|(name, value)| name.len() + value.size()).sum();
        self.texts.size() + extensions + self.data.as_ref().map_or(0, |data| data.as_bytes().len())
    }

    /// Checks the event's size against a bound.
    ///
    /// # Errors
    ///
    /// [`EventError::TooLarge`].
    pub fn check_size(&self, bytes_max: usize) -> Result<(), EventError> {
        let bytes = self.size();
        if bytes <= bytes_max { Ok(()) } else { Err(EventError::TooLarge { bytes, bytes_max }) }
    }
}

impl TryFrom<EventParts> for Event {
    type Error = EventError;

    /// Checks the parts and puts their extensions in order.
    ///
    /// # Errors
    ///
    /// The first attribute that breaks a rule of `CloudEvents` 1.0.2 or a bound of the bus.
    fn try_from(mut parts: EventParts) -> Result<Self, EventError> {
        parts.check()?;
        let required = [&parts.id, &parts.source, &parts.kind].map(|text| Some(text.as_str()));
        let optional =
            [&parts.subject, &parts.time, &parts.datacontenttype, &parts.dataschema].map(Option::as_deref);
        let ([id, source, kind], [subject, time, datacontenttype, dataschema]) = (required, optional);
        let texts = Texts::new([id, source, kind, subject, time, datacontenttype, dataschema]);
        let event = Self { texts, extensions: parts.extensions, data: parts.data };
        event.check_size(EVENT_BYTES_CEILING)?;
        Ok(event)
    }
}

impl From<Event> for EventParts {
    fn from(event: Event) -> Self {
        event.into_parts()
    }
}

#[expect(clippy::missing_fields_in_debug, reason = "the texts are shown by their names")]
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id())
            .field("source", &self.source())
            .field("kind", &self.kind())
            .field("subject", &self.subject())
            .field("time", &self.time())
            .field("datacontenttype", &self.datacontenttype())
            .field("dataschema", &self.dataschema())
            .field("extensions", &self.extensions)
            .field("data", &self.data)
            .finish()
    }
}

#[cfg(test)]
mod tests;
