//! The proofs: what takes longer than a test, and runs in a short form beside them.

use anyhow::Result;

use crate::{crash::run_built, mutants, workspace::Workspace};

/// Runs one of them.
pub fn run_with(workspace: &Workspace, proof: &str, args: &[String]) -> Result<()> {
    run_built(workspace, "proof", &[&[proof.to_owned()], args].concat())
}

/// All of them, in a short form.
pub fn run_short(workspace: &Workspace) -> Result<()> {
    run_with(workspace, "sim", &["--seeds", "60"].map(ToOwned::to_owned))?;
    run_with(workspace, "sync-points", &["--stride", "29"].map(ToOwned::to_owned))?;
    run_with(workspace, "letters", &["--count", "20000"].map(ToOwned::to_owned))?;
    run_with(workspace, "fuzz", &["--seconds", "3"].map(ToOwned::to_owned))?;
    mutants::run_short(workspace)
}
