//! How an event is written into a message.

use std::fmt;
use std::str::FromStr;

/// How an event is written into a message, in the words of `CloudEvents`.
///
/// ```
/// use tidegate::config::ContentMode;
///
/// assert_eq!("structured".parse(), Ok(ContentMode::Structured));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ContentMode {
    /// The data is the message's body as it is, and each attribute a header of its own.
    Binary,
    /// The whole event is the body, in the JSON format.
    Structured,
}

impl FromStr for ContentMode {
    type Err = &'static str;

    /// Reads the word of the configuration file; the error says which words there are.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "binary" => Ok(Self::Binary),
            "structured" => Ok(Self::Structured),
            _ => Err("`binary` or `structured`"),
        }
    }
}

impl fmt::Display for ContentMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Binary => "binary",
            Self::Structured => "structured",
        })
    }
}
