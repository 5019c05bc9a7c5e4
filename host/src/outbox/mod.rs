//! Outboxes: tables in an application's own `SQLite` or `PostgreSQL` database, whose rows become events of the bus.
//!
//! The application writes a row in the transaction that the event tells of. A relay, which
//! [`Bus::start_outbox`](crate::Bus::start_outbox) starts, publishes the rows in the order of their commits: each once,
//! whatever crashes in between. The repository's `docs/outbox.md` says how, what it costs and when to use it.
//!
//! An application whose data may lie in the bus's own file needs no outbox: see
//! [`Bus::transaction`](crate::Bus::transaction).
//!
//! Needs one of the cargo features `outbox-sqlite` and `outbox-postgres`, or `outboxes` for both.

mod desk;
mod error;
mod history;
mod ledger;
#[cfg(feature = "outbox-postgres")]
mod postgres;
mod relay;
mod roster;
mod row;
mod running;
#[cfg(feature = "outbox-sqlite")]
mod sqlite;
mod status;
mod step;
mod store;
mod view;

pub(crate) use desk::{adopt, inspect};
pub use desk::{create_tables, failed_rows, retry};
pub use error::OutboxError;
pub(crate) use roster::Roster;
pub(crate) use running::{Running, Setup};
pub use status::{Backlog, FailedRow, FailedRows, OutboxCounts, OutboxState, OutboxStatus};
pub(crate) use step::Crash;
pub use step::OutboxStep;
pub use store::DatabaseFault;

/// The SQL that makes the outbox of a `PostgreSQL` database, for an application's own migrations: run it in one
/// transaction. [`create_tables`] does that.
#[cfg(feature = "outbox-postgres")]
pub const POSTGRES_TABLES: &str = postgres::TABLES;

/// The SQL that makes the outbox of a `SQLite` database, for an application's own migrations: run it in one transaction.
/// [`create_tables`] does that.
#[cfg(feature = "outbox-sqlite")]
pub const SQLITE_TABLES: &str = sqlite::TABLES;
