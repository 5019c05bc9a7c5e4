//! Takes each order through stock, payment, confirmation and shipping, and undoes what was done where a step fails.
//!
//! An `OrderPlaced.v1` of the topic `orders` begins a saga, whose id is the order's. The confirmation is the step behind which
//! nothing can fail: up to it the customer may cancel. `order-results` hears of the end, by `OrderCompleted.v1` or
//! `OrderRejected.v1`.

use std::time::Duration;

use shop_rules::Order;
use tidegate_plugin::{Command, Event, Failure, Outgoing, Saga, SagaContext, Step, serde_json::json};

/// How long stock and payment may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// The saga.
pub struct ShopSaga;

impl Saga for ShopSaga {
    const NAME: &'static str = "shop-saga";
    const PUBLISHES: &'static [&'static str] =
        &["order-results", "payments", "saga-inbox", "shipping", "shop-requests", "stock"];
    const BEGINS: &'static [&'static str] = &["OrderPlaced.v1"];
    // The stock is keyed by the article.
    const INBOX: Option<&'static str> = Some("saga-inbox");
    type Data = Order;

    fn begin(event: &Event) -> Result<Option<Order>, Failure> {
        event.decode_data().map(Some)
    }

    fn steps() -> Vec<Step<Order>> {
        vec![
            // It does nothing, and is undone last: the customer hears of it when all else is undone.
            Self::step("accept").compensate(|_, saga| Ok(tell_of("OrderRejected.v1", saga))),
            Self::step("reserve-stock")
                .command(|order, saga| to_stock("ReserveStock.v1", order, saga))
                .succeeds_on("StockReserved.v1")
                .fails_on("StockRefused.v1")
                .times_out_after(PATIENCE)
                .compensate(|order, saga| to_stock("ReleaseStock.v1", order, saga))
                .compensated_on("StockReleased.v1"),
            Self::step("take-payment")
                .command(|order, saga| to_payments("TakePayment.v1", order, saga))
                .succeeds_on("PaymentTaken.v1")
                .fails_on("PaymentRefused.v1")
                .times_out_after(PATIENCE)
                .compensate(|order, saga| to_payments("RefundPayment.v1", order, saga))
                .compensated_on("PaymentRefunded.v1"),
            Self::step("confirm")
                .command(|_, saga| {
                    Ok(Command::to("shop-requests", Outgoing::new("ConfirmOrder.v1").subject(saga.id())))
                })
                .succeeds_on("OrderConfirmed.v1")
                .fails_on("ConfirmationRefused.v1"),
            Self::step("ship")
                .command(|order, saga| {
                    Ok(Command::to("shipping", Outgoing::new("Ship.v1").subject(saga.id()).json(order)?))
                })
                .succeeds_on("Shipped.v1")
                // What can't be shipped is looked at by a person: a time-out would pay back what may be on its way.
                .times_out_after(Duration::from_hours(7 * 24)),
            Self::step("complete").command(|_, saga| Ok(tell_of("OrderCompleted.v1", saga))),
        ]
    }
}

fn to_stock(command: &str, order: &Order, saga: &SagaContext<'_>) -> Result<Command, Failure> {
    let data = json!({ "order": saga.id(), "quantity": order.quantity });
    Ok(Command::to("stock", Outgoing::new(command).subject(&order.sku).json(&data)?))
}

fn to_payments(command: &str, order: &Order, saga: &SagaContext<'_>) -> Result<Command, Failure> {
    let data = json!({ "cents": order.total_cents(), "currency": order.currency });
    Ok(Command::to("payments", Outgoing::new(command).subject(saga.id()).json(&data)?))
}

fn tell_of(result: &str, saga: &SagaContext<'_>) -> Command {
    Command::to("order-results", Outgoing::new(result).subject(saga.id()))
}

tidegate_plugin::export_saga!(ShopSaga);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::SagaTest;

    use super::*;

    fn placed() -> SagaTest<ShopSaga> {
        let mut test = SagaTest::new();
        let order = Order {
            customer: "c4".to_owned(),
            address: "Mill Lane 4".to_owned(),
            sku: "teapot".to_owned(),
            quantity: 2,
            cents: 1250,
            currency: "EUR".to_owned(),
        };
        test.deliver(Outgoing::new("OrderPlaced.v1").subject("17").json(&order).unwrap()).unwrap();
        test
    }

    /// Answers the last command, which has to be this one.
    fn answer(test: &mut SagaTest<ShopSaga>, command: &str, outcome: &str) {
        let asked = test.published().pop().unwrap();
        assert_eq!(asked.event.event_type, command);
        test.answer(&asked, Outgoing::new(outcome).subject("17")).unwrap();
    }

    #[test]
    fn an_order_that_everybody_agrees_to_is_completed() {
        let mut test = placed();
        answer(&mut test, "ReserveStock.v1", "StockReserved.v1");
        answer(&mut test, "TakePayment.v1", "PaymentTaken.v1");
        answer(&mut test, "ConfirmOrder.v1", "OrderConfirmed.v1");
        answer(&mut test, "Ship.v1", "Shipped.v1");
        assert_eq!(test.commands(), ["OrderCompleted.v1"]);
        assert_eq!(test.state("17").unwrap(), "completed");
    }

    #[test]
    fn an_order_that_is_cancelled_in_time_gives_back_money_and_stock() {
        let mut test = placed();
        answer(&mut test, "ReserveStock.v1", "StockReserved.v1");
        answer(&mut test, "TakePayment.v1", "PaymentTaken.v1");
        answer(&mut test, "ConfirmOrder.v1", "ConfirmationRefused.v1");
        answer(&mut test, "RefundPayment.v1", "PaymentRefunded.v1");
        answer(&mut test, "ReleaseStock.v1", "StockReleased.v1");
        assert_eq!(test.commands(), ["OrderRejected.v1"]);
        assert_eq!(test.state("17").unwrap(), "compensated");
    }

    #[test]
    fn a_payment_that_nothing_is_heard_of_is_given_back() {
        let mut test = placed();
        answer(&mut test, "ReserveStock.v1", "StockReserved.v1");
        assert_eq!(test.commands(), ["TakePayment.v1"]);
        test.advance(PATIENCE).unwrap();
        answer(&mut test, "RefundPayment.v1", "PaymentRefunded.v1");
        answer(&mut test, "ReleaseStock.v1", "StockReleased.v1");
        assert_eq!(test.commands(), ["OrderRejected.v1"]);
    }
}
