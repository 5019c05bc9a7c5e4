//! `tidegate outbox`.

#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
mod commands;
#[cfg(not(any(feature = "outbox-sqlite", feature = "outbox-postgres")))]
mod missing;

#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
pub use commands::outbox;
#[cfg(not(any(feature = "outbox-sqlite", feature = "outbox-postgres")))]
pub use missing::outbox;
