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
    // All that plugins of any world export, so that they share their words.
    inline: "
        package tidegate:host;
        world plugins {
            include tidegate:plugin/consumer@0.1.0;
            export tidegate:plugin/decider@0.1.0;
        }
    ",
    world: "tidegate:host/plugins",
    imports: { default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});

/// The world of upcasters. What it shares with that of consumers is that one's.
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

/// The world of projections. What it shares with that of consumers is that one's; it imports no more.
pub(super) mod projection {
    wasmtime::component::bindgen!({
        path: "../wit/v0",
        world: "projection",
        with: {
            "tidegate:plugin/types": super::tidegate::plugin::types,
            "tidegate:plugin/state": super::tidegate::plugin::state,
            "tidegate:plugin/context": super::tidegate::plugin::context,
            "tidegate:plugin/config": super::tidegate::plugin::config,
            "tidegate:plugin/logging": super::tidegate::plugin::logging,
        },
        imports: { default: trappable },
        exports: { default: async },
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}
