//! Settings of an upcaster that a plugin runs.

use std::path::PathBuf;

use super::error::Place;
use super::{ConfigError, Grants, PluginConfig, PluginLimits};

/// Settings of an upcaster that a plugin runs: the component, what it may use up, and what it is told.
///
/// ```
/// use tidegate::config::UpcasterConfig;
///
/// let config = UpcasterConfig::new("plugins/order_upcaster.wasm").settings(r#"{"currency": "EUR"}"#);
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpcasterConfig {
    /// The WebAssembly component's file.
    pub component: PathBuf,
    /// What it may use up: an instance's memory, and the time for one event.
    pub limits: PluginLimits,
    /// Whether it may write to the host's log. By default it may not.
    pub log: bool,
    /// What it is told: a JSON object, as text, of at most 64 KiB; by default `{}`.
    pub settings: String,
}

impl UpcasterConfig {
    /// The default settings for a component's file.
    #[must_use]
    pub fn new(component: impl Into<PathBuf>) -> Self {
        let PluginConfig { component, limits, settings, .. } = PluginConfig::new(component);
        Self { component, limits, log: false, settings }
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: PluginLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Lets it write to the host's log.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }

    /// Sets [`settings`](Self::settings).
    #[must_use]
    pub fn settings(mut self, json: impl Into<String>) -> Self {
        self.settings = json.into();
        self
    }

    /// Checks the settings against their bounds. The file isn't opened.
    ///
    /// # Errors
    ///
    /// The first setting that is out of its bounds.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_at(&Place::ROOT)
    }

    /// The bounds are those of a consumer's plugin.
    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        let plugin = PluginConfig {
            component: self.component.clone(),
            grants: Grants::nothing(),
            limits: self.limits,
            settings: self.settings.clone(),
            aggregate: None,
        };
        plugin.validate_at(place)
    }
}
