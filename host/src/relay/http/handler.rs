//! The handler.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, StatusCode, Uri};
use tokio::sync::SemaphorePermit;

use super::client::{Client, read};
use super::gate::Gate;
use super::message::message;
use super::retry_after::retry_after;
use crate::clock::{Clock, SystemClock};
use crate::config::{ContentMode, HttpRelayConfig, Secret};
use crate::effects::Context;
use crate::handler::{Delivery, Failure, Handler};
use crate::relay::RelayError;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

/// A [`Handler`] that posts each event to an HTTP endpoint, as `CloudEvents`' HTTP protocol binding 1.0.2 says.
///
/// An event is handed on when the endpoint has answered with a status of success. Until then it is sent again, with the
/// same `Idempotency-Key`: at least once, and in order for each key. Answers that no other attempt would mend make dead
/// letters. `docs/relays.md` has it all.
///
/// ```
/// use tidegate::config::{ConsumerConfig, HttpRelayConfig, RetryPolicy, TopicConfig};
/// use tidegate::{Bus, HttpRelay};
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let bus = Bus::open(directory)?.blocking();
/// bus.create_topic("orders", TopicConfig::new(4))?;
/// let relay = HttpRelay::new(HttpRelayConfig::new("http://localhost:8080/orders"))?;
/// bus.subscribe("webhook", ConsumerConfig::new(["orders"]).retry(RetryPolicy::patient()), relay)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct HttpRelay {
    client: Client,
    uri: Uri,
    /// The endpoint, as messages name it.
    target: String,
    mode: ContentMode,
    headers: HeaderMap,
    timeout: Duration,
    gate: Gate,
    clock: Arc<dyn Clock>,
}

impl HttpRelay {
    /// A relay of this configuration. Secrets and certificates are read now; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// A setting is out of its bounds, or a secret or a certificate can't be read.
    pub fn new(config: HttpRelayConfig) -> Result<Self, RelayError> {
        config.validate()?;
        let target = config.target();
        let uri = config.url.parse::<Uri>();
        let uri =
            uri.map_err(|error| RelayError::Address { address: target.clone(), reason: error.to_string() })?;
        let client = Client::new(&config, &uri)?;
        let HttpRelayConfig { mode, timeout, headers, .. } = config;
        let headers = read_headers(headers)?;
        let clock = Arc::new(SystemClock::new());
        Ok(Self { client, uri, target, mode, headers, timeout, gate: Gate::default(), clock })
    }

    /// Sets the clock that bounds requests and pauses; by default the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Waits until a request may be made: for what the endpoint has asked for and for a connection, both together no
    /// longer than for an answer.
    async fn turn(&self) -> Result<Option<SemaphorePermit<'_>>, Failure> {
        let end = self.clock.now().after(self.timeout);
        self.gate.pass(&*self.clock, self.timeout, &self.target).await?;
        let turn = tokio::select! {
            biased;
            turn = self.client.turn() => turn,
            () = self.clock.sleep_until(end) => {
                let message = format!(
                    "nothing was sent: all connections to {} were in use for {:?}: find out why it answers so late, or \
                     raise the relay's `connections`",
                    self.target, self.timeout
                );
                return Err(Failure::transient("http-busy", message));
            }
        };
        // A request that was under way meanwhile may have been told to send no more.
        self.gate.pass(&*self.clock, end.since(self.clock.now()), &self.target).await?;
        Ok(turn)
    }

    /// Takes note of what an answer says about all requests.
    fn heed(&self, status: StatusCode, asked: Option<Duration>) {
        let now = self.clock.now();
        if status == StatusCode::GONE && self.gate.shut_for_good(now) {
            tracing::error!(
                endpoint = self.target,
                "the endpoint answers 410 Gone: nothing more is sent to it until the relay is changed or started again"
            );
        }
        if let (StatusCode::TOO_MANY_REQUESTS, Some(wait)) = (status, asked) {
            self.gate.shut_until(now.after(wait));
        }
    }
}

impl Handler for HttpRelay {
    async fn handle(&self, delivery: &Delivery, _context: &mut Context) -> Result<(), Failure> {
        let request = message(&delivery.event, self.mode, &self.uri, &self.headers)?;
        let _turn = self.turn().await?;
        let end = self.clock.now().after(self.timeout);
        let answer = tokio::select! {
            biased;
            answer = self.client.send(request, &self.target) => answer?,
            () = self.clock.sleep_until(end) => {
                let message = format!("POST {} was not answered within {:?}", self.target, self.timeout);
                return Err(Failure::transient("http-timeout", message));
            }
        };
        let now = self.clock.now();
        // Before the body is there: the other lanes are to know at once.
        self.heed(answer.status(), retry_after(answer.headers(), now));
        read(answer, &*self.clock).await.outcome(&self.target, now)
    }

    fn name(&self) -> String {
        "http-relay".to_owned()
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

impl fmt::Debug for HttpRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRelay")
            .field("target", &self.target)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// The headers of every request.
fn read_headers(configured: BTreeMap<String, Secret>) -> Result<HeaderMap, RelayError> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    for (name, secret) in configured {
        let setting = || format!("headers.{name}");
        let unfit = |expected| RelayError::Unfit { setting: setting(), expected };
        let text = secret.read().map_err(|source| RelayError::Secret { setting: setting(), source })?;
        let header =
            HeaderName::try_from(name.as_str()).map_err(|_| unfit("that of a header with a valid name"))?;
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| unfit("what a header may hold: one line of visible ASCII characters"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}
