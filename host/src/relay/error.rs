//! Why a relay could not be made.

use std::path::PathBuf;

use crate::config::{ConfigError, SecretError};

/// Why a relay could not be made of its configuration. Nothing was sent.
///
/// ```
/// use tidegate::RelayError;
///
/// /// What to tell whoever has set a relay up.
/// fn explain(error: &RelayError) -> String {
///     match error {
///         RelayError::NotBuilt { feature, .. } => format!("this program is without `{feature}`"),
///         other => other.to_string(),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// This build is without relays of this kind.
    #[error(
        "this build of tidegate has no {kind} relay: build it with the feature `{feature}`, as in \
         `cargo install --path host --features {feature}`"
    )]
    NotBuilt {
        /// The kind.
        kind: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// A setting is out of its bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A secret can't be read.
    #[error("`{setting}`: {source}")]
    Secret {
        /// The setting that it is the value of.
        setting: String,
        /// Why.
        source: SecretError,
    },
    /// A secret is read, and isn't what it has to be.
    #[error("the value of `{setting}` is not {expected}")]
    Unfit {
        /// The setting that it is the value of.
        setting: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// An address isn't one.
    #[error("`{address}` is not an address: {reason}")]
    Address {
        /// The address, without secrets.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of certificates or a key can't be read, or isn't PEM.
    #[error("{}: {reason}; it has to be a PEM file with {expected}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What has to be in it.
        expected: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificate authorities to trust.
    #[error(
        "the system has no certificate authorities to trust ({0}): install them (Debian's `ca-certificates`), or name a \
         file of them as `tls.ca`"
    )]
    NoAuthorities(String),
    /// The certificate and the key that the relay is to show don't fit.
    #[error("the relay's certificate and key can't be used: {0}")]
    Identity(String),
}
