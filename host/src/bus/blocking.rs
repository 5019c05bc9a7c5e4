//! The bus for programs without async.

use std::path::Path;
use std::time::Duration;

use super::{
    AggregateError, AggregateState, At, Bus, ConsumerError, DoctorOptions, Drained, ExecuteError, Finding,
    Query, QueryAnswer, QueryError, Rebuild, RebuildOutcome, ReloadOutcome, SagaError, SagaQuery, SagaStatus,
    Trace, TraceOptions,
};
use crate::aggregate::{Aggregate, Outcome};
use crate::clock::Timestamp;
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::config::OutboxConfig;
use crate::config::{AggregateConfig, ConsumerConfig, PluginConfig, TopicConfig};
use crate::event::{Data, Event};
use crate::handler::Handler;
use crate::log::{
    AdminError, Position, PublishError, Published, ReadError, Transaction, TransactionError, Trimmed,
    block_on,
};
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::outbox::{FailedRow, FailedRows, OutboxError, OutboxStatus};
use crate::schema::{Compatibility, Schema, SchemaVersion};

/// The calls of [`Bus`] that wait, for programs without async: they block the calling thread for as long. What doesn't
/// wait is called on the bus itself, see [`bus`](Self::bus).
///
/// Within an async runtime, use the bus: a call here keeps one of the runtime's threads.
///
/// ```
/// use tidegate::config::{ConsumerConfig, TopicConfig};
/// use tidegate::{Bus, Event, Position, handler_fn};
///
/// # let directory = tempfile::tempdir()?;
/// let bus = Bus::open(directory.path())?.blocking();
/// bus.create_topic("orders", TopicConfig::new(4))?;
/// bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// bus.caught_up("billing")?;
/// let mut orders = bus.bus().read("orders", None, Position::Earliest)?;
/// assert!(orders.try_next()?.is_some());
/// bus.shutdown(std::time::Duration::from_secs(5));
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Blocking {
    bus: Bus,
}

impl Blocking {
    pub(super) fn new(bus: Bus) -> Self {
        Self { bus }
    }

    /// The bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The data directory.
    pub fn directory(&self) -> &Path {
        self.bus.directory()
    }

