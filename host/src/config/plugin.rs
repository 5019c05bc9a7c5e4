//! Settings of a consumer that a plugin runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::Place;
use super::units::format_bytes;
use super::{AggregateConfig, ConfigError};
use crate::limits::{
    EPOCH_TICK, PLUGIN_DEADLINE, PLUGIN_DEADLINE_MAX, PLUGIN_MEMORY_BYTES, PLUGIN_MEMORY_CEILING,
    PLUGIN_MEMORY_FLOOR, SETTINGS_BYTES_MAX,
};

/// Settings of a consumer that a plugin runs: the component, what it may do, and what it is told.
///
/// ```
/// use tidegate::config::{Grants, PluginConfig};
///
/// let config = PluginConfig::new("plugins/quake_alerts.wasm")
///     .grants(Grants::nothing().publish("alerts").state())
///     .settings(r#"{"threshold": 5.0}"#);
/// config.validate()?;
/// # Ok::<(), tidegate::config::ConfigError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PluginConfig {
    /// The WebAssembly component's file.
    pub component: PathBuf,
    /// What it may do. By default nothing beyond reading what it is handed.
    pub grants: Grants,
    /// What it may use up.
    pub limits: PluginLimits,
    /// What it is told: a JSON object, as text, of at most 64 KiB; by default `{}`.
    pub settings: String,
    /// What an aggregate has beside: the consumer's events are commands, on which the plugin decides. By default it is
    /// none.
    pub aggregate: Option<AggregateConfig>,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            component: PathBuf::new(),
            grants: Grants::default(),
            limits: PluginLimits::default(),
            settings: "{}".to_owned(),
            aggregate: None,
        }
    }
}

impl PluginConfig {
    /// The default settings for a component's file.
    #[must_use]
    pub fn new(component: impl Into<PathBuf>) -> Self {
        Self { component: component.into(), ..Self::default() }
    }

    /// Sets [`grants`](Self::grants).
    #[must_use]
    pub fn grants(mut self, grants: Grants) -> Self {
        self.grants = grants;
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn limits(mut self, limits: PluginLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`settings`](Self::settings).
    #[must_use]
    pub fn settings(mut self, json: impl Into<String>) -> Self {
        self.settings = json.into();
        self
    }

    /// Sets [`aggregate`](Self::aggregate).
    #[must_use]
    pub fn aggregate(mut self, aggregate: AggregateConfig) -> Self {
        self.aggregate = Some(aggregate);
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

    pub(super) fn validate_at(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        if self.component.as_os_str().is_empty() {
            let allowed = "the path of a WebAssembly component, relative to the configuration file";
            return Err(ConfigError::invalid(place.at("plugin").path(), "empty", allowed));
        }
        if let Some(aggregate) = &self.aggregate {
            aggregate.validate_at(&place.at("aggregate"))?;
        }
        let grants = place.at("grants");
        for topic in &self.grants.publish {
            grants.at("publish").check_name(topic)?;
        }
        let limits = place.at("limits");
        let memory = PLUGIN_MEMORY_FLOOR as u64..=PLUGIN_MEMORY_CEILING as u64;
        limits.at("memory").check_bytes(self.limits.memory_bytes as u64, memory)?;
        limits.at("deadline").check_duration(self.limits.deadline, EPOCH_TICK..=PLUGIN_DEADLINE_MAX)?;
        self.check_settings(&place.at("settings"))
    }

    fn check_settings(&self, place: &Place<'_>) -> Result<(), ConfigError> {
        if self.settings.len() > SETTINGS_BYTES_MAX {
            let (value, allowed) =
                (format_bytes(self.settings.len() as u64), format_bytes(SETTINGS_BYTES_MAX as u64));
            return Err(ConfigError::invalid(
                place.path(),
                format!("{value} of JSON"),
                format!("at most {allowed}"),
            ));
        }
        match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&self.settings) {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(ConfigError::invalid(place.path(), format!("wrong ({error})"), "a JSON object"))
            }
        }
    }
}

/// What a plugin may do. By default nothing beyond reading what it is handed.
///
/// ```
/// use tidegate::config::Grants;
///
/// let grants = Grants::nothing().publish("alerts").state();
/// assert!(grants.state && grants.publish.contains("alerts"));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Grants {
    /// The topics that it may publish to.
    pub publish: BTreeSet<String>,
    /// Whether it may keep state.
    pub state: bool,
    /// Whether it may write to the host's log.
    pub log: bool,
}

impl Grants {
    /// No grant at all.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Grants publishing to a topic.
    #[must_use]
    pub fn publish(mut self, topic: impl Into<String>) -> Self {
        self.publish.insert(topic.into());
        self
    }

    /// Grants state.
    #[must_use]
    pub fn state(mut self) -> Self {
        self.state = true;
        self
    }

    /// Grants the host's log.
    #[must_use]
    pub fn log(mut self) -> Self {
        self.log = true;
        self
    }
}

/// What a plugin may use up.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{PluginConfig, PluginLimits};
///
/// let mut limits = PluginLimits::default();
/// limits.memory_bytes = 16 << 20;
/// limits.deadline = Duration::from_millis(500);
/// PluginConfig::new("big_quakes.wasm").limits(limits).validate()?;
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PluginLimits {
    /// Linear memory of one instance, in bytes: 1 MiB to 512 MiB, by default 64 MiB. A delivery that wants more fails.
    pub memory_bytes: usize,
    /// Time for one delivery: 1 ms to 10 minutes, by default 5 seconds. A delivery that takes more fails.
    pub deadline: Duration,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self { memory_bytes: PLUGIN_MEMORY_BYTES, deadline: PLUGIN_DEADLINE }
    }
}

impl PluginLimits {
    /// Sets [`memory_bytes`](Self::memory_bytes).
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Sets [`deadline`](Self::deadline).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }
}
