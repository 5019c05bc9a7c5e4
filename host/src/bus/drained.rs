//! What the end of a bus has left.

use std::fmt;

/// What [`Bus::shutdown`](crate::Bus::shutdown) has done, and what it left.
///
/// Nothing of it is lost: what was acknowledged is durable, and what a consumer was cut off from is delivered again. Its
/// [`Display`](fmt::Display) is a line for people.
///
/// ```
/// use std::time::Duration;
/// use tidegate::config::{ConsumerConfig, TopicConfig};
/// use tidegate::{Bus, Event, StorageEnd, handler_fn};
///
/// # let directory = tempfile::tempdir()?;
/// let bus = Bus::open(directory.path())?.blocking();
/// bus.create_topic("orders", TopicConfig::new(4))?;
/// let config = ConsumerConfig::new(["orders"]).paused(true);
/// bus.subscribe("billing", config, handler_fn(|_, _| Ok(())))?;
/// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
///
/// let drained = bus.shutdown(Duration::from_secs(5));
/// assert_eq!(drained.storage, StorageEnd::Closed);
/// assert_eq!(drained.cut_off().count(), 0);
/// assert_eq!(drained.consumers[0].to_string(), "billing: 1 event to come");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// The consumers that ran in this process and have something left, by name.
    pub consumers: Vec<Unfinished>,
    /// Calls that were still waiting for room in the queue to the disk. They were refused as closed, and nothing of
    /// theirs was written.
    pub refused: u64,
    /// What became of the database.
    pub storage: StorageEnd,
}

impl Drained {
    /// What there is to say while the database is still being closed.
    pub(super) fn pending(consumers: Vec<Unfinished>) -> Self {
        Self { consumers, refused: 0, storage: StorageEnd::Pending }
    }

    /// The consumers that were cut off in a delivery, by name.
    pub fn cut_off(&self) -> impl Iterator<Item = &str> {
        self.consumers.iter().filter(|left| left.lanes_cut_off > 0).map(|left| &*left.consumer)
    }

    /// Whether nothing is left, and the database was closed in good order.
    pub fn is_complete(&self) -> bool {
        self.consumers.is_empty() && self.refused == 0 && self.storage == StorageEnd::Closed
    }
}

impl fmt::Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.storage)?;
        if self.refused > 0 {
            write!(f, "; {} refused", counted(self.refused, "waiting call"))?;
        }
        match &self.consumers[..] {
            [] => write!(f, "; nothing left"),
            left => {
                for left in left {
                    write!(f, "; left: {left}")?;
                }
                Ok(())
            }
        }
    }
}

/// What a consumer had left when its bus ended. It goes on from there the next time.
///
/// ```
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # bus.create_topic("orders", TopicConfig::new(4))?;
/// # let handler = tidegate::handler_fn(|_, _| Ok(()));
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]).paused(true), handler)?;
/// for left in bus.shutdown(std::time::Duration::from_secs(5)).consumers {
///     println!("{left}");
///     if left.lanes_cut_off > 0 {
///         println!("{} takes longer for a delivery than a shutdown waits", left.consumer);
///     }
/// }
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// The consumer.
    pub consumer: String,
    /// Its partitions on which it had not come to the end of its current delivery within the deadline. These deliveries
    /// take no effect, and are made again.
    pub lanes_cut_off: u32,
    /// Events in its topics that it hasn't come to. Held ones don't count.
    pub lag_events: u64,
    /// Events that wait for a retry, or behind one.
    pub held: u64,
    /// Letters in its dead-letter queue, of which at most 10,000 are counted; `None` where the log could not be read.
    pub dead_letters: Option<u64>,
}

impl Unfinished {
    pub(super) fn is_something(&self) -> bool {
        let letters = self.dead_letters.unwrap_or(0);
        u64::from(self.lanes_cut_off) + self.lag_events + self.held + letters > 0
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        if self.lanes_cut_off > 0 {
            words.push(format!("cut off in {}", deliveries(self.lanes_cut_off)));
        }
        if self.lag_events > 0 {
            words.push(format!("{} to come", counted(self.lag_events, "event")));
        }
        if self.held > 0 {
            words.push(format!("{} held", self.held));
        }
        match self.dead_letters {
            Some(0) | None => {}
            Some(letters) => words.push(counted(letters, "dead letter")),
        }
        write!(f, "{}: {}", self.consumer, words.join(", "))
    }
}

/// What became of the database at the end of a bus.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{Bus, StorageEnd};
///
/// # let directory = tempfile::tempdir()?;
/// let bus = Bus::open(directory.path())?.blocking();
/// match bus.shutdown(Duration::from_secs(5)).storage {
///     StorageEnd::Closed => {}
///     StorageEnd::Pending => {
///         // The disk hangs. It gets another minute, and then the process ends all the same.
///         bus.shutdown(Duration::from_secs(60));
///     }
///     other => eprintln!("{other}"),
/// }
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StorageEnd {
    /// All that was admitted is durable, and the database was closed in good order. The directory is free.
    #[default]
    Closed,
    /// It had failed, or failed now. What was acknowledged is durable, and the directory is free; the next start takes it
    /// as one after a crash.
    Failed {
        /// Why.
        reason: String,
    },
    /// The disk has not answered within the deadline. What was acknowledged is durable. What had been admitted is written
    /// when the disk answers, and the directory is in use until then: [`shutdown`](crate::Bus::shutdown) called again
    /// waits for it again.
    Pending,
}

impl fmt::Display for StorageEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => write!(f, "closed in good order"),
            Self::Failed { reason } => write!(f, "closed, as after a crash: {reason}"),
            Self::Pending => {
                write!(f, "still being closed: the disk hasn't answered within the deadline")
            }
        }
    }
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn deliveries(count: u32) -> String {
    if count == 1 { "a delivery".to_owned() } else { format!("{count} deliveries") }
}
