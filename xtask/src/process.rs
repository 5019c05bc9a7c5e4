//! Running other programs.

use std::{ffi::OsStr, process::Command};

use anyhow::{Context as _, Result, bail};

/// Runs a command with this program's output.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("can't start `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to its output, trimmed.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("can't start `{}`", line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", line(command), output.status, stderr.trim());
    }
    let text =
        String::from_utf8(output.stdout).with_context(|| format!("`{}` wrote no text", line(command)))?;
    Ok(text.trim().to_owned())
}

/// A command as a person would type it.
fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
