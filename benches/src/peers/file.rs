//! Plain files: the limit of anything durable on this disk.

use std::fs::File;
use std::io::Write as _;

use anyhow::Result;
use tempfile::TempDir;

use crate::report::target;

/// A file in a folder of its own that only grows.
pub struct PlainFile {
    file: File,
    _folder: TempDir,
}

impl PlainFile {
    pub fn new() -> Result<Self> {
        let folder = TempDir::new_in(target()?)?;
        Ok(Self { file: File::create(folder.path().join("plain"))?, _folder: folder })
    }

    /// Appends bytes and has the disk keep them: one `fdatasync`.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes)?;
        Ok(self.file.sync_data()?)
    }
}

/// A folder of plain files.
pub struct PlainFiles {
    folder: TempDir,
}

impl PlainFiles {
    pub fn new() -> Result<Self> {
        Ok(Self { folder: TempDir::new_in(target()?)? })
    }

    /// Writes a file that is whole under its name, and has the disk keep both: two syncs.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let unnamed = self.folder.path().join("unnamed");
        let mut file = File::create(&unnamed)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(unnamed, self.folder.path().join(name))?;
        Ok(File::open(self.folder.path())?.sync_all()?)
    }
}
