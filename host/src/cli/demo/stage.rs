//! Where the demo plays: a data directory of its own, with copies of the plugins.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::failed;
use crate::cli::error::CliError;

/// The configuration of the demo's bus. The waits before retries are short, so that nobody waits for them.
const CONFIGURATION: &str = r#"# The configuration of `tidegate demo`.
[topics.quakes]
partitions = 6

[topics.alerts]
partitions = 6

[consumers.stats]
plugin = "plugins/quake_stats.wasm"
topics = ["quakes"]
grants = { state = true }

[consumers.alerts]
plugin = "plugins/quake_alerts.wasm"
topics = ["quakes"]
grants = { publish = ["alerts"] }

[consumers.notifier]
plugin = "plugins/notifier.wasm"
topics = ["alerts"]
grants = { state = true, log = true }
retry = { attempts = 8, base = "20ms", max = "500ms" }
"#;

/// How many consumers it names.
pub const CONSUMERS: usize = 3;

/// The plugins' files, as they are built.
const PLUGINS: [&str; 3] = ["quake_stats.wasm", "quake_alerts.wasm", "notifier.wasm"];

/// The alert plugin's next version, as it is built.
const NEXT_ALERTS: &str = "quake_alerts_v2.wasm";

/// See the module.
pub struct Stage {
    /// The data directory.
    pub directory: PathBuf,
    built: PathBuf,
    keep: bool,
}

impl Stage {
    /// Makes the directory with configuration and plugins.
    pub fn set(built: &Path, keep: Option<&Path>) -> Result<Self, CliError> {
        for file in PLUGINS.iter().chain([&NEXT_ALERTS]) {
            if !built.join(file).is_file() {
                return Err(CliError::Failed(format!(
                    "there is no plugin {}: `cargo xtask demo` builds the plugins and plays the demo",
                    built.join(file).display()
                )));
            }
        }
        let temporary = || std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        let directory = keep.map_or_else(temporary, Path::to_owned);
        if directory.join("tidegate.redb").exists() {
            return Err(CliError::Failed(format!(
                "{} holds a bus already: name another directory",
                directory.display()
            )));
        }
        let plugins = directory.join("plugins");
        DirBuilder::new().recursive(true).mode(0o700).create(&plugins).map_err(failed(&plugins))?;
        for file in PLUGINS {
            fs::copy(built.join(file), plugins.join(file)).map_err(failed(&built.join(file)))?;
        }
        let configuration = directory.join("tidegate.toml");
        fs::write(&configuration, CONFIGURATION).map_err(failed(&configuration))?;
        Ok(Self { directory, built: built.to_owned(), keep: keep.is_some() })
    }

    /// Puts the next version of the alert plugin in the place of the one that runs.
    pub fn replace_alerts(&self) -> Result<(), CliError> {
        let plugins = self.directory.join("plugins");
        let (next, file) = (plugins.join("next.wasm"), plugins.join("quake_alerts.wasm"));
        fs::copy(self.built.join(NEXT_ALERTS), &next).map_err(failed(&next))?;
        fs::rename(&next, &file).map_err(failed(&file))
    }

    /// Removes the directory, unless it is to be kept.
    pub fn strike(self) -> Result<(), CliError> {
        if self.keep {
            return Ok(());
        }
        fs::remove_dir_all(&self.directory).map_err(failed(&self.directory))
    }
}
