//! The accepted version of each upcaster's plugin: after a restart it runs, whatever lies where the plugin came from. Without it
//! consumers would see events as they were published, until somebody mends the file.
//!
//! The components are with those of the consumers; here each upcaster has a file with the hash of its own.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::UpcasterError;
use crate::bus::Bus;
use crate::handler::ProgramVersion;
use crate::plugin::component_hash;

/// The folder in the data directory.
const FOLDER: &str = "upcasters";

/// SHA-256 in hexadecimal.
const HASH_BYTES: usize = 64;

impl Bus {
    /// The component that was accepted last under a name, where it is kept.
    pub(super) fn accepted_upcaster(&self, name: &str) -> Result<Option<Arc<[u8]>>, UpcasterError> {
        let path = path(self.directory(), name);
        let Some(hash) = read_hash(&path).map_err(|source| failed(name, &path, source))? else {
            return Ok(None);
        };
        let components = &self.inner.components;
        let bytes = components.get(&hash).map_err(|source| failed(name, &components.path(&hash), source))?;
        let Some(bytes) = bytes else { return Ok(None) };
        if component_hash(&bytes) == hash {
            return Ok(Some(bytes));
        }
        let path = components.path(&hash);
        tracing::error!(path = %path.display(), "the accepted component is damaged; the plugin's file is taken");
        components.remove(&hash).map_err(|source| failed(name, &path, source))?;
        Ok(None)
    }

    /// Makes a version the accepted one, and keeps its component: on the disk when this returns.
    pub(super) fn accept_upcaster(
        &self,
        name: &str,
        version: &ProgramVersion,
        bytes: &[u8],
    ) -> Result<(), UpcasterError> {
        let components = &self.inner.components;
        let hash = &version.hash;
        components.put(hash, bytes).map_err(|source| failed(name, &components.path(hash), source))?;
        let path = path(self.directory(), name);
        write_hash(&path, hash).map_err(|source| failed(name, &path, source))
    }

    /// Lets go of what is kept of an upcaster. Its component goes with the next consumer that is forgotten.
    pub(super) fn forget_upcaster(&self, name: &str) -> Result<(), UpcasterError> {
        let path = path(self.directory(), name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(name, &path, error)),
            _ => Ok(()),
        }
    }

    /// The hashes of all components that upcasters keep.
    pub(in crate::bus) fn accepted_upcaster_hashes(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.directory().join(FOLDER)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let hashes = entries.map(|entry| read_hash(&entry?.path()));
        Ok(hashes.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }
}

fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(FOLDER).join(format!("{name}.sha256"))
}

fn failed(name: &str, path: &Path, source: io::Error) -> UpcasterError {
    UpcasterError::File { upcaster: name.to_owned(), path: path.to_owned(), source: Arc::new(source) }
}

/// What a file says; nothing where it isn't there, or isn't whole.
fn read_hash(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(HASH_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let is_hash = bytes.len() == HASH_BYTES && bytes.iter().all(u8::is_ascii_hexdigit);
    Ok(is_hash.then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn write_hash(path: &Path, hash: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let unfinished = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(hash.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(folder)?.sync_all()
}
