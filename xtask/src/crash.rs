use std::process::Command;

use anyhow::Result;

use crate::{plugins, process::run, workspace::Workspace};

/// Builds what is killed and what kills it, and runs it; `args` go to it.
pub fn run_with(workspace: &Workspace, args: &[String]) -> Result<()> {
    // Some of what is killed runs them.
    plugins::build(workspace)?;
    run_built(workspace, "crash", args)
}

/// Builds a binary of the tests, and runs it.
///
/// In the profile of the tests, whose libraries are there: the moments of a kill are as many in a slower program, and
/// compiling the WebAssembly runtime with optimizations would take longer than two hundred kills.
pub fn run_built(workspace: &Workspace, binary: &str, args: &[String]) -> Result<()> {
    let target = workspace.target();
    run(workspace
        .cargo()
        // Of the whole workspace, so that it has the features that its tests have.
        .args(["build", "--workspace", "--exclude", plugins::GUESTS, "--bin", binary, "--locked", "--quiet"])
        .arg("--target-dir")
        .arg(&target))?;
    run(Command::new(target.join("debug").join(format!("{binary}{}", std::env::consts::EXE_SUFFIX)))
        .args(args))
}
