//! The shop on tidegate: its topics, its plugins, and the one native consumer.
//!
//! What goes wrong in the story is met by the bus, and nothing here looks for it. Requests that come twice are dropped by their
//! id; an order's requests are decided on one after the other; state, events and progress of each delivery are one commit; what
//! fails is tried again in its key's order, and what keeps failing is put aside whole.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use shop_rules::{Life, Shelf};
use tidegate::config::{
    AggregateConfig, ConsumerConfig, Grants, PluginConfig, RetryPolicy, TopicConfig, UpcasterConfig,
};
use tidegate::{Bus, Event, Position, Query, SagaError, SagaQuery, SagaState};
use tokio::sync::Mutex;

use crate::error::ShopError;
use crate::payments::Payments;
use crate::service::{Parcel, Report, Shop};
use crate::story::Story;

/// All topics have so many: consumers that read several need equal numbers.
const PARTITIONS: u32 = 4;

/// The stream of the orders' aggregate, whose events are numbered.
const STREAM: &str = "orders";

const TOPICS: [&str; 7] =
    ["shop-requests", "stock", "payments", "shipping", "outcomes", "saga-inbox", "order-results"];

/// Letters that are worked on at one time.
const LETTERS_MAX: usize = 100;

/// Sagas that are looked at: more than wait for a letter.
const SAGAS_MAX: usize = LETTERS_MAX + 1;

const UPCASTER: &str = "shop_upcaster.wasm";

/// Time for deliveries that are under way at the end.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// The shop.
pub struct TidegateShop {
    bus: Bus,
    /// Where the built plugins are.
    built: PathBuf,
    /// Where the running ones are that are to be replaced.
    running: PathBuf,
    orders: Vec<String>,
    /// How much was handled when it was last looked whether anything is left to do.
    handled_before: AtomicU64,
    /// Releases are brought in one after the other.
    releasing: Mutex<()>,
}

impl TidegateShop {
    /// Opens the bus and starts its consumers. They go on where they were when the process ended, however it did.
    pub async fn open(
        directory: &Path,
        built: &Path,
        payments: SocketAddr,
        story: &Story,
    ) -> Result<Self, ShopError> {
        let bus = Bus::open(directory.join("bus"))?;
        // Creating a topic that is there changes nothing.
        for topic in TOPICS {
            bus.create_topic(topic, TopicConfig::new(PARTITIONS)).await?;
        }
        bus.create_topic(STREAM, TopicConfig::new(PARTITIONS).sequence(true)).await?;
        let shop = Self {
            bus,
            built: built.to_owned(),
            running: directory.join("plugins"),
            orders: story.orders.iter().map(|planned| planned.id.clone()).collect(),
            handled_before: AtomicU64::new(0),
            releasing: Mutex::default(),
        };
        shop.start(payments).await?;
        // Published again after a restart, they are known by their id.
        for (sku, quantity) in &story.stock {
            let received = Event::new(format!("{sku}/first"), "/warehouse", "StockReceived.v1").subject(sku);
            let received = received.json(&json!({ "quantity": quantity })).build()?;
            shop.bus.publish("stock", received).await?;
        }
        Ok(shop)
    }

