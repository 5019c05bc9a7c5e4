//! `tidegate demo`

use super::arguments::Demo;
use super::error::{CliError, Exit};

pub fn demo(_: &Demo) -> Result<Exit, CliError> {
    Ok(Exit::Done)
}
