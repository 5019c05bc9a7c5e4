//! Generated from `wit/` and the contract; `plugin-sdk/tests/bindings.rs` holds them true.

pub mod consumer;
pub mod other_world;
pub mod wasi_user;
