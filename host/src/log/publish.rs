//! Publishing: events of the application on their way into topics.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::blobs;
use super::error::{PublishError, StorageFault};
use super::new_events::NewEvents;
use super::shared::Shared;
use super::topics::Topic;
use super::txn::{Appended, Change, Txn, Verdict};
use crate::event::Event;

/// Where a published event is.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::Event;
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// let order = Event::new("order-17", "/shop", "OrderPlaced.v1").build()?;
/// let published = bus.publish("orders", order)?;
/// assert_eq!((published.partition, published.offset, published.duplicate), (0, 0, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Published {
    /// The partition.
    pub partition: u32,
    /// The offset within the partition.
    pub offset: u64,
    /// Its number among the events of its key, from 1, where the topic [numbers](crate::config::TopicConfig::sequence) them;
    /// of a duplicate that of the first one, where it is still there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Whether the topic had an event of the same source and id within its deduplication window. Then nothing was
    /// appended, and this is where the first one is.
    pub duplicate: bool,
}

/// The answer to a publisher, and what it handed in: whoever has made that lets go of it, since the committer is one for all.
pub(super) type PublishReply = oneshot::Sender<(Result<Vec<Appended>, PublishError>, Arc<NewEvents>)>;

/// Events that become durable together.
pub(super) struct Publish {
    events: Arc<NewEvents>,
    expected: Option<Expected>,
    appended: Vec<Appended>,
    /// Why nothing is appended.
    refused: Option<PublishError>,
    reply: PublishReply,
}

/// What has to hold for events of one key, and of one topic that numbers them.
pub(super) struct Expected {
    /// The key.
    pub key: String,
    /// The number of its last event.
    pub number: u64,
}

impl Publish {
    pub fn new(events: NewEvents, expected: Option<Expected>, reply: PublishReply) -> Self {
        Self { events: Arc::new(events), expected, appended: Vec::new(), refused: None, reply }
    }

    /// Whether somebody was faster. Events that are all there already were published by this call before, or by one like
    /// it: what has come since doesn't matter then.
    fn conflict(&self, txn: &mut Txn<'_>) -> Result<Option<PublishError>, StorageFault> {
        let (Some(expected), Some(first)) = (&self.expected, self.events.iter().next()) else {
            return Ok(None);
        };
        let mut is_known = true;
        for event in self.events.iter() {
            is_known = is_known && txn.known(event)?.is_some();
        }
        if is_known {
            return Ok(None);
        }
        let actual = txn.version(first.topic(), &expected.key)?;
        Ok(check_version(first.topic(), &expected.key, expected.number, actual).err())
    }
}

/// Checks of an event what doesn't depend on what is in its topic. Returns its size as the log has it, in bytes of
/// [`Event::size`]: without its data, where that goes to the blob store.
pub(super) fn check_event(shared: &Shared, topic: &Topic, event: &Event) -> Result<usize, PublishError> {
    event.check_dataref()?;
    let max = shared.options.event_bytes_max;
    let size = blobs::checked_in_size(shared, topic, event).unwrap_or_else(|| event.size());
    if size > max {
        return Err(PublishError::EventSize { id: event.id().to_owned(), size, max });
    }
    if topic.sequence {
        event.check_unnumbered(&topic.name)?;
    }
    shared.check_schema(topic, event)?;
    Ok(size)
}

/// Checks that a topic numbers the events of its keys.
pub(super) fn check_sequenced(topic: &Topic) -> Result<(), PublishError> {
    if topic.sequence { Ok(()) } else { Err(PublishError::NotSequenced(topic.name.to_string())) }
}

/// Checks that nobody was faster.
pub(super) fn check_version(
    topic: &Topic,
    key: &str,
    expected: u64,
    actual: u64,
) -> Result<(), PublishError> {
    if expected == actual {
        return Ok(());
    }
    let (topic, key) = (topic.name.to_string(), key.to_owned());
    Err(PublishError::VersionConflict { topic, key, expected, actual })
}

impl Change for Publish {
    fn bytes(&self) -> usize {
        self.events.bytes()
    }

    fn adds(&self) -> bool {
        true
    }

    fn ends_when_durable(&self) -> bool {
        true
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageFault> {
        self.refused = self.conflict(txn)?;
        if self.refused.is_some() {
            txn.wrote_nothing();
            return Ok(());
        }
        self.appended.reserve_exact(self.events.len());
        for event in self.events.iter() {
            self.appended.push(txn.append(event)?);
        }
        // Where the first ones are not durable yet, the item that brings them has something to write.
        if self.appended.iter().all(|appended| appended.duplicate) {
            txn.wrote_nothing();
        }
        Ok(())
    }

    fn finish(self: Box<Self>, verdict: &Verdict) {
        let answer = match verdict {
            Verdict::Durable => Ok(self.appended),
            Verdict::InDoubt(fault) => Err(PublishError::InDoubt(fault.clone())),
            Verdict::DiskFull { free, min } => Err(PublishError::DiskFull { free: *free, min: *min }),
            Verdict::Reopening => Err(PublishError::Reopening),
            Verdict::Closed => Err(PublishError::Closed),
        };
        // What was refused was refused, unless what that rests on is in doubt.
        let answer = match (answer, self.refused) {
            (in_doubt @ Err(PublishError::InDoubt(_)), _) => in_doubt,
            (_, Some(refused)) => Err(refused),
            (answer, None) => answer,
        };
        // A publisher that doesn't wait any more gets no answer; its events are durable all the same.
        drop(self.reply.send((answer, self.events)));
    }
}

impl From<Appended> for Published {
    fn from(appended: Appended) -> Self {
        Self {
            partition: appended.place.partition,
            offset: appended.place.offset,
            sequence: appended.sequence,
            duplicate: appended.duplicate,
        }
    }
}
