//! `tidegate projections`.

use tidegate::server::{Answer, Request};
use tidegate::{ModelStatus, ProjectionStatus, RebuildOutcome};

use super::access::Access;
use super::arguments::Global;
use super::error::{CliError, Exit};
use super::output::{Output, short};
use super::projection_arguments::ProjectionsCommand;
use super::table::{Table, row};

/// Lists projections, or does something with one.
pub fn projections(
    global: &Global,
    command: Option<ProjectionsCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    let exit = match command.unwrap_or(ProjectionsCommand::List) {
        ProjectionsCommand::List => list(&mut access, output)?,
        ProjectionsCommand::Rebuild { name, wait, partial, allow_dead_letters } => {
            let request = Request::Rebuild { projection: name.clone(), partial, allow_dead_letters, wait };
            if wait {
                let outcome = access.one(request, |answer| match answer {
                    Answer::Rebuilt(outcome) => Some(outcome),
                    _ => None,
                })?;
                told(&name, &outcome, output)?
            } else {
                access.tell(request)?;
                output.line(format_args!(
                    "projection `{name}` is being rebuilt: `tidegate projections` shows how far it is"
                ))?;
                Exit::Done
            }
        }
        ProjectionsCommand::Cancel { name } => {
            access.tell(Request::CancelRebuild { projection: name.clone() })?;
            output.line(format_args!("projection `{name}` stays as it is"))?;
            Exit::Done
        }
    };
    access.close();
    Ok(exit)
}

/// Says how a rebuild has ended.
fn told(name: &str, outcome: &RebuildOutcome, output: &mut Output) -> Result<Exit, CliError> {
    let exit = match outcome {
        RebuildOutcome::Switched { .. } => Exit::Done,
        _ => Exit::Refused,
    };
    if output.is_json() {
        output.json(outcome)?;
    } else {
        output.line(format_args!("projection `{name}`: {}", ended(outcome)))?;
    }
    Ok(exit)
}

fn ended(outcome: &RebuildOutcome) -> String {
    match outcome {
        RebuildOutcome::Switched { generation } => format!("generation {generation} answers"),
        RebuildOutcome::Refused { reason } => format!("the rebuilt state was refused: {reason}"),
        RebuildOutcome::Cancelled { reason } => format!("the rebuild was cancelled: {reason}"),
        _ => "the rebuild has ended".to_owned(),
    }
}

fn list(access: &mut Access, output: &mut Output) -> Result<Exit, CliError> {
    let projections = access.one(Request::Projections, |answer| match answer {
        Answer::Projections(projections) => Some(projections),
        _ => None,
    })?;
    if output.is_json() {
        projections.iter().try_for_each(|projection| output.json(projection))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        "PROJECTION",
        ">GENERATION",
        "STATE",
        "VERSION",
        ">LAYOUT",
        ">LAG",
        ">BEHIND",
        ">HELD",
        ">DEAD",
        "TOPICS",
    ]);
    for projection in &projections {
        let answers = if projection.paused { "answers, paused" } else { "answers" };
        table.push(line(projection, projection.generation, answers, &projection.model));
        if let Some(rebuild) = &projection.rebuild {
            table.push(line(projection, projection.generation + 1, "being made", rebuild));
        }
    }
    table.print(output, "no projections run: `tidegate run` runs those of the configuration")?;
    for projection in &projections {
        if let Some(outcome) = &projection.last_rebuild {
            output.line(format_args!("{}: {}", projection.name, ended(outcome)))?;
        }
    }
    Ok(Exit::Done)
}

fn line(projection: &ProjectionStatus, generation: u64, state: &str, model: &ModelStatus) -> Vec<String> {
    row![
        projection.name,
        generation,
        state,
        model.version.version,
        model.state_version,
        model.lag_events,
        short(model.lag),
        model.held,
        model.dead_letters,
        projection.topics.join(", "),
    ]
}
