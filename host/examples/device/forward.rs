//! The consumer that forwards: each event as an HTTP request, in the binary mode of `CloudEvents`.

use std::fmt::Write as _;
use std::io;
use std::str::FromStr;
use std::time::Duration;

use tidegate::{Context, Data, Delivery, Event, Failure, Handler};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// Time for one request, from connecting to the status of the answer.
const REQUEST: Duration = Duration::from_secs(10);

/// The longest status line that is read.
const STATUS_BYTES_MAX: u64 = 8 << 10;

/// Where requests go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host and port.
    authority: String,
    /// Path and query.
    path: String,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("http://").ok_or("it has to begin with `http://`")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it has to name a host, such as http://localhost:9000/readings".to_owned());
        }
        let port = if authority.contains(':') { "" } else { ":80" };
        Ok(Self { authority: format!("{authority}{port}"), path: format!("/{path}") })
    }
}

/// Forwards each event. It keeps no state: all that it promises comes of the lanes.
pub struct Forward {
    endpoint: Endpoint,
}

impl Forward {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Sends a request, and returns the status of the answer.
    async fn post(&self, event: &Event) -> io::Result<u16> {
        let body = event.data().map_or(&[][..], Data::as_bytes);
        let mut stream = BufReader::new(TcpStream::connect(&self.endpoint.authority).await?);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\nIdempotency-Key: {id}\r\nce-specversion: 1.0\r\nce-id: {id}\r\n\
             ce-source: {source}\r\nce-type: {kind}\r\nce-subject: {subject}\r\n\r\n",
            path = self.endpoint.path,
            host = self.endpoint.authority,
            length = body.len(),
            // The same at each attempt, after a crash too.
            id = encoded(event.id()),
            source = encoded(event.source()),
            kind = encoded(event.kind()),
            subject = encoded(event.subject().unwrap_or_default()),
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
        let mut status = String::new();
        stream.take(STATUS_BYTES_MAX).read_line(&mut status).await?;
        let code = status.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
        code.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
    }
}

impl Handler for Forward {
    async fn handle(&self, delivery: &Delivery, _: &mut Context) -> Result<(), Failure> {
        let Endpoint { authority, path } = &self.endpoint;
        let answered = tokio::time::timeout(REQUEST, self.post(&delivery.event)).await;
        let status = answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
            Failure::transient("unreachable", format!("http://{authority}{path}: {error}"))
        })?;
        let message = format!("http://{authority}{path} answered {status}");
        match status {
            200..=299 => Ok(()),
            408 | 425 | 429 | 500..=599 => Err(Failure::transient("unavailable", message)),
            _ => Err(Failure::permanent("refused", message)),
        }
    }
}

/// The value of a header: what `CloudEvents`' HTTP binding lets stand, and the rest percent-encoded.
fn encoded(text: &str) -> String {
    let mut value = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            value.push(char::from(byte));
        } else {
            // A string takes whatever is written to it.
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}
