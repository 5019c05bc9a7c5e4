//! Transactions of an application's own tables and of events, beside plain publishers and a consumer.

pub mod account;
mod audit;
pub mod load;
mod orders;
mod scenario;
mod seen;
pub mod work;

pub use scenario::Outbox;
