//! `tidegate plugins`.

use tidegate::server::{Answer, Request};

use super::access::Access;
use super::arguments::{Global, PluginsCommand};
use super::error::{CliError, Exit};
use super::output::Output;
use super::programs::{self, short_hash};
use super::table::{Table, row};

/// Lists plugins, or reloads one.
pub fn plugins(
    global: &Global,
    command: Option<PluginsCommand>,
    output: &mut Output,
) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    match command.unwrap_or(PluginsCommand::List) {
        PluginsCommand::List => list(&mut access, output)?,
        PluginsCommand::Reload { name } => {
            let who = format!("consumer `{name}`");
            programs::reload(&mut access, &who, Request::Reload { consumer: name }, output)?;
        }
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
        table.push(row![
            plugin.consumer,
            plugin.version.name,
            plugin.version.version,
            short_hash(&plugin.version.hash),
            plugin.reloads,
            plugin.file.display(),
        ]);
    }
    table.print(output, "no plugins run: `tidegate run` runs those of the configuration")?;
    programs::print_refused(plugins.iter().map(|plugin| &plugin.refused), output)
}
