//! `tidegate init`: makes a data directory.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};

use tidegate::config::Config;

use super::access::config_file;
use super::arguments::{Global, Init};
use super::error::{CliError, Exit};
use super::output::Output;

/// Makes the directory and its configuration file. What is there already stays as it is.
pub fn init(global: &Global, init: &Init, output: &mut Output) -> Result<Exit, CliError> {
    let directory = init.directory.clone().unwrap_or_else(|| global.dir.clone());
    let global = Global { dir: directory.clone(), ..global.clone() };
    let failed = |path: &std::path::Path| {
        let path = path.to_owned();
        move |source| CliError::File { path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(failed(&directory))?;
    let file = config_file(&global);
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file) {
        Ok(mut new) => new.write_all(Config::template().as_bytes()).map_err(failed(&file))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            output.line(format_args!("{} is there already and stays as it is", file.display()))?;
            return Ok(Exit::Done);
        }
        Err(error) => return Err(failed(&file)(error)),
    }
    let option = if global.dir == std::path::Path::new("./tidegate-data") {
        String::new()
    } else {
        format!(" --dir {}", directory.display())
    };
    output.line(format_args!("made {}", file.display()))?;
    output.line("next:")?;
    output.line("  edit it: topics, and the consumers that plugins run")?;
    output.line(format_args!("  tidegate{option} run                     # in one terminal"))?;
    output.line(format_args!("  tidegate{option} publish events FILE     # in another"))?;
    output.line(format_args!("  tidegate{option} read events --follow    # in a third, while it runs"))?;
    Ok(Exit::Done)
}
