/// The value of a `CloudEvents` extension attribute.
///
/// ```
/// use tidegate_plugin::{Attribute, Outgoing};
///
/// let event = Outgoing::new("Alert.v1").extension("priority", 3);
/// assert_eq!(event.extensions, [("priority".to_owned(), Attribute::Integer(3))]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i32),
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// An absolute URI.
    Uri(String),
    /// A URI or a relative reference.
    UriReference(String),
    /// A moment, written as RFC 3339.
    Timestamp(String),
}

impl Attribute {
    /// The text of an attribute that is written as text: all but booleans, integers and bytes.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Uri(text) | Self::UriReference(text) | Self::Timestamp(text) => {
                Some(text)
            }
            Self::Boolean(_) | Self::Integer(_) | Self::Binary(_) => None,
        }
    }
}

impl From<bool> for Attribute {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for Attribute {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Attribute {
    fn from(value: Vec<u8>) -> Self {
        Self::Binary(value)
    }
}