    /// See [`Bus::create_topic`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn create_topic(&self, name: &str, config: TopicConfig) -> Result<(), AdminError> {
        block_on(self.bus.create_topic(name, config))
    }

    /// See [`Bus::register_schema`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn register_schema(
        &self,
        event_type: &str,
        schema: Schema,
        compatibility: Option<Compatibility>,
    ) -> Result<SchemaVersion, AdminError> {
        block_on(self.bus.register_schema(event_type, schema, compatibility))
    }

    /// See [`Bus::publish`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn publish(&self, topic: &str, event: Event) -> Result<Published, PublishError> {
        block_on(self.bus.publish(topic, event))
    }

    /// See [`Bus::publish_all`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn publish_all(&self, events: Vec<(&str, Event)>) -> Result<Vec<Published>, PublishError> {
        block_on(self.bus.publish_all(events))
    }

    /// See [`Bus::transaction`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn transaction<T, E, F>(&self, work: F) -> Result<T, TransactionError<E>>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        block_on(self.bus.transaction(work))
    }

    /// See [`Bus::publish_expecting`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn publish_expecting(
        &self,
        topic: &str,
        expected: u64,
        events: Vec<Event>,
    ) -> Result<Vec<Published>, PublishError> {
        block_on(self.bus.publish_expecting(topic, expected, events))
    }

    /// See [`Bus::doctor`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn doctor(&self, options: DoctorOptions) -> Result<Vec<Finding>, ReadError> {
        block_on(self.bus.doctor(options))
    }

    /// See [`Bus::trace`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn trace(&self, id: &str, options: TraceOptions) -> Result<Trace, ReadError> {
        block_on(self.bus.trace(id, options))
    }

    /// See [`Bus::subscribe`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn subscribe(
        &self,
        name: &str,
        config: ConsumerConfig,
        handler: impl Handler,
    ) -> Result<(), ConsumerError> {
        block_on(self.bus.subscribe(name, config, handler))
    }

    /// See [`Bus::subscribe_plugin`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn subscribe_plugin(
        &self,
        name: &str,
        config: ConsumerConfig,
        plugin: PluginConfig,
    ) -> Result<(), ConsumerError> {
        block_on(self.bus.subscribe_plugin(name, config, plugin))
    }

    /// See [`Bus::reconfigure_plugin`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn reconfigure_plugin(
        &self,
        name: &str,
        config: ConsumerConfig,
        plugin: PluginConfig,
    ) -> Result<(), ConsumerError> {
        block_on(self.bus.reconfigure_plugin(name, config, plugin))
    }

    /// See [`Bus::subscribe_aggregate`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn subscribe_aggregate(
        &self,
        name: &str,
        config: ConsumerConfig,
        aggregate: AggregateConfig,
        program: impl Aggregate,
    ) -> Result<(), ConsumerError> {
        block_on(self.bus.subscribe_aggregate(name, config, aggregate, program))
    }

    /// See [`Bus::execute`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn execute(&self, aggregate: &str, command: Event, wait: Duration) -> Result<Outcome, ExecuteError> {
        block_on(self.bus.execute(aggregate, command, wait))
    }

    /// See [`Bus::aggregate`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn aggregate(&self, name: &str, id: &str) -> Result<Option<AggregateState>, AggregateError> {
        block_on(self.bus.aggregate(name, id))
    }

    /// See [`Bus::aggregate_at`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn aggregate_at(
        &self,
        name: &str,
        id: &str,
        at: At,
    ) -> Result<Option<AggregateState>, AggregateError> {
        block_on(self.bus.aggregate_at(name, id, at))
    }

    /// See [`Bus::unsubscribe`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn unsubscribe(&self, name: &str) -> Result<(), ConsumerError> {
        block_on(self.bus.unsubscribe(name))
    }

    /// See [`Bus::reload`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn reload(&self, name: &str) -> Result<ReloadOutcome, ConsumerError> {
        block_on(self.bus.reload(name))
    }

    /// See [`Bus::query`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn query(&self, projection: &str, query: Query) -> Result<QueryAnswer, QueryError> {
        block_on(self.bus.query(projection, query))
    }

    /// See [`Bus::rebuild`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn rebuild(&self, name: &str, rebuild: Rebuild) -> Result<(), ConsumerError> {
        block_on(self.bus.rebuild(name, rebuild))
    }

    /// See [`Bus::rebuilt`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn rebuilt(&self, name: &str) -> Result<RebuildOutcome, ConsumerError> {
        block_on(self.bus.rebuilt(name))
    }

    /// See [`Bus::cancel_rebuild`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn cancel_rebuild(&self, name: &str) -> Result<(), ConsumerError> {
        block_on(self.bus.cancel_rebuild(name))
    }

    /// See [`Bus::caught_up`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn caught_up(&self, name: &str) -> Result<(), ConsumerError> {
        block_on(self.bus.caught_up(name))
    }

    /// See [`Bus::pause`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn pause(&self, name: &str) -> Result<(), ConsumerError> {
        block_on(self.bus.pause(name))
    }

    /// See [`Bus::resume`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn resume(&self, name: &str) -> Result<(), ConsumerError> {
        block_on(self.bus.resume(name))
    }

    /// See [`Bus::seek`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn seek(
        &self,
        name: &str,
        topic: Option<&str>,
        partition: Option<u32>,
        to: Position,
    ) -> Result<(), ConsumerError> {
        block_on(self.bus.seek(name, topic, partition, to))
    }

    /// See [`Bus::trim`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn trim(&self) -> Result<Trimmed, AdminError> {
        block_on(self.bus.trim())
    }

    /// See [`Bus::forget`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn forget(&self, name: &str) -> Result<(), ConsumerError> {
        block_on(self.bus.forget(name))
    }

    /// See [`Bus::redrive`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn redrive(&self, consumer: &str, letters: Vec<u64>) -> Result<(), AdminError> {
        block_on(self.bus.redrive(consumer, letters))
    }

    /// See [`Bus::discard`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn discard(&self, consumer: &str, letters: Vec<u64>) -> Result<(), AdminError> {
        block_on(self.bus.discard(consumer, letters))
    }

    /// See [`Bus::set_timer`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn set_timer(
        &self,
        consumer: &str,
        key: &str,
        name: &str,
        due: Timestamp,
        data: Option<Data>,
    ) -> Result<(), AdminError> {
        block_on(self.bus.set_timer(consumer, key, name, due, data))
    }

    /// See [`Bus::sagas`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn sagas(&self, query: SagaQuery) -> Result<Vec<SagaStatus>, ReadError> {
        block_on(self.bus.sagas(query))
    }

    /// See [`Bus::retry_saga`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn retry_saga(&self, consumer: &str, id: &str) -> Result<(), SagaError> {
        block_on(self.bus.retry_saga(consumer, id))
    }

    /// See [`Bus::compensate_saga`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn compensate_saga(&self, consumer: &str, id: &str) -> Result<(), SagaError> {
        block_on(self.bus.compensate_saga(consumer, id))
    }

    /// See [`Bus::resolve_saga`].
    ///
    /// # Errors
    ///
    /// As [`Bus::resolve_saga`].
    pub fn resolve_saga(&self, consumer: &str, id: &str) -> Result<(), SagaError> {
        block_on(self.bus.resolve_saga(consumer, id))
    }

    /// See [`Bus::cancel_timer`].
    ///
    /// # Errors
    ///
    /// The same.
    pub fn cancel_timer(&self, consumer: &str, key: &str, name: &str) -> Result<(), AdminError> {
        block_on(self.bus.cancel_timer(consumer, key, name))
    }

    /// See [`Bus::stop_outbox`].
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn stop_outbox(&self, name: &str) -> Result<(), OutboxError> {
        block_on(self.bus.stop_outbox(name))
    }

    /// See [`Bus::outboxes`].
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn outboxes(&self) -> Vec<OutboxStatus> {
        block_on(self.bus.outboxes())
    }

    /// See [`Bus::outbox_caught_up`].
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn outbox_caught_up(&self, name: &str) -> Result<(), OutboxError> {
        block_on(self.bus.outbox_caught_up(name))
    }

    /// See [`Bus::outbox_failed_rows`].
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn outbox_failed_rows(&self, name: &str, rows_max: u32) -> Result<Vec<FailedRow>, OutboxError> {
        block_on(self.bus.outbox_failed_rows(name, rows_max))
    }

    /// See [`Bus::retry_outbox`].
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn retry_outbox(&self, name: &str, which: FailedRows) -> Result<u64, OutboxError> {
        block_on(self.bus.retry_outbox(name, which))
    }

    /// See [`Bus::inspect_outbox`].
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn inspect_outbox(&self, name: &str, config: &OutboxConfig) -> Result<OutboxStatus, OutboxError> {
        block_on(self.bus.inspect_outbox(name, config))
    }

    /// See [`Bus::adopt_outbox`].
    ///
    /// # Errors
    ///
    /// The same.
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    pub fn adopt_outbox(&self, name: &str, config: &OutboxConfig) -> Result<(), OutboxError> {
        block_on(self.bus.adopt_outbox(name, config))
    }

    /// See [`Bus::shutdown`].
    pub fn shutdown(&self, deadline: Duration) -> Drained {
        block_on(self.bus.shutdown(deadline))
    }
}
