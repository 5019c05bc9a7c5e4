//! Settings of a relay to NATS `JetStream`.

use std::path::Path;
use std::time::Duration;

use super::super::error::Place;
use super::super::{ConfigError, Secret};
use super::{ContentMode, TlsConfig, url};
use crate::limits::{
    NATS_SERVERS_MAX, NATS_SUBJECT_BYTES_MAX, RELAY_TIMEOUT, RELAY_TIMEOUT_FLOOR, RELAY_TIMEOUT_MAX,
};

/// Settings of a consumer that publishes each event into NATS `JetStream`.
///
/// ```
/// use tidegate::config::{NatsAuth, NatsRelayConfig, Secret};
///
/// let config = NatsRelayConfig::new(["nats://localhost:4222"])
///     .subject("shop.{topic}.{key}")
///     .stream("SHOP")
///     .auth(NatsAuth::Token(Secret::Env("NATS_TOKEN".to_owned())));
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsRelayConfig {
    /// The servers of one cluster, 1 to 32: `nats://host:port`, or `tls://host:port` where only TLS will do.
    pub servers: Vec<String>,
    /// The subject that an event is published to; by default `{topic}`.
    ///
    /// `{topic}`, `{type}`, `{key}` and `{partition}` stand for those of the event. What NATS gives a meaning to is
    /// percent-encoded in them, but for the dots of topic and type, which part tokens as elsewhere in a subject.
    pub subject: String,
    /// The stream that has to take the events. By default the one that has the subject, whichever that is.
    pub stream: Option<String>,
    /// How an event is written into a message. By default structured.
    pub mode: ContentMode,
    /// Time for one message, from connecting to `JetStream`'s acknowledgement: 100 ms to 2 minutes, by default 10
    /// seconds.
    pub timeout: Duration,
    /// Who the relay says it is. By default nobody.
    pub auth: Option<NatsAuth>,
    /// Settings of TLS. With them nothing but TLS will do; without, it is the server's choice.
    pub tls: Option<TlsConfig>,
}

/// Who a relay says it is to NATS.
///
/// ```
/// use tidegate::config::{NatsAuth, NatsRelayConfig, Secret};
///
/// let auth = NatsAuth::Credentials(Secret::File("/etc/shop/nats.creds".into()));
/// let config = NatsRelayConfig::new(["tls://nats.example.com:4222"]).auth(auth);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsAuth {
    /// A user with a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token.
    Token(Secret),
    /// The content of a file of credentials, as `nsc` writes it: a JWT and the seed of its key.
    Credentials(Secret),
}

impl NatsAuth {
    /// The secret.
    pub(crate) fn secret(&self) -> &Secret {
        match self {
            Self::Password { password: secret, .. } | Self::Token(secret) | Self::Credentials(secret) => {
                secret
            }
        }
    }
}

/// What may stand in braces in a subject.
const PLACES: [&str; 4] = ["topic", "type", "key", "partition"];

impl NatsRelayConfig {
    /// The default settings for the servers of a cluster.
    #[must_use]
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            subject: "{topic}".to_owned(),
            stream: None,
            mode: ContentMode::Structured,
            timeout: RELAY_TIMEOUT,
            auth: None,
            tls: None,
        }
    }

    /// Sets [`subject`](Self::subject).
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = subject.into();
        self
    }

    /// Sets [`stream`](Self::stream).
    #[must_use]
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Sets [`mode`](Self::mode).
    #[must_use]
    pub fn mode(mut self, mode: ContentMode) -> Self {
        self.mode = mode;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`auth`](Self::auth).
    #[must_use]
    pub fn auth(mut self, auth: NatsAuth) -> Self {
        self.auth = Some(auth);
        self
    }

    /// Sets [`tls`](Self::tls).
    #[must_use]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Where it publishes to, for people: the servers and the subject.
    pub fn target(&self) -> String {
        let servers: Vec<_> = self.servers.iter().map(|server| url::shown(server)).collect();
        format!("{} subject {}", servers.join(","), self.subject)
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
        let servers = place.at("servers");
        if self.servers.is_empty() || self.servers.len() > NATS_SERVERS_MAX {
            let value = format!("a list of {}", self.servers.len());
            return Err(ConfigError::invalid(servers.path(), value, format!("1 to {NATS_SERVERS_MAX} URLs")));
        }
        for server in &self.servers {
            url::check(&servers, server, &["nats", "tls"])?;
        }
        self.check_subject(&place.at("subject"))?;
        if let Some(stream) = &self.stream
            && (stream.is_empty()
                || !stream.bytes().all(|byte| byte.is_ascii_graphic() && !b".*>/\\".contains(&byte)))
        {
            let allowed = "the name of a stream, without spaces, `.`, `*`, `>`, `/` and `\\`";
            return Err(ConfigError::invalid(place.at("stream").path(), format!("{stream:?}"), allowed));
        }
        place.at("timeout").check_duration(self.timeout, RELAY_TIMEOUT_FLOOR..=RELAY_TIMEOUT_MAX)?;
        match &self.tls {
            Some(tls) => tls.validate_at(&place.at("tls")),
            None => Ok(()),
        }
    }

    fn check_subject(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        let allowed = "tokens parted by `.`, without spaces, `*` and `>`, that may hold `{topic}`, `{type}`, `{key}` and \
                       `{partition}`, and that don't begin with `$`";
        let refused = || ConfigError::invalid(place.path(), format!("{:?}", self.subject), allowed);
        let mut filled = String::new();
        let mut rest = self.subject.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(refused)?;
            if !PLACES.contains(&name) {
                return Err(refused());
            }
            filled.push_str(before);
            filled.push('x');
            rest = after;
        }
        filled.push_str(rest);
        let is_plain = filled.bytes().all(|byte| byte.is_ascii_graphic() && !b"*>{}".contains(&byte));
        let fits = is_plain
            && self.subject.len() <= NATS_SUBJECT_BYTES_MAX
            && !filled.starts_with('$')
            && filled.split('.').all(|token| !token.is_empty());
        if fits { Ok(()) } else { Err(refused()) }
    }

    pub(in super::super) fn files(&self) -> Vec<&Path> {
        let secret = self.auth.as_ref().and_then(|auth| auth.secret().file());
        secret.into_iter().chain(self.tls.iter().flat_map(TlsConfig::files)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_one_that_can_be_published_to() {
        let config = |subject: &str| NatsRelayConfig::new(["nats://localhost"]).subject(subject).validate();
        for subject in ["{topic}", "events", "shop.{topic}.{key}", "a-{partition}.{type}", "a$b"] {
            assert_eq!(config(subject), Ok(()), "{subject}");
        }
        for subject in
            ["", ".", "a..b", "a.", "a.*", "a.>", "a b", "{topics}", "{topic", "topic}", "$JS.x", "é", "{}"]
        {
            assert!(config(subject).is_err(), "{subject}");
        }
    }

    #[test]
    fn servers_are_named_without_secrets() {
        assert!(NatsRelayConfig::new(Vec::<String>::new()).validate().is_err());
        for server in ["localhost", "http://localhost", "nats://user:hunter2@localhost"] {
            let refused = NatsRelayConfig::new([server]).validate().unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        let password = NatsAuth::Password { user: "u".to_owned(), password: "hunter2".into() };
        let config = NatsRelayConfig::new(["tls://a", "nats://b:1"]).auth(password);
        assert_eq!(config.validate(), Ok(()));
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.target(), "tls://a,nats://b:1 subject {topic}");
    }
}
