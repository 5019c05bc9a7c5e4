//! Following a configuration file and the files that it names, while the bus runs.

mod files;
mod quiet;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::{Applied, apply};
use crate::bus::{Bus, ReloadOutcome};
use crate::config::{Config, ProgramConfig};
use crate::limits::{FILE_QUIET, FILES_LOOK_EVERY};
use files::Folders;
use quiet::{Fingerprint, Quiet};

/// Follows files, until this is dropped or [`shutdown`](Self::shutdown).
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let file = directory.path().join("tidegate.toml");
/// # std::fs::write(&file, "[topics.orders]\npartitions = 4\n")?;
/// let config = tidegate::config::Config::from_file(&file)?;
/// let (applied, watcher) = tidegate::server::watch(&bus, file, config).await;
/// assert!(applied.refused.is_empty());
/// // A change of the file takes effect from here on, until it ends.
/// watcher.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Watcher {
    task: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Ends it. A change that is being made is cut off between two of its steps.
    pub async fn shutdown(mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // It was told to end, or has ended with the bus: either way it is over.
            drop(task.await);
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// [Applies](apply()) a configuration, and follows the file that it came from and the files that it names from now on:
///
/// - A configuration that has changed is [applied](apply()). One that is wrong is refused as a whole and logged with its
///   line, and what runs goes on.
/// - Schemas in the configuration's folder that are new are registered. Where one is refused, none of them is, and that is logged.
/// - A plugin whose file has changed is [reloaded](Bus::reload). One that is refused is logged, shown with the consumer,
///   and tried again when its file changes again; what runs goes on.
/// - So is an upcaster's plugin.
/// - A relay takes over a secret or a certificate whose file has changed.
/// - A consumer that could not be started is tried again when the configuration or a file of its changes.
///
/// A file is read once it has not changed for a fifth of a second, so that it isn't read half-written; replacing it by
/// renaming a finished file is the sure way.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// # let file = directory.path().join("tidegate.toml");
/// # std::fs::write(&file, "[topics.orders]\npartitions = 4\n")?;
/// let config = tidegate::config::Config::from_file(&file)?;
/// let (applied, watcher) = tidegate::server::watch(&bus, file, config).await;
/// for refused in &applied.refused {
///     eprintln!("{refused}");
/// }
/// watcher.shutdown().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn watch(bus: &Bus, file: impl Into<PathBuf>, config: Config) -> (Applied, Watcher) {
    let mut follower = Follower { bus: bus.clone(), file: file.into(), config };
    // The look comes before anything is read, so that no change falls between the two.
    let quiet = Quiet::new(follower.look());
    follower.read();
    let applied = apply(bus, &follower.config).await;
    let task = bus.runtime().spawn(follower.follow(quiet));
    (applied, Watcher { task: Some(task) })
}

struct Follower {
    bus: Bus,
    file: PathBuf,
    config: Config,
}

impl Follower {
    async fn follow(mut self, mut quiet: Quiet) {
        let stirred = Arc::new(Notify::new());
        let mut folders = Folders::new(Arc::clone(&stirred));
        let clock = Arc::clone(self.bus.clock());
        loop {
            folders.watch(&self.files(), self.schemas());
            let changed = quiet.look(clock.now(), self.look());
            self.take_over(&changed).await;
            let wait = if quiet.is_waiting() { FILE_QUIET } else { FILES_LOOK_EVERY };
            tokio::select! {
                () = clock.sleep_until(clock.now().after(wait)) => {}
                () = stirred.notified(), if !quiet.is_waiting() => {}
            }
        }
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let programs = self.config.consumers.values().map(|(_, program)| program);
        let upcasters = self.config.upcasters.values().map(|upcaster| upcaster.component.as_path());
        let files = programs.flat_map(ProgramConfig::files).chain(upcasters).map(Path::to_owned);
        files.chain([self.file.clone()]).collect()
    }

    /// The folder of schemas.
    fn schemas(&self) -> Option<&Path> {
        self.config.schemas.as_ref().map(|schemas| schemas.folder.as_path())
    }

    fn look(&self) -> BTreeMap<PathBuf, Option<Fingerprint>> {
        let files = self.files().into_iter().map(|path| (path.clone(), Fingerprint::of(&path)));
        let schemas = self.schemas().map(|folder| (folder.to_owned(), Fingerprint::of_schemas(folder)));
        files.chain(schemas).collect()
    }

    async fn take_over(&mut self, changed: &BTreeSet<PathBuf>) {
        if changed.contains(&self.file) {
            self.read();
        }
        if changed.is_empty() {
            return;
        }
        log(&apply(&self.bus, &self.config).await);
        for (upcaster, config) in &self.bus.upcaster_configs() {
            if changed.contains(&config.component) {
                self.reload_upcaster(upcaster, &config.component).await;
            }
        }
        let running = self.bus.consumer_configs();
        for (consumer, (_, program)) in &running {
            if let Some(file) = program.files().into_iter().find(|file| changed.contains(*file)) {
                self.reload(consumer, file, program.plugin().is_some()).await;
            }
        }
    }

    fn read(&mut self) {
        match Config::from_file(&self.file) {
            Ok(config) => self.config = config,
            Err(error) => tracing::error!(%error, "the configuration is refused, and what runs goes on"),
        }
    }

    async fn reload_upcaster(&self, upcaster: &str, file: &Path) {
        match self.bus.reload_upcaster(upcaster).await {
            Ok(ReloadOutcome::Switched { from, to }) => {
                let (from, to) = (from.version, to.version);
                tracing::info!(upcaster, file = %file.display(), from, to, "another version of the upcaster runs");
            }
            Ok(ReloadOutcome::Unchanged { .. }) => {}
            Err(error) => {
                tracing::error!(upcaster, %error, "the new content of a file is refused, and what runs goes on");
            }
        }
    }

    async fn reload(&self, consumer: &str, file: &Path, is_plugin: bool) {
        match self.bus.reload(consumer).await {
            Ok(ReloadOutcome::Switched { .. }) if !is_plugin => {
                tracing::info!(consumer, file = %file.display(), "the relay uses the file's new content");
            }
            Ok(ReloadOutcome::Switched { from, to }) => {
                let (from, to) = (from.version, to.version);
                tracing::info!(consumer, file = %file.display(), from, to, "another version of the plugin runs");
            }
            Ok(ReloadOutcome::Unchanged { .. }) => {}
            Err(error) => {
                tracing::error!(consumer, %error, "the new content of a file is refused, and what runs goes on");
            }
        }
    }
}

/// Tells what was applied.
fn log(applied: &Applied) {
    for change in &applied.changes {
        tracing::info!("{change}");
    }
    for refused in &applied.refused {
        tracing::error!("{refused}");
    }
}
