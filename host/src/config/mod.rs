//! What can be set: for the bus, for a topic, for a consumer, and for what runs it.

mod aggregate;
mod bus;
mod consumer;
mod error;
#[cfg(feature = "server")]
mod file;
mod name;
mod outbox;
mod plugin;
mod program;
mod relay;
#[cfg(feature = "server")]
mod schemas;
mod secret;
mod topic;
mod units;
mod upcaster;

pub use aggregate::AggregateConfig;
pub use bus::{BusConfig, CommitMode};
pub use consumer::{ConsumerConfig, OnDeadLetter, Order, RetryPolicy, Start};
pub use error::ConfigError;
#[cfg(feature = "server")]
pub use file::{Config, ConfigFileError};
pub use name::{NameError, check_name};
pub use outbox::{AfterPublish, OutboxConfig, OutboxDatabase};
pub use plugin::{Grants, PluginConfig, PluginLimits};
pub use program::ProgramConfig;
#[cfg(feature = "relay-http")]
pub(crate) use relay::shown_url;
pub use relay::{ContentMode, HttpRelayConfig, NatsAuth, NatsRelayConfig, TlsConfig};
#[cfg(feature = "server")]
pub use schemas::{SchemaFile, SchemaFileError, SchemasConfig};
pub use secret::{Secret, SecretError};
pub use topic::{Dedup, Retention, SchemaPolicy, TopicConfig};
pub use units::{UnitError, format_bytes, format_duration, parse_bytes, parse_duration};
pub use upcaster::UpcasterConfig;

#[cfg(test)]
mod tests;
