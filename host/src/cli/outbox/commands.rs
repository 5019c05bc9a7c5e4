//! What a build with outboxes does.

use std::collections::BTreeMap;

use tidegate::Bus;
use tidegate::config::{OutboxConfig, OutboxDatabase, Secret};
use tidegate::outbox::{
    FailedRow, FailedRows, OutboxError, OutboxState, OutboxStatus, create_tables, failed_rows, retry,
};
use tidegate::server::{Answer, Request};

use crate::cli::access::{Access, config};
use crate::cli::arguments::{Global, OutboxCommand, OutboxInit};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Output, one_line, short};
use crate::cli::table::{Table, row};

/// Failed rows that `status` shows of an outbox.
const FAILED_ROWS: u32 = 100;
/// Characters of a diagnosis that a table shows.
const FAILURE_CHARS: usize = 160;

/// Makes, shows, retries and adopts outboxes.
pub fn outbox(global: &Global, command: OutboxCommand, output: &mut Output) -> Result<Exit, CliError> {
    match command {
        OutboxCommand::Init(init) => make(global, init, output),
        OutboxCommand::Status { name } => status(global, name.as_deref(), output),
        OutboxCommand::Retry { name, positions, all } => {
            let rows = if all { FailedRows::All } else { FailedRows::At(positions) };
            put_back(global, &name, rows, output)
        }
        OutboxCommand::Adopt { name, yes } => adopt(global, &name, yes, output),
    }
}

fn failed(error: &OutboxError) -> CliError {
    CliError::Failed(error.to_string())
}

fn make(global: &Global, init: OutboxInit, output: &mut Output) -> Result<Exit, CliError> {
    let database = match (init.sqlite, init.postgres, init.name) {
        (Some(path), _, _) => OutboxDatabase::Sqlite(path),
        (_, Some(url), _) => OutboxDatabase::Postgres(Secret::Value(url)),
        (_, _, name) => configured(global, &name.unwrap_or_default())?.database,
    };
    if init.print {
        output.line(sql(&database)?.trim_end())?;
        return Ok(Exit::Done);
    }
    let is_new = create_tables(&database).map_err(|error| failed(&error))?;
    output.line(if is_new { "made the outbox" } else { "the outbox is there already and stays as it is" })?;
    Ok(Exit::Done)
}

fn sql(database: &OutboxDatabase) -> Result<&'static str, CliError> {
    match database {
        #[cfg(feature = "outbox-sqlite")]
        OutboxDatabase::Sqlite(_) => Ok(tidegate::outbox::SQLITE_TABLES),
        #[cfg(feature = "outbox-postgres")]
        OutboxDatabase::Postgres(_) => Ok(tidegate::outbox::POSTGRES_TABLES),
        // Making the tables says which cargo feature this build lacks.
        other => Err(create_tables(other).err().map_or_else(
            || CliError::Failed("this tidegate doesn't know that kind of database".to_owned()),
            |error| failed(&error),
        )),
    }
}

/// An outbox of the configuration.
fn configured(global: &Global, name: &str) -> Result<OutboxConfig, CliError> {
    let mut outboxes = config(global)?.outboxes;
    let found = outboxes.remove(name);
    found.ok_or_else(|| {
        let known = outboxes.into_keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "no outbox".to_owned() } else { known };
        CliError::Failed(format!("there is no outbox `{name}`: the configuration has {known}"))
    })
}

fn status(global: &Global, name: Option<&str>, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    let mut found = match &access {
        Access::Local(bus) => inspected(bus, &config(global)?.outboxes)?,
        Access::Remote(_) => access.one(Request::Outboxes, |answer| match answer {
            Answer::Outboxes(outboxes) => Some(outboxes),
            _ => None,
        })?,
    };
    if let Some(name) = name {
        found.retain(|status| status.name == name);
        if found.is_empty() {
            access.close();
            // It says which there are; one that is there was refused at the start.
            configured(global, name)?;
            return Err(CliError::Failed(format!(
                "outbox `{name}` isn't running: the log of `tidegate run` says why"
            )));
        }
    }
    show(&found, output)?;
    if let Some(name) = name {
        let rows = match &access {
            Access::Local(_) => failed_rows(&configured(global, name)?.database, FAILED_ROWS).ok(),
            Access::Remote(_) => {
                let request = Request::FailedRows { outbox: name.to_owned(), limit: FAILED_ROWS };
                let rows = access.one(request, |answer| match answer {
                    Answer::FailedRows(rows) => Some(rows),
                    _ => None,
                });
                rows.ok()
            }
        };
        // A database that doesn't answer has said so above.
        show_failed(&rows.unwrap_or_default(), output)?;
    }
    access.close();
    Ok(Exit::Done)
}

