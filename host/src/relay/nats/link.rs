//! The connection to NATS.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, ServerAddr};
use rustls::ClientConfig;
use tokio::sync::Mutex;

use crate::config::{NatsAuth, NatsRelayConfig};
use crate::handler::Failure;
use crate::limits::{NATS_CLIENT_MESSAGES_MAX, NATS_SUBSCRIPTION_MESSAGES_MAX};
use crate::relay::RelayError;
use crate::relay::causes::causes;
use crate::relay::tls::{client_config, client_config_if_asked};

/// One client, which all lanes share. It is made at the first event, and connects again by itself when its server is
/// gone; what it can't come back from, another client replaces.
pub(super) struct Link {
    servers: Vec<ServerAddr>,
    credentials: Credentials,
    tls: ClientConfig,
    requires_tls: bool,
    timeout: Duration,
    client: Mutex<Option<Numbered>>,
    made: AtomicU64,
}

/// A client, and which it is.
#[derive(Clone)]
pub(super) struct Numbered {
    pub client: Client,
    number: u64,
}

/// What the relay shows, read.
enum Credentials {
    None,
    Password { user: String, password: String },
    Token(String),
    File(String),
}

impl Credentials {
    fn read(auth: Option<&NatsAuth>) -> Result<Self, RelayError> {
        let Some(auth) = auth else { return Ok(Self::None) };
        let setting = match auth {
            NatsAuth::Password { .. } => "password",
            NatsAuth::Token(_) => "token",
            NatsAuth::Credentials(_) => "credentials",
        };
        let setting = setting.to_owned();
        let secret = match auth.secret().read() {
            Ok(secret) => secret,
            Err(source) => return Err(RelayError::Secret { setting, source }),
        };
        Ok(match auth {
            NatsAuth::Password { user, .. } => Self::Password { user: user.clone(), password: secret },
            NatsAuth::Token(_) => Self::Token(secret),
            NatsAuth::Credentials(_) => {
                // It is read again with each connection, so what is wrong with it has to show now.
                if ConnectOptions::with_credentials(&secret).is_err() {
                    let expected = "a NATS credentials file: a JWT and the seed of its key";
                    return Err(RelayError::Unfit { setting, expected });
                }
                Self::File(secret)
            }
        })
    }
}

impl Link {
    pub fn new(config: &NatsRelayConfig) -> Result<Self, RelayError> {
        let servers = config.servers.iter().map(|server| {
            let parsed = server.parse::<ServerAddr>();
            parsed.map_err(|error| RelayError::Address { address: server.clone(), reason: error.to_string() })
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let requires_tls = config.tls.is_some() || servers.iter().any(ServerAddr::tls_required);
        let tls = match &config.tls {
            Some(tls) => client_config(tls)?,
            None if requires_tls => client_config(&<_>::default())?,
            None => client_config_if_asked()?,
        };
        Ok(Self {
            servers,
            credentials: Credentials::read(config.auth.as_ref())?,
            tls,
            requires_tls,
            timeout: config.timeout,
            client: Mutex::default(),
            made: AtomicU64::new(0),
        })
    }

    /// A client that is connected.
    ///
    /// # Errors
    ///
    /// It isn't, and another attempt may find that it is. Nothing is sent through one that isn't: it would keep the
    /// message, and send it when everybody has given up on it.
    pub async fn client(&self, target: &str) -> Result<Numbered, Failure> {
        let mut client = self.client.lock().await;
        match &*client {
            Some(made) if made.client.connection_state() == State::Connected => Ok(made.clone()),
            Some(_) => {
                let message = format!("{target}: the connection is lost, and is being made again");
                Err(Failure::transient("nats-connect", message))
            }
            None => {
                let options = self.options().map_err(|error| {
                    Failure::transient("nats-connect", format!("{target}: {}", causes(&error)))
                })?;
                let connected = options.connect(&self.servers[..]).await.map_err(|error| {
                    Failure::transient(
                        "nats-connect",
                        format!("{target} can't be connected to: {}", causes(&error)),
                    )
                })?;
                let made = Numbered { client: connected, number: self.made.fetch_add(1, Ordering::Relaxed) };
                *client = Some(made.clone());
                Ok(made)
            }
        }
    }

    /// Has the next event make a new client. One that was not answered keeps a place for the answer, and perhaps the
    /// message, for as long as it lives.
    pub async fn replace(&self, number: u64) {
        let mut client = self.client.lock().await;
        if client.as_ref().is_some_and(|made| made.number == number) {
            *client = None;
        }
    }

    fn options(&self) -> std::io::Result<ConnectOptions> {
        let options = ConnectOptions::new()
            .name("tidegate")
            .no_echo()
            .connection_timeout(self.timeout)
            // Each request has its deadline from the bus's clock.
            .request_timeout(None)
            .client_capacity(NATS_CLIENT_MESSAGES_MAX)
            .subscription_capacity(NATS_SUBSCRIPTION_MESSAGES_MAX)
            .tls_client_config(self.tls.clone())
            .require_tls(self.requires_tls);
        Ok(match &self.credentials {
            Credentials::None => options,
            Credentials::Password { user, password } => {
                options.user_and_password(user.clone(), password.clone())
            }
            Credentials::Token(token) => options.token(token.clone()),
            Credentials::File(credentials) => options.credentials(credentials)?,
        })
    }
}

impl Numbered {
    /// Which of the link's clients this is.
    pub fn number(&self) -> u64 {
        self.number
    }
}
