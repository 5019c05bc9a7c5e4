//! What runs a consumer, as a configuration says it.

use std::path::Path;

use super::error::Place;
use super::{ConfigError, HttpRelayConfig, NatsRelayConfig, PluginConfig};

/// What runs a consumer, as a configuration says it.
///
/// ```
/// use tidegate::config::{HttpRelayConfig, ProgramConfig};
///
/// let program = ProgramConfig::from(HttpRelayConfig::new("https://example.com/events"));
/// assert_eq!(program.target().as_deref(), Some("https://example.com/events"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramConfig {
    /// A WebAssembly component.
    Plugin(PluginConfig),
    /// A relay that posts each event to an HTTP endpoint.
    Http(HttpRelayConfig),
    /// A relay that publishes each event into NATS `JetStream`.
    Nats(NatsRelayConfig),
}

impl ProgramConfig {
    /// The plugin's settings, where it is one.
    pub fn plugin(&self) -> Option<&PluginConfig> {
        match self {
            Self::Plugin(plugin) => Some(plugin),
            Self::Http(_) | Self::Nats(_) => None,
        }
    }

    /// Where a relay hands events on to, for people and without secrets.
    pub fn target(&self) -> Option<String> {
        match self {
            Self::Plugin(_) => None,
            Self::Http(relay) => Some(relay.target()),
            Self::Nats(relay) => Some(relay.target()),
        }
    }

    /// The files that it is made of: when one of them changes, it is made anew.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Self::Plugin(plugin) => vec![&plugin.component],
            Self::Http(relay) => relay.files(),
            Self::Nats(relay) => relay.files(),
        }
    }

    /// Checks the settings against their bounds. No file is opened.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    pub(super) fn validate_at(&self, consumer: &Place<'_>) -> Result<(), ConfigError> {
        match self {
            Self::Plugin(plugin) => plugin.validate_at(consumer),
            Self::Http(relay) => relay.validate_at(&consumer.at("http")),
            Self::Nats(relay) => relay.validate_at(&consumer.at("nats")),
        }
    }
}

impl From<PluginConfig> for ProgramConfig {
    fn from(plugin: PluginConfig) -> Self {
        Self::Plugin(plugin)
    }
}

impl From<HttpRelayConfig> for ProgramConfig {
    fn from(relay: HttpRelayConfig) -> Self {
        Self::Http(relay)
    }
}

impl From<NatsRelayConfig> for ProgramConfig {
    fn from(relay: NatsRelayConfig) -> Self {
        Self::Nats(relay)
    }
}
