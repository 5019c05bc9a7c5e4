//! What there is to see of an outbox.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// An outbox, as [`Bus::outboxes`](crate::Bus::outboxes) shows it.
///
/// ```
/// # fn show(status: &tidegate::outbox::OutboxStatus) {
/// match &status.backlog {
///     Some(backlog) => println!("{}: {} rows wait, {} failed", status.name, backlog.waiting, backlog.failed),
///     None => println!("{}: {}", status.name, status.trouble.as_deref().unwrap_or("just started")),
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Its name.
    pub name: String,
    /// The database, without what is secret.
    pub database: String,
    /// What its relay does.
    pub state: OutboxState,
    /// Why it can't publish, where it can't.
    pub trouble: Option<String>,
    /// The position of the last row that the bus has taken over; 0 where there is none.
    pub position: u64,
    /// What waits in the table; `None` where the database can't be asked.
    pub backlog: Option<Backlog>,
    /// What the relay has done since it was started.
    pub counts: OutboxCounts,
    /// When it last published something, since it was started.
    pub last_published: Option<Timestamp>,
}

/// What the relay of an outbox does.
///
/// ```
/// use tidegate::outbox::OutboxState;
///
/// fn is_alarming(state: OutboxState) -> bool {
///     matches!(state, OutboxState::Away | OutboxState::Refused)
/// }
/// assert!(!is_alarming(OutboxState::Idle));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OutboxState {
    /// It connects to the database.
    Starting,
    /// It has published all that it has seen, and looks again and again.
    Idle,
    /// It publishes.
    Working,
    /// The database can't be used, or the bus doesn't take anything; it tries again by itself.
    Away,
    /// The database is none that it may publish from: an operator has to act. It looks again by itself.
    Refused,
    /// It doesn't run in this process.
    Stopped,
}

/// What waits in an outbox.
///
/// ```
/// use std::time::Duration;
/// use tidegate::outbox::Backlog;
///
/// fn is_alarming(backlog: Backlog) -> bool {
///     backlog.failed > 0 || backlog.oldest > Duration::from_secs(60)
/// }
/// assert!(!is_alarming(Backlog::default()));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Backlog {
    /// Rows that are committed and not published yet, counted up to a million.
    pub waiting: u64,
    /// How long ago the first of them was written, by the database's clock; zero where there is none.
    #[serde(rename = "oldest_seconds", with = "crate::clock::seconds")]
    pub oldest: Duration,
    /// Rows that were set aside, counted up to a million.
    pub failed: u64,
}

/// What a relay has done since it was started.
///
/// ```
/// # fn show(status: &tidegate::outbox::OutboxStatus) {
/// let counts = status.counts;
/// println!("{} published, {} known before, {} set aside", counts.published, counts.duplicates, counts.set_aside);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OutboxCounts {
    /// Rows that were published.
    pub published: u64,
    /// Rows whose event the topic had already, by source and id: nothing was appended.
    pub duplicates: u64,
    /// Rows that were set aside.
    pub set_aside: u64,
    /// Kept rows that were removed for their age.
    pub purged: u64,
}

/// A row that is no event and was set aside.
///
/// ```
/// # fn show(rows: &[tidegate::outbox::FailedRow]) {
/// for row in rows {
///     println!("{} ({}): {}", row.position, row.id, row.failed);
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailedRow {
    /// Its position.
    pub position: u64,
    /// Its id.
    pub id: String,
    /// Why it was set aside.
    pub failed: String,
}

/// Which failed rows.
///
/// ```
/// use tidegate::outbox::FailedRows;
///
/// # fn choose(found: &[tidegate::outbox::FailedRow]) -> FailedRows {
/// let unknown_topics = found.iter().filter(|row| row.failed.contains("there is no topic"));
/// FailedRows::At(unknown_topics.map(|row| row.position).collect())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedRows {
    /// All of them.
    All,
    /// Those at these positions.
    At(Vec<u64>),
}
