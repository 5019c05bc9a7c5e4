/// How much a line in the host's log matters.
///
/// ```
/// use tidegate_plugin::{Host, Level, log};
///
/// fn tell(host: &mut dyn Host, magnitude: f64) {
///     let level = if magnitude >= 7.0 { Level::Warn } else { Level::Debug };
///     log!(host, level, "magnitude {magnitude}");
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Every step.
    Trace,
    /// For those who look for a fault.
    Debug,
    /// What an operator likes to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What has gone wrong.
    Error,
}

/// Writes a line to the host's log: `log!(host, Level::Info, "{} of {}", 1, 2)`.
#[macro_export]
macro_rules! log {
    ($host:expr, $level:expr, $($message:tt)+) => {
        $crate::Host::log($host, $level, &::std::format!($($message)+))
    };
}

/// Writes a line to the host's log at level `trace`.
#[macro_export]
macro_rules! trace {
    ($host:expr, $($message:tt)+) => { $crate::log!($host, $crate::Level::Trace, $($message)+) };
}

/// Writes a line to the host's log at level `debug`.
#[macro_export]
macro_rules! debug {
    ($host:expr, $($message:tt)+) => { $crate::log!($host, $crate::Level::Debug, $($message)+) };
}

/// Writes a line to the host's log at level `info`: `info!(host, "{} is new", event.id)`.
#[macro_export]
macro_rules! info {
    ($host:expr, $($message:tt)+) => { $crate::log!($host, $crate::Level::Info, $($message)+) };
}

/// Writes a line to the host's log at level `warn`.
#[macro_export]
macro_rules! warn {
    ($host:expr, $($message:tt)+) => { $crate::log!($host, $crate::Level::Warn, $($message)+) };
}

/// Writes a line to the host's log at level `error`.
#[macro_export]
macro_rules! error {
    ($host:expr, $($message:tt)+) => { $crate::log!($host, $crate::Level::Error, $($message)+) };
}
