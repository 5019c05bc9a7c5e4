//! The HTTP client of a relay.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as PooledClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::Answer;
use crate::clock::Clock;
use crate::config::HttpRelayConfig;
use crate::handler::Failure;
use crate::limits::{
    RELAY_BODY_BYTES_MAX, RELAY_BODY_TIME, RELAY_CONNECTION_IDLE, RELAY_EXCERPT_BYTES, RELAY_HEAD_BYTES_MAX,
};
use crate::relay::RelayError;
use crate::relay::causes::causes;
use crate::relay::tls::{client_config, trusting_nobody};

/// Requests to one endpoint, over connections that are kept and bounded in number.
#[derive(Debug)]
pub(super) struct Client {
    pooled: PooledClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// One permit for each request that is under way.
    under_way: Semaphore,
}

impl Client {
    pub fn new(config: &HttpRelayConfig, uri: &Uri) -> Result<Self, RelayError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(config.timeout));
        // Certificates are read where they are needed: a system may have none.
        let connector = if uri.scheme_str() == Some("https") {
            let tls = client_config(&config.tls)?;
            HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_only()
                .enable_http1()
                .wrap_connector(connector)
        } else {
            let tls = trusting_nobody()?;
            HttpsConnectorBuilder::new()
                .with_tls_config(tls)
                .https_or_http()
                .enable_http1()
                .wrap_connector(connector)
        };
        let pooled = PooledClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(RELAY_CONNECTION_IDLE)
            .pool_max_idle_per_host(config.connections)
            .http1_max_buf_size(RELAY_HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { pooled, under_way: Semaphore::new(config.connections) })
    }

    /// Waits for its turn to make a request, and takes it until what this returns is dropped.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there always is one.
        self.under_way.acquire().await.ok()
    }

    /// Makes a request and waits for the answer's head. How long that may take is the caller's to say.
    ///
    /// # Errors
    ///
    /// There is no answer: another attempt may get one.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        target: &str,
    ) -> Result<Response<Incoming>, Failure> {
        self.pooled.request(request).await.map_err(|error| {
            let code = if error.is_connect() { "http-connect" } else { "http-broken" };
            Failure::transient(code, format!("POST {target} has no answer: {}", causes(&error)))
        })
    }
}

/// An answer with the beginning of its body. The status says it all: an answer whose body breaks off, or doesn't end in
/// time, is an answer.
pub(super) async fn read(answer: Response<Incoming>, clock: &dyn Clock) -> Answer {
    let (parts, body) = answer.into_parts();
    let mut kept = Vec::new();
    let end = clock.now().after(RELAY_BODY_TIME);
    tokio::select! {
        biased;
        () = beginning(body, &mut kept) => {}
        () = clock.sleep_until(end) => {}
    }
    Answer { status: parts.status, headers: parts.headers, body: kept }
}

/// Keeps the first bytes of a body. It is read on for a while, so that its connection can be used again; a longer one
/// closes it, and so does one that is dropped before its end.
async fn beginning(mut body: Incoming, kept: &mut Vec<u8>) {
    let mut read = 0;
    while !body.is_end_stream() && read < RELAY_BODY_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { break };
        let Ok(data) = frame.into_data() else { continue };
        read += data.len();
        // One byte more tells that something is left out.
        let room = (RELAY_EXCERPT_BYTES + 1).saturating_sub(kept.len());
        kept.extend_from_slice(&data[..data.len().min(room)]);
    }
}
