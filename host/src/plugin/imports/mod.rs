//! The contract's imports: thin adapters onto the delivery's context, which knows no version of the contract.

mod config;
mod context;
mod logging;
mod publisher;
mod state;
mod timers;
pub(super) mod types;

/// A bound as the contract tells it to a guest.
fn bound(max: usize) -> u32 {
    u32::try_from(max).unwrap_or(u32::MAX)
}
