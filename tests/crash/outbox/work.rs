//! What parent and child both know: topics, tables, and how things are called.
//!
//! | name | what it is |
//! | --- | --- |
//! | `r3-t1-7-keep` | the seventh transaction of thread 1 in round 3; the last word is its [`Fate`] |
//! | `r3-t1-7-keep/2` | its third event |
//! | `r3-p1-7` | the seventh event of plain publisher 1 |
//! | `r3-b0-7/2` | the third event of a batch of [`BATCH_EVENTS`] that one call publishes |

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tidegate::config::{ConsumerConfig, Dedup, RetryPolicy, TopicConfig};
use tidegate::redb::TableDefinition;
use tidegate::{Blocking, Event};

/// Events of transactions and of publishers, numbered for each key.
pub const ORDERS: &str = "orders";
/// Events of transactions alone.
pub const NOTES: &str = "notes";
/// Events of publishers alone.
pub const PLAIN: &str = "plain";
/// What the consumer publishes.
pub const AUDITED: &str = "audited";
/// The consumer of [`ORDERS`].
pub const AUDIT: &str = "audit";
/// What the consumer keeps in its state: how many deliveries it has made.
pub const COUNT: &[u8] = b"count";

/// Partitions of each topic.
pub const PARTITIONS: u32 = 4;

/// The application's table: a row for each transaction, by its number.
pub const ROWS: TableDefinition<u64, &str> = TableDefinition::new("rows");
/// The application's counter, in a table of its own.
pub const COUNTER: TableDefinition<&str, u64> = TableDefinition::new("counter");
/// The counter's only row: the number of the last transaction.
pub const LAST: &str = "last";

/// Events of one call of `publish_all`.
pub const BATCH_EVENTS: usize = 10;

/// Keys of events: few, so that transactions, publishers and retries meet on them.
const KEYS: u64 = 16;

const SOURCE: &str = "/crash";

/// What a transaction's closure comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Keep,
    Refuse,
    Panic,
}

impl Fate {
    pub fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Refuse => "refuse",
            Self::Panic => "panic",
        }
    }
}

/// The application's row of a transaction: what it has published, and where that was said to be.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub events: Vec<Placed>,
}

/// An event's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    pub sequence: Option<u64>,
}

/// The data of a transaction's event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Part {
    /// The transaction's number.
    pub number: u64,
    /// How many events it has.
    pub of: usize,
}

/// The data of what the consumer publishes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Audited {
    /// The delivered event.
    pub id: String,
    pub key: String,
    pub sequence: u64,
    /// How many deliveries the lane has made, this one among them.
    pub count: u64,
}

/// Makes the topics, where they aren't there.
pub fn create_topics(bus: &Blocking) -> Result<()> {
    let plain = TopicConfig::new(PARTITIONS);
    bus.create_topic(ORDERS, plain.clone().sequence(true))?;
    bus.create_topic(NOTES, plain.clone())?;
    bus.create_topic(PLAIN, plain.clone())?;
    // Without a window, so that what the consumer publishes twice is there twice.
    bus.create_topic(AUDITED, plain.dedup(Dedup::new(Duration::ZERO, 0)))?;
    Ok(())
}

/// How the consumer runs: what fails is tried again soon.
pub fn audit_config() -> ConsumerConfig {
    let retry = RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(10));
    ConsumerConfig::new([ORDERS]).retry(retry)
}

/// The topic of a transaction's event.
pub fn part_topic(index: usize) -> &'static str {
    if index.is_multiple_of(3) { NOTES } else { ORDERS }
}

/// An event of a transaction.
pub fn part(name: &str, index: usize, part: &Part) -> Result<Event> {
    let id = format!("{name}/{index}");
    Ok(event(&id).json(part).build()?)
}

/// The topic of a publisher's event, from its id.
pub fn plain_topic(id: &str) -> &'static str {
    if spread(id).is_multiple_of(2) { PLAIN } else { ORDERS }
}

/// A publisher's event.
pub fn plain(id: &str) -> Result<Event> {
    Ok(event(id).build()?)
}

/// The name of the event that its publisher makes after this one.
pub fn successor(id: &str) -> Result<String> {
    let (before, number) = id.rsplit_once('-').with_context(|| format!("`{id}` names no plain event"))?;
    Ok(format!("{before}-{}", number.parse::<u64>()? + 1))
}

/// What goes wrong with an event in a consumer that goes by its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    None,
    /// The first attempts fail.
    Transient,
    /// The first attempt traps.
    Trap,
    /// It can't be handled at all.
    Permanent,
}

impl Trouble {
    /// Of an event, from its id.
    pub fn of(id: &str) -> Self {
        match spread(id) % 64 {
            2..=4 => Self::Transient,
            5 => Self::Trap,
            7 => Self::Permanent,
            _ => Self::None,
        }
    }

    /// The type of such events.
    pub fn kind(self) -> &'static str {
        match self {
            Self::None => "Crash.v1",
            Self::Transient => "Flaky.v1",
            Self::Trap => "Trap.v1",
            Self::Permanent => "Poison.v1",
        }
    }
}

fn event(id: &str) -> tidegate::EventBuilder {
    Event::new(id, SOURCE, Trouble::of(id).kind())
        .extension("partitionkey", format!("k{}", spread(id) % KEYS))
}

/// A number that is another one for most names.
pub fn spread(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash >> 24
}
