//! A worker: takes a batch of messages, handles each, and acknowledges the batch.

use std::convert::Infallible;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};
use shop_rules::{Order, OrderV1, Release, Shelf, Status, label};
use tokio::runtime::Handle;

use super::broker::{Broker, Delivered};
use super::database::Database;
use super::{Message, Shared};
use crate::client::NoAnswer;
use crate::error::ShopError;

/// How often a message may fail before it is dropped.
const FAILURES_MAX: u32 = 5;

/// The pause of a worker that finds nothing to do, or whose queue fails.
const PAUSE: Duration = Duration::from_millis(5);

/// A worker.
pub struct Worker {
    shared: Arc<Shared>,
    runtime: Handle,
    broker: Broker,
    database: Database,
}

/// Why a message is not handled.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("nobody knows `{0}`")]
    Unknown(String),
    #[error(transparent)]
    Shop(#[from] ShopError),
    #[error("the data is another than expected: {0}")]
    Data(#[from] serde_json::Error),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the payment service answered {0}")]
    Payments(u16),
    #[error("no label can be printed")]
    Label,
}

impl Worker {
    pub fn open(shared: &Arc<Shared>, runtime: Handle) -> Result<Self, ShopError> {
        let (broker, database) = (Broker::open(&shared.directory)?, Database::open(&shared.directory)?);
        Ok(Self { shared: Arc::clone(shared), runtime, broker, database })
    }

    /// Works until the shop ends.
    pub fn run(mut self) {
        while !self.shared.ends.load(Ordering::SeqCst) {
            match self.batch() {
                Ok(0) => thread::park_timeout(PAUSE),
                Ok(_) => {}
                Err(error) => {
                    eprintln!("the batch comes again: {error}");
                    thread::park_timeout(PAUSE);
                }
            }
        }
    }

    fn batch(&mut self) -> Result<usize, ShopError> {
        let taken = self.broker.take()?;
        if taken.is_empty() {
            return Ok(0);
        }
        let ids: Vec<i64> = taken.iter().map(|delivered| delivered.id).collect();
        for Delivered { message, failures, .. } in taken {
            match self.handle(&message) {
                Ok(next) => self.broker.publish(&next)?,
                Err(failure) if failures + 1 < FAILURES_MAX => {
                    eprintln!("{message:?} is tried again: {failure}");
                    self.broker.try_later(&message, failures + 1)?;
                }
                Err(failure) => eprintln!("{message:?} is dropped: {failure}"),
            }
        }
        self.broker.acknowledge(&ids)?;
        Ok(ids.len())
    }

    /// Handles a message. Returns those that come of it.
    fn handle(&mut self, message: &Message) -> Result<Vec<Message>, Failure> {
        match message {
            Message::Request { kind, order, data } => self.request(kind, order, data),
            Message::Reserve { order } => self.reserve(order),
            Message::Release { order } => self.release(order),
            Message::Charge { order } => self.charge(order),
            Message::Refund { order } => match self.ask_payments("/refunds", order)? {
                200 => Ok(Vec::new()),
                status => Err(Failure::Payments(status)),
            },
            Message::Ship { order } => self.ship(order),
            Message::ShowOrder { order, status } => {
                self.database.show_order(order, *status)?;
                Ok(Vec::new())
            }
            Message::ShowStock { sku, left } => {
                self.database.show_stock(sku, *left)?;
                Ok(Vec::new())
            }
        }
    }

    fn request(&mut self, kind: &str, id: &str, data: &Value) -> Result<Vec<Message>, Failure> {
        let order = match (kind, self.shared.orders()) {
            ("CancelOrder.v1", _) => {
                let is_cancelled = self.database.cancel(id)?;
                return Ok(if is_cancelled { vec![show(id, Status::Closed)] } else { Vec::new() });
            }
            ("PlaceOrder.v1", Release::First) => Order::try_from(OrderV1::deserialize(data)?),
            ("PlaceOrder.v2", Release::Second) => Ok(Order::deserialize(data)?),
            _ => return Err(Failure::Unknown(kind.to_owned())),
        };
        match order.and_then(|order| order.check().map(|()| order)) {
            Ok(order) => {
                self.database.place(id, &order)?;
                Ok(vec![show(id, Status::Placed), Message::Reserve { order: id.to_owned() }])
            }
            Err(nonsense) => {
                eprintln!("order {id} is turned down: {nonsense}");
                Ok(Vec::new())
            }
        }
    }

    fn reserve(&mut self, id: &str) -> Result<Vec<Message>, Failure> {
        let (Order { sku, quantity, .. }, _) = self.database.order(id)?;
        match self.database.shelf(&sku, |shelf| shelf.take(quantity))? {
            Some(left) => {
                Ok(vec![Message::ShowStock { sku, left }, Message::Charge { order: id.to_owned() }])
            }
            None => self.close(id),
        }
    }

    fn release(&mut self, id: &str) -> Result<Vec<Message>, Failure> {
        let (Order { sku, quantity, .. }, _) = self.database.order(id)?;
        let put = |shelf: &mut Shelf| {
            shelf.put(u64::from(quantity));
            Ok::<_, Infallible>(())
        };
        let left = self.database.shelf(&sku, put)?;
        let mut next = self.close(id)?;
        next.extend(left.map(|left| Message::ShowStock { sku, left }));
        Ok(next)
    }

    fn close(&mut self, id: &str) -> Result<Vec<Message>, Failure> {
        self.database.close(id)?;
        Ok(vec![show(id, Status::Closed)])
    }

    fn charge(&mut self, id: &str) -> Result<Vec<Message>, Failure> {
        match self.ask_payments("/charges", id)? {
            200 => Ok(vec![show(id, Status::Paid), Message::Ship { order: id.to_owned() }]),
            402 => Ok(vec![Message::Release { order: id.to_owned() }]),
            status => Err(Failure::Payments(status)),
        }
    }

    fn ship(&mut self, id: &str) -> Result<Vec<Message>, Failure> {
        let (order, life) = self.database.order(id)?;
        if !life.may_be_shipped() {
            let order = id.to_owned();
            return Ok(vec![Message::Refund { order: order.clone() }, Message::Release { order }]);
        }
        let labels = self.shared.labels();
        panic::catch_unwind(|| drop(label(labels, &order.address).to_owned())).map_err(|_| Failure::Label)?;
        self.database.ship(id, &order)?;
        Ok(vec![show(id, Status::Shipped)])
    }

    fn ask_payments(&self, path: &str, id: &str) -> Result<u16, Failure> {
        let (order, _) = self.database.order(id)?;
        let body = json!({ "order": id, "cents": order.total_cents(), "currency": order.currency });
        let asked = self.shared.client.post(self.shared.payments, path, None, body.to_string());
        Ok(self.runtime.block_on(asked)?.status)
    }
}

fn show(order: &str, status: Status) -> Message {
    Message::ShowOrder { order: order.to_owned(), status }
}
