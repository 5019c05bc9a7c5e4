//! Reading a topic without being a consumer of it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::TopicId;
use crate::limits::{READ_BYTES_MAX, READ_EVENTS_MAX};
use crate::log::{Entry, Log, Numbered, Position, ReadError, Stored, Watcher};

/// An event with its place in a topic.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{TopicConfig};
/// # use tidegate::Event;
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// let mut orders = bus.bus().read("orders", Some(0), tidegate::Position::Offset(0))?;
/// let record = orders.try_next()?.ok_or("nothing there")?;
/// assert_eq!((record.partition, record.offset, record.event.id()), (0, 0, "order-17"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Record {
    /// The partition.
    pub partition: u32,
    /// The offset within the partition.
    pub offset: u64,
    /// The commit that made the event durable: it orders events over partitions and topics.
    pub commit: u64,
    /// When the log accepted the event.
    pub appended: Timestamp,
    /// The event.
    pub event: Arc<Event>,
}

impl Record {
    fn new(partition: u32, stored: Stored) -> Self {
        Self {
            partition,
            offset: stored.offset,
            commit: stored.commit,
            appended: stored.appended,
            event: stored.event,
        }
    }
}

/// Reads some partitions of a topic, each in its order, merged in the order in which their events became durable.
///
/// ```no_run
/// # async fn example(bus: tidegate::Bus) -> Result<(), tidegate::ReadError> {
/// use tidegate::{Position, ReadError};
///
/// let mut orders = bus.read("orders", None, Position::Latest)?;
/// loop {
///     match orders.next().await {
///         Ok(record) => println!("{} at {}", record.event.id(), record.appended),
///         // One that can't be read costs itself; the next call goes on behind it.
///         Err(ReadError::Damaged { what, reason }) => eprintln!("{what}: {reason}"),
///         Err(ReadError::Closed) => return Ok(()),
///         Err(other) => return Err(other),
///     }
/// }
/// # }
/// ```
pub struct Reader {
    log: Arc<Log>,
    topic: TopicId,
    partitions: Partitions,
    watcher: Watcher,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>, topic: TopicId, partitions: Partitions) -> Self {
        let watcher = log.watch_partitions(partitions.numbers().map(|partition| (topic, partition)));
        Self { log, topic, partitions, watcher }
    }

    /// The next event that is durable now; `None` at the end of them. What is published later is there at a later call.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. A [`Damaged`](ReadError::Damaged) event is passed over: the next call goes on behind it.
    pub fn try_next(&mut self) -> Result<Option<Record>, ReadError> {
        let (log, topic) = (&self.log, self.topic);
        self.partitions
            .next(|partition, from, (events, bytes)| log.read(topic, partition, from, events, bytes))
    }

    /// The next event, as soon as there is one. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// As [`try_next`](Self::try_next).
    pub async fn next(&mut self) -> Result<Record, ReadError> {
        loop {
            if let Some(record) = self.try_next()? {
                return Ok(record);
            }
            if self.log.is_in_closure() {
                return Err(ReadError::InTransaction);
            }
            tokio::select! {
                () = self.watcher.changed() => {}
                () = self.log.closed() => return Err(ReadError::Closed),
            }
        }
    }
}

/// Where reading stands in each of some partitions of a topic.
pub(super) struct Partitions {
    topic: Arc<str>,
    cursors: Vec<Cursor>,
}

struct Cursor {
    partition: u32,
    next: u64,
    buffer: VecDeque<Entry>,
}

impl Partitions {
    /// All partitions of a topic, or one, from a position on. `bounds` tells the first offset that a partition retains and
    /// the first that isn't there yet, `offset_at` the first of a time.
    pub fn new(
        topic: Arc<str>,
        count: u32,
        partition: Option<u32>,
        from: Position,
        bounds: impl Fn(u32) -> Result<(u64, u64), ReadError>,
        offset_at: impl Fn(u32, Timestamp) -> Result<u64, ReadError>,
    ) -> Result<Self, ReadError> {
        let range = match partition {
            None => 0..count,
            Some(partition) if partition < count => partition..partition + 1,
            Some(partition) => {
                let topic = topic.to_string();
                return Err(ReadError::UnknownPartition { topic, partition, partitions: count });
            }
        };
        let cursor = |partition| {
            let (low, next) = bounds(partition)?;
            let next = match from {
                Position::Earliest => low,
                Position::Latest => next,
                Position::Time(time) => offset_at(partition, time)?,
                Position::Offset(offset) => offset.clamp(low, next),
            };
            Ok(Cursor { partition, next, buffer: VecDeque::new() })
        };
        Ok(Self { cursors: range.map(cursor).collect::<Result<_, ReadError>>()?, topic })
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.cursors.iter().map(|cursor| cursor.partition)
    }

