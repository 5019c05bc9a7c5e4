//! A disk in memory for tests: it can fail, fill up, and lose its power.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use redb::{Builder, DatabaseError, StorageBackend};

use super::medium::Medium;

/// A disk in memory, shared by its clones.
#[derive(Debug, Default)]
pub struct MemoryMedium {
    disk: Arc<Mutex<Disk>>,
    /// Woken when syncs may go on.
    released: Arc<Condvar>,
    /// How often the power had been cut when this handle was made, or when it cut the power itself.
    generation: AtomicU64,
}

impl Clone for MemoryMedium {
    fn clone(&self) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            released: Arc::clone(&self.released),
            generation: AtomicU64::new(self.generation()),
        }
    }
}

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Disk {
    database: File,
    journal: File,
    /// The blobs that are there, and those that are there when the power has been out.
    blobs: BTreeMap<String, Vec<u8>>,
    durable_blobs: BTreeMap<String, Vec<u8>>,
    /// Whether reading one fails.
    fails_blob_reads: bool,
    /// Counts up with each loss of power.
    generation: u64,
    is_open: bool,
    /// Whether a database was made on it to the end. As with a file, one that wasn't is never found.
    is_whole: bool,
    /// Writes, changes of length and syncs that were done.
    operations: u64,
    /// The operation from which on all fail.
    frozen_from: Option<u64>,
    /// The operations that fail, and how.
    failing: Option<(Range<u64>, io::ErrorKind)>,
    syncs: u64,
    /// Those of the journal among them.
    journal_syncs: u64,
    sync: Sync,
    /// Syncs that are held at this moment.
    held_syncs: u64,
    free_bytes: Option<u64>,
    /// Bytes that it holds at most, if it has an end.
    room: Option<usize>,
}

/// A file on it.
#[derive(Debug, Default)]
struct File {
    /// What is read: with what the operating system has not written yet.
    bytes: Vec<u8>,
    /// What is there when the power has been out.
    durable: Vec<u8>,
    /// What was changed since the last sync, oldest first.
    unsynced: Vec<Change>,
}

impl File {
    fn change(&mut self, change: Change) {
        match &change {
            Change::Write(at, data) => self.bytes[*at..*at + data.len()].copy_from_slice(data),
            Change::Length(len) => self.bytes.resize(*len, 0),
        }
        self.unsynced.push(change);
    }

    /// Has what was not synced reach the disk, as far as it is kept.
    fn write_out(&mut self, mut keeps: impl FnMut() -> bool) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable, &mut keeps);
        }
    }

    fn flip(&mut self, bit: u64) {
        let (at, mask) = (usize::try_from(bit / 8).unwrap_or(usize::MAX), 1 << (bit % 8));
        for bytes in [&mut self.bytes, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
    }
}

/// Which of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Database,
    Journal,
}

/// What a sync does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sync {
    #[default]
    Works,
    Fails,
    /// It waits until it is told otherwise.
    Waits,
}

#[derive(Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    /// Does it to `bytes`; of a write the sectors that are kept.
    fn apply(&self, bytes: &mut Vec<u8>, mut keeps: impl FnMut() -> bool) {
        match self {
            Self::Length(len) => {
                if keeps() {
                    bytes.resize(*len, 0);
                }
            }
            Self::Write(at, data) => {
                let (at, mut from) = (*at, 0);
                while from < data.len() {
                    let to = data.len().min(from + SECTOR - (at + from) % SECTOR);
                    if keeps() {
                        // The change of length before it may have been lost.
                        let end = bytes.len().max(at + to);
                        bytes.resize(end, 0);
                        bytes[at + from..at + to].copy_from_slice(&data[from..to]);
                    }
                    from = to;
                }
            }
        }
    }
}

impl MemoryMedium {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cuts the power: what was not synced is gone, and whoever has another handle only gets errors from now on. This
    /// handle, and those cloned from it later, have the disk as it is after the power is back.
    pub fn cut_power(&self) {
        self.cut_power_keeping(|| false);
    }

