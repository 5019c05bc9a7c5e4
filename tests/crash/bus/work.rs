//! What parent and child both know: the consumers, and what they publish.
//!
//! ```text
//! orders ──▶ counter ──▶ counts ──┐
//!                        notes ───┴──▶ merged ──▶ totals
//! plain ───▶ picky ────▶ picked
//! ```
//!
//! `counter` and `merged` are plugins, of two versions that take turns; `picky` is native. Each counts the events of each key
//! in its state, and publishes the count. What fails for good in a plugin stays a dead letter; `picky` takes an event that it
//! has refused once an operator has put it back to work. An upcaster lifts most of the events on their way to all of them, and none
//! takes one as it was published.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidegate::Blocking;
use tidegate::config::{ConsumerConfig, Dedup, Grants, PluginConfig, RetryPolicy, TopicConfig};

use crate::outbox::work::{NOTES, ORDERS, PARTITIONS, PLAIN, Trouble, create_topics, spread};
use crate::place::Place;

/// What `counter` publishes.
pub const COUNTS: &str = "counts";
/// What `merged` publishes.
pub const TOTALS: &str = "totals";
/// What `picky` publishes.
pub const PICKED: &str = "picked";

/// The guests that take turns, see `tests/guests`.
pub const VERSIONS: [&str; 2] = ["counter", "counter_v2"];

/// A consumer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reader {
    pub name: &'static str,
    pub topics: &'static [&'static str],
    /// What it publishes to.
    pub out: &'static str,
}

pub const COUNTER: Reader = Reader { name: "counter", topics: &[ORDERS], out: COUNTS };
pub const MERGED: Reader = Reader { name: "merged", topics: &[NOTES, COUNTS], out: TOTALS };
pub const PICKY: Reader = Reader { name: "picky", topics: &[PLAIN], out: PICKED };

/// All consumers, each behind those whose events it reads.
pub const READERS: [&Reader; 3] = [&COUNTER, &MERGED, &PICKY];

/// What a consumer publishes for an event.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counted {
    /// The event's id.
    pub id: String,
    /// Its key.
    pub key: String,
    /// How many events of the key have taken effect, this one included.
    pub count: u64,
    /// The attempt that went well.
    pub attempt: u32,
    /// The plugin's version; of `picky` 2 for what was put back to work, and 1 for all else.
    pub version: u32,
}

/// What most of the events are lifted to.
pub const LIFTED: &str = "Crash.v2";

/// What `picky` says of an event that it doesn't take.
pub const REFUSED: &str = "refused";
/// What the plugins say of an event that they can't handle.
pub const TOLD_TO: &str = "told-to";

impl Reader {
    /// Whether a failure with such a code is what this consumer gives up an event for.
    pub fn gives_up(&self, id: &str, code: &str) -> bool {
        if *self == PICKY { is_refused(id) && code == REFUSED } else { is_poison(id) && code == TOLD_TO }
    }

    /// Whether an event takes effect without an operator.
    pub fn takes(&self, id: &str) -> bool {
        if *self == PICKY { !is_refused(id) } else { !is_poison(id) }
    }

    pub fn config(&self) -> ConsumerConfig {
        let retry = RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(10));
        ConsumerConfig::new(self.topics.iter().copied()).retry(retry)
    }

    /// The plugin that runs it.
    pub fn plugin(&self, place: &Place) -> PluginConfig {
        let faults = [
            // As it was published: it has to come lifted.
            (Trouble::None, json!({ "fail": "permanent" })),
            (Trouble::Transient, json!({ "fail": "transient", "until_attempt": 3 })),
            (Trouble::Trap, json!({ "fail": "trap", "until_attempt": 2 })),
            (Trouble::Permanent, json!({ "fail": "permanent" })),
        ];
        let faults: serde_json::Map<_, _> =
            faults.into_iter().map(|(trouble, fault)| (trouble.kind().to_owned(), fault)).collect();
        PluginConfig::new(component_file(place))
            .grants(Grants::nothing().publish(self.out).state())
            .settings(json!({ "topic": self.out, "faults": faults }).to_string())
    }
}

/// Whether `picky` refuses an event until it is put back to work.
pub fn is_refused(id: &str) -> bool {
    spread(id) % 32 == 8
}

/// Whether the plugins can't handle an event. What a plugin has published is never so: its id has more than one slash.
fn is_poison(id: &str) -> bool {
    id.matches('/').count() < 2 && Trouble::of(id) == Trouble::Permanent
}

/// The plugins' component, which changes its content.
pub fn component_file(place: &Place) -> PathBuf {
    place.directory().join("component.wasm")
}

/// Makes the topics, where they aren't there. What consumers publish has no window, so that what comes twice is there twice.
pub fn create_all_topics(bus: &Blocking) -> Result<()> {
    create_topics(bus)?;
    for reader in READERS {
        bus.create_topic(reader.out, TopicConfig::new(PARTITIONS).dedup(Dedup::new(Duration::ZERO, 0)))?;
    }
    Ok(())
}
