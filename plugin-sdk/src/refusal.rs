use std::fmt;

use crate::{Failure, SettingsError, StateError};

/// Why an [`Upcaster`](crate::Upcaster) doesn't lift an event, or a [`Projection`](crate::Projection) doesn't answer.
///
/// An event that isn't lifted is a permanent failure of its delivery, as another attempt would end alike: consumers don't see it,
/// and their dead letters have it as it was published. Of an answer it is what whoever asked gets.
///
/// ```
/// use tidegate_plugin::Refusal;
///
/// let refusal = Refusal::new("no-price", "the order has no price");
/// assert_eq!(refusal.to_string(), "no-price: the order has no price");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A short word that stays the same for the same cause, for people to count and filter by. The host cuts what is over 64
    /// bytes.
    pub code: String,
    /// What is wrong with the event or the question, for people. The host cuts what is over 4 KiB.
    pub message: String,
}

impl Refusal {
    /// A refusal with its code.
    pub fn new(code: &str, message: impl fmt::Display) -> Self {
        Self { code: code.to_owned(), message: message.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Refusal {}

/// With the code of the failure.
impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let (Failure::Transient(reason) | Failure::Permanent(reason)) = failure;
        Self { code: reason.code, message: reason.message }
    }
}

/// With the code that it has as a failure.
impl From<StateError> for Refusal {
    fn from(error: StateError) -> Self {
        Failure::from(error).into()
    }
}

/// Settings of another shape, with the code that they have as a failure: an upcaster isn't loaded with them.
impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        Failure::from(error).into()
    }
}

/// What can't be written as JSON, with code `bad-json`: a mistake in the plugin.
impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::new("bad-json", error)
    }
}
