//! Publishes a `ReceiptIssued.v1` to the topic `receipts` for every order, numbered without gaps.
//!
//! State: `issued` holds the number of receipts so far as JSON. State is scoped to a partition, so each has numbers of its
//! own, and a receipt's number begins with its partition.

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing};

/// Where the number of receipts is kept.
const ISSUED: &str = "issued";

/// What is read of an order.
#[derive(Deserialize)]
pub struct Order {
    order: u64,
    customer: String,
    total_cents: u64,
}

/// What a receipt says.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Receipt {
    /// Its number: the partition, and which receipt of the partition it is, from 1.
    pub number: String,
    /// The order's number.
    pub order: u64,
    /// Who ordered.
    pub customer: String,
    /// What it came to, in cents.
    pub total_cents: u64,
}

/// The consumer.
#[derive(Default)]
pub struct OrderReceipts;

impl Consumer for OrderReceipts {
    const NAME: &'static str = "order-receipts";
    const EVENT_TYPES: &'static [&'static str] = &["OrderPlaced.v1"];
    const PUBLISHES: &'static [&'static str] = &["receipts"];
    const USES_STATE: bool = true;
    type Data = Order;

    fn handle(&mut self, delivery: &Delivery<Order>, host: &mut dyn Host) -> Result<(), Failure> {
        let Order { order, customer, total_cents } = &delivery.event.data;
        // Count and receipt are kept together, or neither is: an attempt that fails leaves no gap.
        let issued = host.get_json::<u64>(ISSUED)?.unwrap_or_default() + 1;
        host.set_json(ISSUED, &issued)?;
        let receipt = Receipt {
            number: format!("{}-{issued}", delivery.partition),
            order: *order,
            customer: customer.clone(),
            total_cents: *total_cents,
        };
        // Under the order's key, so that whoever reads both topics gets the receipt behind its order.
        let event = Outgoing::new("ReceiptIssued.v1").subject(&receipt.number).key(delivery.event.key());
        host.publish("receipts", event.json(&receipt)?)?;
        Ok(())
    }
}

tidegate_plugin::export!(OrderReceipts);

#[cfg(test)]
mod tests {
    use tidegate_plugin::PublishError;
    use tidegate_plugin::testing::{FakeHost, delivery_of_json};

    use super::{OrderReceipts, Receipt};

    fn order(number: u64) -> String {
        format!(
            r#"{{"specversion": "1.0", "id": "request-{number}", "source": "/orders", "type": "OrderPlaced.v1",
                "subject": "{number}", "data": {{"order": {number}, "customer": "c", "total_cents": 250, "items": []}}}}"#
        )
    }

    #[test]
    fn receipts_are_numbered_without_gaps() {
        let mut host = FakeHost::new::<OrderReceipts>();
        for number in [7, 9] {
            host.deliver(&mut OrderReceipts, delivery_of_json(&order(number))).unwrap();
        }
        host.fail_next_publish(PublishError::NotGranted { topic: "receipts".to_owned() });
        host.deliver(&mut OrderReceipts, delivery_of_json(&order(11))).unwrap_err();
        host.deliver(&mut OrderReceipts, delivery_of_json(&order(12))).unwrap();
        let partition = delivery_of_json(&order(7)).partition;
        let expected = [(7, 1), (9, 2), (12, 3)].map(|(order, number)| Receipt {
            number: format!("{partition}-{number}"),
            order,
            customer: "c".to_owned(),
            total_cents: 250,
        });
        let receipts: Vec<Receipt> = host.published.iter().map(|published| published.json()).collect();
        assert_eq!(receipts, expected);
    }

    #[test]
    fn a_receipt_keeps_the_key_of_its_order() {
        let mut host = FakeHost::new::<OrderReceipts>();
        host.deliver(&mut OrderReceipts, delivery_of_json(&order(7))).unwrap();
        let [published] = &host.published[..] else { panic!("{:?}", host.published) };
        assert_eq!(published.topic, "receipts");
        assert_eq!(published.event.extensions, [("partitionkey".to_owned(), "7".into())]);
    }

    #[test]
    fn an_order_without_its_total_is_refused_with_the_path() {
        let mut host = FakeHost::new::<OrderReceipts>();
        let order = order(7).replace("total_cents", "total");
        let failure = host.deliver(&mut OrderReceipts, delivery_of_json(&order)).unwrap_err();
        assert!(!failure.is_transient(), "{failure}");
        assert!(failure.reason().message.contains("total_cents"), "{failure}");
        assert!(host.published.is_empty() && host.state.is_empty());
    }
}
