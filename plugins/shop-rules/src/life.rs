//! How far an order may go.

use serde::{Deserialize, Serialize};

/// Where an order is on its way.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Life {
    /// It was placed.
    Placed,
    /// It is to be shipped, which nothing stops any more.
    Confirmed,
    /// It was cancelled.
    Cancelled,
}

impl Life {
    /// Whether the customer can still cancel it.
    pub fn may_be_cancelled(self) -> bool {
        self != Self::Confirmed
    }

    /// Whether it can be shipped.
    pub fn may_be_shipped(self) -> bool {
        self != Self::Cancelled
    }
}

#[cfg(test)]
mod tests {
    use super::Life;

    #[test]
    fn what_is_shipped_is_not_cancelled_and_what_is_cancelled_is_not_shipped() {
        assert!(Life::Placed.may_be_cancelled() && Life::Placed.may_be_shipped());
        assert!(!Life::Confirmed.may_be_cancelled() && !Life::Cancelled.may_be_shipped());
    }
}
