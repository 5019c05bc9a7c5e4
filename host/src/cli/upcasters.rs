//! `tidegate upcasters`.

use tidegate::UpcasterStatus;
use tidegate::server::{Answer, Request};

use super::access::Access;
use super::arguments::{Global, UpcastersCommand};
use super::error::{CliError, Exit};
use super::output::Output;
use super::programs::{self, short_hash};
use super::table::{Table, row};

/// Lists upcasters, or reloads one.
pub fn upcasters(
    global: &Global,
    command: Option<UpcastersCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command.unwrap_or(UpcastersCommand::List) {
        UpcastersCommand::List => list(&mut access, output)?,
        UpcastersCommand::Reload { name } => {
            let who = format!("upcaster `{name}`");
            programs::reload(&mut access, &who, Request::ReloadUpcaster { upcaster: name }, output)?;
        }
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
    programs::print_refused(upcasters.iter().map(|upcaster| &upcaster.refused), output)
}

/// A line for each lift.
fn table(upcasters: &[UpcasterStatus]) -> Table {
    let mut table = Table::new(["UPCASTER", "FROM", "TO", "PLUGIN", "VERSION", "HASH", "FILE"]);
    for upcaster in upcasters {
        let file = upcaster.file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
        for lift in &upcaster.lifts {
            table.push(row![
                upcaster.name,
                lift.from(),
                lift.to(),
                upcaster.version.name,
                upcaster.version.version,
                short_hash(&upcaster.version.hash),
                file,
            ]);
        }
    }
    table
}
