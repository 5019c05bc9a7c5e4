//! Aggregates: commands by several clients at once, who give again what they got no answer to.

mod account;
mod load;
mod scenario;
mod work;

pub use scenario::Aggregates;
