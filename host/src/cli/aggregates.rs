//! `tidegate execute` and `tidegate aggregates`.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate::server::{AggregateLine, Answer, EventJson, RecordLine, Request};
use tidegate::{AggregateStatus, At, Event, Outcome, Timestamp};

use super::access::Access;
use super::aggregate_arguments::{AggregatesCommand, Execute};
use super::arguments::Global;
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line};
use super::publish::new_id;
use super::table::{Table, row};

/// Characters that a line shows of what others wrote.
const CHARS: usize = 4096;

/// Gives a command to an aggregate.
pub fn execute(global: &Global, execute: &Execute, output: &mut Output) -> Result<Exit, CliError> {
    let id = execute.command_id.clone().unwrap_or_else(new_id);
    let mut command = Event::new(id, execute.source.clone(), &execute.kind).subject(&execute.id);
    if let Some(data) = &execute.data {
        command = command.json_text(data);
    }
    let command = command.build().map_err(|error| CliError::Failed(error.to_string()))?;
    let mut access = Access::open(global)?;
    let request = Request::Execute {
        aggregate: execute.aggregate.clone(),
        command: EventJson(Arc::new(command)),
        wait: execute.wait,
    };
    let outcome = access.one(request, |answer| match answer {
        Answer::Outcome(outcome) => Some(outcome),
        _ => None,
    })?;
    access.close();
    if output.is_json() {
        output.json(&outcome)?;
    } else {
        output.line(told(&outcome))?;
    }
    Ok(if matches!(outcome, Outcome::Rejected(_)) { Exit::Rejected } else { Exit::Done })
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { version, events: 0 } => format!("accepted: nothing changes, version {version}"),
        Outcome::Accepted { version, events } => format!("accepted: version {version}, {events} new"),
        Outcome::Rejected(rejection) => {
            let data = rejection.data.as_ref().map(|data| format!("  {data}")).unwrap_or_default();
            one_line(&format!("rejected: {rejection}{data}"), CHARS)
        }
        other => format!("{other:?}"),
    }
}

/// Lists aggregates, or shows one.
pub fn aggregates(
    global: &Global,
    command: Option<AggregatesCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command.unwrap_or(AggregatesCommand::List) {
        AggregatesCommand::List => list(&mut access, output)?,
        AggregatesCommand::Show { name, id, version, time, history } => {
            let at = match (version, time) {
                (Some(version), _) => At::Version(version),
                (None, Some(time)) => At::Time(time),
                (None, None) => At::Latest,
            };
            if history {
                events(&mut access, &name, &id, at, output)?;
            } else {
                show(&mut access, name, &id, at, output)?;
            }
        }
    }
    access.close();
    Ok(Exit::Done)
}

fn all(access: &mut Access) -> Result<Vec<AggregateStatus>, CliError> {
    access.one(Request::Aggregates, |answer| match answer {
        Answer::Aggregates(aggregates) => Some(aggregates),
        _ => None,
    })
}

fn list(access: &mut Access, output: &mut Output) -> Result<(), CliError> {
    let aggregates = all(access)?;
    if output.is_json() {
        return aggregates.iter().try_for_each(|aggregate| output.json(aggregate));
    }
    let mut table = Table::new([
        "AGGREGATE",
        "COMMANDS",
        "STREAM",
        ">SNAPSHOT EVERY",
        ">SNAPSHOTS",
        ">REBUILT",
        ">FOLDED",
    ]);
    for aggregate in &aggregates {
        table.push(row![
            aggregate.name,
            aggregate.commands,
            aggregate.stream,
            aggregate.snapshot_every,
            aggregate.snapshots,
            aggregate.rebuilt,
            aggregate.folded,
        ]);
    }
    table.print(
        output,
        "no aggregates run: they do in `tidegate run`, as consumers with `aggregate` in their settings",
    )
}

/// An aggregate as JSON. Of the two forms of the state there is one.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state_base64: Option<String>,
}

fn show(access: &mut Access, name: String, id: &str, at: At, output: &mut Output) -> Result<(), CliError> {
    let request = Request::Aggregate { name, id: id.to_owned(), at };
    let found: Option<AggregateLine> = access.one(request, |answer| match answer {
        Answer::Aggregate(found) => Some(found),
        _ => None,
    })?;
    let text = found.as_ref().and_then(|found| std::str::from_utf8(&found.state).ok());
    let state = text.filter(|text| !text.contains('\n')).and_then(|text| serde_json::from_str(text).ok());
    let base64 = found.as_ref().filter(|_| state.is_none());
    let base64 = base64.map(|found| data_encoding::BASE64.encode(&found.state));
    if output.is_json() {
        let (version, since) = found.as_ref().map_or((0, None), |found| (found.version, Some(found.since)));
        return output.json(&Shown { id, version, since, state, state_base64: base64 });
    }
    let Some(found) = &found else {
        return output.line(format_args!("aggregate `{}`: no events", one_line(id, CHARS)));
    };
    output.line(format_args!("version {}, since {}", found.version, moment(found.since)))?;
    match state {
        // The state is the answer, so it isn't cut.
        Some(state) => output.line(one_line(state.get(), usize::MAX)),
        None => output.line(format_args!("base64:{}", base64.unwrap_or_default())),
    }
}

/// Lists an aggregate's events.
fn events(access: &mut Access, name: &str, id: &str, at: At, output: &mut Output) -> Result<(), CliError> {
    let aggregate = all(access)?.into_iter().find(|aggregate| aggregate.name == name);
    let Some(aggregate) = aggregate else {
        return Err(CliError::Failed(format!(
            "aggregate `{name}` isn't running: `tidegate aggregates list` lists those that are"
        )));
    };
    let limit = if let At::Version(version) = at { Some(version) } else { None };
    let request = Request::ReadKey {
        topic: aggregate.stream,
        key: id.to_owned(),
        after: 0,
        limit,
        lift: false,
        data: false,
    };
    let is_early = |record: &RecordLine| !matches!(at, At::Time(time) if record.appended > time);
    let mut any = false;
    access.ask(request, |answer| {
        match answer {
            Answer::Record(record) if !is_early(&record) => return Ok(()),
            Answer::Record(record) => {
                any = true;
                if output.is_json() {
                    return output.json(&record);
                }
                let event = &record.event.0;
                let (number, at) = (event.sequence().unwrap_or_default(), moment(record.appended));
                output.line(format_args!("{number}  {at}  {}", one_line(event.kind(), CHARS)))?;
            }
            Answer::Damaged { reason } => eprintln!("damaged: {reason}"),
            _ => {}
        }
        Ok(())
    })?;
    if !any && !output.is_json() {
        output.line(format_args!("aggregate `{}`: no events", one_line(id, CHARS)))?;
    }
    Ok(())
}