    async fn start(&self, payments: SocketAddr) -> Result<(), ShopError> {
        let plugin = |file: PathBuf, topics: &[&str]| {
            let grants = Grants::nothing().state();
            PluginConfig::new(file).grants(topics.iter().fold(grants, |grants, topic| grants.publish(*topic)))
        };
        fs::create_dir_all(&self.running)?;
        self.first_release("shop_orders.wasm")?;
        self.first_release("shop_shipping.wasm")?;
        // It was going over to the second release, or had.
        if self.running.join(UPCASTER).is_file() {
            self.add_upcaster().await?;
            self.install("shop_orders_v2.wasm", "shop_orders.wasm")?;
        }

        let orders = PluginConfig::new(self.running.join("shop_orders.wasm"));
        let orders = orders.aggregate(AggregateConfig::new(STREAM));
        self.bus.subscribe_plugin("shop-orders", ConsumerConfig::new(["shop-requests"]), orders).await?;
        // A crash may have come while it was paused.
        self.bus.resume("shop-orders").await?;

        let inventory = plugin(self.built("shop_inventory.wasm")?, &["outcomes"]);
        self.bus.subscribe_plugin("shop-inventory", ConsumerConfig::new(["stock"]), inventory).await?;

        // An order that can't be shipped is not tried for long: the others of its lane are not to wait.
        let few =
            RetryPolicy::default().attempts(3).backoff(Duration::from_millis(10), Duration::from_millis(50));
        let shipping = plugin(self.running.join("shop_shipping.wasm"), &["outcomes"]);
        let config = ConsumerConfig::new(["shipping"]).retry(few);
        self.bus.subscribe_plugin("shop-shipping", config, shipping).await?;

        let topics = ["order-results", "payments", "saga-inbox", "shipping", "shop-requests", "stock"];
        let saga = plugin(self.built("shop_saga.wasm")?, &topics);
        let config = ConsumerConfig::new([STREAM, "outcomes", "saga-inbox"]);
        self.bus.subscribe_plugin("shop-saga", config, saga).await?;

        // A read model is granted its state and nothing else.
        let window = PluginConfig::new(self.built("shop_window.wasm")?).grants(Grants::nothing().state());
        let config = ConsumerConfig::new([STREAM, "outcomes", "order-results"]);
        self.bus.subscribe_plugin("shop-window", config, window).await?;

        let patient = RetryPolicy::patient().backoff(Duration::from_millis(20), Duration::from_millis(500));
        let config = ConsumerConfig::new(["payments"]).retry(patient);
        Ok(self.bus.subscribe("shop-payments", config, Payments::new(payments)).await?)
    }

    fn built(&self, component: &str) -> Result<PathBuf, ShopError> {
        let file = self.built.join(component);
        if file.is_file() { Ok(file) } else { Err(ShopError::NoPlugin(file)) }
    }

    /// Puts a component into its place, unless there is one: a later release stays.
    fn first_release(&self, component: &str) -> Result<(), ShopError> {
        if !self.running.join(component).is_file() {
            self.install(component, component)?;
        }
        Ok(())
    }

    /// Puts a component into its place in one step, so that it is never seen half-written.
    fn install(&self, built: &str, component: &str) -> Result<(), ShopError> {
        let place = self.running.join(component);
        let partial = place.with_extension("partial");
        fs::copy(self.built(built)?, &partial)?;
        Ok(fs::rename(partial, place)?)
    }

    /// Goes over to the second release of what decides on orders, and lifts what is of the first version.
    async fn go_over(&self) -> Result<(), ShopError> {
        self.install(UPCASTER, UPCASTER)?;
        self.add_upcaster().await?;
        self.install("shop_orders_v2.wasm", "shop_orders.wasm")?;
        self.bus.reload("shop-orders").await?;
        Ok(())
    }

    async fn add_upcaster(&self) -> Result<(), ShopError> {
        let upcaster = UpcasterConfig::new(self.running.join(UPCASTER));
        Ok(self.bus.add_upcaster_plugin("shop-upcaster", upcaster).await?)
    }

