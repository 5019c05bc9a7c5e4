//! What plugins and upcasters have in common on the command line: versions, refused candidates, reloading.

use tidegate::ReloadOutcome;
use tidegate::server::{Answer, Request};

use super::access::Access;
use super::error::CliError;
use super::output::Output;

/// Characters of a hash that tell versions apart.
const HASH_CHARS: usize = 12;

/// As much of a component's hash as tells it from others.
pub fn short_hash(hash: &str) -> &str {
    hash.get(..HASH_CHARS).unwrap_or(hash)
}

/// Says why candidates were refused.
pub fn print_refused<'a>(
    refused: impl Iterator<Item = &'a Option<String>>,
    output: &mut Output,
) -> Result<(), CliError> {
    refused
        .flatten()
        .try_for_each(|refused| output.line(format_args!("the newest file was refused: {refused}")))
}

/// Has what runs take over what its file holds now. `who` is what to call it, such as ``consumer `alerts` ``.
pub fn reload(access: &mut Access, who: &str, request: Request, output: &mut Output) -> Result<(), CliError> {
    if let Access::Local(bus) = access {
        return Err(CliError::Failed(format!(
            "{who} isn't running, as nobody runs the bus on {}: a changed file is taken when `tidegate run` starts it",
            bus.directory().display()
        )));
    }
    let outcome = access.one(request, |answer| match answer {
        Answer::Reloaded(outcome) => Some(outcome),
        _ => None,
    })?;
    if output.is_json() {
        return output.json(&outcome);
    }
    match outcome {
        ReloadOutcome::Unchanged { version } => output.line(format_args!(
            "{who} runs what the file holds already: {} {}",
            version.name, version.version
        )),
        ReloadOutcome::Switched { from, to } => output.line(format_args!(
            "{who} runs {} {} now, before {} {}",
            to.name, to.version, from.name, from.version
        )),
        _ => output.line("done"),
    }
}
