//! What has to hold before a change goes in.

use anyhow::Result;

use crate::{api, features, nats, plugins, process::run, proof, workspace::Workspace};

/// Warnings are errors: of rustfmt, of clippy on all targets and in each shape of the library, of rustdoc. The public API
/// has to be what its dump says.
pub fn lint(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    run(workspace.cargo().args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ]))?;
    features::lint(workspace)?;
    run(workspace
        .cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "--deny warnings"))?;
    api::lint(workspace)
}

/// All tests, and the proofs in a short form unless some tests are asked for. The whole-system tests load the components
/// from `target/plugins`, run the binary and the examples, so those are built first, and hand events on to a NATS server.
pub fn test(workspace: &Workspace, args: &[String]) -> Result<()> {
    plugins::build(workspace)?;
    nats::obtain(workspace);
    // Of the whole workspace, so that it has the features that its tests have.
    run(workspace.cargo().args([
        "build",
        "--workspace",
        "--exclude",
        plugins::GUESTS,
        "--bin",
        "tidegate",
        "--examples",
        "--locked",
    ]))?;
    // The guests have nothing to test natively, and a native library of each would have to be linked.
    run(workspace
        .cargo()
        .args(["test", "--workspace", "--exclude", plugins::GUESTS, "--locked"])
        .args(args))?;
    if args.is_empty() { proof::run_short(workspace) } else { Ok(()) }
}
