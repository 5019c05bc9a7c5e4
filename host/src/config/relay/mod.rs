//! Settings of relays: consumers that hand events on to another system.

mod content;
mod http;
mod nats;
mod tls;
mod url;

pub use content::ContentMode;
pub use http::HttpRelayConfig;
pub use nats::{NatsAuth, NatsRelayConfig};
pub use tls::TlsConfig;
#[cfg(feature = "relay-http")]
pub(crate) use url::shown as shown_url;
