//! The handler.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Request;
use async_nats::client::RequestErrorKind;

use super::ack;
use super::link::Link;
use super::message::message;
use super::subject::Subject;
use crate::clock::{Clock, SystemClock};
use crate::config::{ContentMode, NatsRelayConfig};
use crate::effects::Context;
use crate::handler::{Delivery, Failure, Handler};
use crate::relay::RelayError;
use crate::relay::causes::causes;

/// A [`Handler`] that publishes each event into NATS `JetStream`.
///
/// An event is handed on when `JetStream` has acknowledged it. Until then it is sent again, with the same
/// `Nats-Msg-Id`, so that the stream drops what it has had within its window for duplicates: exactly once there, and in
/// order for each key. `docs/relays.md` has it all.
///
/// ```
/// use tidegate::config::{ConsumerConfig, NatsRelayConfig, RetryPolicy, TopicConfig};
/// use tidegate::{Bus, NatsRelay};
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// let bus = Bus::open(directory)?.blocking();
/// bus.create_topic("orders", TopicConfig::new(4))?;
/// let relay = NatsRelay::new(NatsRelayConfig::new(["nats://localhost:4222"]).subject("shop.{topic}.{key}"))?;
/// bus.subscribe("to-nats", ConsumerConfig::new(["orders"]).retry(RetryPolicy::patient()), relay)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NatsRelay {
    link: Link,
    subject: Subject,
    stream: Option<String>,
    mode: ContentMode,
    timeout: Duration,
    /// Servers and subject, as messages name them.
    target: String,
    clock: Arc<dyn Clock>,
}

impl NatsRelay {
    /// A relay of this configuration. Secrets and certificates are read now; it connects with the first event.
    ///
    /// # Errors
    ///
    /// A setting is out of its bounds, or a secret or a certificate can't be read.
    pub fn new(config: NatsRelayConfig) -> Result<Self, RelayError> {
        config.validate()?;
        let link = Link::new(&config)?;
        let target = config.target();
        let NatsRelayConfig { subject, stream, mode, timeout, .. } = config;
        let subject = Subject::new(&subject);
        Ok(Self { link, subject, stream, mode, timeout, target, clock: Arc::new(SystemClock::new()) })
    }

    /// Sets the clock that bounds each message; by default the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl Handler for NatsRelay {
    async fn handle(&self, delivery: &Delivery, _context: &mut Context) -> Result<(), Failure> {
        let stream = self.stream.as_deref();
        let subject = self.subject.of(delivery)?;
        let (headers, payload) = message(delivery, self.mode, stream);
        let end = self.clock.now().after(self.timeout);
        let late = || {
            let message = format!("{}: no acknowledgement within {:?}", self.target, self.timeout);
            Failure::transient("nats-timeout", message)
        };
        let client = tokio::select! {
            biased;
            client = self.link.client(&self.target) => client?,
            () = self.clock.sleep_until(end) => return Err(late()),
        };
        let request = Request::new().headers(headers).payload(payload);
        let answer = tokio::select! {
            biased;
            answer = client.client.send_request(subject.clone(), request) => answer,
            () = self.clock.sleep_until(end) => {
                self.link.replace(client.number()).await;
                return Err(late());
            }
        };
        let error = match answer {
            Ok(answer) => return ack::check(&answer.payload, &subject, stream),
            Err(error) => error,
        };
        let told = format!("{}: {}", self.target, causes(&error));
        match error.kind() {
            RequestErrorKind::NoResponders => {
                let message =
                    format!("no stream takes subject `{subject}`: make one, or mend the relay's `subject`");
                Err(Failure::transient("nats-no-stream", message))
            }
            RequestErrorKind::MaxPayloadExceeded => Err(Failure::permanent("nats-payload", told)),
            RequestErrorKind::InvalidSubject => Err(Failure::permanent("nats-subject", told)),
            RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                self.link.replace(client.number()).await;
                Err(Failure::transient("nats-broken", told))
            }
        }
    }

    fn name(&self) -> String {
        "nats-relay".to_owned()
    }

    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }
}

impl fmt::Debug for NatsRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsRelay")
            .field("target", &self.target)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
