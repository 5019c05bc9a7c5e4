//! The way to the wasm target where rustup can't download: Debian's compiler, and its standard library built here.

use std::{
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    process::{read, run},
    toolchain::TARGET,
    workspace::Workspace,
};

/// Debian's compiler for the web, beside which rustup's is not disturbed.
pub const RUSTC: &str = "/usr/bin/rustc";
/// What installs it.
pub const INSTALL: &str = "apt-get install --no-install-recommends rustc-web rust-web-src";

/// A crate whose only purpose is what it depends on.
const EMPTY_CRATE: &str = "\
[package]
name = \"empty\"
version = \"0.0.0\"
edition = \"2024\"

[lib]
path = \"lib.rs\"

[profile.release]
panic = \"abort\"
opt-level = \"s\"
codegen-units = 1

[workspace]
";

/// Plugins are built with link-time optimization, which needs bitcode from every library.
const STD_FLAGS: &str = "-Cembed-bitcode=yes";

/// The folder with the target's standard library for Debian's compiler, built at the first use.
pub fn sysroot(workspace: &Workspace) -> Result<PathBuf> {
    install()?;
    let version = read(Command::new(RUSTC).arg("-vV"))?;
    let sysroot = workspace.sysroots().join(key(&version));
    if sysroot.exists() {
        println!("xtask: using the standard library in {}", sysroot.display());
    } else {
        let release = version.lines().next().unwrap_or(RUSTC);
        println!("xtask: building the standard library of {release} for {TARGET}, once");
        build(&sysroot)?;
    }
    Ok(sysroot)
}

fn install() -> Result<()> {
    if has_source() {
        return Ok(());
    }
    println!("xtask: installing Debian's rustc-web and rust-web-src");
    let mut words = INSTALL.split(' ');
    let mut apt = Command::new(words.next().unwrap_or_default());
    apt.args(words).arg("--yes").env("DEBIAN_FRONTEND", "noninteractive");
    if run(&mut apt).is_err() {
        // Package lists that are older than the mirror's packages are the common reason.
        run(Command::new("apt-get").arg("update"))?;
        run(&mut apt)?;
    }
    ensure!(has_source(), "the packages are installed, and {RUSTC} has no standard-library source");
    Ok(())
}

/// Whether the compiler is there, and the source that goes with it.
fn has_source() -> bool {
    let sysroot = read(Command::new(RUSTC).args(["--print", "sysroot"]));
    sysroot
        .is_ok_and(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/std/Cargo.toml").exists())
}

/// Libraries of one compiler are of no use to another, and those of one recipe none to what was built on another's: cargo
/// sees the folder's name, and not what is in it.
fn key(version: &str) -> String {
    let release = version.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("unknown");
    let mut hasher = DefaultHasher::new();
    (version, EMPTY_CRATE, STD_FLAGS).hash(&mut hasher);
    format!("{release}-{:016x}", hasher.finish())
}

/// Builds beside the final folder, which appears in one step and so is always whole.
fn build(sysroot: &Path) -> Result<()> {
    let mut building = sysroot.as_os_str().to_owned();
    building.push(".building");
    let building = PathBuf::from(building);
    if building.exists() {
        fs::remove_dir_all(&building).with_context(|| format!("can't remove {}", building.display()))?;
    }
    let source = building.join("empty");
    create(&source)?;
    write(&source.join("Cargo.toml"), EMPTY_CRATE)?;
    write(&source.join("lib.rs"), "#![no_std]\n")?;
    run(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&source)
        .args(["build", "--release", "--target", TARGET, "-Zbuild-std=core,alloc,std,panic_abort"])
        .args(["--target-dir", "target"])
        .env("RUSTC", RUSTC)
        .env("CARGO_ENCODED_RUSTFLAGS", STD_FLAGS)
        .env("RUSTC_BOOTSTRAP", "1"))?;

    let libraries = building.join("lib/rustlib").join(TARGET).join("lib");
    create(&libraries)?;
    let built = source.join("target").join(TARGET).join("release/deps");
    for entry in fs::read_dir(&built).with_context(|| format!("can't list {}", built.display()))? {
        let file = entry?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if file.extension() == Some(OsStr::new("rlib")) && !name.starts_with("libempty-") {
            fs::copy(&file, libraries.join(&name))
                .with_context(|| format!("can't copy {}", file.display()))?;
        }
    }
    fs::remove_dir_all(&source).with_context(|| format!("can't remove {}", source.display()))?;
    fs::rename(&building, sysroot).with_context(|| format!("can't create {}", sysroot.display()))
}

fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("can't create {}", folder.display()))
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}
