//! The payment service: somebody else's, reached over HTTP, and flaky.
//!
//! It knows a request that it has had by its `Idempotency-Key`, as such services do, and answers it as it did before. Without
//! a key each request is one of its own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::{IntoFuture as _, pending};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tidegate::{Clock as _, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::story::{Payment, Story};

/// When a late answer comes: whoever has asked has stopped waiting, see `payments::PATIENCE`.
const LATE: Duration = Duration::from_secs(2);

/// The service, while it runs.
pub struct Provider {
    pub address: SocketAddr,
    desk: Arc<Desk>,
    server: JoinHandle<io::Result<()>>,
}

/// What it has taken and given back.
#[derive(Debug, Default)]
pub struct Book {
    /// How often each order was paid.
    pub charges: BTreeMap<String, usize>,
    /// How often each order's payment was given back.
    pub refunds: BTreeMap<String, usize>,
    /// What each order's customer has paid and not got back, in cents.
    pub cents: BTreeMap<String, i64>,
    attempts: HashMap<String, u32>,
    answered: HashSet<String>,
}

struct Desk {
    payments: HashMap<String, Payment>,
    crash_at: usize,
    crash: Notify,
    clock: SystemClock,
    book: Mutex<Book>,
}

/// What is asked for.
#[derive(Deserialize)]
struct Asked {
    order: String,
    cents: i64,
}

impl Provider {
    pub async fn start(story: &Story) -> io::Result<Self> {
        let payments = story.orders.iter().map(|planned| (planned.id.clone(), planned.payment)).collect();
        let desk = Arc::new(Desk {
            payments,
            crash_at: story.crash_at_charge,
            crash: Notify::new(),
            clock: SystemClock::new(),
            book: Mutex::default(),
        });
        let routes = Router::new()
            .route("/charges", post(charge))
            .route("/refunds", post(refund))
            .with_state(Arc::clone(&desk));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self { address, desk, server: tokio::spawn(axum::serve(listener, routes).into_future()) })
    }

    /// Comes when the shop waits for the answer to the charge at which it is to be killed. The answer won't come.
    pub async fn crash(&self) {
        self.desk.crash.notified().await;
    }

    /// Ends it. Returns its book.
    pub fn close(self) -> Book {
        self.server.abort();
        std::mem::take(&mut self.desk.book())
    }
}

impl Desk {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Notes a charge, unless it was asked for with this key before. Returns how many there are, where it is new.
    fn charge(&mut self, Asked { order, cents }: Asked, key: Option<String>) -> Option<usize> {
        if let Some(key) = key
            && !self.answered.insert(key)
        {
            return None;
        }
        *self.cents.entry(order.clone()).or_default() += cents;
        *self.charges.entry(order).or_default() += 1;
        Some(self.charges.values().sum())
    }

    /// Gives back what was paid for an order once, unless it was asked for with this key before.
    fn refund(&mut self, Asked { order, cents }: Asked, key: Option<String>) {
        let is_known = key.is_some_and(|key| !self.answered.insert(key));
        if !is_known && self.balance(&order) > 0 {
            *self.cents.entry(order.clone()).or_default() -= cents;
            *self.refunds.entry(order).or_default() += 1;
        }
    }

    /// How often an order is paid and not paid back.
    pub fn balance(&self, order: &str) -> usize {
        let times = |of: &BTreeMap<String, usize>| of.get(order).copied().unwrap_or_default();
        times(&self.charges).saturating_sub(times(&self.refunds))
    }
}

async fn charge(State(desk): State<Arc<Desk>>, headers: HeaderMap, Json(asked): Json<Asked>) -> Response {
    let payment = desk.payments.get(&asked.order).copied().unwrap_or(Payment::Taken);
    let (attempt, charged) = {
        let mut book = desk.book();
        let attempt = book.attempts.entry(asked.order.clone()).or_default();
        *attempt += 1;
        let attempt = *attempt;
        match payment {
            Payment::Declined => return answer(StatusCode::PAYMENT_REQUIRED),
            Payment::Unavailable if attempt <= 2 => return answer(StatusCode::SERVICE_UNAVAILABLE),
            _ => (attempt, book.charge(asked, key(&headers))),
        }
    };
    if charged == Some(desk.crash_at) {
        desk.crash.notify_one();
        pending::<()>().await;
    }
    match payment {
        Payment::Late if attempt == 1 => {
            desk.clock.sleep_until(desk.clock.now().after(LATE)).await;
            answer(StatusCode::OK)
        }
        Payment::Lost if attempt == 1 => answer(StatusCode::GATEWAY_TIMEOUT),
        _ => answer(StatusCode::OK),
    }
}

async fn refund(State(desk): State<Arc<Desk>>, headers: HeaderMap, Json(asked): Json<Asked>) -> Response {
    desk.book().refund(asked, key(&headers));
    answer(StatusCode::OK)
}

fn key(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("idempotency-key")?.to_str().ok()?.to_owned())
}

fn answer(status: StatusCode) -> Response {
    (status, Json(json!({}))).into_response()
}
