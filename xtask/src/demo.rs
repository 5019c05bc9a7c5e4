use std::process::Command;

use anyhow::Result;

use crate::{plugins, process::run, workspace::Workspace};

/// Builds plugins and binary, and runs the demo; `args` go to it.
pub fn run_with(workspace: &Workspace, args: &[String]) -> Result<()> {
    plugins::build(workspace)?;
    let target = workspace.target();
    run(workspace.cargo().args(["build", "--package", "tidegate", "--locked", "--target-dir"]).arg(&target))?;
    let binary = target.join("debug").join(format!("tidegate{}", std::env::consts::EXE_SUFFIX));
    // The input's default path is within the workspace.
    run(Command::new(binary)
        .current_dir(workspace.root())
        .arg("demo")
        .arg("--plugins")
        .arg(workspace.components())
        .args(args))
}
