//! `tidegate upcasters`.

use tidegate::server::{Answer, Request};
use tidegate::{ReloadOutcome, UpcasterStatus};

use super::access::Access;
use super::arguments::{Global, UpcastersCommand};
use super::error::{CliError, Exit};
use super::output::Output;
use super::table::{Table, row};

/// Characters of a hash that tell versions apart.
const HASH_CHARS: usize = 12;

/// Lists upcasters, or reloads one.
pub fn upcasters(
    global: &Global,
    command: Option<UpcastersCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command.unwrap_or(UpcastersCommand::List) {
        UpcastersCommand::List => list(&mut access, output)?,
        UpcastersCommand::Reload { name } => reload(&mut access, &name, output)?,
    }
    access.close();
    Ok(Exit::Done)
}

fn list(access: &mut Access, output: &mut Output) -> Result<(), CliError> {
    let upcasters = access.one(Request::Upcasters, |answer| match answer {
        Answer::Upcasters(upcasters) => Some(upcasters),
        _ => None,
    })?;
    if output.is_json() {
        return upcasters.iter().try_for_each(|upcaster| output.json(upcaster));
    }
    table(&upcasters).print(output, "no upcasters run: `tidegate run` runs those of the configuration")?;
    for upcaster in &upcasters {
        if let Some(refused) = &upcaster.refused {
            output.line(format_args!("the newest file was refused: {refused}"))?;
        }
    }
    Ok(())
}

/// A line for each lift.
fn table(upcasters: &[UpcasterStatus]) -> Table {
    let mut table = Table::new(["UPCASTER", "FROM", "TO", "PLUGIN", "VERSION", "HASH", "FILE"]);
    for upcaster in upcasters {
        let hash: String = upcaster.version.hash.chars().take(HASH_CHARS).collect();
        let file = upcaster.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        for lift in &upcaster.lifts {
            table.push(row![
                upcaster.name,
                lift.from(),
                lift.to(),
                upcaster.version.name,
                upcaster.version.version,
                hash,
                file,
            ]);
        }
    }
    table
}

fn reload(access: &mut Access, name: &str, output: &mut Output) -> Result<(), CliError> {
    if let Access::Local(bus) = access {
        return Err(CliError::Failed(format!(
            "upcaster `{name}` isn't running, as nobody runs the bus on {}: a changed file is taken when `tidegate run` \
             starts it",
            bus.directory().display()
        )));
    }
    let request = Request::ReloadUpcaster { upcaster: name.to_owned() };
    let outcome = access.one(request, |answer| match answer {
        Answer::Reloaded(outcome) => Some(outcome),
        _ => None,
    })?;
    if output.is_json() {
        return output.json(&outcome);
    }
    match outcome {
        ReloadOutcome::Unchanged { version } => output.line(format_args!(
            "upcaster `{name}` runs what the file holds already: {} {}",
            version.name, version.version
        )),
        ReloadOutcome::Switched { from, to } => output.line(format_args!(
            "upcaster `{name}` runs {} {} now, before {} {}",
            to.name, to.version, from.name, from.version
        )),
        _ => output.line("done"),
    }
}
