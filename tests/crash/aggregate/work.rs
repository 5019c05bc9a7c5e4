//! What parent and child both know: the aggregate, and what it makes of a command.

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tidegate::config::{AggregateConfig, ConsumerConfig, RetryPolicy, TopicConfig};
use tidegate::{Aggregate, Blocking, Delivery, Event, Fact, Failure, Rejection};

use crate::outbox::work::spread;
use crate::scenario::ON_PURPOSE;

pub const NAME: &str = "counters";
pub const COMMANDS: &str = "counter-commands";
pub const STREAM: &str = "counters";
const PARTITIONS: u32 = 2;
/// How many aggregates there are: few, so that many commands are to the same one.
pub const KEYS: u64 = 8;

/// What comes of a command.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// The command.
    pub command: String,
    /// How many have taken effect on its aggregate, this one included.
    pub count: u64,
}

/// Counts the commands that it doesn't reject.
pub struct Counters;

impl Aggregate for Counters {
    type State = u64;

    fn decide(&self, count: Option<&u64>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        let id = command.event.id();
        if is_rejected(id) {
            return Err(Rejection::new("on-purpose", ON_PURPOSE));
        }
        if spread(id) % 16 == 1 && command.attempt == 1 {
            std::panic::panic_any(ON_PURPOSE);
        }
        let counted = Counted { command: id.to_owned(), count: count.map_or(1, |count| count + 1) };
        let fact = Fact::new("Counted.v1").json(&counted);
        Ok(vec![fact.map_err(|failure| Rejection::new(failure.code, failure.message))?])
    }

    fn evolve(&self, _: Option<u64>, event: &Event) -> Result<u64, Failure> {
        Ok(event.data_as::<Counted>()?.count)
    }
}

/// Whether a command is turned down.
pub fn is_rejected(id: &str) -> bool {
    spread(id).is_multiple_of(8)
}

/// The aggregate that a command is to.
pub fn key_of(id: &str) -> String {
    format!("counter-{}", spread(&format!("key of {id}")) % KEYS)
}

/// The command of this id, the same however often it is given.
pub fn command(id: &str) -> Result<Event> {
    Ok(Event::new(id, "/crash", "Count.v1").subject(key_of(id)).build()?)
}

/// Makes the topics where they aren't there, and starts the aggregate. Kills are attempts, and none is to be the last one.
pub fn start(bus: &Blocking) -> Result<()> {
    bus.create_topic(COMMANDS, TopicConfig::new(PARTITIONS))?;
    bus.create_topic(STREAM, TopicConfig::new(PARTITIONS).sequence(true))?;
    let backoff = (Duration::from_millis(1), Duration::from_millis(10));
    let retry = RetryPolicy::default().attempts(100).backoff(backoff.0, backoff.1);
    let commands = ConsumerConfig::new([COMMANDS]).retry(retry);
    let aggregate = AggregateConfig::new(STREAM).snapshot_every(10).cache_count(2);
    bus.subscribe_aggregate(NAME, commands, aggregate, Counters)?;
    Ok(())
}
