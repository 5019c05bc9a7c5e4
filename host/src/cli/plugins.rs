//! `tidegate plugins`.

use tidegate::ReloadOutcome;
use tidegate::server::{Answer, Request};

use super::access::Access;
use super::arguments::{Global, PluginsCommand};
use super::error::{CliError, Exit};
use super::output::Output;
use super::table::{Table, row};

/// Characters of a hash that tell versions apart.
const HASH_CHARS: usize = 12;

/// Lists plugins, or reloads one.
pub fn plugins(
    global: &Global,
    command: Option<PluginsCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command.unwrap_or(PluginsCommand::List) {
        PluginsCommand::List => list(&mut access, output)?,
        PluginsCommand::Reload { name } => reload(&mut access, &name, output)?,
    }
    access.close();
    Ok(Exit::Done)
}

fn list(access: &mut Access, output: &mut Output) -> Result<(), CliError> {
    let plugins = access.one(Request::Plugins, |answer| match answer {
        Answer::Plugins(plugins) => Some(plugins),
        _ => None,
    })?;
    if output.is_json() {
        return plugins.iter().try_for_each(|plugin| output.json(plugin));
    }
    let mut table = Table::new(["CONSUMER", "PLUGIN", "VERSION", "HASH", ">RELOADS", "FILE"]);
    for plugin in &plugins {
        let hash: String = plugin.version.hash.chars().take(HASH_CHARS).collect();
        table.push(row![
            plugin.consumer,
            plugin.version.name,
            plugin.version.version,
            hash,
            plugin.reloads,
            plugin.file.display(),
        ]);
    }
    table.print(output, "no plugins run: `tidegate run` runs those of the configuration")?;
    for plugin in &plugins {
        if let Some(refused) = &plugin.refused {
            output.line(format_args!("the newest file was refused: {refused}"))?;
        }
    }
    Ok(())
}

fn reload(access: &mut Access, name: &str, output: &mut Output) -> Result<(), CliError> {
    if let Access::Local(bus) = access {
        return Err(CliError::Failed(format!(
            "consumer `{name}` isn't running, as nobody runs the bus on {}: a changed file is taken when `tidegate run` \
             starts it",
            bus.directory().display()
        )));
    }
    let outcome = access.one(Request::Reload { consumer: name.to_owned() }, |answer| match answer {
        Answer::Reloaded(outcome) => Some(outcome),
        _ => None,
    })?;
    if output.is_json() {
        return output.json(&outcome);
    }
    match outcome {
        ReloadOutcome::Unchanged { version } => output.line(format_args!(
            "consumer `{name}` runs what the file holds already: {} {}",
            version.name, version.version
        )),
        ReloadOutcome::Switched { from, to } => output.line(format_args!(
            "consumer `{name}` runs {} {} now, before {} {}",
            to.name, to.version, from.name, from.version
        )),
        _ => output.line("done"),
    }
}
