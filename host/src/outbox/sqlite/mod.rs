//! An outbox in a file of `SQLite`. The one place that names rusqlite.

mod calls;
mod store;
mod worker;

pub(super) use store::Sqlite;

/// See [`SQLITE_TABLES`](super::SQLITE_TABLES).
pub const TABLES: &str = include_str!("../sqlite.sql");
