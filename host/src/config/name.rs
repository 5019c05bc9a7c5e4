//! Names of topics and consumers.

use crate::limits::NAME_BYTES_MAX;

/// A text that can't name a topic or a consumer.
///
/// ```
/// let wrong = tidegate::config::check_name("orders/eu").unwrap_err();
/// assert_eq!(wrong.name, "orders/eu");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} is no name: a topic or a consumer is named by 1 to {NAME_BYTES_MAX} ASCII letters, digits, `.`, `_` and \
     `-`, and begins with a letter or a digit"
)]
#[non_exhaustive]
pub struct NameError {
    /// The text, or the beginning of a long one.
    pub name: String,
}

/// Checks the name of a topic or a consumer: `[A-Za-z0-9][A-Za-z0-9._-]*`, at most 128 bytes.
///
/// `$` and `/` are kept for names that the bus itself may give.
///
/// ```
/// use tidegate::config::check_name;
///
/// assert!(check_name("orders.eu-1").is_ok());
/// assert!(check_name("$internal").is_err());
/// ```
///
/// # Errors
///
/// The text is something else.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let bytes = name.as_bytes();
    let begins_well = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let goes_on_well = bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
    if begins_well && goes_on_well && bytes.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(NameError { name: name.chars().take(NAME_BYTES_MAX).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_metrics_and_log_lines() {
        for name in ["a", "7", "quakes", "Quakes.v1", "a_b-c.d", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for name in ["", ".", "..", "-a", "_a", "$a", "a/b", "a b", "a$", "é", "a\0", "a\n", &long] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
