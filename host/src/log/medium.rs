//! Where the database lies: the seam at which tests put a disk that fails.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{Builder, DatabaseError, StorageBackend};

use super::blob_files::BlobFiles;
use crate::limits::BALLAST_BYTES;

/// The database file's name within the data directory.
const DATABASE: &str = "tidegate.redb";
/// The name under which a new database file is prepared.
const PREPARED: &str = "tidegate.redb.new";
/// The name of the journal's file.
const JOURNAL: &str = "tidegate.journal";
/// The name of the file that is let go of when the disk is full.
const BALLAST: &str = "ballast";

/// What the database lies on.
///
/// ```
/// use tidegate::{Medium, Options};
///
/// fn on(medium: impl Medium) -> Options {
///     Options::new("data").medium(medium)
/// }
/// ```
pub trait Medium: fmt::Debug + Send + Sync + 'static {
    /// What errors name.
    fn path(&self) -> &Path;

    /// Opens the file of the database, with an empty database in it where there was no file.
    fn open_database(&self) -> Result<Box<dyn StorageBackend>, DatabaseError>;

    /// Has reading find what is on the disk, and not what the operating system still has in memory of writes that failed:
    /// after a sync that fails, Linux has them read as if they had been written, until the power goes. Called before the
    /// database is opened where a commit is one sync, which leaves nothing else to tell them by. As far as the medium can.
    fn forget_unwritten(&self) -> io::Result<()> {
        Ok(())
    }

    /// Opens the file of the journal, and makes an empty one where there is none. Who has the database open has it alone.
    fn open_journal(&self) -> io::Result<Box<dyn StorageBackend>>;

    /// Bytes that can still be written.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Lets go of what was set aside for a full disk.
    fn release_ballast(&self) -> io::Result<()>;

    /// Sets aside what a full disk needs, where there is none yet.
    fn set_ballast(&self) -> io::Result<()>;

    /// Writes a blob of the blob store, in place of what there may be under its name, and has it on the disk when it returns. Until
    /// then, and where it fails, nothing is under its name that is not whole.
    fn write_blob(&self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Has the names of all blobs on the disk that were written.
    fn sync_blobs(&self) -> io::Result<()>;

    /// A blob; `None` where it is not there.
    fn read_blob(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Removes a blob, which may come back after a loss of power. Returns how many bytes it had, if it was there.
    fn remove_blob(&self, name: &str) -> io::Result<Option<u64>>;

    /// The names of all blobs with their bytes, and of what is left of some that were being written.
    fn blobs(&self) -> io::Result<Vec<(String, u64)>>;
}

/// A file in a directory.
#[derive(Debug)]
pub(crate) struct FileMedium {
    directory: PathBuf,
    database: PathBuf,
    blobs: BlobFiles,
}

impl FileMedium {
    /// The database in this directory, which is there.
    pub fn new(directory: &Path) -> Self {
        let (directory, database) = (directory.to_owned(), directory.join(DATABASE));
        Self { blobs: BlobFiles::new(&directory), directory, database }
    }

    fn make_database(&self) -> Result<(), DatabaseError> {
        // Of two processes that find no database, one makes it and the other finds it made.
        let _turn = self.creation_turn().map_err(redb::StorageError::Io)?;
        if self.database.try_exists().map_err(redb::StorageError::Io)? {
            return Ok(());
        }
        let prepared = self.directory.join(PREPARED);
        // What an earlier attempt left unfinished holds nothing that was acknowledged.
        remove_if_there(&prepared).map_err(redb::StorageError::Io)?;
        Builder::new().create(&prepared)?.close()?;
        std::fs::rename(&prepared, &self.database)
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(redb::StorageError::Io)?;
        Ok(())
    }

    /// Waits for its turn to make a database in the directory; it ends when the file is dropped.
    fn creation_turn(&self) -> io::Result<File> {
        let directory = File::open(&self.directory)?;
        rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(directory)
    }
}

pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Medium for FileMedium {
    fn path(&self) -> &Path {
        &self.database
    }

    /// A new database gets its name once it is whole, so that an empty or short file under that name is always damage.
    fn open_database(&self) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        if !self.database.try_exists().map_err(redb::StorageError::Io)? {
            self.make_database()?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&self.database);
        let file = FileBackend::new(file.map_err(redb::StorageError::Io)?)?;
        if file.len().map_err(redb::StorageError::Io)? == 0 {
            return Err(redb::StorageError::Corrupted("the file is empty".to_owned()).into());
        }
        Ok(Box::new(file))
    }

    #[cfg(target_os = "linux")]
    fn forget_unwritten(&self) -> io::Result<()> {
        let file = match File::open(&self.database) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        // Pages that wait to be written stay; those whose writing failed count as written, and are dropped.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }

    fn open_journal(&self) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.directory.join(JOURNAL);
        let is_new = !path.try_exists()?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
        if is_new {
            File::open(&self.directory)?.sync_all()?;
        }
        Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stats = rustix::fs::statvfs(&self.directory)?;
        Ok(stats.f_bavail.saturating_mul(stats.f_frsize))
    }

    fn release_ballast(&self) -> io::Result<()> {
        remove_if_there(&self.directory.join(BALLAST))
    }

    fn set_ballast(&self) -> io::Result<()> {
        let path = self.directory.join(BALLAST);
        if path.try_exists()? {
            return Ok(());
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let allocated = rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, BALLAST_BYTES);
        if let Err(error) = allocated {
            std::fs::remove_file(&path)?;
            return Err(error.into());
        }
        Ok(())
    }

    fn write_blob(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.blobs.write(name, bytes)
    }

    fn sync_blobs(&self) -> io::Result<()> {
        self.blobs.sync()
    }

    fn read_blob(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.blobs.read(name)
    }

    fn remove_blob(&self, name: &str) -> io::Result<Option<u64>> {
        self.blobs.remove(name)
    }

    fn blobs(&self) -> io::Result<Vec<(String, u64)>> {
        self.blobs.list()
    }
}
