//! Reading a topic without being a consumer of it.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::event::Event;
use crate::ids::TopicId;
use crate::limits::{READ_BYTES_MAX, READ_EVENTS_MAX};
use crate::log::{Entry, Log, ReadError, Watcher};

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
    name: Arc<str>,
    partitions: Vec<Cursor>,
    watcher: Watcher,
}

struct Cursor {
    partition: u32,
    next: u64,
    buffer: VecDeque<Entry>,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>, topic: TopicId, name: Arc<str>, starts: Vec<(u32, u64)>) -> Self {
        let watcher = log.watch_partitions(starts.iter().map(|(partition, _)| (topic, *partition)));
        let cursor = |(partition, next)| Cursor { partition, next, buffer: VecDeque::new() };
        Self { log, topic, name, partitions: starts.into_iter().map(cursor).collect(), watcher }
    }

    /// The next event that is durable now; `None` at the end of them. What is published later is there at a later call.
    ///
    /// # Errors
    ///
    /// See [`ReadError`]. A [`Damaged`](ReadError::Damaged) event is passed over: the next call goes on behind it.
    pub fn try_next(&mut self) -> Result<Option<Record>, ReadError> {
        for cursor in &mut self.partitions {
            if cursor.buffer.is_empty() {
                let share = (READ_EVENTS_MAX / 4, READ_BYTES_MAX / 4);
                cursor.buffer =
                    self.log.read(self.topic, cursor.partition, cursor.next, share.0, share.1)?.into();
            }
        }
        let first =
            self.partitions.iter_mut().filter(|cursor| !cursor.buffer.is_empty()).min_by_key(|cursor| {
                match cursor.buffer.front() {
                    Some(Entry::Event(stored)) => stored.commit,
                    // What is damaged belongs to no commit that is known: it is told at once.
                    _ => 0,
                }
            });
        let Some(cursor) = first else { return Ok(None) };
        let Some(entry) = cursor.buffer.pop_front() else { return Ok(None) };
        cursor.next = entry.offset_last() + 1;
        match entry {
            Entry::Event(stored) => Ok(Some(Record {
                partition: cursor.partition,
                offset: stored.offset,
                commit: stored.commit,
                appended: stored.appended,
                event: stored.event,
            })),
            Entry::Damaged { offset, offset_last, reason } => Err(ReadError::Damaged {
                what: format!(
                    "topic `{}`, partition {}, offsets {offset} to {offset_last}",
                    self.name, cursor.partition
                ),
                reason,
            }),
        }
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
            tokio::select! {
                () = self.watcher.changed() => {}
                () = self.log.closed() => return Err(ReadError::Closed),
            }
        }
    }
}
