//! `tidegate timers`.

use tidegate::server::{Answer, Request};

use super::access::Access;
use super::arguments::{Global, TimersCommand};
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line};
use super::table::{Table, row};

/// Characters of a key or a name that its row shows.
const NAME_CHARS: usize = 80;

/// Lists the timers of a consumer, sets one, or cancels one.
pub fn timers(global: &Global, command: TimersCommand, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command {
        TimersCommand::List { consumer, partition, key, limit } => {
            list(&mut access, Request::Timers { consumer, partition, key, limit }, output)?;
        }
        TimersCommand::Set { consumer, key, name, wait, due, data } => {
            let said = format!("timer `{name}` of key `{key}` is set");
            access.tell(Request::SetTimer { consumer, key, name, due, wait, data })?;
            output.line(said)?;
        }
        TimersCommand::Cancel { consumer, key, name } => {
            let said = format!("timer `{name}` of key `{key}` is cancelled");
            access.tell(Request::CancelTimer { consumer, key, name })?;
            output.line(said)?;
        }
    }
    access.close();
    Ok(Exit::Done)
}

fn list(access: &mut Access, request: Request, output: &mut Output) -> Result<(), CliError> {
    let timers = access.one(request, |answer| match answer {
        Answer::Timers(timers) => Some(timers),
        _ => None,
    })?;
    if output.is_json() {
        return timers.iter().try_for_each(|timer| output.json(timer));
    }
    let mut table = Table::new(["DUE", "KEY", "NAME", "SET", ">LANE", ">NUMBER"]);
    for timer in &timers {
        table.push(row![
            moment(timer.due),
            one_line(&timer.key, NAME_CHARS),
            one_line(&timer.name, NAME_CHARS),
            moment(timer.set),
            timer.partition,
            timer.number,
        ]);
    }
    table.print(output, "no timers are set there")
}