fn inspected(bus: &Bus, outboxes: &BTreeMap<String, OutboxConfig>) -> Result<Vec<OutboxStatus>, CliError> {
    let bus = bus.blocking();
    let inspect = |(name, config): (&String, &OutboxConfig)| {
        bus.inspect_outbox(name, config).map_err(|error| failed(&error))
    };
    outboxes.iter().map(inspect).collect()
}

fn show(found: &[OutboxStatus], output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return found.iter().try_for_each(|status| output.json(status));
    }
    let mut table = Table::new([
        "OUTBOX",
        "DATABASE",
        "STATE",
        ">WAITING",
        ">OLDEST",
        ">FAILED",
        ">POSITION",
        ">PUBLISHED",
    ]);
    for status in found {
        let known = |text: fn(&tidegate::outbox::Backlog) -> String| {
            status.backlog.as_ref().map_or_else(|| "?".to_owned(), text)
        };
        table.push(row![
            status.name,
            one_line(&status.database, FAILURE_CHARS),
            state(status.state),
            known(|backlog| backlog.waiting.to_string()),
            known(|backlog| short(backlog.oldest)),
            known(|backlog| backlog.failed.to_string()),
            status.position,
            status.counts.published,
        ]);
    }
    table.print(output, "no outboxes: the configuration names none")?;
    for status in found {
        if let Some(trouble) = &status.trouble {
            let trouble = one_line(trouble, usize::MAX);
            output.line(format_args!("outbox `{}` is not published from: {trouble}", status.name))?;
        }
    }
    Ok(())
}

fn state(state: OutboxState) -> &'static str {
    match state {
        OutboxState::Starting => "starting",
        OutboxState::Idle => "idle",
        OutboxState::Working => "working",
        OutboxState::Away => "away",
        OutboxState::Refused => "refused",
        _ => "stopped",
    }
}

fn show_failed(rows: &[FailedRow], output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return rows.iter().try_for_each(|row| output.json(row));
    }
    if rows.is_empty() {
        return output.line("no failed rows");
    }
    let mut table = Table::new([">POSITION", "ID", "WHY"]);
    for row in rows {
        let (id, why) = (one_line(&row.id, FAILURE_CHARS), one_line(&row.failed, FAILURE_CHARS));
        table.push(row![row.position, id, why]);
    }
    table.print(output, "")
}

fn put_back(global: &Global, name: &str, rows: FailedRows, output: &mut Output) -> Result<Exit, CliError> {
    let asked = match &rows {
        FailedRows::All => None,
        FailedRows::At(positions) => Some(positions.len() as u64),
    };
    let mut access = Access::open(global)?;
    let retried = match &access {
        Access::Local(_) => {
            retry(&configured(global, name)?.database, rows).map_err(|error| failed(&error))?
        }
        Access::Remote(_) => {
            access.one(Request::RetryOutbox { outbox: name.to_owned(), rows }, |answer| match answer {
                Answer::Retried(retried) => Some(retried),
                _ => None,
            })?
        }
    };
    access.close();
    let rows = if retried == 1 { "1 row is".to_owned() } else { format!("{retried} rows are") };
    output.line(format_args!("{rows} back at work"))?;
    match asked {
        Some(asked) if retried < asked => {
            Err(CliError::Failed(format!("{} of the positions have no row that failed", asked - retried)))
        }
        _ => Ok(Exit::Done),
    }
}

fn adopt(global: &Global, name: &str, yes: bool, output: &mut Output) -> Result<Exit, CliError> {
    if !yes {
        return Err(CliError::Usage(format!(
            "publishing from outbox `{name}` as it is may repeat events, or leave some out that a lost backup had: \
             add --yes to do it"
        )));
    }
    let mut access = Access::open(global)?;
    match &access {
        Access::Local(bus) => {
            let config = configured(global, name)?;
            bus.blocking().adopt_outbox(name, &config).map_err(|error| failed(&error))?;
        }
        Access::Remote(_) => access.tell(Request::AdoptOutbox { outbox: name.to_owned() })?,
    }
    access.close();
    output.line(format_args!("outbox `{name}` is published from as it is"))?;
    Ok(Exit::Done)
}
