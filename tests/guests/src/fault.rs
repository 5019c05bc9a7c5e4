use serde::{Deserialize, Serialize};

/// A way for a delivery to go wrong. What it did before must leave no trace.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Fails transiently with code `told-to`.
    Transient,
    /// Fails permanently with code `told-to`.
    Permanent,
    /// Executes `unreachable`: a trap without a message.
    Trap,
    /// Panics with the message `told to panic`: a trap, and a line in the log.
    Panic,
    /// Never returns, and calls nothing.
    Spin,
    /// Never returns, and calls the host all the time.
    SpinInHost,
    /// Grows its memory until the host refuses, then traps.
    Grow,
    /// Calls itself until the stack is used up.
    Recurse,
}