    /// Cuts the power, as [`cut_power`](Self::cut_power), but of what was not synced some has reached the disk all the same:
    /// `keeps` is asked for each sector of each write, oldest first, as a disk may write in any order what it is not told to
    /// sync, and stop in the middle of a write.
    pub fn cut_power_keeping(&self, mut keeps: impl FnMut() -> bool) {
        let mut disk = self.disk();
        let Disk { database, journal, .. } = &mut *disk;
        for file in [database, journal] {
            file.write_out(&mut keeps);
            file.bytes.clone_from(&file.durable);
        }
        disk.blobs = disk.durable_blobs.clone();
        disk.failing = None;
        disk.frozen_from = None;
        disk.generation += 1;
        disk.is_open = false;
        self.generation.store(disk.generation, Ordering::Release);
    }

    /// Ends the process that has it open: the operating system still has what it was told to write, and whoever has another
    /// handle only gets errors from now on.
    pub fn end_process(&self) {
        let mut disk = self.disk();
        disk.failing = None;
        disk.frozen_from = None;
        disk.generation += 1;
        disk.is_open = false;
        self.generation.store(disk.generation, Ordering::Release);
    }

    /// Has every write, change of length and sync fail, from the one with this number on, counted from 0 since the disk was
    /// made. The end of the power ends it.
    pub fn freeze_at(&self, operation: u64) {
        self.disk().frozen_from = Some(operation);
    }

    /// Has the writes, changes of length and syncs with these numbers fail, counted as [`freeze_at`](Self::freeze_at) does. A
    /// write that fails has written its first half. A sync that fails has lost what it was to write, though reading still
    /// finds it, as Linux has it: a later sync that works doesn't make up for it.
    pub fn fail_at(&self, operations: Range<u64>, how: io::ErrorKind) {
        self.disk().failing = Some((operations, how));
    }

    /// Ends what [`fail_at`](Self::fail_at) began.
    pub fn works_again(&self) {
        self.disk().failing = None;
    }

    /// Flips a bit of the database, counted from the beginning: to be called while nobody has it open.
    pub fn flip(&self, bit: u64) {
        self.disk().database.flip(bit);
    }

    /// The same, of the journal.
    pub fn flip_journal(&self, bit: u64) {
        self.disk().journal.flip(bit);
    }

    /// Puts other bytes into a blob, or takes it away: to be called while nobody writes it.
    pub fn set_blob(&self, name: &str, bytes: Option<&[u8]>) {
        let mut disk = self.disk();
        let Disk { blobs, durable_blobs, .. } = &mut *disk;
        for blobs in [blobs, durable_blobs] {
            match bytes {
                Some(bytes) => drop(blobs.insert(name.to_owned(), bytes.to_vec())),
                None => drop(blobs.remove(name)),
            }
        }
    }

    /// Has reading of blobs fail, or not.
    pub fn fail_blob_reads(&self, fail: bool) {
        self.disk().fails_blob_reads = fail;
    }

    /// How many writes, changes of length and syncs were done.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Whether it has come to where it is frozen.
    pub fn is_frozen(&self) -> bool {
        self.disk().is_frozen()
    }

    /// Has every sync fail, those among them that wait, or none.
    pub fn fail_syncs(&self, fail: bool) {
        self.disk().sync = if fail { Sync::Fails } else { Sync::Works };
        self.released.notify_all();
    }

    /// Has every sync wait, as on a disk that hangs, until it is told otherwise.
    pub fn hold_syncs(&self, hold: bool) {
        self.disk().sync = if hold { Sync::Waits } else { Sync::Works };
        self.released.notify_all();
    }

    /// How many syncs wait.
    pub fn held_syncs(&self) -> u64 {
        self.disk().held_syncs
    }

    /// Says that so many bytes are free; without a number, that nobody knows.
    pub fn set_free_bytes(&self, free: Option<u64>) {
        self.disk().free_bytes = free;
    }

    /// Has it hold at most so many bytes: what would make it longer fails, as on a full disk. Without a number, it has no end.
    pub fn set_room(&self, room: Option<usize>) {
        self.disk().room = room;
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.disk().syncs
    }

