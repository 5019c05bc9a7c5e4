//! What the shop window shows of an order.

use serde::{Deserialize, Serialize};

/// How far an order is, as its customer sees it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is being worked on.
    Placed,
    /// It is paid for.
    Paid,
    /// It is on its way to the customer.
    Shipped,
    /// It is not shipped, and what was paid is paid back.
    Closed,
}

impl Status {
    /// What an event of this type makes of it; nothing where it says nothing to the customer.
    pub fn after(event_type: &str) -> Option<Self> {
        match event_type {
            "OrderPlaced.v1" => Some(Self::Placed),
            "PaymentTaken.v1" => Some(Self::Paid),
            "Shipped.v1" => Some(Self::Shipped),
            "OrderCancelled.v1" | "OrderRejected.v1" => Some(Self::Closed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn the_customer_sees_what_happened_last() {
        let seen = ["OrderPlaced.v1", "StockReserved.v1", "PaymentTaken.v1", "OrderRejected.v1"];
        let last = seen.iter().filter_map(|event| Status::after(event)).next_back();
        assert_eq!(last, Some(Status::Closed));
    }
}
