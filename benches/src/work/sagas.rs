//! What sagas cost, and reading what caused what.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate::config::{ConsumerConfig, Grants, PluginConfig, TopicConfig};
use tidegate::{
    Blocking, Data, Event, Outgoing, Position, SagaQuery, SagaState, SagaStatus, TraceOptions, handler_fn,
};

use super::bus::{Measured, PARTITIONS, fill};
use crate::report::target;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{rate, timed};

/// Events of one call of `publish_all`.
const GROUP: usize = 4096;
/// Sagas that go through all their steps: a fraction of the events of other benchmarks, as each takes sixteen.
const SAGAS_PART: usize = 20;
/// Deliveries that a saga of `plugins/order-saga` takes, its participants' among them. Each publishes one event.
const HOPS: usize = 8;
/// What they publish to: the stock's outcome has the key of the product, and goes on by the inbox.
const TOPICS: [&str; 7] =
    ["orders", "order-saga", "outcomes", "order-results", "stock", "payments", "shipping"];
/// Entries of one scan of the state.
const SCAN: usize = 1000;

/// Orders that go through stock, payment and shipping, beside deliveries of native handlers that publish as often. And the list of
/// those sagas, beside a scan of their records.
pub fn sagas(scale: &Scale) -> Result<Vec<Row>> {
    let count = scale.group_events.div_ceil(SAGAS_PART);
    let (mut done, mut listed) = (Rounds::default(), Rounds::default());
    for _ in 0..scale.rounds {
        let measured = Measured::new()?;
        let bus = &measured.bus;
        done.push(orders(bus, count)?, hops(count)?);
        let (sagas, list_took) = timed(|| bus.sagas(SagaQuery::default().limit(SCAN)));
        ensure!(sagas?.iter().all(is_completed), "the last ones that have ended come first");
        let (scanned, scan_took) = timed(|| scan(bus));
        ensure!(scanned? == count, "each saga has a record");
        listed.push(rate(count, list_took), rate(count, scan_took));
    }
    let beside = "as many deliveries and publishes";
    Ok(vec![
        done.row("sagas", "sagas/s", beside, Goal::AtLeast(0.1)),
        listed.row("sagas-list", "records/s", "scanning the records", Goal::AtLeast(0.1)),
    ])
}

/// The trace of one event in a large topic, beside reading it.
pub fn trace(scale: &Scale) -> Result<Vec<Row>> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    let count = scale.group_events;
    fill(bus, "plain", 0..count, GROUP)?;
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds {
        rounds.push_in_turn(
            round,
            || {
                let (found, took) =
                    timed(|| bus.trace("order-17", TraceOptions::default().topics(["plain"])));
                let found = found?;
                ensure!(found.nodes.len() == 1, "it is found, and nothing else");
                ensure!(usize::try_from(found.summary.scanned)? == count, "all were read");
                Ok(rate(count, took))
            },
            || {
                let (read, took) = timed(|| {
                    let mut reader = bus.bus().read("plain", None, Position::Earliest)?;
                    let mut read = 0;
                    while reader.try_next()?.is_some() {
                        read += 1;
                    }
                    anyhow::Ok(read)
                });
                ensure!(read? == count, "all were read");
                Ok(rate(count, took))
            },
        )?;
    }
    Ok(vec![rounds.row("trace", "events/s", "reading the topic", Goal::AtLeast(0.5))])
}

fn is_completed(saga: &SagaStatus) -> bool {
    saga.state == SagaState::Completed
}

