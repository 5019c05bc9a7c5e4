//! The contract's bindings, made of `wit/` when the host is built.
#![allow(
    missing_docs,
    unsafe_code,
    unused_qualifications,
    clippy::pedantic,
    reason = "generated: what it says stands in `wit/`"
)]

wasmtime::component::bindgen!({
    path: "../wit/v0",
    world: "consumer",
    imports: { default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
