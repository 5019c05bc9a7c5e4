//! Ships what was ordered: for each `Ship.v1` a parcel, which is a `Shipped.v1` in the topic `outcomes`.
//!
//! Its first release fails at some addresses, each time: see [`label`].

use serde::{Deserialize, Serialize};
use shop_rules::{Order, Release, label};
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing};

const RELEASE: Release = if cfg!(feature = "v2") { Release::Second } else { Release::First };

/// A parcel.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Parcel {
    /// What is in it.
    pub sku: String,
    /// How many pieces of that.
    pub quantity: u32,
    /// What is printed on it.
    pub label: String,
}

/// The consumer.
#[derive(Default)]
pub struct ShopShipping;

impl Consumer for ShopShipping {
    const NAME: &'static str = "shop-shipping";
    const EVENT_TYPES: &'static [&'static str] = &["Ship.v1"];
    const PUBLISHES: &'static [&'static str] = &["outcomes"];
    type Data = Order;

    fn handle(&mut self, delivery: &Delivery<Order>, host: &mut dyn Host) -> Result<(), Failure> {
        let Order { address, sku, quantity, .. } = &delivery.event.data;
        let parcel =
            Parcel { sku: sku.clone(), quantity: *quantity, label: label(RELEASE, address).to_owned() };
        let shipped = Outgoing::new("Shipped.v1").subject(delivery.event.key()).json(&parcel)?;
        Ok(host.publish("outcomes", shipped)?)
    }
}

tidegate_plugin::export!(
    ShopShipping,
    version = if cfg!(feature = "v2") { "0.2.0" } else { env!("CARGO_PKG_VERSION") }
);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{FakeHost, delivery};

    use super::*;

    #[test]
    fn a_parcel_has_what_was_ordered_and_goes_by_the_key_of_its_order() {
        let order = Order {
            customer: "c4".to_owned(),
            address: "Mill Lane 4, Hampton Lucy, Warwick".to_owned(),
            sku: "teapot".to_owned(),
            quantity: 2,
            cents: 1250,
            currency: "EUR".to_owned(),
        };
        let mut host = FakeHost::new::<ShopShipping>();
        let ship = Outgoing::new("Ship.v1").subject("17").json(&order).unwrap();
        host.deliver(&mut ShopShipping, delivery(ship)).unwrap();
        let [shipped] = &host.published[..] else { panic!("{:?}", host.published) };
        assert_eq!(shipped.event.subject.as_deref(), Some("17"));
        let label = "Mill Lane 4, Hampton Luc".to_owned();
        assert_eq!(shipped.json::<Parcel>(), Parcel { sku: "teapot".to_owned(), quantity: 2, label });
    }
}
