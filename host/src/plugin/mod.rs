//! The plugin runtime: WebAssembly components as consumers and upcasters.
//!
//! The one place that names wasmtime. It never imports the log: it reads state through the delivery's
//! [`Context`](crate::effects::Context) and leaves effects there as data.
//!
//! A [`Runtime`] belongs to one bus. It loads components into [`Plugin`]s, which are checked in full before they are
//! handed out, and a plugin makes an instance for each lane that needs one.

mod aggregate;
mod bindings;
mod cache;
mod contract;
mod deadline;
mod description;
mod engine;
mod exports;
mod failure;
mod host;
mod imports;
mod instance;
mod joins;
mod limiter;
mod line;
mod load;
mod program;
mod queries;
mod record;
mod runtime;
mod structure;
mod ticker;
mod upcaster;
mod wasi;
mod worker;

#[cfg(test)]
mod tests;

pub(crate) use cache::component_hash;
pub(crate) use contract::VERSION as CONTRACT;
pub use load::LoadError;
pub(crate) use load::{LoadOptions, UpcasterOptions};
pub(crate) use program::Plugin;
pub use runtime::RuntimeError;
pub(crate) use runtime::{Runtime, RuntimeOptions};
