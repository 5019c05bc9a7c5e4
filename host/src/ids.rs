//! Numbers that stand for things, each of a type of its own.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A topic's number within its bus: never used again, even when the topic is gone.
    TopicId
}
id! {
    /// A consumer's number within its bus: never used again, even when the consumer is forgotten.
    ConsumerId
}

/// A lane: one consumer on one partition number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId {
    /// The consumer.
    pub consumer: ConsumerId,
    /// The partition number, the same in each of the consumer's topics.
    pub partition: u32,
}
