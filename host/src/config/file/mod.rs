//! The configuration file.

mod document;
mod error;
mod model;
mod outbox;
mod program;
mod schemas;
mod table;
mod upcaster;

pub use error::ConfigFileError;
pub use model::Config;
