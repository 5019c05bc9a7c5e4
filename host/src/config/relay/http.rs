//! Settings of a relay to an HTTP endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use super::super::error::Place;
use super::super::{ConfigError, Secret};
use super::{ContentMode, TlsConfig, url};
use crate::limits::{
    RELAY_CONNECTIONS, RELAY_CONNECTIONS_MAX, RELAY_HEADERS_MAX, RELAY_TIMEOUT, RELAY_TIMEOUT_FLOOR,
    RELAY_TIMEOUT_MAX,
};

/// Settings of a consumer that posts each event to an HTTP endpoint.
///
/// ```
/// use tidegate::config::{ContentMode, HttpRelayConfig, Secret};
///
/// let config = HttpRelayConfig::new("https://example.com/events")
///     .mode(ContentMode::Structured)
///     .header("Authorization", Secret::Env("HOOK_TOKEN".to_owned()));
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRelayConfig {
    /// The endpoint's URL, `http` or `https`. What follows its `?` is shown nowhere.
    pub url: String,
    /// How an event is written into a request. By default binary.
    pub mode: ContentMode,
    /// Headers of each request beside those of the event, at most 32: `Authorization` and the like. Their values are
    /// shown nowhere.
    pub headers: BTreeMap<String, Secret>,
    /// Time for one request, from connecting to the head of the answer: 100 ms to 2 minutes, by default 10 seconds.
    pub timeout: Duration,
    /// The number of requests that are under way at one time: 1 to 256, by default 16. A lane has one at most.
    pub connections: usize,
    /// Whom it trusts, and who it says it is, where the URL is `https`.
    pub tls: TlsConfig,
}

/// Headers that are the relay's own, beside those that begin with `ce-`.
const OWN_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "te",
    "transfer-encoding",
    "upgrade",
];

impl HttpRelayConfig {
    /// The default settings for an endpoint.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            mode: ContentMode::Binary,
            headers: BTreeMap::new(),
            timeout: RELAY_TIMEOUT,
            connections: RELAY_CONNECTIONS,
            tls: TlsConfig::default(),
        }
    }

    /// Sets [`mode`](Self::mode).
    #[must_use]
    pub fn mode(mut self, mode: ContentMode) -> Self {
        self.mode = mode;
        self
    }

    /// Adds one to [`headers`](Self::headers).
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`connections`](Self::connections).
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Sets [`tls`](Self::tls).
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = tls;
        self
    }

    /// The endpoint for people: its URL without what follows the `?`.
    pub fn target(&self) -> String {
        url::shown(&self.url)
    }

    /// Checks the settings against their bounds. Secrets and files aren't read.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(in super::super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        url::check(&place.at("url"), &self.url, &["http", "https"])?;
        self.check_headers(&place.at("headers"))?;
        place.at("timeout").check_duration(self.timeout, RELAY_TIMEOUT_FLOOR..=RELAY_TIMEOUT_MAX)?;
        place.at("connections").check(self.connections, 1..=RELAY_CONNECTIONS_MAX)?;
        self.tls.validate_at(&place.at("tls"))
    }

    fn check_headers(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        let refuse = |value: String, allowed: &str| Err(ConfigError::invalid(place.path(), value, allowed));
        if self.headers.len() > RELAY_HEADERS_MAX {
            let value = format!("a table of {}", self.headers.len());
            return refuse(value, &format!("at most {RELAY_HEADERS_MAX} headers"));
        }
        for name in self.headers.keys() {
            let lower = name.to_ascii_lowercase();
            if lower.is_empty() || !lower.bytes().all(is_token) {
                return refuse(format!("{name:?}"), "names of letters, digits and `-`");
            }
            if lower.starts_with("ce-") || OWN_HEADERS.contains(&lower.as_str()) {
                return refuse(format!("{name:?}"), "headers that the relay doesn't set itself");
            }
            if self.headers.keys().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1 {
                return refuse(format!("{name:?} twice"), "each header once, whatever its case");
            }
        }
        Ok(())
    }

    pub(in super::super) fn files(&self) -> Vec<&Path> {
        self.headers.values().filter_map(Secret::file).chain(self.tls.files()).collect()
    }
}

impl fmt::Debug for HttpRelayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRelayConfig")
            .field("url", &self.target())
            .field("mode", &self.mode)
            .field("headers", &self.headers)
            .field("timeout", &self.timeout)
            .field("connections", &self.connections)
            .field("tls", &self.tls)
            .finish()
    }
}

/// RFC 9110's `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_refused_that_are_the_relays_own_or_none() {
        let config = || HttpRelayConfig::new("http://localhost/");
        assert_eq!(config().header("Authorization", "Bearer x").header("X-Shop", "1").validate(), Ok(()));
        for name in ["ce-id", "Content-Type", "HOST", "Idempotency-Key", "", "a b", "a:", "é"] {
            assert!(config().header(name, "x").validate().is_err(), "{name}");
        }
        assert!(config().header("a", "x").header("A", "y").validate().is_err());
    }

    #[test]
    fn no_secret_is_shown() {
        let config = HttpRelayConfig::new("https://h/?token=hunter2").header("Authorization", "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!config.target().contains("hunter2"));
    }

    #[test]
    fn settings_are_bounded() {
        let config = || HttpRelayConfig::new("http://localhost/");
        assert!(config().timeout(Duration::from_mins(3)).validate().is_err());
        assert!(config().timeout(Duration::ZERO).validate().is_err());
        assert!(config().connections(0).validate().is_err());
        let half = TlsConfig { key: Some("key.pem".into()), ..TlsConfig::default() };
        assert!(config().tls(half).validate().is_err());
    }
}
