use std::process::Command;

use anyhow::Result;

use crate::{nats, plugins, process::run, workspace::Workspace};

/// Builds the benchmarks and runs them; `args` go to them.
///
/// `--smoke` only shows that all of them still run. Its figures mean nothing, so it takes the profile of the tests, whose
/// libraries are there; compiling the WebAssembly runtime with optimizations takes minutes.
pub fn run_with(workspace: &Workspace, args: &[String]) -> Result<()> {
    // Some measure plugins, and some a NATS server beside the bus.
    plugins::build(workspace)?;
    nats::obtain(workspace);
    let target = workspace.target();
    let mut build = workspace.cargo();
    let is_smoke = args.iter().any(|arg| arg == "--smoke");
    if is_smoke {
        // Of the whole workspace, so that it has the features that its tests have.
        build.args(["build", "--workspace", "--exclude", plugins::GUESTS]);
    } else {
        build.args(["build", "--release", "--package", "tidegate-benches"]);
    }
    run(build.args(["--bin", "tidegate-benches", "--locked", "--target-dir"]).arg(&target))?;
    let profile = if is_smoke { "debug" } else { "release" };
    let program = format!("tidegate-benches{}", std::env::consts::EXE_SUFFIX);
    // The report goes to target/bench.json of the workspace.
    run(Command::new(target.join(profile).join(program)).current_dir(workspace.root()).args(args))
}
