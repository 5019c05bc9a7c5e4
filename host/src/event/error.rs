//! Why an event was refused.

use std::fmt;

/// Why an event was refused: which attribute, what is wrong with it, and what is allowed.
///
/// ```
/// use tidegate::{Event, EventError};
///
/// let wrong = Event::new("", "/shop", "OrderPlaced.v1").build().unwrap_err();
/// assert_eq!(wrong.attribute(), "id");
/// assert!(matches!(wrong, EventError::Invalid { .. }), "{wrong}");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// A required attribute is not there.
    #[error("`{attribute}` is missing: every event needs `specversion`, `id`, `source` and `type`")]
    Missing {
        /// The attribute's name.
        attribute: &'static str,
    },
    /// The value of an attribute, or the data, breaks a rule.
    #[error("`{attribute}` is {value}: {problem}; allowed is {allowed}")]
    Invalid {
        /// The attribute's name, or `data` or `data_base64`.
        attribute: String,
        /// The value, or the beginning of a long one.
        value: String,
        /// What is wrong with it.
        problem: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// The value of an attribute is longer than a bus keeps.
    #[error(
        "`{attribute}` takes {bytes} bytes, at most {bytes_max} are allowed: move long values into the data"
    )]
    TooLong {
        /// The attribute's name.
        attribute: String,
        /// The length of its canonical string form.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// An extension attribute has a name that it can't have.
    #[error("{name:?} can't name an extension attribute: {problem}")]
    Name {
        /// The name, or the beginning of a long one.
        name: String,
        /// What is wrong with it, and what is allowed.
        problem: String,
    },
    /// An attribute, or the data, is given more than once.
    #[error("`{attribute}` is given more than once; each attribute and the data may stand there once")]
    Duplicate {
        /// The attribute's name.
        attribute: String,
    },
    /// The event has more extension attributes than a bus keeps.
    #[error(
        "the event has {count} extension attributes, at most {count_max} are allowed: move some into the data"
    )]
    TooManyExtensions {
        /// How many it has.
        count: usize,
        /// The bound.
        count_max: usize,
    },
    /// The event is larger than the bus accepts, see [`Event::size`](super::Event::size).
    #[error(
        "the event takes {bytes} bytes, at most {bytes_max} are allowed: keep large data elsewhere and name the \
         place with the attribute `dataref`"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// The data is not JSON, or could not be made JSON.
    #[error("`data` is not JSON: {0}")]
    Data(#[source] JsonError),
    /// The text is not one JSON object.
    #[error("the event is not a JSON object: {0}")]
    Json(#[source] JsonError),
}

/// What is wrong with a JSON text, and at which line and column of it.
///
/// ```
/// use tidegate::{Event, EventError};
///
/// let wrong = Event::new("1", "/shop", "OrderPlaced.v1").json_text("{").build();
/// assert!(matches!(wrong, Err(EventError::Data(json)) if json.to_string().contains("line 1")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl From<serde_json::Error> for JsonError {
    fn from(failure: serde_json::Error) -> Self {
        Self(failure.to_string())
    }
}

impl EventError {
    /// The attribute that is to blame, `data` for the data, and an empty text where it is the event as a whole.
    pub fn attribute(&self) -> &str {
        match self {
            Self::Missing { attribute } => attribute,
            Self::Invalid { attribute, .. }
            | Self::TooLong { attribute, .. }
            | Self::Duplicate { attribute } => attribute,
            Self::Name { name, .. } => name,
            Self::Data(_) => "data",
            Self::TooManyExtensions { .. } | Self::TooLarge { .. } | Self::Json(_) => "",
        }
    }

    pub(super) fn invalid(
        attribute: &str,
        value: &str,
        problem: impl Into<String>,
        allowed: &'static str,
    ) -> Self {
        Self::Invalid {
            attribute: excerpt(attribute).to_owned(),
            value: Quoted(value).to_string(),
            problem: problem.into(),
            allowed,
        }
    }

    pub(super) fn name(name: &str, problem: impl Into<String>) -> Self {
        Self::Name { name: excerpt(name).to_owned(), problem: problem.into() }
    }
}

/// Characters of a refused value that an error repeats: enough to find it, whoever sent it.
const EXCERPT_CHARS: usize = 48;

fn excerpt(text: &str) -> &str {
    text.char_indices().nth(EXCERPT_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// A value in quotes and with escapes, cut where it is long.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = excerpt(self.0);
        write!(f, "{shown:?}")?;
        if shown.len() < self.0.len() { f.write_str("...") } else { Ok(()) }
    }
}
