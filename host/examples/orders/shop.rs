//! The bus with its topics and consumers, and the service's own tables.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, TopicConfig};
use tidegate::redb::{ReadableTable as _, StorageError, TableDefinition, TableError};
use tidegate::{
    AdminError, Bus, BusError, ConsumerError, Drained, Event, EventError, PublishError, ReadError,
    Transaction, TransactionError,
};

use crate::order::{Order, OrderRequest};
use crate::status::{self, OrderStatus, Status};

/// Orders by their number, as JSON. They lie in the bus's own file, under names that can't collide with the bus's tables.
const ORDERS: TableDefinition<u64, &[u8]> = TableDefinition::new("orders");

/// The number of the order that a request with this `Idempotency-Key` has placed.
const REQUESTS: TableDefinition<&str, u64> = TableDefinition::new("requests");

/// Both topics have so many partitions: a consumer that reads them together needs equal numbers.
const PARTITIONS: u32 = 4;

/// Where its events come from: with a request's `Idempotency-Key` as id, what identifies an event.
const SOURCE: &str = "/orders";

/// A row of [`ORDERS`].
#[derive(Deserialize, Serialize)]
struct Row {
    order: Order,
    /// The partition of the order's events, where the consumers keep what they know of it.
    partition: u32,
}

/// What has become of a request.
pub enum Placed {
    /// It has placed this order, now or when it came before: the answer is the same.
    Order(Order),
    /// A request of the same key and another content came before.
    KeyReused,
}

/// Why the shop can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    #[error(transparent)]
    Open(#[from] BusError),
    #[error(transparent)]
    Topic(#[from] AdminError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error("{} is not there: `cargo xtask plugins` builds it, and --plugins names its folder", .0.display())]
    NoPlugin(PathBuf),
}

/// Why an order was not placed. Nothing of it is there then.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("the table can't be used: {0}")]
    Table(#[from] TableError),
    #[error("the table can't be used: {0}")]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error("what is stored of an order can't be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// Why an order can't be read.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the table can't be read: {0}")]
    Storage(#[from] StorageError),
    #[error("what is stored of an order can't be read: {0}")]
    Row(#[from] serde_json::Error),
}

/// The shop. Cloning it is cheap: it is a handle on the bus.
#[derive(Clone)]
pub struct Shop {
    bus: Bus,
}

impl Shop {
    /// Opens the bus and starts its consumers. They go on where they were when the process ended, however it did.
    pub async fn open(directory: &Path, plugins: &Path) -> Result<Self, ShopError> {
        let plugin = plugins.join("order_receipts.wasm");
        if !plugin.is_file() {
            return Err(ShopError::NoPlugin(plugin));
        }
        let bus = Bus::open(directory)?;
        // Creating a topic that is there changes nothing.
        bus.create_topic("orders", TopicConfig::new(PARTITIONS)).await?;
        bus.create_topic("receipts", TopicConfig::new(PARTITIONS)).await?;

        // A plugin may do what it is granted, and nothing else.
        let plugin = PluginConfig::new(plugin).grants(Grants::nothing().state().publish("receipts"));
        bus.subscribe_plugin("order-receipts", ConsumerConfig::new(["orders"]), plugin).await?;
        bus.subscribe(status::CONSUMER, ConsumerConfig::new(["orders", "receipts"]), OrderStatus).await?;
        Ok(Self { bus })
    }

    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Places an order: the row and the event, both or neither. When this returns, they are on the disk.
    ///
    /// With `InDoubt` they may be there; the same call again finds out, and takes effect once in any case.
    pub async fn place(
        &self,
        key: String,
        request: OrderRequest,
    ) -> Result<Placed, TransactionError<PlaceError>> {
        self.bus.transaction(move |transaction| place(transaction, &key, request)).await
    }

    /// An order and what the consumers know of it, or `None` where there is none.
    pub fn look_up(&self, number: u64) -> Result<Option<(Order, Status)>, LookUpError> {
        // A snapshot reads beside whoever writes. It is dropped at once, as the file keeps what it sees.
        let snapshot = self.bus.snapshot()?;
        let Some(orders) = snapshot.open_table(ORDERS)? else { return Ok(None) };
        let Some(row) = orders.get(number)? else { return Ok(None) };
        let Row { order, partition } = serde_json::from_slice(row.value())?;
        let status = status::of_order(&self.bus, partition, number)?;
        Ok(Some((order, status)))
    }

    /// Ends the bus: consumers finish their deliveries, within the deadline.
    pub async fn close(&self, deadline: Duration) -> Drained {
        self.bus.shutdown(deadline).await
    }
}

/// Runs on the thread that writes, and everybody who publishes waits for it: it reads, decides, writes, and does nothing
/// slow. No other transaction runs meanwhile, so what it reads stays true until it is committed.
fn place(transaction: &mut Transaction<'_>, key: &str, request: OrderRequest) -> Result<Placed, PlaceError> {
    let mut requests = transaction.open_table(REQUESTS)?;
    let mut orders = transaction.open_table(ORDERS)?;

    let known = requests.get(key)?.map(|number| number.value());
    if let Some(row) = known.map(|number| orders.get(number)).transpose()?.flatten() {
        let Row { order, .. } = serde_json::from_slice(row.value())?;
        return Ok(if order.request == request { Placed::Order(order) } else { Placed::KeyReused });
    }

    let number = orders.last()?.map_or(1, |(number, _)| number.value() + 1);
    let order = Order { order: number, total_cents: request.total_cents(), request };
    // The key of the request is the event's id; the order's number its key, by which consumers get its events in order.
    let event = Event::new(key, SOURCE, "OrderPlaced.v1")
        .subject(number.to_string())
        .at(transaction.now())
        .json(&order);
    let published = transaction.publish("orders", event.build()?)?;

    let row = serde_json::to_vec(&Row { order: order.clone(), partition: published.partition })?;
    orders.insert(number, row.as_slice())?;
    requests.insert(key, number)?;
    Ok(Placed::Order(order))
}
