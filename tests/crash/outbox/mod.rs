//! Transactions of an application's own tables and of events, beside plain publishers and a consumer.

mod account;
mod audit;
mod load;
mod orders;
mod scenario;
mod seen;
mod work;

pub use scenario::Outbox;
