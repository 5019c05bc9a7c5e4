//! A consumer's state, for people and tools.

use super::Bus;
use crate::effects::{StateEntry, StateRead};
use crate::ids::LaneId;
use crate::limits::{STATE_SCAN_BYTES_MAX, STATE_SCAN_MAX};
use crate::log::ReadError;

impl Bus {
    /// The durable state of a consumer on one of its partitions, as it is now. The consumer may run meanwhile: the view
    /// stays at its moment.
    ///
    /// A view that lives long makes the database file grow: drop it soon.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::{ConsumerConfig, TopicConfig};
    /// # use tidegate::{Event, handler_fn};
    /// # bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// let note = handler_fn(|delivery, context| Ok(context.set(b"last", delivery.event.id().as_bytes())?));
    /// bus.subscribe("notes", ConsumerConfig::new(["orders"]), note).await?;
    /// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?).await?;
    /// bus.caught_up("notes").await?;
    /// assert_eq!(bus.state("notes", 0)?.get(b"last")?.as_deref(), Some(&b"order-17"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// There is no such consumer or partition, or the log can't be read.
    pub fn state(&self, consumer: &str, partition: u32) -> Result<StateView, ReadError> {
        let log = &self.inner.log;
        let unknown = || ReadError::UnknownConsumer(consumer.to_owned());
        let (id, row) = log.consumer(consumer).ok_or_else(unknown)?;
        if partition >= row.partitions {
            return Err(ReadError::UnknownLane {
                consumer: consumer.to_owned(),
                partition,
                lanes: row.partitions,
            });
        }
        Ok(StateView(log.state(LaneId { consumer: id, partition })?))
    }
}

/// A consumer's state on one partition at one moment.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// let note = handler_fn(|delivery, context| Ok(context.set(delivery.event.id().as_bytes(), b"seen")?));
/// bus.subscribe("notes", ConsumerConfig::new(["orders"]), note)?;
/// for id in ["order-17", "order-18", "refund-3"] {
///     bus.publish("orders", Event::new(id, "/shop", "Noted.v1").build()?)?;
/// }
/// bus.caught_up("notes")?;
/// let state = bus.bus().state("notes", 0)?;
/// let orders = state.scan(b"order-", None, 100)?;
/// assert_eq!(orders.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct StateView(Box<dyn StateRead>);

impl StateView {
    pub(super) fn new(state: Box<dyn StateRead>) -> Self {
        Self(state)
    }

    /// The value of a key.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.0.get(key).map_err(unreadable)
    }

    /// Entries whose key begins with `prefix` and lies behind `after`, in ascending order: at most `limit` of them, at
    /// most 1000, and about 1 MiB. To go on, call it with the last one's key.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<StateEntry>, ReadError> {
        /// Values that are read at once, each of which may have the largest size.
        const STRIDE: usize = 4;
        let limit = limit.min(STATE_SCAN_MAX);
        let end = end_of_prefix(prefix);
        let mut start = match after {
            Some(after) if after >= prefix => successor(after),
            _ => prefix.to_vec(),
        };
        let mut entries = Vec::new();
        let mut bytes = 0;
        while entries.len() < limit && bytes < STATE_SCAN_BYTES_MAX {
            let some =
                self.0.scan(&start, end.as_deref(), STRIDE.min(limit - entries.len())).map_err(unreadable)?;
            let Some((last, _)) = some.last() else { break };
            start = successor(last);
            bytes += some.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
            entries.extend(some);
        }
        Ok(entries)
    }
}

impl std::fmt::Debug for StateView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateView").finish_non_exhaustive()
    }
}

/// The first key behind this one.
fn successor(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// The first key behind all that begin with the prefix; `None` where there is none.
fn end_of_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

fn unreadable(error: crate::effects::StateUnavailable) -> ReadError {
    ReadError::Damaged { what: "the consumer's state".to_owned(), reason: error.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_without_it() {
        for (prefix, end) in [
            (&b"network/"[..], Some(&b"network0"[..])),
            (b"", None),
            (b"a\xff", Some(b"b")),
            (b"\xff\xff", None),
        ] {
            assert_eq!(end_of_prefix(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
