//! An outbox in a database of `PostgreSQL`. The one place that names tokio-postgres.

mod session;
mod store;
mod url;

pub(super) use store::Postgres;

/// See [`POSTGRES_TABLES`](super::POSTGRES_TABLES).
pub const TABLES: &str = include_str!("../postgres.sql");