    /// The next event of all partitions: `read` reads some of a partition's events from an offset on, at most so many and
    /// about so many bytes.
    pub fn next(
        &mut self,
        read: impl Fn(u32, u64, (usize, usize)) -> Result<Vec<Entry>, ReadError>,
    ) -> Result<Option<Record>, ReadError> {
        for cursor in &mut self.cursors {
            if cursor.buffer.is_empty() {
                let share = (READ_EVENTS_MAX / 4, READ_BYTES_MAX / 4);
                cursor.buffer = read(cursor.partition, cursor.next, share)?.into();
            }
        }
        let first = self.cursors.iter_mut().filter(|cursor| !cursor.buffer.is_empty()).min_by_key(|cursor| {
            match cursor.buffer.front() {
                Some(Entry::Event(stored)) => stored.commit,
                // What is damaged belongs to no commit that is known: it is told at once.
                _ => 0,
            }
        });
        let Some(cursor) = first else { return Ok(None) };
        let Some(entry) = cursor.buffer.pop_front() else { return Ok(None) };
        cursor.next = entry.offset_last() + 1;
        record(&self.topic, cursor.partition, entry).map(Some)
    }
}

/// Reads some events behind a number.
type Fetch = Box<dyn Fn(u64) -> Result<Vec<Numbered>, ReadError> + Send>;

/// Reads the events of one key in their order: see [`Bus::read_key`](super::Bus::read_key).
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::Event;
/// # bus.create_topic("accounts", tidegate::config::TopicConfig::new(4).sequence(true))?;
/// # let opened = Event::new("e1", "/bank", "AccountOpened.v1").subject("account-9").build()?;
/// # bus.publish("accounts", opened)?;
/// let mut events = bus.bus().read_key("accounts", "account-9", 0)?;
/// let first = events.try_next()?.ok_or("nothing there")?;
/// assert_eq!(first.event.kind(), "AccountOpened.v1");
/// assert!(events.try_next()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyReader {
    topic: Arc<str>,
    partition: u32,
    after: u64,
    buffer: VecDeque<Numbered>,
    fetch: Fetch,
}

impl KeyReader {
    pub(super) fn new(topic: &str, partition: u32, after: u64, fetch: Fetch) -> Self {
        Self { topic: topic.into(), partition, after, buffer: VecDeque::new(), fetch }
    }

    /// The next event of the key that is durable; `None` at the end of them. What is published later is there at a later
    /// call, unless the reader is a snapshot's. What retention has removed is left out.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. A [`Damaged`](ReadError::Damaged) event is passed over: the next call goes on behind it.
    pub fn try_next(&mut self) -> Result<Option<Record>, ReadError> {
        if self.buffer.is_empty() {
            self.buffer = (self.fetch)(self.after)?.into();
        }
        let Some((number, entry)) = self.buffer.pop_front() else {
            return Ok(None);
        };
        self.after = number;
        record(&self.topic, self.partition, entry).map(Some)
    }
}

impl std::fmt::Debug for KeyReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyReader")
            .field("topic", &self.topic)
            .field("after", &self.after)
            .finish_non_exhaustive()
    }
}

fn record(topic: &str, partition: u32, entry: Entry) -> Result<Record, ReadError> {
    match entry {
        Entry::Event(stored) => Ok(Record::new(partition, stored)),
        Entry::Damaged { offset, offset_last, reason } => Err(ReadError::Damaged {
            what: format!("topic `{topic}`, partition {partition}, offsets {offset} to {offset_last}"),
            reason,
        }),
    }
}
