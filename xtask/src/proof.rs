//! The proofs: what takes longer than a test, and runs in a short form beside them.

use anyhow::Result;

use crate::{crash::run_built, workspace::Workspace};

/// Runs one of them.
pub fn run_with(workspace: &Workspace, proof: &str, args: &[String]) -> Result<()> {
    run_built(workspace, "proof", &[&[proof.to_owned()], args].concat())
}

/// All of them, in a short form.
pub fn run_short(workspace: &Workspace) -> Result<()> {
    run_with(workspace, "sync-points", &["--stride".to_owned(), "29".to_owned()])?;
    run_with(workspace, "letters", &["--count".to_owned(), "20000".to_owned()])?;
    run_with(workspace, "fuzz", &["--seconds".to_owned(), "3".to_owned()])
}
