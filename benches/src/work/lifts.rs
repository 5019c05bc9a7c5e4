//! What an upcaster in the way of a consumer costs.

use anyhow::Result;
use serde_json::{Value, json};
use tidegate::config::{ConsumerConfig, UpcasterConfig};
use tidegate::upcast::Lifted;
use tidegate::{Blocking, Event, Failure, handler_fn};

use super::bus::{KEYS, Measured, work_off};
use crate::report::target;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;

/// Events that the backlog is published in at a time.
const FILL: usize = 4096;
const TOPIC: &str = "single";
const TYPES: (&str, &str) = ("OrderPlaced.v1", "OrderPlaced.v2");

/// A native handler works off orders that a function lifts, or a plugin, beside one that sees them as they were published. All on
/// one lane.
pub fn lift_cost(scale: &Scale) -> Result<Vec<Row>> {
    let (mut function, mut plugin) = (Rounds::default(), Rounds::default());
    for round in 0..scale.rounds {
        let handle = |by| move || handled(by, scale.group_events);
        function.push_in_turn(round, handle(Some(By::Function)), handle(None))?;
        plugin.push_in_turn(round, handle(Some(By::Plugin)), handle(None))?;
    }
    let beside = "the same without an upcaster";
    Ok(vec![
        function.row("lift-cost-function", "events/s", beside, Goal::AtLeast(0.3)),
        plugin.row("lift-cost-plugin", "events/s", beside, Goal::AtLeast(0.15)),
    ])
}

/// What lifts.
#[derive(Clone, Copy)]
enum By {
    Function,
    Plugin,
}

/// Works off a backlog. Returns the rate.
fn handled(by: Option<By>, count: usize) -> Result<f64> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    match by {
        None => {}
        Some(By::Function) => bus.add_upcaster("orders", TYPES.0, TYPES.1, lift)?,
        Some(By::Plugin) => {
            let file = target()?.join("plugins/order_upcaster.wasm");
            bus.add_upcaster_plugin("orders", UpcasterConfig::new(file))?;
        }
    }
    let seen = if by.is_some() { TYPES.1 } else { TYPES.0 };
    let handler = handler_fn(move |delivery, _| {
        let is_as_expected = delivery.event.kind() == seen;
        if is_as_expected { Ok(()) } else { Err(Failure::permanent("type", delivery.event.kind())) }
    });
    bus.subscribe("consumer", ConsumerConfig::new([TOPIC]).paused(true), handler)?;
    fill(bus, count)?;
    work_off(bus, "consumer", count)
}

/// What the plugin does, as a function.
fn lift(event: &Event) -> Result<Lifted, Failure> {
    let before: Value = event.data_as()?;
    let cents = before["price"].as_f64().unwrap_or_default() * 100.0;
    Lifted::json(&json!({"order": before["order"], "price": {"cents": cents.round(), "currency": "EUR"}}))
}

fn fill(bus: &Blocking, count: usize) -> Result<()> {
    for first in (0..count).step_by(FILL) {
        let order = |number: usize| -> Result<(&str, Event)> {
            let data = format!(r#"{{"order":"order-{number}","price":12.5,"note":"{}"}}"#, "n".repeat(200));
            let event = Event::new(format!("order-{number}"), "/benches/orders", TYPES.0);
            let event = event.subject(format!("customer-{}", number % KEYS)).time("2026-01-01T12:00:00Z");
            Ok((TOPIC, event.json_text(data).build()?))
        };
        let events = (first..count.min(first + FILL)).map(order).collect::<Result<Vec<_>>>()?;
        bus.publish_all(events)?;
    }
    Ok(())
}
