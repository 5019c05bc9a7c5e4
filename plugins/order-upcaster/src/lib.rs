//! Lifts `OrderPlaced.v1`, whose price is a number of euros, to `OrderPlaced.v2`, whose price is a whole number of cents with its
//! currency.
//!
//! Settings: `currency`, in which the old prices were; by default `EUR`.

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Event, Lifts, Refusal, Settings, Upcaster};

/// The largest price in cents that a JSON number carries without loss.
const CENTS_MAX: f64 = 9_007_199_254_740_991.0;

/// An order as it was published at first.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct OrderV1 {
    /// Its number.
    pub order: String,
    /// What it costs, in euros.
    pub price: f64,
}

/// An order as it is published now.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct OrderV2 {
    /// Its number.
    pub order: String,
    /// What it costs.
    pub price: Price,
}

/// A price.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Price {
    /// The hundredths of the currency.
    pub cents: u64,
    /// The currency, by ISO 4217.
    pub currency: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnSettings {
    #[serde(default = "euro")]
    currency: String,
}

fn euro() -> String {
    "EUR".to_owned()
}

/// The upcaster.
pub struct OrderUpcaster;

impl Upcaster for OrderUpcaster {
    const NAME: &'static str = "order-upcaster";

    fn lifts(settings: &Settings) -> Result<Lifts, Refusal> {
        let OwnSettings { currency } = settings.read()?;
        Ok(Lifts::new().lift("OrderPlaced.v1", "OrderPlaced.v2", move |event: Event<OrderV1>| {
            let OrderV1 { order, price } = event.data;
            Ok(OrderV2 { order, price: Price { cents: cents(price)?, currency: currency.clone() } })
        }))
    }
}

/// A price in cents, to the nearest one: a fraction such as 0.29 has no exact number of its own.
fn cents(price: f64) -> Result<u64, Refusal> {
    let cents = (price * 100.0).round();
    if !(0.0..=CENTS_MAX).contains(&cents) {
        return Err(Refusal::new("bad-price", format_args!("a price of {price} makes no sense")));
    }
    // Within the bounds a whole number is written without a fraction, so that its text is that of an integer.
    format!("{cents:.0}").parse().map_err(|error| Refusal::new("bad-price", error))
}

tidegate_plugin::export_upcaster!(OrderUpcaster);

#[cfg(test)]
mod tests {
    use tidegate_plugin::serde_json::json;
    use tidegate_plugin::{Outgoing, testing};

    use super::{OrderUpcaster, OrderV1, OrderV2, Price};

    fn order(price: f64) -> Outgoing {
        let order = OrderV1 { order: "17".to_owned(), price };
        Outgoing::new("OrderPlaced.v1").subject("17").json(&order).unwrap()
    }

    #[test]
    fn a_price_becomes_cents_with_their_currency() {
        for (price, cents) in [(0.0, 0), (0.29, 29), (1.1, 110), (12.5, 1250), (1e6, 100_000_000)] {
            let lifted = testing::lift::<OrderUpcaster>(order(price)).unwrap();
            assert_eq!(lifted.event_type, "OrderPlaced.v2");
            let price = Price { cents, currency: "EUR".to_owned() };
            let expected = OrderV2 { order: "17".to_owned(), price };
            assert_eq!(lifted.decode::<OrderV2>().unwrap().data, expected);
        }
    }

    #[test]
    fn the_settings_name_another_currency() {
        let settings = json!({ "currency": "CHF" });
        let lifted = testing::lift_with::<OrderUpcaster>(&settings, order(2.0)).unwrap();
        assert_eq!(lifted.decode::<OrderV2>().unwrap().data.price.currency, "CHF");
        let wrong = json!({ "curency": "CHF" });
        let refusal = testing::lift_with::<OrderUpcaster>(&wrong, order(2.0)).unwrap_err();
        assert_eq!(refusal.code, "bad-settings");
    }

    #[test]
    fn a_price_that_makes_no_sense_is_refused() {
        for price in [-0.01, 1e18] {
            let refusal = testing::lift::<OrderUpcaster>(order(price)).unwrap_err();
            assert_eq!(refusal.code, "bad-price", "{price}");
        }
        let text = Outgoing::new("OrderPlaced.v1").json(&json!({"order": "17"})).unwrap();
        let refusal = testing::lift::<OrderUpcaster>(text).unwrap_err();
        assert!(refusal.code == "bad-data" && refusal.message.contains("price"), "{refusal}");
    }
}
