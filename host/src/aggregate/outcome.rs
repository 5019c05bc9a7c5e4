//! What becomes of a command.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::handler::Failure;
use crate::limits::{
    FAILURE_CODE_BYTES_MAX, FAILURE_MESSAGE_BYTES_MAX, REJECTION_DATA_BYTES_MAX, REJECTION_DATA_DEPTH_MAX,
};

/// What an aggregate has made of a command, see [`Bus::execute`](crate::Bus::execute).
///
/// ```
/// use tidegate::{Outcome, Rejection};
///
/// fn tell(outcome: &Outcome) -> String {
///     match outcome {
///         Outcome::Accepted { version, .. } => format!("done, version {version}"),
///         Outcome::Rejected(rejection) => format!("no: {}", rejection.message),
///         other => format!("{other:?}"),
///     }
/// }
/// assert_eq!(tell(&Outcome::Rejected(Rejection::new("overdrawn", "there are 5 left"))), "no: there are 5 left");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// It took effect.
    Accepted {
        /// The aggregate's version afterwards: the number of its last event.
        version: u64,
        /// How many events came of it. A command may be right and change nothing.
        events: u64,
    },
    /// It was turned down, and changed nothing.
    Rejected(Rejection),
}

/// The type of the events that tell of rejections, see [`rejections`](crate::config::AggregateConfig::rejections). Such an event has
/// the key of the command and its id as `causationid`. Its data say of which command of which aggregate, at which version, and have
/// the rejection's `code`, `message` and `data`.
pub const REJECTED: &str = "tidegate.rejected.v1";

/// Why a command was turned down.
///
/// ```
/// use tidegate::Rejection;
///
/// let overdrawn = Rejection::new("overdrawn", "the balance is 5").data(serde_json::json!({"balance": 5}));
/// assert_eq!(overdrawn.to_string(), "overdrawn: the balance is 5");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Rejection {
    /// A short word that stays the same for the same cause; at most 64 bytes.
    pub code: String,
    /// What is wrong, for people; at most 4 KiB.
    pub message: String,
    /// For programs; at most 4 KiB as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl Rejection {
    /// A rejection without data. Strings over their bounds are cut.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        let cut = |mut text: String, bytes_max| {
            text.truncate(text.floor_char_boundary(bytes_max));
            text
        };
        Self {
            code: cut(code.into(), FAILURE_CODE_BYTES_MAX),
            message: cut(message.into(), FAILURE_MESSAGE_BYTES_MAX),
            data: None,
        }
    }

    /// The same rejection with something for programs. What is larger than 4 KiB, or nested more than 100 times, fails the
    /// command's delivery.
    #[must_use]
    pub fn data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }

    /// What it weighs.
    pub(crate) fn bytes(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| data.to_string().len());
        self.code.len() + self.message.len() + data
    }

    /// Checks what it carries: whether it can be read back, and its size.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(data) = &self.data else { return Ok(()) };
        if !is_shallow(data) {
            let message = format!(
                "what the rejection carries is nested more than {REJECTION_DATA_DEPTH_MAX} times: `{self}`"
            );
            return Err(Failure::permanent("rejection-data", message));
        }
        let bytes = data.to_string().len();
        if bytes <= REJECTION_DATA_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the rejection carries {bytes} bytes of JSON, and may carry {REJECTION_DATA_BYTES_MAX}: `{self}`"
        );
        Err(Failure::permanent("rejection-size", message))
    }
}

/// Whether a value is nested no deeper than it may be. What writes and reads it calls itself for each level.
fn is_shallow(data: &Value) -> bool {
    let mut left = vec![(data, 0)];
    while let Some((value, depth)) = left.pop() {
        if depth > REJECTION_DATA_DEPTH_MAX {
            return false;
        }
        match value {
            Value::Array(items) => left.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(members) => left.extend(members.values().map(|member| (member, depth + 1))),
            _ => {}
        }
    }
    true
}
