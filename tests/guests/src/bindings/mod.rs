//! Generated from `wit/`; `plugin-sdk/tests/bindings.rs` holds them true.

pub mod other_world;
pub mod wasi_user;
