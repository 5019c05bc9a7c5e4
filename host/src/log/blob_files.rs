//! The files of the blob store: one for each blob, in a directory of their own.
//!
//! A blob gets its name once it is whole and on the disk, so a file under a blob's name is always a whole one, or damaged since.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::medium::remove_if_there;
use crate::limits::BLOB_BYTES_MAX;

/// The name of their directory within the data directory.
const FOLDER: &str = "blobs";
/// What follows a blob's name while it is written.
const UNFINISHED: &str = ".new";

/// See the module.
#[derive(Debug)]
pub(super) struct BlobFiles {
    directory: PathBuf,
    /// Whether the directory is known to be there after a crash.
    is_made: AtomicBool,
}

impl BlobFiles {
    /// Those in this data directory. Nothing is made before there is a blob.
    pub fn new(data_directory: &Path) -> Self {
        Self { directory: data_directory.join(FOLDER), is_made: AtomicBool::new(false) }
    }

    /// Writes a blob, and has it on the disk under its name when it returns.
    pub fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.make_directory()?;
        let (unfinished, path) =
            (self.directory.join([name, UNFINISHED].concat()), self.directory.join(name));
        let written = write_durably(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, &path));
        if let Err(error) = written {
            // What a full disk has no room for is not to fill it.
            remove_if_there(&unfinished)?;
            return Err(error);
        }
        // A name that may be gone after a crash is none that others may find, and take to be durable.
        self.sync().or_else(|error| remove_if_there(&path).and(Err(error)))
    }

    /// Has the names on the disk.
    pub fn sync(&self) -> io::Result<()> {
        self.make_directory()?;
        File::open(&self.directory)?.sync_all()
    }

    /// A blob's bytes; `None` where it is not there.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.directory.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        // No blob is larger, whatever has become of its file.
        file.take(BLOB_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Removes a blob. Returns how many bytes it had, if it was there.
    pub fn remove(&self, name: &str) -> io::Result<Option<u64>> {
        let path = self.directory.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) => {
                remove_if_there(&path)?;
                Ok(Some(metadata.len()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of all files that are there, unfinished ones among them, and their bytes.
    pub fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            // What somebody else has put there is none of the bus's.
            if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
                let stem = name.strip_suffix(UNFINISHED).unwrap_or(&name);
                let is_ours =
                    stem.len() == 64 && stem.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
                if is_ours {
                    found.push((name, metadata.len()));
                }
            }
        }
        Ok(found)
    }

    /// Makes the directory where there is none. Whoever made one may have come to its end before that was durable.
    fn make_directory(&self) -> io::Result<()> {
        if self.is_made.load(Ordering::Acquire) {
            return Ok(());
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(parent) = self.directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        self.is_made.store(true, Ordering::Release);
        Ok(())
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_there_from_when_it_was_written_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let files = BlobFiles::new(directory.path());
        let name = "a".repeat(64);
        assert_eq!((files.list().unwrap(), files.read(&name).unwrap()), (vec![], None));
        files.write(&name, b"data").unwrap();
        files.write(&name, b"other").unwrap();
        std::fs::write(directory.path().join("blobs/README"), "mine").unwrap();
        assert_eq!(files.read(&name).unwrap().as_deref(), Some(&b"other"[..]));
        assert_eq!(files.list().unwrap(), [(name.clone(), 5)]);
        assert_eq!((files.remove(&name).unwrap(), files.remove(&name).unwrap()), (Some(5), None));
        assert!(files.list().unwrap().is_empty() && directory.path().join("blobs/README").exists());
    }

    #[test]
    fn a_blob_that_can_not_be_written_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let files = BlobFiles::new(directory.path());
        let name = "b".repeat(64);
        // What stands under its name can't be replaced.
        std::fs::create_dir_all(directory.path().join("blobs").join(&name)).unwrap();
        assert!(files.write(&name, b"data").is_err());
        assert!(files.list().unwrap().is_empty());
    }
}
