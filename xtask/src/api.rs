//! The public API: compared with the dump that is committed, and looked through for what has no example.

use std::{ffi::OsStr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{process::run, workspace::Workspace};

/// The packages that others build on. Each has its dump in `docs/api`.
const PACKAGES: [&str; 2] = ["tidegate", "tidegate-plugin"];

/// Set for the rustdoc that cargo starts: it is this program, see [`rustdoc`].
const AS_RUSTDOC: &str = "TIDEGATE_XTASK_AS_RUSTDOC";

/// Fails where the public API differs from its dump; with `--bless` writes the dump.
pub fn api(workspace: &Workspace, args: &[String]) -> Result<()> {
    match args {
        [] => work(workspace, "check"),
        [bless] if bless == "--bless" => work(workspace, "bless"),
        _ => bail!("`cargo xtask api` takes `--bless` or nothing"),
    }
}

/// The same check, but where the compiler writes another format than can be read, it says so and that is all.
pub fn lint(workspace: &Workspace) -> Result<()> {
    work(workspace, "lint")
}

fn work(workspace: &Workspace, task: &str) -> Result<()> {
    let own = std::env::current_exe().context("xtask can't find itself")?;
    for package in PACKAGES {
        // With the artifacts of the lints beside it, this documents the package alone.
        run(workspace
            .cargo()
            .args(["rustdoc", "--package", package, "--lib", "--all-features", "--locked", "--target-dir"])
            .arg(workspace.target())
            .args(["--", "-Zunstable-options", "--output-format=json"])
            .env("RUSTDOC", &own)
            .env("RUSTDOCFLAGS", "")
            .env(AS_RUSTDOC, "1"))?;
        let json = workspace.target().join("doc").join(package.replace('-', "_")).with_extension("json");
        run(workspace
            .cargo()
            .args(["run", "--quiet", "--package", "xtask-api", "--locked", "--target-dir"])
            .arg(workspace.target())
            .args(["--", task])
            .args([json, dump(workspace, package)]))?;
    }
    Ok(())
}

fn dump(workspace: &Workspace, package: &str) -> PathBuf {
    workspace.root().join("docs/api").join(package).with_extension("txt")
}

/// Whether cargo has started this program as its rustdoc.
pub fn is_rustdoc() -> bool {
    std::env::var_os(AS_RUSTDOC).is_some()
}

/// Runs rustdoc with leave to write JSON, which a stable one doesn't give by itself. Only rustdoc has it: set for cargo, it
/// would build every dependency anew.
pub fn rustdoc(args: impl Iterator<Item = impl AsRef<OsStr>>) -> Result<()> {
    run(Command::new("rustdoc").args(args).env_remove(AS_RUSTDOC).env("RUSTC_BOOTSTRAP", "1"))
}
