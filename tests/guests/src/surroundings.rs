use serde::{Deserialize, Serialize};

/// What `wasi_user` publishes for each event, as type `Surroundings.v1`: all that WASI told it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Surroundings {
    /// The delivery's time, in microseconds since 1970: what the clocks should agree with.
    pub now: i64,
    /// The wall clock's seconds since 1970.
    pub wall_clock_seconds: u64,
    /// And nanoseconds.
    pub wall_clock_nanoseconds: u32,
    /// The monotonic clock, in nanoseconds.
    pub monotonic_clock: u64,
    /// 32 random bytes.
    pub random: Vec<u8>,
    /// A random number.
    pub random_u64: u64,
    /// The environment; should be empty.
    pub environment: Vec<(String, String)>,
    /// The arguments; should be empty.
    pub arguments: Vec<String>,
    /// The current folder; should be none.
    pub initial_cwd: Option<String>,
    /// The folders that it may open; should be none.
    pub directories: Vec<String>,
}
