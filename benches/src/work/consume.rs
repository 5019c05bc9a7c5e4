//! Consuming: what deliveries cost, from a backlog.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use tidegate::config::{ConsumerConfig, Grants, PluginConfig};
use tidegate::handler_fn;

use super::bus::{KEYS, Measured, event, fill, work_off};
use crate::peers::{Bare, Nats, Syncing};
use crate::report::target;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{rate, timed};

/// Events that the backlog is published in at a time.
const FILL: usize = 4096;
/// Events that bare redb counts in a commit.
const GROUP: usize = 256;
/// The most that the host may take for a delivery to a plugin that fetches it, or that is called with it, in microseconds and
/// beyond what it takes for one to a native handler.
const PULL_MAX: f64 = 0.6;
const TYPED_MAX: f64 = 1.5;

/// A plugin that reads the data of each event, beside NATS whose client acknowledges each message.
pub fn consume_read(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    let payload = vec![b'd'; event("order-0", 0)?.size()];
    for _ in 0..scale.rounds {
        let Some(nats) = Nats::start(Syncing::Default)? else { return Ok(Vec::new()) };
        let ours = consume(&Consumer::Plugin("reader"), "plain", scale.group_events)?;
        rounds.push(ours, nats.consume(scale.group_events, &payload)?);
    }
    let beside = "NATS JetStream: consume, ack each";
    Ok(vec![rounds.row("consume-read", "events/s", beside, Goal::AtLeast(4.0))])
}

/// A plugin that counts the events of each key in its state, beside a loop over bare redb that does the same.
pub fn consume_state(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for _ in 0..scale.rounds {
        let ours = consume(&Consumer::Plugin("tally"), "plain", scale.group_events)?;
        rounds.push(ours, count_bare(scale.group_events)?);
    }
    let beside = "bare redb: get, insert, commit each 256";
    Ok(vec![rounds.row("consume-state", "events/s", beside, Goal::AtLeast(0.5))])
}

/// What it costs more to hand an event to a plugin that does nothing than to a native handler, on one lane.
pub fn call_cost(scale: &Scale) -> Result<Vec<Row>> {
    let (mut pull, mut typed) = (Rounds::default(), Rounds::default());
    for _ in 0..scale.rounds {
        let cost = |consumer| anyhow::Ok(1e6 / consume(&consumer, "single", scale.group_events)?);
        let native = cost(Consumer::Native)?;
        pull.push(cost(Consumer::Plugin("idle"))? - native, PULL_MAX);
        typed.push(cost(Consumer::Plugin("typed"))? - native, TYPED_MAX);
    }
    let beside = "the most beyond a native handler";
    Ok(vec![
        pull.row("call-cost-pull", "µs", beside, Goal::AtMost(1.0)),
        typed.row("call-cost-typed", "µs", beside, Goal::AtMost(1.0)),
    ])
}

/// Who consumes.
enum Consumer {
    /// A component of the tests.
    Plugin(&'static str),
    /// A handler that does nothing.
    Native,
}

/// Consumes a backlog. Returns the rate.
fn consume(consumer: &Consumer, topic: &str, count: usize) -> Result<f64> {
    let measured = Measured::new()?;
    let bus = &measured.bus;
    let config = ConsumerConfig::new([topic]).paused(true);
    match consumer {
        Consumer::Plugin(name) => {
            bus.subscribe_plugin("consumer", config, guest(name)?.grants(Grants::nothing().state()))?;
        }
        Consumer::Native => bus.subscribe("consumer", config, handler_fn(|_, _| Ok(())))?,
    }
    fill(bus, topic, 0..count, FILL)?;
    work_off(bus, "consumer", count)
}

fn count_bare(count: usize) -> Result<f64> {
    let mut bare = Bare::new()?;
    let keys: Vec<_> = (0..count).map(|number| format!("customer-{}", number % KEYS)).collect();
    let (outcome, took) =
        timed(|| keys.chunks(GROUP).try_for_each(|keys| bare.count(keys.iter().map(String::as_bytes))));
    outcome?;
    Ok(rate(count, took))
}

/// A component of the tests.
pub fn guest(name: &str) -> Result<PluginConfig> {
    Ok(PluginConfig::new(component(name)?))
}

/// The file of a component of the tests.
pub fn component(name: &str) -> Result<PathBuf> {
    let file = target()?.join("plugins/guests").join(name).with_extension("wasm");
    ensure!(file.exists(), "{} is not there: `cargo xtask plugins` builds it", file.display());
    Ok(file)
}
