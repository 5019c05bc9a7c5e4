//! Whom a relay trusts, and who it says it is.

use std::path::{Path, PathBuf};

use super::super::ConfigError;
use super::super::error::Place;

/// Whom a relay trusts, and who it says it is. By default it trusts the certificate authorities that the system does,
/// and says nothing of itself.
///
/// ```
/// let tls = tidegate::config::TlsConfig::default().ca("/etc/shop/ca.pem");
/// assert_eq!(tls.ca.as_deref(), Some(std::path::Path::new("/etc/shop/ca.pem")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsConfig {
    /// A PEM file with the certificate authorities that are trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// A PEM file with the certificate that the relay shows, and those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// A PEM file with that certificate's private key.
    pub key: Option<PathBuf>,
}

impl TlsConfig {
    /// Sets [`ca`](Self::ca).
    #[must_use]
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Sets [`certificate`](Self::certificate) and [`key`](Self::key).
    #[must_use]
    pub fn identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        (self.certificate, self.key) = (Some(certificate.into()), Some(key.into()));
        self
    }

    /// The files that it names.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.ca, &self.certificate, &self.key].into_iter().flatten().map(PathBuf::as_path)
    }

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        let (missing, allowed) = match (&self.certificate, &self.key) {
            (Some(_), None) => ("key", "the PEM file with the certificate's private key"),
            (None, Some(_)) => ("certificate", "the PEM file with the private key's certificate"),
            _ => return Ok(()),
        };
        Err(ConfigError::Missing { key: place.at(missing).path(), allowed: allowed.to_owned() })
    }
}
