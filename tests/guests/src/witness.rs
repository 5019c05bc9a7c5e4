use serde::{Deserialize, Serialize};

/// What `witness` publishes for each event, as type `Witness.v1`: all that it was told, and what it computed.
///
/// Two runs of the same attempt must publish the same, byte for byte.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Testimony {
    /// The event's id.
    pub id: String,
    /// The topic it came from.
    pub topic: String,
    /// The partition it came from.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
    /// When the log accepted it, in microseconds since 1970.
    pub appended: i64,
    /// The attempt.
    pub attempt: u32,
    /// When the first attempt was made, in microseconds since 1970.
    pub first_attempt: i64,
    /// Whether it was redriven.
    pub redriven: bool,
    /// The delivery's time, in microseconds since 1970.
    pub now: i64,
    /// The consumer's name.
    pub consumer: String,
    /// The plugin's version.
    pub version: String,
    /// The settings as they came.
    pub settings: String,
    /// 32 random bytes, and 32 more.
    pub random: [Vec<u8>; 2],
    /// The bits of a NaN that was computed from the random bytes, which differ between processors unless the host
    /// makes them the same.
    pub nan: u64,
    /// Deliveries that this instance has handled, this one included.
    pub handled: u64,
}
