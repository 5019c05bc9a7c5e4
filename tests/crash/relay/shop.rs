//! The application's database, whichever it is.

use std::path::Path;

use anyhow::Result;
use tidegate::config::{AfterPublish, OutboxConfig};

/// The topic that the sales go to.
pub const TOPIC: &str = "sales";

/// The outbox's name.
pub const OUTBOX: &str = "shop";

/// An application's database. It lies in the directory of the run, or is named by a file there.
pub trait Shop: Sync {
    /// How its outbox is reached.
    fn config(&self, directory: &Path) -> OutboxConfig;

    /// Opens it.
    fn open(&self, directory: &Path) -> Result<Box<dyn Till>>;
}

/// A connection of the application.
pub trait Till {
    /// Makes a sale and its outbox row in one transaction, and commits it or rolls it back.
    fn sell(&mut self, id: &str, commits: bool) -> Result<()>;

    /// Ends when no connection of a process that was killed is left: what it had asked for may be done until then.
    fn alone(&mut self) -> Result<()>;

    /// The ids of all committed sales behind a number, with their number.
    fn sales(&mut self, after: i64) -> Result<Vec<(i64, String)>>;

    /// The ids of all outbox rows behind a position, with their position, in order.
    fn rows(&mut self, after: i64) -> Result<Vec<(i64, String)>>;

    /// Outbox rows that are not marked as published.
    fn unmarked(&mut self) -> Result<i64>;
}

/// The settings that the outbox is published with: rows stay, so that they can be compared.
pub fn settings(config: OutboxConfig) -> OutboxConfig {
    config.topic(TOPIC).after(AfterPublish::Keep).poll(std::time::Duration::from_millis(1))
}
