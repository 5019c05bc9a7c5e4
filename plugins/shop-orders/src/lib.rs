//! The orders of the shop: placed once, cancelled while that is possible, and confirmed before they are shipped.
//!
//! Commands are `PlaceOrder.v1`, or `.v2` in the second release, and `CancelOrder.v1` of customers, and `ConfirmOrder.v1` of
//! the saga, each with the order as its key. Whether an order is cancelled in time is decided here, and nowhere else: a
//! cancellation and a confirmation that come at the same moment come here one after the other.

use serde::{Deserialize, Serialize};
use shop_rules::{Life, Order};
use tidegate_plugin::{Aggregate, CommandContext, Rejection};

/// What `PlaceOrder` has in this release.
#[cfg(not(feature = "v2"))]
type Placing = shop_rules::OrderV1;
#[cfg(feature = "v2")]
type Placing = Order;

/// The aggregate.
pub struct ShopOrders;

/// What can be asked of an order.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Command {
    /// Places it.
    #[cfg_attr(not(feature = "v2"), serde(rename = "PlaceOrder.v1"))]
    #[cfg_attr(feature = "v2", serde(rename = "PlaceOrder.v2"))]
    Place(Placing),
    /// Cancels it. The producers' connections overtake each other, so this may come before the order itself.
    #[serde(rename = "CancelOrder.v1")]
    Cancel,
    /// Says that it is about to be shipped.
    #[serde(rename = "ConfirmOrder.v1")]
    Confirm,
}

/// What happens to an order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "type", content = "data")]
pub enum Event {
    /// It was placed.
    #[serde(rename = "OrderPlaced.v1")]
    Placed(Order),
    /// It was cancelled.
    #[serde(rename = "OrderCancelled.v1")]
    Cancelled,
    /// It is shipped from now on.
    #[serde(rename = "OrderConfirmed.v1")]
    Confirmed,
    /// It can't be shipped: it was cancelled.
    #[serde(rename = "ConfirmationRefused.v1")]
    ConfirmationRefused,
}

impl Aggregate for ShopOrders {
    const NAME: &'static str = "shop-orders";
    /// Nothing, of an order that nobody has placed or cancelled.
    type State = Option<Life>;
    type Command = Command;
    type Event = Event;

    fn decide(
        life: &Option<Life>,
        command: &Command,
        context: &CommandContext<'_>,
    ) -> Result<Vec<Event>, Rejection> {
        let id = context.aggregate;
        match (command, *life) {
            (Command::Place(order), None) => {
                let order = Order::try_from(order.clone()).map_err(|why| Rejection::new("nonsense", why))?;
                order.check().map_err(|why| Rejection::new("nonsense", why))?;
                Ok(vec![Event::Placed(order)])
            }
            (Command::Place(_), Some(Life::Cancelled)) => {
                Err(Rejection::new("cancelled", format_args!("order `{id}` was cancelled")))
            }
            (Command::Place(_), Some(_)) => {
                Err(Rejection::new("placed-already", format_args!("order `{id}` was placed already")))
            }
            (Command::Cancel, Some(Life::Cancelled)) => Ok(Vec::new()),
            (Command::Cancel, life) if life.is_none_or(Life::may_be_cancelled) => Ok(vec![Event::Cancelled]),
            (Command::Cancel, _) => {
                Err(Rejection::new("too-late", format_args!("order `{id}` is being shipped")))
            }
            (Command::Confirm, None) => {
                Err(Rejection::new("unknown-order", format_args!("nobody has placed order `{id}`")))
            }
            // Asked again, it says the same again.
            (Command::Confirm, Some(life)) if life.may_be_shipped() => Ok(vec![Event::Confirmed]),
            (Command::Confirm, Some(_)) => Ok(vec![Event::ConfirmationRefused]),
        }
    }

    fn evolve(life: Option<Life>, event: &Event) -> Option<Life> {
        match event {
            Event::Placed(_) => Some(Life::Placed),
            Event::Cancelled => Some(Life::Cancelled),
            Event::Confirmed => Some(Life::Confirmed),
            Event::ConfirmationRefused => life,
        }
    }
}

tidegate_plugin::export_aggregate!(
    ShopOrders,
    version = if cfg!(feature = "v2") { "0.2.0" } else { env!("CARGO_PKG_VERSION") }
);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::given;

    use super::*;

    #[cfg(not(feature = "v2"))]
    fn placing(quantity: u32) -> Placing {
        shop_rules::OrderV1 {
            customer: "c4".to_owned(),
            address: "Mill Lane 4".to_owned(),
            sku: "teapot".to_owned(),
            quantity,
            price: 12.5,
        }
    }

    #[cfg(feature = "v2")]
    fn placing(quantity: u32) -> Placing {
        Order {
            customer: "c4".to_owned(),
            address: "Mill Lane 4".to_owned(),
            sku: "teapot".to_owned(),
            quantity,
            cents: 1250,
            currency: "EUR".to_owned(),
        }
    }

    fn placed() -> Event {
        Event::Placed(Order::try_from(placing(2)).unwrap())
    }

    #[test]
    fn an_order_is_placed_once_and_nonsense_never() {
        let place = Command::Place(placing(2));
        given::<ShopOrders>([]).when(&place).then([placed()]).when(&place).then_rejected("placed-already");
        given::<ShopOrders>([]).when(&Command::Place(placing(0))).then_rejected("nonsense");
    }

    #[test]
    fn a_cancellation_that_comes_before_its_order_is_remembered() {
        let cancelled = given::<ShopOrders>([]).when(&Command::Cancel).then([Event::Cancelled]);
        cancelled.when(&Command::Place(placing(2))).then_rejected("cancelled");
        given::<ShopOrders>([Event::Cancelled]).when(&Command::Cancel).then([]);
    }

    #[test]
    fn an_order_is_either_cancelled_or_shipped() {
        let confirmed = given::<ShopOrders>([placed()]).when(&Command::Confirm).then([Event::Confirmed]);
        confirmed.when(&Command::Cancel).then_rejected("too-late");
        let cancelled = given::<ShopOrders>([placed()]).when(&Command::Cancel).then([Event::Cancelled]);
        cancelled.when(&Command::Confirm).then([Event::ConfirmationRefused]);
        given::<ShopOrders>([placed(), Event::Confirmed]).when(&Command::Confirm).then([Event::Confirmed]);
        given::<ShopOrders>([]).when(&Command::Confirm).then_rejected("unknown-order");
    }
}
