//! The proofs: what takes longer than a test, and runs in a short form beside them.

use anyhow::Result;

use crate::{process::run, workspace::Workspace};

/// Runs one of them.
pub fn run_with(workspace: &Workspace, proof: &str, args: &[String]) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--quiet", "--package", "tidegate-tests", "--bin", "proof", "--locked", "--", proof]);
    run(cargo.args(args))
}

/// All of them, in a short form.
pub fn run_short(workspace: &Workspace) -> Result<()> {
    run_with(workspace, "sync-points", &["--stride".to_owned(), "29".to_owned()])
}
