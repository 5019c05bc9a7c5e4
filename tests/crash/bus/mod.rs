//! A whole bus: transactions and publishers, plugins that are replaced all the time, a native consumer, dead letters and an
//! operator who puts them back to work.

mod account;
mod effects;
mod load;
mod scenario;
mod sources;
mod work;

pub use scenario::LoadedBus;
