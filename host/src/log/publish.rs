//! Publishing: events of the application on their way into topics.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::error::{PublishError, StorageFault};
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
    /// Whether the topic had an event of the same source and id within its deduplication window. Then nothing was
    /// appended, and this is where the first one is.
    pub duplicate: bool,
}

/// The answer to a publisher.
pub(super) type PublishReply = oneshot::Sender<Result<Vec<Published>, PublishError>>;

/// Events that become durable together.
pub(super) struct Publish {
    events: Vec<(Arc<Topic>, Event)>,
    bytes: usize,
    appended: Vec<Appended>,
    reply: PublishReply,
}

impl Publish {
    pub fn new(events: Vec<(Arc<Topic>, Event)>, reply: PublishReply) -> Self {
        let bytes = events.iter().map(|(_, event)| event.size()).sum();
        Self { events, bytes, appended: Vec::new(), reply }
    }
}

impl Change for Publish {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn adds(&self) -> bool {
        true
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageFault> {
        self.appended.reserve_exact(self.events.len());
        for (topic, event) in &self.events {
            self.appended.push(txn.append(topic, event)?);
        }
        // Where the first ones are not durable yet, the item that brings them has something to write.
        if self.appended.iter().all(|appended| appended.duplicate) {
            txn.wrote_nothing();
        }
        Ok(())
    }

    fn finish(self: Box<Self>, verdict: &Verdict) {
        let answer = match verdict {
            Verdict::Durable => Ok(self.appended.into_iter().map(Published::from).collect()),
            Verdict::InDoubt(fault) => Err(PublishError::InDoubt(fault.clone())),
            Verdict::DiskFull { free, min } => Err(PublishError::DiskFull { free: *free, min: *min }),
            Verdict::Reopening => Err(PublishError::Reopening),
            Verdict::Closed => Err(PublishError::Closed),
        };
        // A publisher that doesn't wait any more gets no answer; its events are durable all the same.
        drop(self.reply.send(answer));
    }
}

impl From<Appended> for Published {
    fn from(appended: Appended) -> Self {
        Self {
            partition: appended.place.partition,
            offset: appended.place.offset,
            duplicate: appended.duplicate,
        }
    }
}
