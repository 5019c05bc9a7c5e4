//! Being told when something stirs in a folder.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;

use crate::config::SchemaFile;

type Names = Arc<Mutex<BTreeSet<OsString>>>;

/// The folders of some files. They are watched, not the files: a file that is replaced by renaming another is a new one,
/// and a watch on the old one would say nothing.
pub(super) struct Folders {
    watcher: Option<RecommendedWatcher>,
    /// The names of the files. All else that stirs in their folders, such as the database, is none of ours.
    names: Names,
    watched: BTreeSet<PathBuf>,
    refused: BTreeSet<PathBuf>,
}

impl Folders {
    /// Wakes `stirred` when something stirs. Where the system can't tell, looking now and then has to do.
    pub fn new(stirred: Arc<Notify>) -> Self {
        let names = Names::default();
        let ours = Arc::clone(&names);
        let tell = move |event| {
            if concerns(&ours, &event) {
                stirred.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell)
            .inspect_err(
                |error| tracing::warn!(%error, "changes of files are found by looking, every 2 seconds"),
            )
            .ok();
        Self { watcher, names, watched: BTreeSet::new(), refused: BTreeSet::new() }
    }

    /// Watches the folders of these files, and one of schemas, where any file of them counts; and no others.
    pub fn watch(&mut self, files: &BTreeSet<PathBuf>, schemas: Option<&Path>) {
        let Some(watcher) = &mut self.watcher else { return };
        let names = files.iter().filter_map(|file| file.file_name()).map(OsString::from).collect();
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        let folders = files.iter().map(|file| folder(file));
        let folders: BTreeSet<PathBuf> = folders.chain(schemas.map(Path::to_owned)).collect();
        for gone in self.watched.difference(&folders) {
            // It may be gone from the disk as well.
            drop(watcher.unwatch(gone));
        }
        self.watched.retain(|folder| folders.contains(folder));
        for folder in folders {
            if self.watched.contains(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.refused.remove(&folder);
                    self.watched.insert(folder);
                }
                // Tried again at each look, and told once.
                Err(error) => {
                    if self.refused.insert(folder.clone()) {
                        tracing::warn!(folder = %folder.display(), %error, "a folder can't be watched; it is looked at every 2 seconds");
                    }
                }
            }
        }
    }
}

/// Whether one of these files, or one of schemas, may have changed. A fault may have swallowed any change.
fn concerns(names: &Names, event: &notify::Result<notify::Event>) -> bool {
    let Ok(event) = event else { return true };
    if event.kind.is_access() {
        return false;
    }
    let names = names.lock().unwrap_or_else(PoisonError::into_inner);
    event.need_rescan()
        || event.paths.iter().filter_map(|path| path.file_name()).any(|name| names.contains(name))
        || event.paths.iter().any(|path| SchemaFile::named(path).is_ok())
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
