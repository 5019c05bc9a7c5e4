//! What the library and the binary cost whoever builds and ships them.

use std::{collections::BTreeSet, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    process::{read, run},
    workspace::Workspace,
};

/// The most bytes that the binary may have.
const BINARY_BYTES_MAX: u64 = 30_000_000;

/// Something that is built from nothing.
struct Build {
    what: &'static str,
    /// What cargo is told, for building as for listing crates.
    features: &'static [&'static str],
    target: &'static str,
}

const BUILDS: [Build; 3] = [
    Build {
        what: "the library, without server and command line",
        features: &["--no-default-features"],
        target: "--lib",
    },
    Build { what: "the binary", features: &[], target: "--bin=tidegate" },
    Build {
        what: "the binary, with outboxes and relays",
        features: &["--features", "outboxes,relays"],
        target: "--bin=tidegate",
    },
];

/// Builds each from nothing with optimizations, and prints how many crates it takes, how long that was, and the size of what
/// came of it.
pub fn measure(workspace: &Workspace) -> Result<()> {
    println!("{:<48} {:>7} {:>9} {:>12}", "release build", "crates", "seconds", "bytes");
    let mut largest = 0;
    for build in &BUILDS {
        let folder = workspace.target().join("footprint");
        remove(&folder)?;
        let crates = crates(workspace, build)?;
        let took = took(workspace, build, &folder)?;
        let binary = folder.join("release").join(format!("tidegate{}", std::env::consts::EXE_SUFFIX));
        let bytes = if build.target == "--lib" {
            "-".to_owned()
        } else {
            let binary =
                fs::metadata(&binary).with_context(|| format!("{} is not there", binary.display()))?;
            largest = largest.max(binary.len());
            binary.len().to_string()
        };
        remove(&folder)?;
        println!("{:<48} {crates:>7} {:>9.0} {bytes:>12}", build.what, took.as_secs_f64());
    }
    anyhow::ensure!(
        largest <= BINARY_BYTES_MAX,
        "the binary has {largest} bytes, more than the {BINARY_BYTES_MAX} that it may have"
    );
    Ok(())
}

/// How many crates are compiled for it, itself among them.
fn crates(workspace: &Workspace, build: &Build) -> Result<usize> {
    let tree = ["tree", "--package", "tidegate", "--edges", "normal,build", "--prefix", "none", "--locked"];
    let listed = read(workspace.cargo().args(tree).args(build.features))?;
    // A crate that was listed before has a mark behind its version.
    let names: BTreeSet<_> = listed.lines().filter_map(|line| line.split(" (").next()).collect();
    Ok(names.iter().filter(|name| !name.is_empty()).count())
}

fn took(workspace: &Workspace, build: &Build, folder: &Path) -> Result<Duration> {
    let args = ["build", "--quiet", "--release", "--package", "tidegate", "--locked", build.target];
    #[expect(clippy::disallowed_methods, reason = "there is no bus here, and nothing to steer")]
    let begun = std::time::Instant::now();
    run(workspace.cargo().args(args).args(build.features).arg("--target-dir").arg(folder))?;
    Ok(begun.elapsed())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("can't remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