    /// How an order has ended: whether it was shipped; nothing where it hasn't.
    async fn end(&self, order: &str) -> Result<Option<bool>, ShopError> {
        match self.bus.saga("shop-saga", order) {
            Ok(saga) => Ok(saga.status.state.is_ended().then_some(saga.status.state == SagaState::Completed)),
            // It was never placed: cancelled before, or nonsense.
            Err(SagaError::Unknown { .. }) => {
                let state = self.bus.aggregate("shop-orders", order).await?;
                let life = state.map(|state| state.json::<Option<Life>>()).transpose()?.flatten();
                Ok((life == Some(Life::Cancelled)).then_some(false))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn parcels(&self) -> Result<Vec<Parcel>, ShopError> {
        #[derive(Deserialize)]
        struct Shipped {
            sku: String,
            quantity: u32,
        }
        let mut outcomes = self.bus.read("outcomes", None, Position::Earliest)?;
        let mut parcels = Vec::new();
        while let Some(record) = outcomes.try_next()? {
            if record.event.kind() == "Shipped.v1" {
                let Shipped { sku, quantity } = record.event.data_as()?;
                parcels.push(Parcel { order: record.event.key().to_owned(), sku, quantity });
            }
        }
        Ok(parcels)
    }

    /// How many events are dead letters.
    fn put_aside(&self) -> Result<usize, ShopError> {
        let mut count = 0;
        for consumer in self.bus.consumers()? {
            count += self.bus.dead_letters(&consumer.name, 0, LETTERS_MAX)?.len();
        }
        Ok(count)
    }

    fn stock(&self) -> Result<BTreeMap<String, u64>, ShopError> {
        const SHELF: &[u8] = b"shelf/";
        let mut stock = BTreeMap::new();
        for partition in 0..PARTITIONS {
            for (key, shelf) in self.bus.state("shop-inventory", partition)?.scan(SHELF, None, 1_000)? {
                let sku = String::from_utf8_lossy(&key[SHELF.len()..]).into_owned();
                stock.insert(sku, serde_json::from_slice::<Shelf>(&shelf)?.left);
            }
        }
        Ok(stock)
    }

    /// What the shop window answers about all orders, or all articles.
    async fn window<T: DeserializeOwned>(&self, question: &str) -> Result<BTreeMap<String, T>, ShopError> {
        let answer = self.bus.query("shop-window", Query::new(question)).await?;
        Ok(answer.data_as::<Vec<(String, T)>>()?.into_iter().collect())
    }
}

impl Shop for TidegateShop {
    async fn take(&self, request: Event) -> Result<(), ShopError> {
        // On the disk when this returns. One that was taken before is known by its id, and changes nothing.
        self.bus.publish("shop-requests", request).await?;
        Ok(())
    }

    async fn deploy(&self) -> Result<(), ShopError> {
        let _one = self.releasing.lock().await;
        // A consumer that knows the first version alone is not to see the second for a moment. What comes meanwhile waits.
        self.bus.pause("shop-orders").await?;
        let gone_over = self.go_over().await;
        self.bus.resume("shop-orders").await?;
        gone_over
    }

    async fn mend(&self) -> Result<(), ShopError> {
        let _one = self.releasing.lock().await;
        self.install("shop_shipping_v2.wasm", "shop_shipping.wasm")?;
        self.bus.reload("shop-shipping").await?;
        let letters = self.bus.dead_letters("shop-shipping", 0, LETTERS_MAX)?;
        let letters = letters.into_iter().map(|letter| letter.id).collect();
        Ok(self.bus.redrive("shop-shipping", letters).await?)
    }

    async fn is_idle(&self) -> Result<bool, ShopError> {
        let consumers = self.bus.consumers()?;
        let handled: u64 = consumers.iter().map(|consumer| consumer.counts.handled).sum();
        let is_done = consumers.iter().all(|consumer| consumer.lag_events == 0 && consumer.held == 0);
        // They are looked at one after the other: one that was done may have got something from one that came later.
        let is_still = self.handled_before.swap(handled, Ordering::SeqCst) == handled;
        // A saga that is under way waits for something: unless it lies among the dead letters, that is yet to come.
        let under_way =
            SagaQuery::default().consumer("shop-saga").waiting_for(Duration::ZERO).limit(SAGAS_MAX);
        Ok(is_done && is_still && self.bus.sagas(under_way).await?.len() <= self.put_aside()?)
    }

    async fn report(&self) -> Result<Report, ShopError> {
        let mut report = Report { parcels: self.parcels()?, stock: self.stock()?, ..Report::default() };
        report.window_orders = self.window("orders").await?;
        report.window_stock = self.window("stock").await?;
        for order in &self.orders {
            if let Some(is_shipped) = self.end(order).await? {
                report.ended.insert(order.clone(), is_shipped);
            }
        }
        report.put_aside = self.put_aside()?;
        Ok(report)
    }

    async fn close(&self) {
        self.bus.shutdown(SHUTDOWN).await;
    }
}
