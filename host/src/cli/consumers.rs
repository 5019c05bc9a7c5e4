//! `tidegate consumers`.

use tidegate::server::{Answer, Request};
use tidegate::{ConsumerKind, ConsumerStatus, LaneState, LaneStatus};

use super::access::Access;
use super::arguments::{ConsumersCommand, Global};
use super::error::{CliError, Exit};
use super::output::{Output, moment, short};
use super::state;
use super::table::{Table, row};

/// Lists consumers, or does something with one.
pub fn consumers(
    global: &Global,
    command: Option<ConsumersCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    if let Some(ConsumersCommand::Forget { name, yes: false }) = &command {
        return Err(CliError::Usage(format!(
            "forgetting removes the progress, held events, state and dead letters of consumer `{name}` for good: say `--yes`"
        )));
    }
    let mut access = Access::open(global)?;
    match command.unwrap_or(ConsumersCommand::List) {
        ConsumersCommand::List => list(&mut access, output)?,
        ConsumersCommand::Show { name } => show(&mut access, &name, output)?,
        ConsumersCommand::State { name, partition, prefix } => {
            state::print(&mut access, Request::State { consumer: name, partition, prefix }, output)?;
        }
        ConsumersCommand::Pause { name } => {
            access.tell(Request::Pause { consumer: name.clone() })?;
            output
                .line(format_args!("consumer `{name}` is paused until `tidegate consumers resume {name}`"))?;
        }
        ConsumersCommand::Resume { name } => {
            access.tell(Request::Resume { consumer: name.clone() })?;
            output.line(format_args!("consumer `{name}` goes on"))?;
        }
        ConsumersCommand::Seek { name, to, topic, partition } => {
            access.tell(Request::Seek { consumer: name.clone(), topic, partition, to })?;
            output.line(format_args!("consumer `{name}` was moved"))?;
        }
        ConsumersCommand::Forget { name, .. } => {
            access.tell(Request::Forget { consumer: name.clone() })?;
            output.line(format_args!("consumer `{name}` is forgotten"))?;
        }
    }
    access.close();
    Ok(Exit::Done)
}

/// All consumers.
pub fn all(access: &mut Access) -> Result<Vec<ConsumerStatus>, CliError> {
    access.one(Request::Consumers, |answer| match answer {
        Answer::Consumers(consumers) => Some(consumers),
        _ => None,
    })
}

fn list(access: &mut Access, output: &mut Output) -> Result<(), CliError> {
    let consumers = all(access)?;
    if output.is_json() {
        return consumers.iter().try_for_each(|consumer| output.json(consumer));
    }
    let mut table = Table::new([
        "CONSUMER", "RUNS", "VERSION", ">LAG", ">BEHIND", ">HELD", ">HANDLED", ">RETRIES", ">DEAD", "TOPICS",
    ]);
    for consumer in &consumers {
        table.push(row![
            consumer.name,
            runs(consumer),
            consumer.version.version,
            consumer.lag_events,
            short(consumer.lag),
            consumer.held,
            consumer.counts.handled,
            consumer.counts.retries,
            consumer.dead_letters,
            consumer.topics.join(", "),
        ]);
    }
    table.print(output, "no consumers: the configuration file names them, and `tidegate run` runs them")?;
    consumers.iter().try_for_each(|consumer| notes(consumer, output))
}

fn show(access: &mut Access, name: &str, output: &mut Output) -> Result<(), CliError> {
    let consumers = all(access)?;
    let Some(consumer) = consumers.iter().find(|consumer| consumer.name == name) else {
        return Err(CliError::Failed(format!(
            "there is no consumer `{name}`: `tidegate consumers` lists them"
        )));
    };
    if output.is_json() {
        return output.json(consumer);
    }
    output.line(format_args!("consumer {name}: {}, reads {}", runs(consumer), consumer.topics.join(", ")))?;
    if let Some(target) = &consumer.target {
        output.line(format_args!("hands on to {target}"))?;
    }
    let hash = match consumer.version.hash.as_str() {
        "" => String::new(),
        hash => format!(" ({hash})"),
    };
    output.line(format_args!(
        "version {} {}{hash}, replaced {} times",
        consumer.version.name, consumer.version.version, consumer.reloads
    ))?;
    output.line(format_args!(
        "handled {}, retries {}, dead letters {} ({} in the queue)",
        consumer.counts.handled, consumer.counts.retries, consumer.counts.dead_letters, consumer.dead_letters
    ))?;
    notes(consumer, output)?;
    let mut table = Table::new([
        ">LANE",
        "STATE",
        ">LAG",
        ">HELD",
        "NEXT RETRY",
        ">TIMERS",
        ">HANDLED",
        ">RETRIES",
        "NEXT OFFSETS",
    ]);
    for lane in &consumer.lanes {
        table.push(row![
            lane.partition,
            doing(&lane.state),
            lane.lag_events,
            lane.held,
            lane.next_retry.map(moment).unwrap_or_default(),
            lane.timers,
            lane.counts.handled,
            lane.counts.retries,
            offsets(lane),
        ]);
    }
    table.print(output, "no lanes")
}

fn notes(consumer: &ConsumerStatus, output: &mut Output) -> Result<(), CliError> {
    if let Some(refused) = &consumer.refused {
        output.line(format_args!(
            "the newest version of `{}` was refused, and the one before runs: {refused}",
            consumer.name
        ))?;
    }
    Ok(())
}

fn runs(consumer: &ConsumerStatus) -> String {
    match (consumer.kind, consumer.paused, consumer.detached) {
        (ConsumerKind::Detached, _, Some(since)) => format!("detached since {}", moment(since)),
        (ConsumerKind::Detached, true, None) => "paused, not running".to_owned(),
        (ConsumerKind::Detached, false, None) => "not running".to_owned(),
        (_, true, _) => "paused".to_owned(),
        (ConsumerKind::Native, false, _) => "native".to_owned(),
        (ConsumerKind::Http, false, _) => "http relay".to_owned(),
        (ConsumerKind::Nats, false, _) => "nats relay".to_owned(),
        (_, false, _) => "running".to_owned(),
    }
}

fn doing(state: &LaneState) -> String {
    match state {
        LaneState::Starting => "starting".to_owned(),
        LaneState::Idle => "idle".to_owned(),
        LaneState::Working => "working".to_owned(),
        LaneState::Waiting { .. } => "waits for a retry".to_owned(),
        LaneState::Parked => "parked behind a dead letter".to_owned(),
        LaneState::Stalled { held_max } => format!("stalled: it holds {held_max} events"),
        LaneState::Paused => "paused".to_owned(),
        LaneState::DiskFull { free, .. } => format!("the disk is full: {free} bytes free"),
        LaneState::Failing { reason } => format!("the storage fails: {reason}"),
        LaneState::Stopped => "stopped".to_owned(),
        _ => "?".to_owned(),
    }
}

fn offsets(lane: &LaneStatus) -> String {
    let offsets = lane.next.iter().map(|(topic, offset)| format!("{topic}: {offset}"));
    offsets.collect::<Vec<_>>().join(", ")
}
