//! An order, in both versions in which it is placed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most pieces of an article in one order.
const QUANTITY_MAX: u32 = 1_000;

/// The highest price of a piece, in cents.
const CENTS_MAX: u64 = 100_000_000;

/// An order as `PlaceOrder.v2` has it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    /// Who ordered.
    pub customer: String,
    /// Where it goes.
    pub address: String,
    /// Which article.
    pub sku: String,
    /// How many pieces.
    pub quantity: u32,
    /// What a piece costs, in hundredths of the currency.
    pub cents: u64,
    /// The currency, by ISO 4217.
    pub currency: String,
}

/// An order as `PlaceOrder.v1` had it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct OrderV1 {
    /// Who ordered.
    pub customer: String,
    /// Where it goes.
    pub address: String,
    /// Which article.
    pub sku: String,
    /// How many pieces.
    pub quantity: u32,
    /// What a piece costs, in euros.
    pub price: f64,
}

/// Why something is no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonsense(String);

impl fmt::Display for Nonsense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Nonsense {}

impl Order {
    /// Whether it can be placed.
    ///
    /// # Errors
    ///
    /// What about it makes no sense.
    pub fn check(&self) -> Result<(), Nonsense> {
        let Self { quantity, cents, .. } = self;
        if !(1..=QUANTITY_MAX).contains(quantity) {
            return Err(Nonsense(format!("an order has 1 to {QUANTITY_MAX} pieces, not {quantity}")));
        }
        if *cents > CENTS_MAX {
            return Err(Nonsense(format!("a piece costs at most {CENTS_MAX} cents, not {cents}")));
        }
        Ok(())
    }

    /// What it comes to. The bounds keep it far from an overflow.
    pub fn total_cents(&self) -> u64 {
        self.cents.saturating_mul(u64::from(self.quantity))
    }
}

/// The same order in the later version.
impl TryFrom<OrderV1> for Order {
    type Error = Nonsense;

    fn try_from(order: OrderV1) -> Result<Self, Nonsense> {
        let OrderV1 { customer, address, sku, quantity, price } = order;
        let nonsense = || Nonsense(format!("a price of {price} makes no sense"));
        let hundredths = (price * 100.0).round();
        if !(0.0..=1e12).contains(&hundredths) {
            return Err(nonsense());
        }
        // Within the bounds a whole number is written without a fraction, so that its text is that of an integer.
        let cents = format!("{hundredths:.0}").parse().map_err(|_| nonsense())?;
        Ok(Self { customer, address, sku, quantity, cents, currency: "EUR".to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(price: f64) -> OrderV1 {
        OrderV1 { customer: "c".into(), address: "a".into(), sku: "teapot".into(), quantity: 3, price }
    }

    #[test]
    fn an_order_of_the_first_version_costs_the_same_in_the_second() {
        for (price, cents) in [(0.0, 0), (0.29, 29), (1.1, 110), (12.5, 1250)] {
            let order = Order::try_from(first(price)).unwrap();
            assert_eq!((order.cents, order.total_cents(), &*order.currency), (cents, 3 * cents, "EUR"));
        }
        for price in [-0.01, f64::NAN, f64::INFINITY] {
            assert!(Order::try_from(first(price)).is_err(), "{price}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        let order = Order::try_from(first(1.0)).unwrap();
        assert_eq!(order.check(), Ok(()));
        let none = Order { quantity: 0, ..order.clone() }.check().unwrap_err();
        assert!(none.to_string().contains("not 0"), "{none}");
        assert!(Order { cents: u64::MAX, ..order }.check().is_err());
    }
}
