//! What a build without outboxes says.

use crate::cli::arguments::{Global, OutboxCommand};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::Output;

/// Says what to do about it.
pub fn outbox(_: &Global, _: OutboxCommand, _: &mut Output) -> Result<Exit, CliError> {
    Err(CliError::Failed(
        "this tidegate was built without outboxes: build it with the cargo feature `outbox-sqlite`, `outbox-postgres`, or \
         `outboxes` for both"
            .to_owned(),
    ))
}