/// Takes so many orders from their placing to their end. Returns the rate.
fn orders(bus: &Blocking, count: usize) -> Result<f64> {
    for topic in TOPICS {
        bus.create_topic(topic, TopicConfig::new(PARTITIONS))?;
    }
    for (name, outcome) in
        [("stock", "StockReserved.v1"), ("payments", "PaymentTaken.v1"), ("shipping", "Shipped.v1")]
    {
        let obeys = handler_fn(move |delivery, context| {
            let event = Outgoing {
                kind: outcome.to_owned(),
                subject: Some(delivery.event.key().to_owned()),
                data: Some(Data::Json(r#"{"receipt":"r9"}"#.to_owned())),
                ..Outgoing::default()
            };
            Ok(context.publish("outcomes", event)?)
        });
        bus.subscribe(name, ConsumerConfig::new([name]), obeys)?;
    }
    let file = target()?.join("plugins/order_saga.wasm");
    ensure!(file.exists(), "{} is not there: `cargo xtask plugins` builds it", file.display());
    let grants = ["order-results", "order-saga", "payments", "shipping", "stock"];
    let grants = grants.iter().fold(Grants::nothing().state(), |grants, topic| grants.publish(*topic));
    let config = ConsumerConfig::new(["orders", "order-saga", "outcomes"]).paused(true);
    bus.subscribe_plugin("order-saga", config, PluginConfig::new(file).grants(grants))?;
    place(bus, "orders", count)?;
    let (outcome, took) = timed(|| {
        bus.resume("order-saga")?;
        until_there(bus, "order-results", count)
    });
    outcome?;
    Ok(rate(count, took))
}

/// Has events come as far, from topic to topic, by native handlers. Returns the rate.
fn hops(count: usize) -> Result<f64> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    let topics: Vec<String> = (0..=HOPS).map(|hop| format!("hop-{hop}")).collect();
    for topic in &topics {
        bus.create_topic(topic, TopicConfig::new(PARTITIONS))?;
    }
    let next: BTreeMap<String, String> = topics.iter().cloned().zip(topics.iter().skip(1).cloned()).collect();
    // Two, as a saga and its participants are: what one publishes the other one reads.
    for first in 0..2 {
        let read = topics.iter().take(HOPS).skip(first).step_by(2).cloned();
        let next = next.clone();
        let goes_on = handler_fn(move |delivery, context| {
            let event = Outgoing {
                kind: "Hop.v1".to_owned(),
                subject: Some(delivery.event.key().to_owned()),
                data: delivery.event.data().cloned(),
                ..Outgoing::default()
            };
            match next.get(&*delivery.topic) {
                Some(next) => Ok(context.publish(next, event)?),
                None => Ok(()),
            }
        });
        bus.subscribe(&format!("hops-{first}"), ConsumerConfig::new(read).paused(true), goes_on)?;
    }
    place(bus, "hop-0", count)?;
    let (outcome, took) = timed(|| {
        bus.resume("hops-1")?;
        bus.resume("hops-0")?;
        until_there(bus, &format!("hop-{HOPS}"), count)
    });
    outcome?;
    Ok(rate(count, took))
}

/// Publishes orders, each of a key of its own.
fn place(bus: &Blocking, topic: &str, count: usize) -> Result<()> {
    for first in (0..count).step_by(GROUP) {
        let orders = (first..(first + GROUP).min(count)).map(|number| {
            let order = Event::new(format!("placed-{number}"), "/benches", "OrderPlaced.v1")
                .subject(format!("order-{number}"))
                .json_text(r#"{"customer":"c4","product":"p3","total_cents":995}"#);
            Ok((topic, order.build()?))
        });
        bus.publish_all(orders.collect::<Result<_>>()?)?;
    }
    Ok(())
}

/// Waits until a topic has so many events.
fn until_there(bus: &Blocking, topic: &str, count: usize) -> Result<()> {
    let count = u64::try_from(count)?;
    loop {
        let topics = bus.bus().topics();
        let there =
            topics.iter().find(|status| status.name == topic).map_or(0, tidegate::TopicStatus::events);
        if there >= count {
            return Ok(());
        }
        // Nobody unparks this thread.
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Reads the records of all sagas. Returns how many there are.
fn scan(bus: &Blocking) -> Result<usize> {
    let mut count = 0;
    for partition in 0..PARTITIONS {
        let state = bus.bus().state("order-saga", partition)?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entries = state.scan(b"saga/", after.as_deref(), SCAN)?;
            let Some((last, _)) = entries.last() else { break };
            after = Some(last.clone());
            count += entries.len();
        }
    }
    Ok(count)
}
