//! From which version of an event type to which.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::schema::{SchemaError, VersionedType};

/// A lift: from one version of an event type to a later one of the same subject.
///
/// ```
/// use tidegate::upcast::{Lift, LiftError};
///
/// let lift = Lift::new("OrderPlaced.v1", "OrderPlaced.v2")?;
/// assert_eq!((lift.from(), lift.to()), ("OrderPlaced.v1", "OrderPlaced.v2"));
/// assert!(matches!(Lift::new("OrderPlaced.v2", "OrderPlaced.v1"), Err(LiftError::NotLater { .. })));
/// # Ok::<(), LiftError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Types")]
pub struct Lift {
    from: String,
    to: String,
}

/// A lift that comes from outside.
#[derive(Deserialize)]
struct Types {
    from: String,
    to: String,
}

impl TryFrom<Types> for Lift {
    type Error = LiftError;

    fn try_from(types: Types) -> Result<Self, LiftError> {
        Self::new(&types.from, &types.to)
    }
}

impl Lift {
    /// A lift between two event types that carry their version.
    ///
    /// # Errors
    ///
    /// One of them has no version, they differ in more than that, or the second one isn't the later one.
    pub fn new(from: &str, to: &str) -> Result<Self, LiftError> {
        let (older, later): (VersionedType, VersionedType) = (from.parse()?, to.parse()?);
        let (from, to) = (older.to_string(), later.to_string());
        if older.subject() != later.subject() {
            return Err(LiftError::OtherSubject { from, to });
        }
        if older.version() >= later.version() {
            return Err(LiftError::NotLater { from, to });
        }
        Ok(Self { from, to })
    }

    /// The event type that is lifted.
    pub fn from(&self) -> &str {
        &self.from
    }

    /// The event type that comes of it.
    pub fn to(&self) -> &str {
        &self.to
    }
}

impl fmt::Display for Lift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` to `{}`", self.from, self.to)
    }
}

/// Why lifts can't be those of a bus.
///
/// ```
/// use tidegate::upcast::{Lift, LiftError};
///
/// let error = Lift::new("OrderPlaced.v1", "OrderShipped.v2").unwrap_err();
/// assert!(matches!(error, LiftError::OtherSubject { .. }));
/// ```
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LiftError {
    /// An event type without a version.
    #[error("a lift leads from one version of an event type to another: {0}")]
    Unversioned(#[from] SchemaError),
    /// The two types are not versions of one.
    #[error(
        "a lift from `{from}` to `{to}` leads to another event type: it may lead to a later version alone"
    )]
    OtherSubject {
        /// The type that would be lifted.
        from: String,
        /// The type that would come of it.
        to: String,
    },
    /// The second version is not the later one, so that lifts could go round in circles.
    #[error("a lift from `{from}` to `{to}` doesn't lead to a later version")]
    NotLater {
        /// The type that would be lifted.
        from: String,
        /// The type that would come of it.
        to: String,
    },
    /// There would be two lifts of one type.
    #[error("`{from}` is lifted by upcaster `{upcaster}` already, and an event type has one lift")]
    Taken {
        /// The type.
        from: String,
        /// The upcaster that lifts it.
        upcaster: String,
    },
    /// An upcaster without a lift does nothing.
    #[error("it names no lift")]
    Nothing,
    /// An upcaster has too many lifts.
    #[error("it names {count} lifts, more than the {max} that an upcaster has: make it several")]
    TooMany {
        /// How many.
        count: usize,
        /// The bound.
        max: usize,
    },
    /// It would take too many lifts, one after the other, to come to the latest version.
    #[error(
        "`{from}` would be lifted more than {max} times in a row: lift old versions to the latest one at once"
    )]
    ChainTooLong {
        /// The type at its beginning.
        from: String,
        /// The bound.
        max: usize,
    },
}
