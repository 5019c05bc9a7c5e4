use serde::Serialize;

use crate::{Attribute, Raw, Timestamp};

/// An event to publish. What isn't said is up to the host.
///
/// ```
/// # use tidegate_plugin::{Outgoing, Raw};
/// let alert = Outgoing::new("QuakeAlert.v1").subject("us2000crl8").key("us").json(&5.1)?;
/// assert_eq!(alert.data, Raw::Json("5.1".to_owned()));
/// # Ok::<(), tidegate_plugin::Failure>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outgoing {
    /// Without one the host derives it from consumer, topic, partition, offset and the event's index within the
    /// delivery, so that a repeated delivery repeats it.
    pub id: Option<String>,
    /// A URI reference. Without one: `/tidegate/consumers/NAME`.
    pub source: Option<String>,
    /// What happened.
    pub event_type: String,
    /// What it happened to.
    pub subject: Option<String>,
    /// RFC 3339. Without one: the delivery's `now`.
    pub time: Option<String>,
    /// The media type of the data.
    pub datacontenttype: Option<String>,
    /// The schema of the data, a URI.
    pub dataschema: Option<String>,
    /// Extension attributes.
    pub extensions: Vec<(String, Attribute)>,
    /// The data.
    pub data: Raw,
}

impl Outgoing {
    /// An event of this type, without data.
    pub fn new(event_type: impl Into<String>) -> Self {
        Self { event_type: event_type.into(), ..Self::default() }
    }

    /// Sets the id. The same id from the same source is published once within the topic's deduplication window.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets where the event comes from, a URI reference.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets what the event happened to.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets when it happened.
    #[must_use]
    pub fn time(mut self, time: Timestamp) -> Self {
        self.time = Some(time.to_string());
        self
    }

    /// Sets the schema of the data, a URI.
    #[must_use]
    pub fn dataschema(mut self, schema: impl Into<String>) -> Self {
        self.dataschema = Some(schema.into());
        self
    }

    /// Sets `partitionkey`, which picks the partition and carries the order before `subject` and `id` do.
    #[must_use]
    pub fn key(self, key: impl Into<String>) -> Self {
        self.extension("partitionkey", Attribute::Text(key.into()))
    }

    /// Sets an extension attribute, in place of an earlier value of that name.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        let name = name.into();
        self.extensions.retain(|(known, _)| *known != name);
        self.extensions.push((name, value.into()));
        self
    }

    /// Sets data that is written as JSON, and its media type.
    ///
    /// # Errors
    ///
    /// What `serde_json` can't write, for example a map whose keys aren't text.
    pub fn json<T: Serialize + ?Sized>(mut self, value: &T) -> Result<Self, serde_json::Error> {
        self.data = Raw::Json(serde_json::to_string(value)?);
        self.datacontenttype = Some("application/json".to_owned());
        Ok(self)
    }

    /// Sets text of a media type other than JSON.
    #[must_use]
    pub fn text(mut self, media_type: impl Into<String>, text: impl Into<String>) -> Self {
        self.data = Raw::Text(text.into());
        self.datacontenttype = Some(media_type.into());
        self
    }

    /// Sets bytes of a media type.
    #[must_use]
    pub fn binary(mut self, media_type: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.data = Raw::Binary(bytes.into());
        self.datacontenttype = Some(media_type.into());
        self
    }
}
