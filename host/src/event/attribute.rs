//! The value of an extension attribute.

use std::fmt;

use data_encoding::BASE64;

use super::error::EventError;
use super::{timestamp, uri};
use crate::clock::Timestamp;
use crate::limits::ATTRIBUTE_BYTES_MAX;

/// The value of an extension attribute, by the type system of `CloudEvents` 1.0.
///
/// It displays as its canonical string form, the one that protocols carry in headers.
///
/// The JSON format writes the last five alike, as strings, so that an event read from JSON has [`Text`](Self::Text)
/// where another type was written.
///
/// ```
/// use tidegate::{Attribute, Event};
///
/// let event = Event::new("1", "/shop", "OrderPlaced.v1").extension("priority", 3).build().unwrap();
/// assert_eq!(event.extension("priority"), Some(&Attribute::Integer(3)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribute {
    /// True or false.
    Boolean(bool),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Text without control characters and Unicode's noncharacters.
    Text(String),
    /// Bytes; Base64 in the canonical form.
    Binary(Vec<u8>),
    /// An absolute URI.
    Uri(String),
    /// A URI or a relative reference.
    UriReference(String),
    /// A date and time as in RFC 3339.
    Timestamp(String),
}

/// What attributes of type `String` allow.
const TEXT_ALLOWED: &str = "text without control characters and without Unicode's noncharacters";

impl Attribute {
    /// The text of a [`Text`](Self::Text), [`Uri`](Self::Uri), [`UriReference`](Self::UriReference) or
    /// [`Timestamp`](Self::Timestamp).
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Uri(text) | Self::UriReference(text) | Self::Timestamp(text) => {
                Some(text)
            }
            Self::Boolean(_) | Self::Integer(_) | Self::Binary(_) => None,
        }
    }

    /// The length in bytes of the canonical string form.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Boolean(true) => "true".len(),
            Self::Boolean(false) => "false".len(),
            Self::Integer(number) => {
                let digits = number.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
                digits + usize::from(*number < 0)
            }
            Self::Binary(bytes) => BASE64.encode_len(bytes.len()),
            Self::Text(text) | Self::Uri(text) | Self::UriReference(text) | Self::Timestamp(text) => {
                text.len()
            }
        }
    }

    pub(super) fn check(&self, name: &str) -> Result<(), EventError> {
        check_size(name, self.size())?;
        match self {
            Self::Boolean(_) | Self::Integer(_) | Self::Binary(_) => Ok(()),
            Self::Text(text) => check_text(name, text),
            Self::Uri(text) => check_uri(name, text),
            Self::UriReference(text) => check_reference(name, text),
            Self::Timestamp(text) => check_timestamp(name, text),
        }
    }
}

pub(super) fn check_size(name: &str, bytes: usize) -> Result<(), EventError> {
    if bytes <= ATTRIBUTE_BYTES_MAX {
        Ok(())
    } else {
        Err(EventError::TooLong { attribute: name.to_owned(), bytes, bytes_max: ATTRIBUTE_BYTES_MAX })
    }
}

pub(super) fn check_text(name: &str, text: &str) -> Result<(), EventError> {
    let refused = |c: &char| {
        c.is_control() || matches!(u32::from(*c), 0xFDD0..=0xFDEF) || (u32::from(*c) & 0xFFFE) == 0xFFFE
    };
    match text.char_indices().find(|(_, c)| refused(c)) {
        None => Ok(()),
        Some((at, found)) => {
            let problem = format!("U+{:04X} stands at byte {at}", u32::from(found));
            Err(EventError::invalid(name, text, problem, TEXT_ALLOWED))
        }
    }
}

pub(super) fn check_uri(name: &str, text: &str) -> Result<(), EventError> {
    uri::check_uri(text).map_err(|problem| EventError::invalid(name, text, problem, uri::URI_ALLOWED))
}

pub(super) fn check_reference(name: &str, text: &str) -> Result<(), EventError> {
    uri::check_reference(text)
        .map_err(|problem| EventError::invalid(name, text, problem, uri::REFERENCE_ALLOWED))
}

pub(super) fn check_timestamp(name: &str, text: &str) -> Result<(), EventError> {
    timestamp::check(text).map_err(|problem| EventError::invalid(name, text, problem, timestamp::ALLOWED))
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Binary(bytes) => BASE64.encode_display(bytes).fmt(f),
            Self::Text(text) | Self::Uri(text) | Self::UriReference(text) | Self::Timestamp(text) => {
                text.fmt(f)
            }
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

impl From<Timestamp> for Attribute {
    fn from(value: Timestamp) -> Self {
        Self::Timestamp(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_that_of_the_canonical_form() {
        for number in [0, 1, -1, 9, 10, -10, 99, 100, i32::MAX, i32::MIN] {
            let attribute = Attribute::from(number);
            assert_eq!(attribute.size(), attribute.to_string().len(), "{number}");
        }
        for len in 0..8 {
            let attribute = Attribute::from(vec![0xFF; len]);
            assert_eq!(attribute.size(), attribute.to_string().len(), "{len}");
        }
        for attribute in [Attribute::from(true), Attribute::from(false), Attribute::from("é")] {
            assert_eq!(attribute.size(), attribute.to_string().len(), "{attribute}");
        }
    }

    #[test]
    fn text_has_no_control_characters_and_no_noncharacters() {
        for text in ["", "é ☃ 𝄞 \u{A0} \u{200D} \u{E000} \u{FFFD}", "~"] {
            assert!(check_text("a", text).is_ok(), "{text}");
        }
        for text in [
            "\0",
            "a\nb",
            "\u{1F}",
            "\u{7F}",
            "\u{9F}",
            "\u{FDD0}",
            "\u{FDEF}",
            "\u{FFFE}",
            "\u{1FFFF}",
            "\u{10FFFE}",
        ] {
            assert!(check_text("a", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_attribute_the_place_and_what_is_allowed() {
        let error = Attribute::from("tab\there").check("color").unwrap_err();
        assert_eq!(error.attribute(), "color");
        assert_eq!(
            error.to_string(),
            r#"`color` is "tab\there": U+0009 stands at byte 3; allowed is text without control characters and without Unicode's noncharacters"#
        );
    }
}
