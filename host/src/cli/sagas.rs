//! `tidegate sagas`.

use serde::Serialize;
use serde_json::value::RawValue;
use tidegate::server::{Answer, Request};
use tidegate::{Saga, SagaQuery, SagaState};

use super::access::Access;
use super::arguments::{Global, SagaName, SagasCommand};
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line, short};
use super::table::{Table, row};

/// Characters of an id, a name or a reason that its row shows.
const TEXT_CHARS: usize = 80;

/// Characters of a saga's data that are shown.
const DATA_CHARS: usize = 2000;

/// A saga as JSON: its data is JSON as well, and no text that holds it.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    saga: &'a Saga,
    data: &'a RawValue,
}

/// Lists or shows sagas, or tells one what to do.
pub fn sagas(global: &Global, command: SagasCommand, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command {
        SagasCommand::List { consumer, stuck, older_than, state, limit } => {
            let mut query = SagaQuery::default().limit(limit);
            query.consumer = consumer;
            query.state = state.or(stuck.then_some(SagaState::Stuck));
            query.waiting = older_than;
            list(&mut access, query, output)?;
        }
        SagasCommand::Show(SagaName { consumer, id }) => show(&mut access, consumer, id, output)?,
        SagasCommand::Retry(SagaName { consumer, id }) => {
            let said = format!("saga `{id}` asks again for what it waits for");
            access.tell(Request::RetrySaga { consumer, id })?;
            output.line(said)?;
        }
        SagasCommand::Compensate(SagaName { consumer, id }) => {
            let said = format!(
                "saga `{id}` is compensated: `tidegate sagas show {consumer} {id}` says how far it is"
            );
            access.tell(Request::CompensateSaga { consumer, id })?;
            output.line(said)?;
        }
        SagasCommand::Resolve(SagaName { consumer, id }) => {
            let said =
                format!("saga `{id}` goes on: `tidegate sagas show {consumer} {id}` says how far it is");
            access.tell(Request::ResolveSaga { consumer, id })?;
            output.line(said)?;
        }
    }
    access.close();
    Ok(Exit::Done)
}

fn list(access: &mut Access, query: SagaQuery, output: &mut Output) -> Result<(), CliError> {
    let sagas = access.one(Request::Sagas(query), |answer| match answer {
        Answer::Sagas(sagas) => Some(sagas),
        _ => None,
    })?;
    if output.is_json() {
        return sagas.iter().try_for_each(|saga| output.json(saga));
    }
    let mut table = Table::new(["SAGA", "CONSUMER", "STATE", "STEP", ">AGE", ">IN STEP", "WHY"]);
    for saga in &sagas {
        table.push(row![
            one_line(&saga.id, TEXT_CHARS),
            saga.consumer,
            saga.state,
            one_line(saga.step.as_deref().unwrap_or_default(), TEXT_CHARS),
            short(saga.age),
            if saga.state.is_ended() { String::new() } else { short(saga.waiting) },
            one_line(saga.why.as_deref().unwrap_or_default(), TEXT_CHARS),
        ]);
    }
    table.print(output, "no sagas there")
}

fn show(access: &mut Access, consumer: String, id: String, output: &mut Output) -> Result<(), CliError> {
    let saga = access.one(Request::Saga { consumer, id }, |answer| match answer {
        Answer::Saga(saga) => Some(saga),
        _ => None,
    })?;
    if output.is_json() {
        return match serde_json::from_str(&saga.data) {
            Ok(data) => output.json(&Shown { saga: &saga, data }),
            Err(_) => output.json(&saga),
        };
    }
    let status = &saga.status;
    let step = status.step.as_ref().map(|step| format!(" at step {}", one_line(step, TEXT_CHARS)));
    output.line(format_args!(
        "saga {} of consumer {}: {}{}",
        one_line(&status.id, TEXT_CHARS),
        status.consumer,
        status.state,
        step.unwrap_or_default()
    ))?;
    output.line(format_args!(
        "began {}, {} old; so since {}, for {}; asked {} times",
        moment(status.began),
        short(status.age),
        moment(status.since),
        short(status.waiting),
        saga.attempt,
    ))?;
    if let Some(why) = &status.why {
        output.line(format_args!("why: {}", one_line(why, DATA_CHARS)))?;
    }
    output.line(format_args!("data: {}", one_line(&saga.data, DATA_CHARS)))?;
    let mut steps = Table::new(["STEP", "STATUS", ">COMMANDS", ">COMPENSATIONS"]);
    for step in &saga.steps {
        steps.push(row![one_line(&step.name, TEXT_CHARS), step.status, step.commands, step.compensations]);
    }
    steps.print(output, "no steps yet")?;
    if saga.history_dropped > 0 {
        output.line(format_args!("{} older entries are dropped", saga.history_dropped))?;
    }
    let mut history = Table::new(["AT", "WHAT", "STEP", "TYPE", "ID"]);
    for event in &saga.history {
        history.push(row![
            moment(event.at),
            event.what,
            one_line(event.step.as_deref().unwrap_or_default(), TEXT_CHARS),
            one_line(event.kind.as_deref().unwrap_or_default(), TEXT_CHARS),
            one_line(event.id.as_deref().unwrap_or_default(), TEXT_CHARS),
        ]);
    }
    history.print(output, "nothing happened to it yet")
}
