//! What isn't to stand in a configuration, nor in a log.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::limits::SECRET_BYTES_MAX;

/// A password, a token or the like: its text, or where it is found.
///
/// It is read when the program that needs it is started. Its text is never shown: not by [`Debug`](fmt::Debug), nor in
/// an error.
///
/// ```
/// use tidegate::config::Secret;
///
/// let secret = Secret::from("hunter2");
/// assert_eq!(format!("{secret:?}"), "Value(..)");
/// assert_eq!(secret.read()?, "hunter2");
/// # Ok::<(), tidegate::config::SecretError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secret {
    /// Its text.
    Value(String),
    /// The environment variable that holds it.
    Env(String),
    /// The file that holds it, of at most 64 KiB. Line breaks at its end don't count.
    File(PathBuf),
}

/// Why a secret could not be read.
///
/// ```
/// use tidegate::config::{Secret, SecretError};
///
/// match Secret::File("no/such/file".into()).read() {
///     Err(SecretError::File { path, source }) => println!("{}: {source}", path.display()),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is no such environment variable, or it isn't Unicode.
    #[error(
        "the environment variable `{name}` is not set to a text: set it for the process that runs the bus"
    )]
    Env {
        /// The variable.
        name: String,
    },
    /// The file can't be read, or isn't UTF-8.
    #[error("the secret's file {}: {source}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is larger than a secret can be.
    #[error("the secret {0} is larger than {SECRET_BYTES_MAX} bytes: is it the right one?")]
    TooLarge(String),
    /// It is empty.
    #[error("the secret {0} is empty")]
    Empty(String),
}

impl Secret {
    /// Reads its text.
    ///
    /// # Errors
    ///
    /// The environment variable or the file isn't there or isn't text; it is empty or larger than 64 KiB.
    pub fn read(&self) -> Result<String, SecretError> {
        let text = match self {
            Self::Value(text) => text.clone(),
            Self::Env(name) => std::env::var(name).map_err(|_| SecretError::Env { name: name.clone() })?,
            Self::File(path) => {
                let text =
                    read_bounded(path).map_err(|source| SecretError::File { path: path.clone(), source })?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        if text.len() as u64 > SECRET_BYTES_MAX {
            return Err(SecretError::TooLarge(self.origin()));
        }
        if text.is_empty() { Err(SecretError::Empty(self.origin())) } else { Ok(text) }
    }

    /// The file that holds it, where one does.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Value(_) | Self::Env(_) => None,
        }
    }

    fn origin(&self) -> String {
        match self {
            Self::Value(_) => "in the configuration".to_owned(),
            Self::Env(name) => format!("in the environment variable `{name}`"),
            Self::File(path) => format!("in the file {}", path.display()),
        }
    }
}

/// The text of a file, or a little more than is allowed of one that is too large.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text)?;
    Ok(text)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => f.write_str("Value(..)"),
            Self::Env(name) => f.debug_tuple("Env").field(name).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::Value(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::Value(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_from_its_file_without_the_line_break_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "s3cret\r\n").unwrap();
        assert_eq!(Secret::File(path.clone()).read().unwrap(), "s3cret");
        std::fs::write(&path, "\n").unwrap();
        assert!(matches!(Secret::File(path.clone()).read(), Err(SecretError::Empty(_))));
        std::fs::write(&path, "x".repeat(70_000)).unwrap();
        assert!(matches!(Secret::File(path.clone()).read(), Err(SecretError::TooLarge(_))));
        std::fs::write(&path, [0xFF, 0xFE]).unwrap();
        assert!(matches!(Secret::File(path.clone()).read(), Err(SecretError::File { .. })));
        std::fs::remove_file(&path).unwrap();
        let missing = Secret::File(path.clone()).read().unwrap_err();
        assert!(missing.to_string().contains(&path.display().to_string()), "{missing}");
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let missing = Secret::Env("TIDEGATE_NO_SUCH_VARIABLE".to_owned()).read().unwrap_err();
        assert!(missing.to_string().contains("`TIDEGATE_NO_SUCH_VARIABLE`"), "{missing}");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let (secret, long) = (Secret::from("hunter2"), Secret::from("hunter2".repeat(20_000)));
        assert!(!format!("{secret:?} {:?}", long.read().unwrap_err()).contains("hunter2"));
    }
}
