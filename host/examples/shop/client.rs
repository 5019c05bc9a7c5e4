//! Requests over HTTP, as producers and shops make them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// A client, whose connections are kept.
#[derive(Clone, Debug)]
pub struct Client {
    pooled: Pooled<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

/// Nobody knows whether the request has taken effect.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    #[error("no answer within {0:?}")]
    Late(Duration),
    #[error("no answer: {0}")]
    Broken(String),
}

impl Client {
    /// A client that waits so long for an answer.
    pub fn new(timeout: Duration) -> Self {
        Self { pooled: Pooled::builder(TokioExecutor::new()).build_http(), timeout }
    }

    pub async fn get(&self, address: SocketAddr, path: &str) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, address, path, None, String::new()).await
    }

    /// With an idempotency key, if there is one.
    pub async fn post(
        &self,
        address: SocketAddr,
        path: &str,
        key: Option<&str>,
        body: String,
    ) -> Result<Answer, NoAnswer> {
        self.send(Method::POST, address, path, key, body).await
    }

    async fn send(
        &self,
        method: Method,
        address: SocketAddr,
        path: &str,
        key: Option<&str>,
        body: String,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{address}{path}"))
            .header("Content-Type", "application/json");
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let broken = |error: &dyn std::fmt::Display| NoAnswer::Broken(error.to_string());
        let request = request.body(Full::from(body)).map_err(|error| broken(&error))?;
        let exchange = async {
            let answer = self.pooled.request(request).await.map_err(|error| broken(&error))?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.map_err(|error| broken(&error))?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        tokio::time::timeout(self.timeout, exchange).await.map_err(|_| NoAnswer::Late(self.timeout))?
    }
}
