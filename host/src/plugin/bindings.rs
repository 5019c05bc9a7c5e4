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

/// The world of upcasters. What it shares with the other one is that one's.
pub(super) mod upcaster {
    wasmtime::component::bindgen!({
        path: "../wit/v0",
        world: "upcaster",
        with: {
            "tidegate:plugin/types": super::tidegate::plugin::types,
            "tidegate:plugin/config": super::tidegate::plugin::config,
            "tidegate:plugin/logging": super::tidegate::plugin::logging,
        },
        imports: { default: trappable },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
