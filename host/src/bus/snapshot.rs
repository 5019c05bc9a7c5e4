//! A moment of the application's tables and the log.

use std::fmt;
use std::sync::Arc;

use super::reader::{KeyReader, Partitions, Record};
use crate::clock::Timestamp;
use crate::ids::TopicId;
use crate::log::redb::{
    Key, MultimapTableDefinition, ReadOnlyMultimapTable, ReadOnlyTable, TableDefinition, Value,
};
use crate::log::{Log, LogSnapshot, Position, ReadError};

/// The application's own tables and the log at one moment: what a transaction changed is seen whole or not at all. See
/// [`Bus::snapshot`](super::Bus::snapshot). It can be cloned, and sent to other threads.
///
/// ```
/// use tidegate::config::TopicConfig;
/// use tidegate::redb::{ReadableTable, TableDefinition};
/// use tidegate::{Bus, Event, Position};
///
/// const ORDERS: TableDefinition<&str, &str> = TableDefinition::new("orders");
///
/// # let directory = tempfile::tempdir()?;
/// # let bus = Bus::open(directory.path())?;
/// # bus.blocking().create_topic("orders", TopicConfig::new(4))?;
/// # let placed = Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?;
/// # bus.blocking().transaction(|transaction| {
/// #     transaction.open_table(ORDERS)?.insert("order-17", "1 teapot")?;
/// #     transaction.publish("orders", placed)?;
/// #     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
/// # })?;
/// let snapshot = bus.snapshot()?;
/// let orders = snapshot.open_table(ORDERS)?.map_or(Ok(0), |orders| Ok::<_, tidegate::redb::Error>(orders.iter()?.count()))?;
/// let mut events = snapshot.read("orders", None, Position::Earliest)?;
/// let published = std::iter::from_fn(|| events.try_next().transpose()).count();
/// assert_eq!(orders, published);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
}

struct Inner {
    moment: LogSnapshot,
    log: Arc<Log>,
}

impl Snapshot {
    pub(super) fn new(moment: LogSnapshot, log: &Arc<Log>) -> Self {
        Self { inner: Arc::new(Inner { moment, log: Arc::clone(log) }) }
    }

    /// The moment, by the bus's clock.
    pub fn taken(&self) -> Timestamp {
        self.inner.moment.taken()
    }

    /// One of the application's own tables; `None` where there was none.
    ///
    /// # Errors
    ///
    /// The table has other types, the snapshot is too old, or the database can't be read.
    pub fn open_table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<Option<ReadOnlyTable<K, V>>, ReadError> {
        self.inner.moment.open_table(definition)
    }

    /// One of the application's own multimap tables; `None` where there was none.
    ///
    /// # Errors
    ///
    /// As [`open_table`](Self::open_table).
    pub fn open_multimap_table<K: Key + 'static, V: Key + 'static>(
        &self,
        definition: MultimapTableDefinition<'_, K, V>,
    ) -> Result<Option<ReadOnlyMultimapTable<K, V>>, ReadError> {
        self.inner.moment.open_multimap_table(definition)
    }

    /// The names of the application's own tables, multimap tables among them, in ascending order.
    ///
    /// # Errors
    ///
    /// The snapshot is too old, or the database can't be read.
    pub fn tables(&self) -> Result<Vec<String>, ReadError> {
        self.inner.moment.tables()
    }

    /// The first offset of a partition that wasn't there yet.
    ///
    /// # Errors
    ///
    /// There is no such topic or partition, the snapshot is too old, or the database can't be read.
    pub fn next_offset(&self, topic: &str, partition: u32) -> Result<u64, ReadError> {
        let (id, partitions) = self.topic(topic)?;
        if partition >= partitions {
            return Err(ReadError::UnknownPartition { topic: topic.to_owned(), partition, partitions });
        }
        Ok(self.inner.moment.offsets(id, partition)?.1)
    }

    /// Reads a topic, all partitions or one, from a position on, up to the snapshot's moment.
    ///
    /// # Errors
    ///
    /// As [`next_offset`](Self::next_offset).
    pub fn read(
        &self,
        topic: &str,
        partition: Option<u32>,
        from: Position,
    ) -> Result<SnapshotReader, ReadError> {
        let (id, count) = self.topic(topic)?;
        let moment = &self.inner.moment;
        let partitions = Partitions::new(
            topic.into(),
            count,
            partition,
            from,
            |partition| moment.offsets(id, partition),
            |partition, time| moment.offset_at(id, partition, time),
        )?;
        Ok(SnapshotReader { inner: Arc::clone(&self.inner), topic: id, partitions })
    }

    /// The number of the last event of a key, 0 where there was none, in a topic that
    /// [numbers its events](crate::config::TopicConfig::sequence).
    ///
    /// # Errors
    ///
    /// There is no such topic, it doesn't number its events, the snapshot is too old, or the database can't be read.
    pub fn version(&self, topic: &str, key: &str) -> Result<u64, ReadError> {
        self.inner.moment.version(topic, key)
    }

    /// Reads the events of one key in their order, from the one behind number `after` on, up to the snapshot's moment.
    ///
    /// # Errors
    ///
    /// As [`version`](Self::version).
    pub fn read_key(&self, topic: &str, key: &str, after: u64) -> Result<KeyReader, ReadError> {
        let partition = self.inner.log.partition_of(topic, key)?;
        let (inner, name, key) = (Arc::clone(&self.inner), topic.to_owned(), key.to_owned());
        let fetch = move |after| inner.moment.key_events(&name, &key, after);
        Ok(KeyReader::new(topic, partition, after, Box::new(fetch)))
    }

    fn topic(&self, name: &str) -> Result<(TopicId, u32), ReadError> {
        let log = &self.inner.log;
        let found = log.topic_id(name).and_then(|id| Some((id, log.partition_count(id)?)));
        found.ok_or_else(|| ReadError::UnknownTopic(name.to_owned()))
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("taken", &self.taken()).finish_non_exhaustive()
    }
}

/// Reads some partitions of a topic as a [`Snapshot`] has them, merged in the order in which their events became durable.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::Event;
/// # bus.create_topic("accounts", tidegate::config::TopicConfig::new(4).sequence(true))?;
/// # let opened = Event::new("e1", "/bank", "AccountOpened.v1").subject("account-9").build()?;
/// # bus.publish("accounts", opened)?;
/// let snapshot = bus.bus().snapshot()?;
/// # let later = Event::new("e2", "/bank", "Withdrawn.v1").subject("account-9").build()?;
/// bus.publish("accounts", later)?;
/// let mut events = snapshot.read("accounts", None, tidegate::Position::Earliest)?;
/// assert!(events.try_next()?.is_some());
/// assert!(events.try_next()?.is_none(), "what came later isn't there");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SnapshotReader {
    inner: Arc<Inner>,
    topic: TopicId,
    partitions: Partitions,
}

impl SnapshotReader {
    /// The next event; `None` at the end.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. A [`Damaged`](ReadError::Damaged) event is passed over: the next call goes on behind it.
    pub fn try_next(&mut self) -> Result<Option<Record>, ReadError> {
        let (moment, topic) = (&self.inner.moment, self.topic);
        self.partitions
            .next(|partition, from, (events, bytes)| moment.events(topic, partition, from, events, bytes))
    }
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}
