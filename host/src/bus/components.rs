//! The accepted components, kept by their hash in the data directory: after a restart the accepted version runs, whatever
//! lies where the plugin came from.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::COMPONENT_BYTES_MAX;

/// The folder of accepted components.
#[derive(Debug)]
pub(super) struct Components {
    folder: PathBuf,
}

impl Components {
    /// In this data directory; the folder is made where there is none.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let folder = directory.join("components");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The component of this hash, where it is kept.
    pub fn get(&self, hash: &str) -> io::Result<Option<Arc<[u8]>>> {
        match read_bounded(&self.path(hash)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps a component: on the disk when this returns.
    pub fn put(&self, hash: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(hash);
        if path.try_exists()? {
            return Ok(());
        }
        let unfinished = self.folder.join(format!("{hash}.new"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes a component.
    pub fn remove(&self, hash: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(hash))
    }

    /// Removes all components but these.
    pub fn retain(&self, hashes: &[String]) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let hash = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            if !hashes.contains(&hash) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The path of the component of this hash.
    pub fn path(&self, hash: &str) -> PathBuf {
        self.folder.join(format!("{hash}.wasm"))
    }
}

/// Reads a component's file, or a little more than is allowed of one that is too large.
pub(super) fn read_bounded(path: &Path) -> io::Result<Arc<[u8]>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(COMPONENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
