//! What the shop window shows: how far each order is, and what is left of each article.
//!
//! It reads the topics `orders`, `outcomes` and `order-results`. State: `order/ORDER` with a [`Status`], and `stock/ARTICLE` with a
//! number, each in the lane of its key. Questions are `order` with an order and that as its key, and `orders` and `stock` for all.

use serde::Deserialize;
use shop_rules::Status;
use tidegate_plugin::serde::de::DeserializeOwned;
use tidegate_plugin::serde_json::from_slice;
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Projection, Query, Raw, Refusal};

/// What the inventory tells of a shelf.
#[derive(Deserialize)]
struct Left {
    left: u64,
}

/// The projection.
#[derive(Default)]
pub struct ShopWindow;

impl Consumer for ShopWindow {
    const NAME: &'static str = "shop-window";
    const USES_STATE: bool = true;
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let (event, key) = (&delivery.event, delivery.event.key());
        match event.event_type.as_str() {
            "StockCounted.v1" | "StockReserved.v1" | "StockReleased.v1" => {
                host.set_json(format!("stock/{key}"), &event.decode_data::<Left>()?.left)?;
            }
            event_type => {
                if let Some(status) = Status::after(event_type) {
                    host.set_json(format!("order/{key}"), &status)?;
                }
            }
        }
        Ok(())
    }
}

impl Projection for ShopWindow {
    fn answer(query: &Query, host: &dyn Host) -> Result<Raw, Refusal> {
        match query.question.as_str() {
            "order" => {
                let order: String = query.parameters()?;
                Ok(Raw::json(&host.get_json::<Status>(format!("order/{order}"))?)?)
            }
            "orders" => Ok(Raw::json(&all::<Status>("order/", host)?)?),
            "stock" => Ok(Raw::json(&all::<u64>("stock/", host)?)?),
            _ => Err(query.unknown()),
        }
    }
}

/// All entries of a kind that the lane has: the answers of several lanes are put together.
fn all<T: DeserializeOwned>(prefix: &str, host: &dyn Host) -> Result<Vec<(String, T)>, Refusal> {
    let entries = host.scan_prefix(prefix)?.into_iter().map(|(key, value)| {
        let key = String::from_utf8_lossy(&key[prefix.len()..]).into_owned();
        Ok((key, from_slice(&value).map_err(|error| Refusal::new("bad-state", error))?))
    });
    entries.collect()
}

tidegate_plugin::export_projection!(ShopWindow);

#[cfg(test)]
mod tests {
    use tidegate_plugin::Outgoing;
    use tidegate_plugin::serde_json::json;
    use tidegate_plugin::testing::{FakeHost, delivery};

    use super::*;

    #[test]
    fn it_shows_what_happened_last() {
        let mut host = FakeHost::new::<ShopWindow>();
        let mut tell = |event: &str, key: &str| {
            let event = Outgoing::new(event).subject(key).json(&json!({ "left": 3 })).unwrap();
            host.deliver(&mut ShopWindow, delivery(event)).unwrap();
        };
        for event in
            ["OrderPlaced.v1", "PaymentTaken.v1", "OrderConfirmed.v1", "Shipped.v1", "OrderCompleted.v1"]
        {
            tell(event, "17");
        }
        tell("StockReserved.v1", "teapot");
        let order = Query::new("order").with(&"17").unwrap();
        assert_eq!(host.ask::<ShopWindow>(&order).unwrap(), Raw::json(&Status::Shipped).unwrap());
        let all = host.ask::<ShopWindow>(&Query::new("stock")).unwrap();
        assert_eq!(all, Raw::json(&[("teapot", 3)]).unwrap());
        assert_eq!(host.ask::<ShopWindow>(&Query::new("prices")).unwrap_err().code, "unknown-question");
    }
}
