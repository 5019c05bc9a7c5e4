//! What is on the shelves, article by article: the key of all its events is the article.
//!
//! It reads `StockReceived.v1`, `ReserveStock.v1` and `ReleaseStock.v1`, and answers in the topic `outcomes`. State:
//! `shelf/ARTICLE`, and `reserved/ARTICLE/ORDER` with the pieces that an order has reserved. It doesn't look for events that come
//! twice: each takes effect once, and that is the host's affair. A reservation is kept because it has to be given back, and
//! because a release may come for what was refused.

use serde::{Deserialize, Serialize};
use shop_rules::Shelf;
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing};

/// What is read of an event: whose pieces, and how many.
#[derive(Deserialize)]
pub struct Pieces {
    #[serde(default)]
    order: String,
    quantity: u32,
}

/// What is told of a shelf.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Left {
    /// Pieces that nobody has reserved.
    pub left: u64,
}

/// The consumer.
#[derive(Default)]
pub struct ShopInventory;

impl Consumer for ShopInventory {
    const NAME: &'static str = "shop-inventory";
    const EVENT_TYPES: &'static [&'static str] = &["StockReceived.v1", "ReserveStock.v1", "ReleaseStock.v1"];
    const PUBLISHES: &'static [&'static str] = &["outcomes"];
    const USES_STATE: bool = true;
    type Data = Pieces;

    fn handle(&mut self, delivery: &Delivery<Pieces>, host: &mut dyn Host) -> Result<(), Failure> {
        let sku = delivery.event.key();
        let Pieces { order, quantity } = &delivery.event.data;
        let on_shelf = format!("shelf/{sku}");
        let reserved = format!("reserved/{sku}/{order}");
        let mut shelf: Shelf = host.get_json(&on_shelf)?.unwrap_or_default();
        let outcome = match delivery.event.event_type.as_str() {
            "ReserveStock.v1" => match shelf.take(*quantity) {
                Ok(()) => {
                    host.set_json(&reserved, quantity)?;
                    "StockReserved.v1"
                }
                Err(_) => "StockRefused.v1",
            },
            "ReleaseStock.v1" => {
                shelf.put(host.get_json(&reserved)?.unwrap_or_default());
                host.delete(reserved.as_bytes())?;
                "StockReleased.v1"
            }
            _ => {
                shelf.put(u64::from(*quantity));
                "StockCounted.v1"
            }
        };
        host.set_json(&on_shelf, &shelf)?;
        Ok(host.publish("outcomes", Outgoing::new(outcome).subject(sku).json(&Left { left: shelf.left })?)?)
    }
}

tidegate_plugin::export!(ShopInventory);

#[cfg(test)]
mod tests {
    use tidegate_plugin::serde_json::json;
    use tidegate_plugin::testing::{FakeHost, delivery};

    use super::*;

    /// Tells the inventory something, and returns what it answers.
    fn tell(host: &mut FakeHost, event: &str, order: &str, quantity: u32) -> (String, u64) {
        let event = Outgoing::new(event).subject("teapot");
        let event = event.json(&json!({ "order": order, "quantity": quantity })).unwrap();
        host.deliver(&mut ShopInventory, delivery(event)).unwrap();
        let outcome = host.published.pop().unwrap();
        (outcome.event.event_type.clone(), outcome.json::<Left>().left)
    }

    #[test]
    fn stock_is_reserved_as_long_as_there_is_some_and_given_back_once() {
        let mut host = FakeHost::new::<ShopInventory>();
        assert_eq!(tell(&mut host, "StockReceived.v1", "", 5), ("StockCounted.v1".to_owned(), 5));
        assert_eq!(tell(&mut host, "ReserveStock.v1", "17", 3), ("StockReserved.v1".to_owned(), 2));
        assert_eq!(tell(&mut host, "ReserveStock.v1", "18", 3), ("StockRefused.v1".to_owned(), 2));
        assert_eq!(tell(&mut host, "ReleaseStock.v1", "18", 3), ("StockReleased.v1".to_owned(), 2));
        assert_eq!(tell(&mut host, "ReleaseStock.v1", "17", 3), ("StockReleased.v1".to_owned(), 5));
        assert_eq!(tell(&mut host, "ReleaseStock.v1", "17", 3), ("StockReleased.v1".to_owned(), 5));
    }
}
