//! An application with a database of its own, and the relay of its outbox: each committed sale becomes one event, in the
//! order of the commits.

mod account;
mod load;
mod postgres;
mod shop;
mod sqlite;

pub use postgres::Postgres;
pub use sqlite::Sqlite;
