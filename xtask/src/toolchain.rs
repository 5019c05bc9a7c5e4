//! A compiler for `wasm32-unknown-unknown`, wherever it comes from.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    debian,
    process::{read, run},
    workspace::Workspace,
};

/// The target of every plugin.
pub const TARGET: &str = "wasm32-unknown-unknown";

const CHOICE: &str = "TIDEGATE_WASM_TOOLCHAIN";

/// A compiler that makes components.
pub struct Toolchain {
    /// The compiler, where it isn't cargo's own.
    rustc: Option<PathBuf>,
    /// The folder with the target's standard library, where it isn't the compiler's own.
    sysroot: Option<PathBuf>,
    /// `wasm-component-ld`: what it links is a component.
    linker: PathBuf,
    /// The linker behind that linker.
    wasm_ld: PathBuf,
}

impl Toolchain {
    /// The target if it is installed, else by `rustup target add`, else from Debian's packages.
    pub fn obtain(workspace: &Workspace) -> Result<Self> {
        let choice = std::env::var(CHOICE).ok();
        match choice.as_deref() {
            None | Some("") => match Self::rustup() {
                Ok(toolchain) => Ok(toolchain),
                Err(rustup) => Self::debian(workspace).map_err(|debian| {
                    anyhow::anyhow!(
                        "plugins need the Rust target {TARGET}, and it can't be had\n  \
                         from rustup: {rustup:#}\n  \
                         from Debian: {debian:#}\n\
                         Install it with `rustup target add {TARGET}`, or on Debian, as root, with\n  \
                         {}",
                        debian::INSTALL,
                    )
                }),
            },
            Some("rustup") => Self::rustup().with_context(|| format!("{CHOICE}=rustup")),
            Some("debian") => Self::debian(workspace).with_context(|| format!("{CHOICE}=debian")),
            Some(other) => bail!("{CHOICE} is {other:?}: set it to `rustup` or `debian`, or not at all"),
        }
    }

    fn rustup() -> Result<Self> {
        if installed()? {
            println!("xtask: the target {TARGET} is installed");
        } else {
            println!("xtask: adding the target {TARGET} with rustup");
            run(Command::new("rustup").args(["target", "add", TARGET]))?;
            ensure!(installed()?, "rustup has added {TARGET} to another toolchain than the one in use");
        }
        Self::with_linker(None, None)
    }

    fn debian(workspace: &Workspace) -> Result<Self> {
        let sysroot = debian::sysroot(workspace)?;
        Self::with_linker(Some(PathBuf::from(debian::RUSTC)), Some(sysroot))
    }

    /// The linkers come from cargo's own toolchain, whatever compiles.
    fn with_linker(rustc: Option<PathBuf>, sysroot: Option<PathBuf>) -> Result<Self> {
        let host = host_target()?;
        let programs = own_sysroot()?.join("lib/rustlib").join(host).join("bin");
        let linker = programs.join("wasm-component-ld");
        let wasm_ld = programs.join("gcc-ld/wasm-ld");
        for program in [&linker, &wasm_ld] {
            ensure!(
                program.exists(),
                "{} is missing: install the Rust toolchain with rustup",
                program.display()
            );
        }
        Ok(Self { rustc, sysroot, linker, wasm_ld })
    }

    /// A `cargo build` for the target. The compiler is set on this child process alone: exported, it would rebuild the
    /// host with another compiler.
    pub fn build(&self, workspace: &Workspace) -> Command {
        let mut flags = vec![joined("-Clink-arg=--wasm-ld-path=", &self.wasm_ld)];
        if let Some(sysroot) = &self.sysroot {
            flags.push(joined("--sysroot=", sysroot));
        }
        let mut command = workspace.cargo();
        command
            .args(["build", "--locked", "--target", TARGET, "--target-dir"])
            .arg(workspace.plugins_build())
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &self.linker)
            // Separated by a byte that no path holds, and ahead of what the environment says for the host.
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(std::ffi::OsStr::new("\u{1f}")));
        if let Some(rustc) = &self.rustc {
            command.env("RUSTC", rustc);
        }
        command
    }
}

fn joined(option: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(option);
    flag.push(path);
    flag
}

/// Whether cargo's own compiler has the target's standard library.
fn installed() -> Result<bool> {
    let libraries = own_sysroot()?.join("lib/rustlib").join(TARGET).join("lib");
    Ok(libraries.is_dir())
}

fn own_sysroot() -> Result<PathBuf> {
    read(Command::new("rustc").args(["--print", "sysroot"])).map(PathBuf::from)
}

fn host_target() -> Result<String> {
    let version = read(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}
