//! What there is to see of topics, consumers and plugins.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::delivery::LaneStatus;
use crate::handler::ProgramVersion;
use crate::log::LaneCounts;

/// A topic.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// # bus.caught_up("billing")?;
/// let topic = bus.bus().topics().remove(0);
/// assert_eq!((&*topic.name, topic.events(), topic.partitions.len()), ("orders", 1, 1));
/// assert!(topic.bytes() > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopicStatus {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its settings.
    pub config: TopicConfig,
    /// Its partitions, by their number.
    pub partitions: Vec<PartitionStatus>,
}

impl TopicStatus {
    /// Events that are retained, over all partitions.
    pub fn events(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.next_offset - partition.first_offset).sum()
    }

    /// Bytes that are retained, over all partitions.
    pub fn bytes(&self) -> u64 {
        self.partitions.iter().map(|partition| partition.bytes).sum()
    }
}

/// A partition of a topic.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// # bus.caught_up("billing")?;
/// let partition = bus.bus().topics()[0].partitions[0];
/// assert_eq!((partition.first_offset, partition.next_offset), (0, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// The first offset that is retained.
    pub first_offset: u64,
    /// The offset that the next event gets: the high watermark and one.
    pub next_offset: u64,
    /// Bytes of the batches that are retained.
    pub bytes: u64,
}

/// What runs a consumer.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// # bus.caught_up("billing")?;
/// use tidegate::ConsumerKind;
///
/// assert_eq!(bus.bus().consumers()?[0].kind, ConsumerKind::Native);
/// bus.unsubscribe("billing")?;
/// assert_eq!(bus.bus().consumers()?[0].kind, ConsumerKind::Detached);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConsumerKind {
    /// A WebAssembly component.
    Plugin,
    /// A handler in Rust.
    Native,
    /// A configured relay to an HTTP endpoint.
    Http,
    /// A configured relay to NATS `JetStream`.
    Nats,
    /// Nothing in this process: it is not in the configuration, or nobody has subscribed.
    Detached,
}

/// A consumer.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::config::{ConsumerConfig, TopicConfig};
/// # use tidegate::{Event, handler_fn};
/// # bus.create_topic("orders", TopicConfig::new(1))?;
/// # bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// # bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced.v1").build()?)?;
/// # bus.caught_up("billing")?;
/// let billing = bus.bus().consumers()?.remove(0);
/// assert_eq!((billing.lag_events, billing.held, billing.dead_letters), (0, 0, 0));
/// assert_eq!(billing.counts.handled, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// What runs it in this process.
    pub kind: ConsumerKind,
    /// Where it hands events on to, if it is a configured relay: without secrets.
    pub target: Option<String>,
    /// Its topics.
    pub topics: Vec<String>,
    /// The version that was accepted last.
    pub version: ProgramVersion,
    /// Whether an operator has paused it.
    pub paused: bool,
    /// How often its version was replaced.
    pub reloads: u64,
    /// Events in its topics that it hasn't come to yet. Held ones don't count.
    pub lag_events: u64,
    /// How long ago the log accepted the oldest of them; zero where there is none.
    #[serde(rename = "lag_seconds", with = "crate::clock::seconds")]
    pub lag: Duration,
    /// Events that wait for a retry, or behind one.
    pub held: u64,
    /// Letters in its dead-letter queue.
    pub dead_letters: u64,
    /// What it has done since it was registered.
    pub counts: LaneCounts,
    /// Its lanes, by their partition.
    pub lanes: Vec<LaneStatus>,
    /// Since when no configuration names it and nobody has subscribed.
    pub detached: Option<Timestamp>,
    /// Why the last candidate for what runs it was refused, until one is accepted.
    pub refused: Option<String>,
}

/// A consumer's plugin.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// let refused = |plugin: &tidegate::PluginStatus| plugin.refused.is_some();
/// assert_eq!(bus.bus().plugins().iter().filter(|plugin| refused(plugin)).count(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PluginStatus {
    /// The consumer that it runs.
    pub consumer: String,
    /// The file that it comes from.
    pub file: PathBuf,
    /// The version that runs.
    pub version: ProgramVersion,
    /// How often its version was replaced.
    pub reloads: u64,
    /// Why the last candidate was refused, until one is accepted.
    pub refused: Option<String>,
}

/// What became of a reload.
///
/// ```no_run
/// # fn example(bus: tidegate::Blocking) -> Result<(), tidegate::ConsumerError> {
/// use tidegate::ReloadOutcome;
///
/// if let ReloadOutcome::Switched { from, to } = bus.reload("big-quakes")? {
///     println!("{} {} instead of {}", to.name, to.version, from.version);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
#[non_exhaustive]
pub enum ReloadOutcome {
    /// The file holds the version that runs.
    Unchanged {
        /// That version.
        version: ProgramVersion,
    },
    /// Another version runs from now on.
    Switched {
        /// The version before.
        from: ProgramVersion,
        /// The version now.
        to: ProgramVersion,
    },
}
