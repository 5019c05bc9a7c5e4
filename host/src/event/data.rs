//! An event's data.

use serde_json::value::RawValue;

/// An event's data: what happened, in the producer's own terms.
///
/// ```
/// use tidegate::{Data, Event};
///
/// let event = Event::new("1", "/shop", "Label.v1").text("text/plain", "fragile").build().unwrap();
/// assert_eq!(event.data(), Some(&Data::Text("fragile".into())));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Data {
    /// A JSON value, as its text, without white space around it. The event's `datacontenttype` is absent or declares
    /// JSON. The text is kept to the byte: the order of members, the digits of numbers, the white space within.
    Json(String),
    /// Text of the media type that the event's `datacontenttype` names, which is not JSON.
    Text(String),
    /// Bytes, of any media type.
    Binary(Vec<u8>),
}

impl Data {
    /// The data as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Json(text) | Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The same data, if its JSON is any, and without white space around that.
    pub(crate) fn checked(self) -> Result<Self, serde_json::Error> {
        match self {
            Self::Json(text) => {
                let json: &RawValue = serde_json::from_str(&text)?;
                let is_bare = json.get().len() == text.len();
                Ok(Self::Json(if is_bare { text } else { json.get().to_owned() }))
            }
            other => Ok(other),
        }
    }
}

/// Why an event's data could not be read as a value, see [`Event::data_as`](super::Event::data_as).
///
/// ```
/// use tidegate::{DataError, Event};
///
/// let event = Event::new("1", "/shop", "Label.v1").build().unwrap();
/// assert!(matches!(event.data_as::<String>(), Err(DataError::Missing)));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The event has none.
    #[error("the event has no data")]
    Missing,
    /// The event's `datacontenttype` is not JSON.
    #[error("the event's data is {media_type}, not JSON: read it with `data()`")]
    NotJson {
        /// What it is instead.
        media_type: String,
    },
    /// The data has another shape than the value.
    #[error("the event's data has another shape than expected: {0}")]
    Shape(#[from] serde_json::Error),
}
