//! The shop on what teams write first: a queue, a database, and workers that handle what the queue hands them.
//!
//! It is no straw man. The queue is durable and delivers at least once: what a worker has taken and not acknowledged becomes
//! visible again. What a handler changes in the database is one transaction. What fails is tried again behind the others, five
//! times. Payments are called with a time-out. The rules are those of the shop on tidegate.
//!
//! What it hasn't: it doesn't know a message that it has had, keeps no order, has queue and database apart, sends the payment
//! service no key, reads one version of a message, and forgets what it has given up on.

mod broker;
mod database;
mod worker;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shop_rules::{Release, Status};
use tidegate::{Data, Event};
use tokio::runtime::Handle;

use crate::client::Client;
use crate::error::ShopError;
use crate::payments::PATIENCE;
use crate::service::{Report, Shop};
use crate::story::Story;

use broker::Broker;
use database::Database;
use worker::Worker;

/// Messages are handled by so many at a time, as on tidegate by so many lanes.
const WORKERS: usize = 4;

/// What is in the queue.
#[derive(Debug, Deserialize, Serialize)]
enum Message {
    /// What a front end has sent.
    Request { kind: String, order: String, data: Value },
    /// Take an order's pieces off the shelf.
    Reserve { order: String },
    /// Put them back.
    Release { order: String },
    /// Take an order's payment.
    Charge { order: String },
    /// Give it back.
    Refund { order: String },
    /// Ship an order.
    Ship { order: String },
    /// Show how far an order is.
    ShowOrder { order: String, status: Status },
    /// Show what is left of an article.
    ShowStock { sku: String, left: u64 },
}

/// What the workers share.
struct Shared {
    /// Where queue and database are.
    directory: PathBuf,
    client: Client,
    payments: SocketAddr,
    /// Whether the second release of the orders runs, and of the labels.
    orders_v2: AtomicBool,
    labels_v2: AtomicBool,
    ends: AtomicBool,
}

/// The shop.
pub struct NaiveShop {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl NaiveShop {
    /// Opens queue and database, and starts the workers. They go on with what the queue has.
    pub fn open(directory: &Path, payments: SocketAddr, story: &Story) -> Result<Self, ShopError> {
        Broker::open(directory)?;
        Database::open(directory)?.stock_up(&story.stock)?;
        let shared = Arc::new(Shared {
            directory: directory.to_owned(),
            client: Client::new(PATIENCE),
            payments,
            orders_v2: AtomicBool::new(false),
            labels_v2: AtomicBool::new(false),
            ends: AtomicBool::new(false),
        });
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let worker = Worker::open(&shared, Handle::current())?;
            workers.push(thread::spawn(move || worker.run()));
        }
        Ok(Self { shared, workers })
    }
}

impl Shared {
    fn orders(&self) -> Release {
        if self.orders_v2.load(Ordering::SeqCst) { Release::Second } else { Release::First }
    }

    fn labels(&self) -> Release {
        if self.labels_v2.load(Ordering::SeqCst) { Release::Second } else { Release::First }
    }
}

impl Shop for NaiveShop {
    async fn take(&self, request: Event) -> Result<(), ShopError> {
        let data = match request.data() {
            Some(Data::Json(json)) => serde_json::from_str(json)?,
            _ => Value::Null,
        };
        let message =
            Message::Request { kind: request.kind().to_owned(), order: request.key().to_owned(), data };
        Broker::open(&self.shared.directory)?.publish(&[message])
    }

    async fn deploy(&self) -> Result<(), ShopError> {
        self.shared.orders_v2.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn mend(&self) -> Result<(), ShopError> {
        self.shared.labels_v2.store(true, Ordering::SeqCst);
        Ok(())
    }

    async fn is_idle(&self) -> Result<bool, ShopError> {
        Broker::open(&self.shared.directory)?.is_empty()
    }

    async fn report(&self) -> Result<Report, ShopError> {
        Database::open(&self.shared.directory)?.report()
    }

    async fn close(&self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        self.workers.iter().for_each(|worker| worker.thread().unpark());
    }
}
