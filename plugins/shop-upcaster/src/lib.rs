//! Lifts `PlaceOrder.v1`, whose price is a number of euros, to `PlaceOrder.v2`, whose price is in cents with its currency.

use shop_rules::{Order, OrderV1};
use tidegate_plugin::{Event, Lifts, Refusal, Settings, Upcaster};

/// The upcaster.
pub struct ShopUpcaster;

impl Upcaster for ShopUpcaster {
    const NAME: &'static str = "shop-upcaster";

    fn lifts(_: &Settings) -> Result<Lifts, Refusal> {
        Ok(Lifts::new().lift("PlaceOrder.v1", "PlaceOrder.v2", |event: Event<OrderV1>| {
            Order::try_from(event.data).map_err(|why| Refusal::new("nonsense", why))
        }))
    }
}

tidegate_plugin::export_upcaster!(ShopUpcaster);

#[cfg(test)]
mod tests {
    use tidegate_plugin::serde_json::json;
    use tidegate_plugin::{Outgoing, testing};

    use super::*;

    fn placing(price: f64) -> Outgoing {
        let order =
            json!({ "customer": "c4", "address": "a", "sku": "teapot", "quantity": 2, "price": price });
        Outgoing::new("PlaceOrder.v1").subject("17").json(&order).unwrap()
    }

    #[test]
    fn an_order_of_the_first_version_is_the_same_order_in_the_second() {
        let lifted = testing::lift::<ShopUpcaster>(placing(12.5)).unwrap();
        assert_eq!(lifted.event_type, "PlaceOrder.v2");
        let order = lifted.decode::<Order>().unwrap().data;
        assert_eq!((order.quantity, order.cents, &*order.currency), (2, 1250, "EUR"));
        assert_eq!(testing::lift::<ShopUpcaster>(placing(-1.0)).unwrap_err().code, "nonsense");
    }
}