    /// How often its journal was synced.
    pub fn journal_syncs(&self) -> u64 {
        self.disk().journal_syncs
    }

    /// The database, the unsynced part included.
    pub fn image(&self) -> Vec<u8> {
        self.disk().database.bytes.clone()
    }

    /// Puts another database on it: to be called while nobody has it open.
    pub fn set_image(&self, bytes: Vec<u8>) {
        let mut disk = self.disk();
        disk.is_whole = !bytes.is_empty();
        disk.database = File { durable: bytes.clone(), bytes, unsynced: Vec::new() };
    }

    /// The journal, the unsynced part included.
    pub fn journal_image(&self) -> Vec<u8> {
        self.disk().journal.bytes.clone()
    }

    /// Puts another journal on it: to be called while nobody has it open.
    pub fn set_journal_image(&self, bytes: Vec<u8>) {
        self.disk().journal = File { durable: bytes.clone(), bytes, unsynced: Vec::new() };
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The disk, unless the power of this handle is out.
    fn powered(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk();
        if disk.generation == self.generation() {
            Ok(disk)
        } else {
            Err(io::Error::other("the power is out"))
        }
    }
}

impl MemoryMedium {
    /// Opens the database, as it is on the disk.
    #[cfg(test)]
    pub(super) fn open(&self, builder: &Builder) -> Result<redb::Database, DatabaseError> {
        builder.create_with_backend(self.opened()?)
    }

    fn opened(&self) -> Result<Opened, DatabaseError> {
        let storage = redb::StorageError::Io;
        let is_whole = {
            let mut disk = self.powered().map_err(storage)?;
            if disk.is_open {
                return Err(DatabaseError::DatabaseAlreadyOpen);
            }
            disk.is_open = true;
            if !disk.is_whole {
                disk.database = File::default();
                disk.journal = File::default();
            }
            disk.is_whole
        };
        if !is_whole {
            Builder::new().create_with_backend(Opened(self.clone(), Which::Database))?.close()?;
            let mut disk = self.powered().map_err(storage)?;
            (disk.is_whole, disk.is_open) = (true, true);
        }
        Ok(Opened(self.clone(), Which::Database))
    }

    /// The disk, for a write, a change of length or a sync.
    fn changing(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.powered()?;
        if disk.is_frozen() {
            return Err(io::Error::other("the disk is frozen"));
        }
        disk.operations += 1;
        Ok(disk)
    }

    /// The disk, once a sync is through that was begun now.
    fn synced(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let mut disk = self.changing()?;
        disk.held_syncs += 1;
        while disk.sync == Sync::Waits {
            disk = self.released.wait(disk).unwrap_or_else(PoisonError::into_inner);
        }
        disk.held_syncs -= 1;
        if disk.generation != self.generation() {
            return Err(io::Error::other("the power is out"));
        }
        if disk.sync == Sync::Fails {
            return Err(io::Error::other("the disk fails to sync"));
        }
        Ok(disk)
    }
}

impl Disk {
    fn is_frozen(&self) -> bool {
        self.frozen_from.is_some_and(|from| self.operations >= from)
    }

    /// Whether the operation that has just begun fails.
    fn fault(&self) -> Option<io::Error> {
        let (operations, how) = self.failing.as_ref()?;
        operations.contains(&(self.operations - 1)).then(|| io::Error::from(*how))
    }

    fn file(&self, which: Which) -> &File {
        match which {
            Which::Database => &self.database,
            Which::Journal => &self.journal,
        }
    }

    fn file_mut(&mut self, which: Which) -> &mut File {
        match which {
            Which::Database => &mut self.database,
            Which::Journal => &mut self.journal,
        }
    }

    /// Bytes of all files.
    fn len(&self) -> usize {
        let blobs: usize = self.blobs.values().map(Vec::len).sum();
        self.database.bytes.len() + self.journal.bytes.len() + blobs
    }
}

impl Medium for MemoryMedium {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn open_database(&self) -> Result<Box<dyn StorageBackend>, DatabaseError> {
        Ok(Box::new(self.opened()?))
    }

