//! Takes each order through stock, payment and shipping, and undoes what was done where a step fails.
//!
//! An `OrderPlaced.v1` of the topic `orders` begins a saga, whose id is the order's number. Commands go to the topics `stock`,
//! `payments` and `shipping`; their outcomes come from whatever topics the consumer reads. The stock is keyed by the product, so
//! its outcomes are sent on to the topic `order-saga`, where they have the order's key. Payments may be taken by an aggregate: that
//! it rejects a command is an outcome as well. `order-results` hears of the end:
//! `OrderConfirmed.v1` or `OrderRejected.v1`.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Command, Event, Failure, Outgoing, REJECTED, Saga, SagaContext, Step};

/// What is read of an order, and what its saga knows.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    /// Who ordered.
    pub customer: String,
    /// What.
    pub product: String,
    /// What it comes to, in cents.
    pub total_cents: u64,
    /// The receipt of the payment, once it is taken.
    #[serde(default)]
    pub receipt: Option<String>,
}

/// What is read of a payment that was taken.
#[derive(Deserialize)]
struct Payment {
    receipt: String,
}

/// The saga.
pub struct OrderSaga;

impl Saga for OrderSaga {
    const NAME: &'static str = "order-saga";
    const PUBLISHES: &'static [&'static str] =
        &["order-results", "order-saga", "payments", "shipping", "stock"];
    const BEGINS: &'static [&'static str] = &["OrderPlaced.v1"];
    const INBOX: Option<&'static str> = Some("order-saga");
    type Data = Order;

    fn begin(event: &Event) -> Result<Option<Order>, Failure> {
        event.decode_data().map(Some)
    }

    fn steps() -> Vec<Step<Order>> {
        let mut steps = vec![
            // It does nothing, and is undone last: the customer hears of it when all else is undone.
            Self::step("accept").compensate(|_, saga| Ok(tell_of("OrderRejected.v1", saga))),
            Self::step("reserve-stock")
                .command(|order, saga| to_stock("ReserveStock.v1", order, saga))
                .succeeds_on("StockReserved.v1")
                .fails_on("StockRefused.v1")
                .times_out_after(Duration::from_mins(10))
                .compensate(|order, saga| to_stock("ReleaseStock.v1", order, saga))
                .compensated_on("StockReleased.v1"),
            Self::step("take-payment")
                .command(|order, saga| to_payments("TakePayment.v1", order, saga))
                .succeeds_on_with("PaymentTaken.v1", |order, event| {
                    order.receipt = Some(event.decode_data::<Payment>()?.receipt);
                    Ok(())
                })
                .fails_on("PaymentRefused.v1")
                .fails_on(REJECTED)
                .times_out_after(Duration::from_mins(10))
                .compensate(|order, saga| to_payments("RefundPayment.v1", order, saga))
                .compensated_on("PaymentRefunded.v1")
                .compensation_fails_on(REJECTED)
                .compensation_attempts(3),
            Self::step("ship")
                .command(|_, saga| Ok(to_shipping("Ship.v1", saga)))
                .succeeds_on("Shipped.v1")
                .fails_on("ShippingRefused.v1")
                .times_out_after(Duration::from_hours(24))
                .compensate(|_, saga| Ok(to_shipping("CancelShipping.v1", saga)))
                .compensated_on("ShippingCancelled.v1"),
        ];
        // A later version has one more step: sagas that are under way take it as well.
        #[cfg(feature = "v2")]
        steps.push(Self::step("invoice").command(|_, saga| Ok(tell_of("InvoiceDue.v1", saga))));
        steps.push(Self::step("confirm").command(|_, saga| Ok(tell_of("OrderConfirmed.v1", saga))));
        steps
    }
}

fn to_stock(command: &str, order: &Order, saga: &SagaContext<'_>) -> Result<Command, Failure> {
    // The product's key, so that the stock of a product is worked on in order.
    Ok(Command::to("stock", Outgoing::new(command).subject(&order.product).json(saga.id())?))
}

fn to_payments(command: &str, order: &Order, saga: &SagaContext<'_>) -> Result<Command, Failure> {
    Ok(Command::to("payments", Outgoing::new(command).subject(saga.id()).json(order)?))
}

fn to_shipping(command: &str, saga: &SagaContext<'_>) -> Command {
    Command::to("shipping", Outgoing::new(command).subject(saga.id()))
}

fn tell_of(result: &str, saga: &SagaContext<'_>) -> Command {
    Command::to("order-results", Outgoing::new(result).subject(saga.id()))
}

#[cfg(not(feature = "v2"))]
tidegate_plugin::export_saga!(OrderSaga);
#[cfg(feature = "v2")]
tidegate_plugin::export_saga!(OrderSaga, version = "0.2.0");

#[cfg(test)]
mod tests {
    use tidegate_plugin::serde_json::json;
    use tidegate_plugin::testing::SagaTest;

    use super::*;

    fn placed() -> SagaTest<OrderSaga> {
        let mut test = SagaTest::new();
        let order = json!({ "customer": "c4", "product": "p3", "total_cents": 995 });
        test.deliver(Outgoing::new("OrderPlaced.v1").subject("17").json(&order).unwrap()).unwrap();
        test
    }

    /// Answers the last command, which has to be this one.
    fn answer(test: &mut SagaTest<OrderSaga>, command: &str, outcome: Outgoing) {
        let asked = test.published().pop().unwrap();
        assert_eq!(asked.event.event_type, command);
        test.answer(&asked, outcome.subject("17")).unwrap();
    }

    #[test]
    fn an_order_that_everybody_agrees_to_is_confirmed() {
        let mut test = placed();
        answer(&mut test, "ReserveStock.v1", Outgoing::new("StockReserved.v1"));
        let receipt = Outgoing::new("PaymentTaken.v1").json(&json!({ "receipt": "r9" })).unwrap();
        answer(&mut test, "TakePayment.v1", receipt);
        answer(&mut test, "Ship.v1", Outgoing::new("Shipped.v1"));
        assert_eq!(test.commands().last().unwrap(), "OrderConfirmed.v1");
        assert_eq!(test.state("17").unwrap(), "completed");
        assert_eq!(test.data("17").unwrap().receipt.unwrap(), "r9");
    }

    #[test]
    fn an_order_that_is_not_paid_gives_its_stock_back() {
        let mut test = placed();
        answer(&mut test, "ReserveStock.v1", Outgoing::new("StockReserved.v1"));
        answer(&mut test, "TakePayment.v1", Outgoing::new("PaymentRefused.v1"));
        answer(&mut test, "ReleaseStock.v1", Outgoing::new("StockReleased.v1"));
        assert_eq!(test.commands(), ["OrderRejected.v1"]);
        assert_eq!(test.state("17").unwrap(), "compensated");
    }

    #[test]
    fn a_payment_that_nothing_is_heard_of_is_refunded() {
        let mut test = placed();
        answer(&mut test, "ReserveStock.v1", Outgoing::new("StockReserved.v1"));
        assert_eq!(test.commands(), ["TakePayment.v1"]);
        test.advance(Duration::from_mins(10)).unwrap();
        answer(&mut test, "RefundPayment.v1", Outgoing::new("PaymentRefunded.v1"));
        answer(&mut test, "ReleaseStock.v1", Outgoing::new("StockReleased.v1"));
        assert_eq!(test.commands(), ["OrderRejected.v1"]);
    }
}
