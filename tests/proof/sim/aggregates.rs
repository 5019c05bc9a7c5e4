//! An aggregate of the simulation: what it decides follows from the id of the command, its events say which state they were decided
//! on, and its state says which events it has seen.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::config::{AggregateConfig, ConsumerConfig, RetryPolicy};
use tidegate::{Aggregate, Bus, ConsumerError, Delivery, Event, Fact, Failure, Rejection};

use super::script::{ON_PURPOSE, hash};

pub const NAME: &str = "aggregate";
/// The topics of its commands and of its events, each of two partitions.
pub const COMMANDS: &str = "aggregate-commands";
pub const STREAM: &str = "aggregate-events";
/// The topic in which rejected commands are told of.
pub const REJECTIONS: &str = "aggregate-rejections";
pub const PARTITIONS: u32 = 2;
/// How many aggregates there are.
pub const KEYS: u64 = 4;
/// Failures with which a command is given up on, and a code that none may have.
pub const IMPOSSIBLE: &str = "impossible";
const LAYOUT: &str = "another-layout";
/// With which a command is rejected.
pub const NO: &str = "no";

/// How the aggregate is set up: after how many events its state is kept, and how many aggregates are in memory.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub snapshot_every: u32,
    pub cache_count: usize,
}

/// What is decided on a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// So many events come of it.
    Facts(u64),
    /// It is rejected.
    Rejects,
    /// The first attempt panics; then one event comes of it.
    TrapsOnce,
    /// Every attempt panics, until somebody redrives it.
    Traps,
    /// Something that can't be evolved comes of it behind something that can, until somebody redrives it.
    Impossible,
}

/// The script of a command.
pub fn verdict(id: &str) -> Verdict {
    match hash("verdict", id) % 16 {
        0 | 1 => Verdict::Rejects,
        2 => Verdict::Traps,
        3 | 4 => Verdict::TrapsOnce,
        5 => Verdict::Impossible,
        6 => Verdict::Facts(0),
        other => Verdict::Facts(1 + other % 3),
    }
}

/// The aggregate that a command is to.
pub fn key_of(id: &str) -> String {
    format!("k{}", hash("key", id) % KEYS)
}

/// The command of this id: the same whenever it is given.
pub fn command(id: &str) -> Event {
    let command = Event::new(id, "/sim", "Do.v1").subject(key_of(id)).json_text("{}").build();
    command.unwrap_or_else(|error| unreachable!("the command is valid: {error}"))
}

/// What somebody else appends to the stream.
pub fn gift(id: &str) -> Event {
    let gift = Event::new(id, "/sim", "Given.v1").subject(key_of(id)).build();
    gift.unwrap_or_else(|error| unreachable!("the event is valid: {error}"))
}

/// What an event says of its decision.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Decided {
    /// The command.
    pub command: String,
    /// Its place among the events of the command, and how many they are.
    pub index: u64,
    pub of: u64,
    /// What the state had seen.
    pub saw: u64,
}

/// The state: what it has seen.
#[derive(Debug, Deserialize, Serialize)]
pub struct Seen {
    layout: u32,
    pub version: u64,
    pub fold: u64,
}

/// What has been seen once another event is: all of it that a reader sees.
pub fn fold(before: u64, event: &Event) -> u64 {
    let attributes = (event.id(), event.source(), event.kind(), event.subject(), event.time());
    let rest = (event.datacontenttype(), event.extensions().collect::<Vec<_>>(), event.data());
    hash(&before.to_string(), &format!("{attributes:?} {rest:?}"))
}

/// The program, of several versions whose states have different layouts.
struct Folder<const VERSION: u32>;

impl<const VERSION: u32> Aggregate for Folder<VERSION> {
    type State = Seen;
    const STATE_VERSION: u32 = VERSION;

    fn decide(&self, state: Option<&Seen>, command: &Delivery) -> Result<Vec<Fact>, Rejection> {
        if state.is_some_and(|state| state.layout != VERSION) {
            return Err(Rejection::new(LAYOUT, "the state is of another version"));
        }
        let id = command.event.id();
        let saw = state.map_or(0, |state| state.fold);
        let fact = |kind: &str, index, of| {
            let fact = Fact::new(kind).json(&Decided { command: id.to_owned(), index, of, saw });
            fact.map_err(|failure| Rejection::new(LAYOUT, failure.message))
        };
        match verdict(id) {
            Verdict::Rejects => Err(Rejection::new(NO, "it is to be rejected").data(json!({ "saw": saw }))),
            Verdict::Facts(of) => (0..of).map(|index| fact("Decided.v1", index, of)).collect(),
            Verdict::TrapsOnce if command.attempt == 1 => std::panic::panic_any(ON_PURPOSE),
            Verdict::Traps if !command.redriven => std::panic::panic_any(ON_PURPOSE),
            Verdict::Impossible if !command.redriven => {
                Ok(vec![fact("Decided.v1", 0, 2)?, fact("Impossible.v1", 1, 2)?])
            }
            Verdict::TrapsOnce | Verdict::Traps | Verdict::Impossible => Ok(vec![fact("Decided.v1", 0, 1)?]),
        }
    }

    fn evolve(&self, state: Option<Seen>, event: &Event) -> Result<Seen, Failure> {
        if event.kind() == "Impossible.v1" {
            return Err(Failure::permanent(IMPOSSIBLE, "it can't have happened"));
        }
        let before = state.unwrap_or(Seen { layout: VERSION, version: 0, fold: 0 });
        if before.layout != VERSION {
            return Err(Failure::permanent(LAYOUT, "the state is of another version"));
        }
        Ok(Seen { layout: VERSION, version: before.version + 1, fold: fold(before.fold, event) })
    }

    fn version(&self) -> String {
        VERSION.to_string()
    }
}

/// Starts the aggregate, run by a program of this version.
pub async fn subscribe(bus: &Bus, setup: Setup, version: u32) -> Result<(), ConsumerError> {
    let retry =
        RetryPolicy::default().attempts(4).backoff(Duration::from_millis(100), Duration::from_secs(5));
    let commands = ConsumerConfig::new([COMMANDS]).retry(retry);
    let aggregate = AggregateConfig::new(STREAM)
        .rejections(REJECTIONS)
        .snapshot_every(setup.snapshot_every)
        .cache_count(setup.cache_count);
    if version.is_multiple_of(2) {
        bus.subscribe_aggregate(NAME, commands, aggregate, Folder::<2>).await
    } else {
        bus.subscribe_aggregate(NAME, commands, aggregate, Folder::<1>).await
    }
}
