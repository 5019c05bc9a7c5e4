//! The configuration file.

mod document;
mod error;
mod model;
mod outbox;
mod program;
mod schemas;
mod table;

pub use error::ConfigFileError;
pub use model::Config;
