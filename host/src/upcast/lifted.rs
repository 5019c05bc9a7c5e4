//! What a lift makes of an event.

use serde::Serialize;

use crate::event::{Data, Event, EventError, EventParts};
use crate::handler::Failure;

/// What a lift makes of an event: its data and what says how to read them. All else of the event stays as it is, and its type
/// becomes the one that the lift leads to.
///
/// ```
/// use tidegate::upcast::Lifted;
///
/// let lifted = Lifted::json(&serde_json::json!({"price_cents": 1250}))?;
/// assert_eq!(lifted.datacontenttype.as_deref(), Some("application/json"));
/// # Ok::<(), tidegate::Failure>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifted {
    /// `datacontenttype`: the media type of the data. Without one, data that is not binary is JSON.
    pub datacontenttype: Option<String>,
    /// `dataschema`: the schema of the data, an absolute URI.
    pub dataschema: Option<String>,
    /// The data.
    pub data: Option<Data>,
}

impl Lifted {
    /// Data that is written as JSON, and its media type.
    ///
    /// # Errors
    ///
    /// The value can't be written as JSON: a permanent failure with code `bad-json`.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let text = serde_json::to_string(value)
            .map_err(|error| Failure::permanent("bad-json", error.to_string()))?;
        let datacontenttype = Some("application/json".to_owned());
        Ok(Self { datacontenttype, dataschema: None, data: Some(Data::Json(text)) })
    }

    /// The event that comes of `event`. What the lift has made is checked as that of a new event is.
    pub(super) fn put_into(self, event: &Event, kind: &str) -> Result<Event, EventError> {
        let parts = EventParts {
            id: "1".to_owned(),
            source: "/".to_owned(),
            kind: kind.to_owned(),
            datacontenttype: self.datacontenttype,
            dataschema: self.dataschema,
            data: self.data,
            ..EventParts::default()
        };
        Ok(event.with_data_of(Event::try_from(parts)?))
    }
}
