//! Publishes an `OrderUnpaid.v1` to the topic `reminders` for every order that isn't paid in time.
//!
//! An `OrderPlaced.v1` sets a timer of the order, an `OrderPaid.v1` cancels it. Both have the order's number as their key, so they
//! come in order, and the timer comes in order with them: an order that the log has a payment of before the time is up gets no
//! reminder, however late the consumer is.
//!
//! Settings: `wait_seconds`, how long an order may go unpaid; a day unless it says otherwise.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Data, Delivery, Failure, Host, Outgoing, Raw};

/// The timer of an order.
const UNPAID: &str = "unpaid";

/// The plugin's settings.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    wait_seconds: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { wait_seconds: 24 * 60 * 60 }
    }
}

/// What is read of an order, and what its reminder says.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Order {
    /// Who ordered.
    pub customer: String,
    /// What it comes to, in cents.
    pub total_cents: u64,
}

/// The consumer.
#[derive(Default)]
pub struct OrderReminder;

impl Consumer for OrderReminder {
    const NAME: &'static str = "order-reminder";
    const EVENT_TYPES: &'static [&'static str] = &["OrderPlaced.v1", "OrderPaid.v1"];
    const PUBLISHES: &'static [&'static str] = &["reminders"];
    const USES_STATE: bool = true;
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        if delivery.event.event_type == "OrderPaid.v1" {
            return Ok(host.cancel_timer(UNPAID)?);
        }
        // What the reminder will need goes with the timer.
        let order = Order::decode(delivery.event.data.clone(), delivery.event.datacontenttype.as_deref())?;
        let wait = Duration::from_secs(host.settings::<Settings>()?.wait_seconds);
        Ok(host.set_timer(UNPAID, host.now().after(wait), Raw::json(&order)?)?)
    }

    fn timer(&mut self, _name: &str, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let order = Order::decode(delivery.event.data.clone(), None)?;
        let event = Outgoing::new("OrderUnpaid.v1").subject(delivery.event.key());
        Ok(host.publish("reminders", event.json(&order)?)?)
    }
}

tidegate_plugin::export!(OrderReminder);

#[cfg(test)]
mod tests {
    use tidegate_plugin::serde_json::json;
    use tidegate_plugin::testing::{FakeHost, delivery};

    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn tell(host: &mut FakeHost, event_type: &str, order: &str) {
        let data = json!({ "customer": "c4", "total_cents": 995 });
        let event = Outgoing::new(event_type).subject(order).json(&data).unwrap();
        host.deliver(&mut OrderReminder, delivery(event)).unwrap();
    }

    #[test]
    fn an_order_that_is_not_paid_in_time_gets_one_reminder() {
        let mut host = FakeHost::new::<OrderReminder>();
        tell(&mut host, "OrderPlaced.v1", "17");
        host.advance(&mut OrderReminder, Duration::from_hours(23)).unwrap();
        assert!(host.published.is_empty());
        host.advance(&mut OrderReminder, DAY).unwrap();
        assert_eq!(host.published.len(), 1);
        assert_eq!(host.published[0].event.subject.as_deref(), Some("17"));
        assert_eq!(host.published[0].json::<Order>(), Order { customer: "c4".into(), total_cents: 995 });
    }

    #[test]
    fn an_order_that_is_paid_in_time_gets_none_and_another_one_does() {
        let mut host = FakeHost::new::<OrderReminder>().with_settings(&json!({ "wait_seconds": 60 }));
        tell(&mut host, "OrderPlaced.v1", "17");
        tell(&mut host, "OrderPlaced.v1", "18");
        tell(&mut host, "OrderPaid.v1", "17");
        host.advance(&mut OrderReminder, Duration::from_mins(1)).unwrap();
        let orders: Vec<_> =
            host.published.iter().map(|reminder| reminder.event.subject.as_deref()).collect();
        assert_eq!(orders, [Some("18")]);
    }
}
