//! Aggregates: commands, and what it takes to rebuild one.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidegate::config::{AggregateConfig, ConsumerConfig, PluginConfig, TopicConfig};
use tidegate::{Blocking, Event, Outcome};

use super::bus::{KEYS, Measured, PARTITIONS, fill, work_off};
use super::consume::guest;
use crate::report::target;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::timed;

/// Commands that are published at a time.
const FILL: usize = 4096;
/// Events of the aggregate that is rebuilt.
const EVENTS: usize = 10_000;
/// What a command may wait for at the most.
const WAIT: Duration = Duration::from_mins(1);

/// A backlog of commands to a thousand aggregates and to one, beside a plugin that counts the events of each key in its
/// state.
pub fn commands(scale: &Scale) -> Result<Vec<Row>> {
    let (mut many, mut one) = (Rounds::default(), Rounds::default());
    for _ in 0..scale.rounds {
        let beside = tally(scale.group_events)?;
        many.push(deposits(scale.group_events, KEYS)?, beside);
        one.push(deposits(scale.group_events, 1)?, beside);
    }
    let beside = "a plugin that counts in its state";
    Ok(vec![
        many.row("aggregate-commands", "commands/s", beside, Goal::AtLeast(0.05)),
        one.row("aggregate-commands-one", "commands/s", beside, Goal::AtLeast(0.03)),
    ])
}

/// The first command to an aggregate of 10,000 events that is not in memory, with a snapshot and without one.
pub fn rebuild(scale: &Scale) -> Result<Vec<Row>> {
    let mut rounds = Rounds::default();
    for round in 0..scale.rounds {
        let measured = accounts()?;
        let bus = &measured.bus;
        for first in (0..EVENTS).step_by(FILL) {
            let events = (first..(first + FILL).min(EVENTS)).map(|n| Ok(("accounts", stored(n)?)));
            bus.publish_all(events.collect::<Result<_>>()?)?;
        }
        let first_command = |snapshot_every: u32, id: &str| {
            subscribe(bus, AggregateConfig::new("accounts").snapshot_every(snapshot_every), false)?;
            let command = deposit(&format!("{id}-{round}"), 0)?;
            let (outcome, took) = timed(|| bus.execute("accounts", command, WAIT));
            ensure!(matches!(outcome?, Outcome::Accepted { .. }), "a deposit is accepted");
            bus.unsubscribe("accounts")?;
            anyhow::Ok(took.as_secs_f64() * 1e3)
        };
        let without = first_command(100_000, "without")?;
        // This one makes the snapshot that the next one begins with.
        first_command(100, "between")?;
        rounds.push(first_command(100, "with")?, without);
    }
    let beside = "the same without a snapshot";
    Ok(vec![rounds.row("aggregate-rebuild", "ms", beside, Goal::AtMost(0.2))])
}

/// A bus with the topics of accounts.
fn accounts() -> Result<Measured> {
    let measured = Measured::new()?;
    measured.bus.create_topic("account-commands", TopicConfig::new(PARTITIONS))?;
    measured.bus.create_topic("accounts", TopicConfig::new(PARTITIONS).sequence(true))?;
    Ok(measured)
}

fn subscribe(bus: &Blocking, aggregate: AggregateConfig, paused: bool) -> Result<()> {
    let file = target()?.join("plugins/accounts.wasm");
    ensure!(file.exists(), "{} is not there: `cargo xtask plugins` builds it", file.display());
    let config = ConsumerConfig::new(["account-commands"]).paused(paused);
    Ok(bus.subscribe_plugin("accounts", config, PluginConfig::new(file).aggregate(aggregate))?)
}

/// Works off deposits to so many open accounts. Returns the rate.
fn deposits(count: usize, accounts_count: usize) -> Result<f64> {
    let measured = accounts()?;
    let bus = &measured.bus;
    for key in 0..accounts_count {
        let opened = Event::new(format!("open-{key}"), "/benches", "AccountOpened.v1").subject(account(key));
        bus.publish("accounts", opened.json_text(r#"{"owner":"ann"}"#).build()?)?;
    }
    subscribe(bus, AggregateConfig::new("accounts"), true)?;
    for first in (0..count).step_by(FILL) {
        let commands = (first..(first + FILL).min(count))
            .map(|n| Ok(("account-commands", deposit(&format!("d{n}"), n % accounts_count)?)));
        bus.publish_all(commands.collect::<Result<_>>()?)?;
    }
    work_off(bus, "accounts", count)
}

fn tally(count: usize) -> Result<f64> {
    let measured = Measured::new()?;
    let grants = tidegate::config::Grants::nothing().state();
    let config = ConsumerConfig::new(["plain"]).paused(true);
    measured.bus.subscribe_plugin("consumer", config, guest("tally")?.grants(grants))?;
    fill(&measured.bus, "plain", 0..count, FILL)?;
    work_off(&measured.bus, "consumer", count)
}

fn account(key: usize) -> String {
    format!("account-{key}")
}

fn deposit(id: &str, key: usize) -> Result<Event> {
    let command = Event::new(id, "/benches/teller", "Deposit.v1").subject(account(key));
    Ok(command.json_text(r#"{"cents":1}"#).build()?)
}

/// An event of the aggregate that is rebuilt.
fn stored(number: usize) -> Result<Event> {
    let (kind, data) = match number {
        0 => ("AccountOpened.v1", r#"{"owner":"ann"}"#),
        _ => ("Deposited.v1", r#"{"cents":1}"#),
    };
    Ok(Event::new(format!("stored-{number}"), "/benches", kind)
        .subject(account(0))
        .json_text(data)
        .build()?)
}
