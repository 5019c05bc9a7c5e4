//! Why a configuration file was refused.

use std::io;
use std::path::{Path, PathBuf};

use super::super::ConfigError;

/// Why a configuration file was refused. Nothing of a refused file takes effect.
///
/// ```
/// use std::path::Path;
/// use tidegate::config::{Config, ConfigFileError};
///
/// match Config::from_file(Path::new("no/such/tidegate.toml")) {
///     Err(ConfigFileError::Read { path, source }) => println!("{}: {source}", path.display()),
///     Err(ConfigFileError::UnknownKey { line, key, .. }) => println!("line {line}: `{key}`"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// The file could not be read.
    #[error("the configuration file {path:?} could not be read; `tidegate init` writes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than a configuration can be.
    #[error("the configuration file {path:?} is larger than {bytes_max} bytes: is it the right one?")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        bytes_max: u64,
    },
    /// The file is not TOML.
    #[error("{}: not TOML: {message}", Spot(path, *line))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
    /// The file has a setting that there isn't.
    #[error("{}: there is no setting `{key}`; {remedy}", Spot(path, *line))]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The setting, with the tables it lies in.
        key: String,
        /// The setting with a similar name, or all that are known there.
        remedy: String,
    },
    /// A setting is missing, out of its bounds, or at odds with another.
    #[error("{}: {error}", Spot(path, *line))]
    Setting {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Which setting, and what is allowed.
        #[source]
        error: ConfigError,
    },
}

/// A place in a file, as editors and terminals understand it.
struct Spot<'a>(&'a Path, usize);

impl std::fmt::Display for Spot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.0.display(), self.1)
    }
}
