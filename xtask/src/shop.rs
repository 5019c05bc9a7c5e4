use std::process::Command;

use anyhow::Result;

use crate::{plugins, process::run, workspace::Workspace};

/// Builds the shop and its plugins, and plays its story on both sides; `args` go to it.
pub fn run_with(workspace: &Workspace, args: &[String]) -> Result<()> {
    plugins::build(workspace)?;
    let target = workspace.target();
    run(workspace
        .cargo()
        // Of the whole workspace, so that it has the features that its tests have, and nothing is built twice.
        .args([
            "build",
            "--workspace",
            "--exclude",
            plugins::GUESTS,
            "--example",
            "shop",
            "--locked",
            "--quiet",
        ])
        .arg("--target-dir")
        .arg(&target))?;
    let program = target.join("debug/examples").join(format!("shop{}", std::env::consts::EXE_SUFFIX));
    run(Command::new(program).arg("--plugins").arg(workspace.components()).args(args))
}