    fn forget_unwritten(&self) -> io::Result<()> {
        let database = &mut self.powered()?.database;
        database.bytes.clone_from(&database.durable);
        for change in &database.unsynced {
            change.apply(&mut database.bytes, || true);
        }
        Ok(())
    }

    fn open_journal(&self) -> io::Result<Box<dyn StorageBackend>> {
        drop(self.powered()?);
        Ok(Box::new(Opened(self.clone(), Which::Journal)))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk().free_bytes.ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
    }

    fn release_ballast(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_ballast(&self) -> io::Result<()> {
        Ok(())
    }

    /// A write after which it is there, as a file that is whole and has its name by then; and a sync, with which the name is
    /// durable. Where that fails, the name is taken out again, if anything can still be changed.
    fn write_blob(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        {
            let mut disk = self.changing()?;
            if disk.room.is_some_and(|room| disk.len() + bytes.len() > room) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.fault().map_or(Ok(()), Err)?;
            disk.blobs.insert(name.to_owned(), bytes.to_vec());
        }
        let synced = self.synced().and_then(|disk| disk.fault().map_or(Ok(disk), Err));
        match synced {
            Ok(mut disk) => {
                disk.durable_blobs.insert(name.to_owned(), bytes.to_vec());
                disk.syncs += 1;
                Ok(())
            }
            Err(error) => {
                if let Ok(mut disk) = self.powered()
                    && !disk.is_frozen()
                {
                    disk.blobs.remove(name);
                }
                Err(error)
            }
        }
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let mut disk = self.synced()?;
        disk.fault().map_or(Ok(()), Err)?;
        disk.durable_blobs = disk.blobs.clone();
        disk.syncs += 1;
        Ok(())
    }

    fn read_blob(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let disk = self.powered()?;
        if disk.fails_blob_reads {
            return Err(io::Error::other("the disk fails to read"));
        }
        Ok(disk.blobs.get(name).cloned())
    }

    /// Without a sync: it comes back when the power goes before there is one.
    fn remove_blob(&self, name: &str) -> io::Result<Option<u64>> {
        let mut disk = self.changing()?;
        disk.fault().map_or(Ok(()), Err)?;
        Ok(disk.blobs.remove(name).map(|bytes| bytes.len() as u64))
    }

    fn blobs(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.powered()?;
        Ok(disk.blobs.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect())
    }
}

/// A file of the disk as one opening of it has it.
#[derive(Debug)]
struct Opened(MemoryMedium, Which);

impl StorageBackend for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.powered()?.file(self.1).bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let disk = self.0.powered()?;
        let bytes = &disk.file(self.1).bytes;
        let stored = usize::try_from(offset).ok().and_then(|at| bytes.get(at..at.checked_add(out.len())?));
        out.copy_from_slice(stored.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.0.changing()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let before = disk.file(self.1).bytes.len();
        if len > before && disk.room.is_some_and(|room| disk.len() - before + len > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if let Some(fault) = disk.fault() {
            return Err(fault);
        }
        disk.file_mut(self.1).change(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.0.synced()?;
        if let Some(fault) = disk.fault() {
            disk.file_mut(self.1).unsynced.clear();
            return Err(fault);
        }
        disk.file_mut(self.1).write_out(|| true);
        disk.syncs += 1;
        disk.journal_syncs += u64::from(self.1 == Which::Journal);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut disk = self.0.changing()?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let end = at.checked_add(data.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        let file = self.1;
        if end > disk.file(file).bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(fault) = disk.fault() {
            disk.file_mut(file).change(Change::Write(at, data[..data.len() / 2].to_vec()));
            return Err(fault);
        }
        disk.file_mut(file).change(Change::Write(at, data.to_vec()));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        // A disk whose power was cut meanwhile may be open for somebody else by now.
        if self.1 == Which::Database
            && let Ok(mut disk) = self.0.powered()
        {
            disk.is_open = false;
        }
        Ok(())
    }
}
