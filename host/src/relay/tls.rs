//! TLS for relays.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::RelayError;
use crate::config::TlsConfig;

/// Makes what a client needs. The provider of cryptography is named, so that an application with another one in its
/// process is in nobody's way.
pub(super) fn client_config(tls: &TlsConfig) -> Result<ClientConfig, RelayError> {
    let roots = match &tls.ca {
        Some(file) => authorities(file)?,
        None => system_authorities()?,
    };
    with_roots(tls, roots)
}

/// Makes what a client needs that doesn't speak TLS after all.
#[cfg(feature = "relay-http")]
pub(super) fn trusting_nobody() -> Result<ClientConfig, RelayError> {
    with_roots(&TlsConfig::default(), RootCertStore::empty())
}

/// Makes what a client needs where TLS is the server's choice: without authorities it trusts nobody.
#[cfg(feature = "relay-nats")]
pub(super) fn client_config_if_asked() -> Result<ClientConfig, RelayError> {
    with_roots(&TlsConfig::default(), system_authorities().unwrap_or_else(|_| RootCertStore::empty()))
}

fn with_roots(tls: &TlsConfig, roots: RootCertStore) -> Result<ClientConfig, RelayError> {
    let unusable = |error: rustls::Error| RelayError::Identity(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| unreadable(key, "a private key", &error))?;
            builder.with_client_auth_cert(chain, key).map_err(unusable)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

fn authorities(file: &Path) -> Result<RootCertStore, RelayError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| unreadable(file, CERTIFICATES, &error))?;
    }
    Ok(roots)
}

fn system_authorities() -> Result<RootCertStore, RelayError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // A system's store holds some that are no longer valid by today's rules.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reason = found.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(RelayError::NoAuthorities(reason));
    }
    Ok(roots)
}

const CERTIFICATES: &str = "certificates";

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, RelayError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| unreadable(file, CERTIFICATES, &error))?;
    if certificates.is_empty() {
        let reason = "there is none in it".to_owned();
        return Err(RelayError::Pem { path: file.to_owned(), expected: CERTIFICATES, reason });
    }
    Ok(certificates)
}

fn unreadable(file: &Path, expected: &'static str, error: &dyn std::error::Error) -> RelayError {
    RelayError::Pem { path: file.to_owned(), expected, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_of_certificates_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let refused = |tls: &TlsConfig| client_config(tls).unwrap_err().to_string();
        let tls = TlsConfig::default().ca(&file);
        assert!(refused(&tls).contains("ca.pem"));
        std::fs::write(&file, "no certificate").unwrap();
        assert!(refused(&tls).contains("ca.pem"));
        std::fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(refused(&tls).contains("ca.pem"));
    }
}
