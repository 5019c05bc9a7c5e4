#![doc = include_str!("../README.md")]

mod aggregate;
mod attribute;
mod consumer;
mod data;
mod error;
mod event;
mod export;
mod export_upcaster;
mod failure;
mod host;
mod json_path;
mod log;
mod outgoing;
mod projection;
mod record;
mod refusal;
mod saga;
mod timestamp;
mod upcaster;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

// Generated from `wit/v0`; `tests/bindings.rs` holds them true to the contract.
#[cfg(target_arch = "wasm32")]
#[rustfmt::skip]
#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, unsafe_code, unused_qualifications)]
pub mod aggregate_bindings;
#[cfg(target_arch = "wasm32")]
#[rustfmt::skip]
#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, unsafe_code, unused_qualifications)]
pub mod bindings;
#[cfg(target_arch = "wasm32")]
#[rustfmt::skip]
#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, unsafe_code, unused_qualifications)]
pub mod projection_bindings;
#[cfg(target_arch = "wasm32")]
#[rustfmt::skip]
#[doc(hidden)]
#[allow(clippy::all, clippy::pedantic, clippy::unwrap_used, missing_docs, unsafe_code, unused_qualifications)]
pub mod upcaster_bindings;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod aggregate_wasm;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod projection_wasm;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod upcaster_wasm;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod wasm;
#[cfg(target_arch = "wasm32")]
mod words;

pub use aggregate::{Aggregate, CommandContext, Rejection};
pub use attribute::Attribute;
pub use consumer::Consumer;
pub use data::{Data, Raw};
pub use error::{PublishError, SettingsError, StateError, TimerError};
pub use event::{Delivery, Event};
pub use failure::{Failure, Reason};
pub use host::{Entry, Host};
pub use log::Level;
pub use outgoing::Outgoing;
pub use projection::{Projection, Query, concatenate};
pub use refusal::Refusal;
pub use saga::{Command, REJECTED, Saga, SagaConsumer, SagaContext, Step};
pub use timestamp::Timestamp;
pub use upcaster::{IntoLifted, Lifted, Lifts, Settings, Upcaster};

pub use serde;
pub use serde_json;
