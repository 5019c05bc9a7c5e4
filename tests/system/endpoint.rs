//! A real HTTP server on loopback, which answers as a test says and remembers what it was sent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The event's id, in binary mode.
    pub fn id(&self) -> &str {
        self.header("ce-id").unwrap()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    Status(u16),
    /// With headers and a body.
    Full(u16, Vec<(&'static str, String)>, String),
    /// A status with a body that doesn't end.
    Open(u16),
    /// None, for as long as the client waits.
    Never,
}

/// The body of an answer; without one, it never comes.
struct Content(Option<Full<Bytes>>);

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_some_and(Full::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, Full::size_hint)
    }
}

type Answers = Arc<dyn Fn(&Received) -> Answer + Send + Sync>;

struct Shared {
    answers: Answers,
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    under_way: AtomicUsize,
    under_way_most: AtomicUsize,
}

/// A port at which nobody listens, and which nobody else gets.
pub struct Port(TcpSocket);

impl Port {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self(socket)
    }

    pub fn number(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }
}

/// A server, until it is dropped.
pub struct Endpoint {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    _runtime: Runtime,
}

impl Endpoint {
    /// A server that answers so.
    pub fn start(answers: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on(0, None, answers)
    }

    /// A server that gives these answers one after the other, and then 204.
    pub fn scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        Self::start(move |_| answers.lock().unwrap().pop_front().unwrap_or(Answer::Status(204)))
    }

    /// A server on a port, perhaps one that another server had before.
    pub fn start_on(
        port: u16,
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port))).unwrap();
        Self::listen(runtime, listener, tls, answers)
    }

    /// A server at a port that was kept for it.
    pub fn start_at(port: Port, answers: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let runtime = runtime();
        let listener = runtime.block_on(async { port.0.listen(1024) }).unwrap();
        Self::listen(runtime, listener, None, answers)
    }

    fn listen(
        runtime: Runtime,
        listener: TcpListener,
        tls: Option<TlsAcceptor>,
        answers: impl Fn(&Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Arc::new(answers),
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            under_way_most: AtomicUsize::new(0),
        });
        let scheme = if tls.is_some() { "https" } else { "http" };
        runtime.spawn(accept(listener, tls, Arc::clone(&shared)));
        Self { address, scheme, shared, _runtime: runtime }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}/events", self.scheme, self.port())
    }

    /// All requests so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The ids of the events of all requests so far, in binary mode.
    pub fn ids(&self) -> Vec<String> {
        self.received().iter().map(|received| received.id().to_owned()).collect()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The most requests that were under way at one time.
    pub fn under_way_most(&self) -> usize {
        self.shared.under_way_most.load(Ordering::SeqCst)
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve(stream, shared).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream, shared).await;
                    }
                }
            }
        });
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    // A client that hangs up is the test's doing.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Response<Content> {
    let under_way = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    shared.under_way_most.fetch_max(under_way, Ordering::SeqCst);
    let (parts, body) = request.into_parts();
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes().to_vec(),
    };
    let answer = (shared.answers)(&received);
    shared.received.lock().unwrap().push(received);
    let mut response = Response::new(Content(Some(Full::default())));
    match answer {
        Answer::Status(status) => *response.status_mut() = status.try_into().unwrap(),
        Answer::Full(status, headers, body) => {
            *response.status_mut() = status.try_into().unwrap();
            *response.body_mut() = Content(Some(Full::new(Bytes::from(body))));
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        Answer::Open(status) => {
            *response.status_mut() = status.try_into().unwrap();
            *response.body_mut() = Content(None);
        }
        Answer::Never => std::future::pending().await,
    }
    shared.under_way.fetch_sub(1, Ordering::SeqCst);
    response
}

/// A certificate for `localhost`, of an authority of its own, and its key: in PEM.
pub struct Certificate {
    pub certificate: String,
    pub key: String,
}

impl Certificate {
    pub fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        Self { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// A server that shows it.
    pub fn acceptor(&self) -> TlsAcceptor {
        use rustls::pki_types::pem::PemObject;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}
