//! What has to hold before a change goes in.

use anyhow::Result;

use crate::{plugins, process::run, workspace::Workspace};

/// Warnings are errors: of rustfmt, of clippy on all targets, of rustdoc.
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
    run(workspace
        .cargo()
        .args(["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", "--deny warnings"))
}

/// All tests. The whole-system tests load the components from `target/plugins` and run the binary and the examples, so
/// those are built first.
pub fn test(workspace: &Workspace, args: &[String]) -> Result<()> {
    plugins::build(workspace)?;
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
    run(workspace.cargo().args(["test", "--workspace", "--exclude", plugins::GUESTS, "--locked"]).args(args))
}
