//! A native consumer: what is known of each order, kept from the events of two topics.
//!
//! All it changes goes through its context, so it commits with the consumer's progress: a crash before the commit leaves
//! nothing, and the delivery is made again.

use std::future::ready;

use serde::{Deserialize, Serialize};
use tidegate::{Bus, Context, Delivery, Failure, Handler, ReadError};

/// The consumer's name.
pub const CONSUMER: &str = "order-status";

/// What is known of an order.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Status {
    /// Receipts that were issued for it. More than one would be a mistake that the customer pays for.
    pub receipts: u32,
    /// The number of the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// What is read of a `ReceiptIssued.v1`.
#[derive(Deserialize)]
struct Receipt {
    number: String,
    order: u64,
}

/// Reads `orders` and `receipts`. Both use the order's number as their key and have the same number of partitions, so a
/// lane gets an order before its receipt, and finds what it has kept of the order in its own state.
pub struct OrderStatus;

impl Handler for OrderStatus {
    fn handle(
        &self,
        delivery: &Delivery,
        context: &mut Context,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(take_note(delivery, context))
    }

    fn version(&self) -> String {
        "1".to_owned()
    }
}

fn take_note(delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
    match delivery.event.kind() {
        "OrderPlaced.v1" => set(context, delivery.event.key(), &Status::default()),
        "ReceiptIssued.v1" => {
            let Receipt { number, order } = delivery.event.data_as()?;
            let key = order.to_string();
            let stored = context.get(key.as_bytes())?.ok_or_else(|| {
                Failure::permanent(
                    "unknown-order",
                    format!("receipt {number} is for order {order}, which never came"),
                )
            })?;
            let before = parse(&stored)?;
            set(context, &key, &Status { receipts: before.receipts + 1, receipt: Some(number) })
        }
        // Types that come later are for consumers that know them.
        _ => Ok(()),
    }
}

fn set(context: &mut Context, key: &str, status: &Status) -> Result<(), Failure> {
    let json =
        serde_json::to_vec(status).map_err(|error| Failure::permanent("bad-state", error.to_string()))?;
    Ok(context.set(key.as_bytes(), &json)?)
}

fn parse(json: &[u8]) -> Result<Status, Failure> {
    serde_json::from_slice(json).map_err(|error| Failure::permanent("bad-state", error.to_string()))
}

/// What the consumer has kept of an order so far; it runs behind the log by some milliseconds. `partition` is that of the
/// order's events.
pub fn of_order(bus: &Bus, partition: u32, order: u64) -> Result<Status, ReadError> {
    let stored = bus.state(CONSUMER, partition)?.get(order.to_string().as_bytes())?;
    Ok(stored.and_then(|json| parse(&json).ok()).unwrap_or_default())
}
