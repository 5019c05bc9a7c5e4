//! Compiled components on disk, so that a restart compiles nothing.
//!
//! A file is named by the hash of the component and by what wasmtime says its code is compatible with, and holds a
//! header and wasmtime's own format:
//!
//! ```text
//! file := magic(8) checksum(32, SHA-256 of code) code
//! ```
//!
//! Compiled code is loaded as it is, so that the folder and its files have to be the process's own: nobody else may
//! write them, or even read them. What isn't so, or has another checksum, is compiled anew.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher24;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::limits::{CODE_CACHE_BYTES_MAX, CODE_CACHE_FILES_MAX, COMPILED_BYTES_MAX};

const MAGIC: &[u8; 8] = b"tdgcwm01";
const EXTENSION: &str = "cwasm";

/// A folder of compiled components.
pub(super) struct Cache {
    folder: PathBuf,
    /// Tells the temporary files of this cache apart.
    writes: AtomicU64,
}

impl Cache {
    /// Opens the folder, and makes it where there is none.
    ///
    /// # Errors
    ///
    /// The folder can't be made, or it is not the process's alone.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        match DirBuilder::new().mode(0o700).create(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        check_owner(&fs::symlink_metadata(folder)?, "folder", folder)?;
        let cache = Self { folder: folder.to_owned(), writes: AtomicU64::new(0) };
        cache.sweep();
        Ok(cache)
    }

    /// The compiled component of this hash, where there is a sound one.
    pub(super) fn get(&self, engine: &Engine, hash: &str) -> Option<Component> {
        let path = self.path(engine, hash);
        let code = match read(&path) {
            Ok(code) => code?,
            Err(error) => {
                tracing::warn!(%error, "not used: a compiled component; it is compiled anew");
                return None;
            }
        };
        deserialize(engine, &code)
    }

    /// Keeps a compiled component. That it can't be kept is no harm but to the next start.
    pub(super) fn put(&self, engine: &Engine, hash: &str, component: &Component) {
        let kept =
            component.serialize().map_err(io::Error::other).and_then(|code| self.write(engine, hash, &code));
        if let Err(error) = kept {
            let folder = self.folder.display();
            tracing::warn!(%error, "could not keep a compiled component in {folder}: each start compiles it anew");
        }
        self.evict();
    }

    fn write(&self, engine: &Engine, hash: &str, code: &[u8]) -> io::Result<()> {
        if code.len() > COMPILED_BYTES_MAX {
            return Err(io::Error::other(format!(
                "it has {} bytes, more than {COMPILED_BYTES_MAX}",
                code.len()
            )));
        }
        let number = self.writes.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{hash}.{}.{number}", std::process::id()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| {
                file.write_all(MAGIC)?;
                file.write_all(&Sha256::digest(code))?;
                file.write_all(code)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&temporary, self.path(engine, hash)))
            .and_then(|()| File::open(&self.folder)?.sync_all());
        if written.is_err() {
            // What is left of it is swept when the folder is opened again.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn path(&self, engine: &Engine, hash: &str) -> PathBuf {
        let mut compatible = SipHasher24::new();
        engine.precompile_compatibility_hash().hash(&mut compatible);
        self.folder.join(format!("{hash}-{:016x}.{EXTENSION}", compatible.finish()))
    }

    /// Removes the files that were used least recently, as long as there are too many or they are too large.
    fn evict(&self) {
        let mut files = self.files();
        files.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut bytes_kept = 0_u64;
        for (kept, (_, bytes, path)) in files.iter().enumerate() {
            bytes_kept = bytes_kept.saturating_add(*bytes);
            if kept >= CODE_CACHE_FILES_MAX || bytes_kept > CODE_CACHE_BYTES_MAX {
                // Another process may have been faster.
                let _ = fs::remove_file(path);
            }
        }
    }

    fn files(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == EXTENSION))
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                Some((metadata.modified().ok()?, metadata.len(), entry.path()))
            })
            .collect()
    }

    /// Removes what an earlier process left half written.
    fn sweep(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The code in a file; `None` where there is no such file.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(path);
    let mut file = match open {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    check_owner(&metadata, "file", path)?;
    let damaged =
        || io::Error::new(io::ErrorKind::InvalidData, format!("file {} is damaged", path.display()));
    let mut header = [0; MAGIC.len() + 32];
    let bytes = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if !(header.len()..=header.len() + COMPILED_BYTES_MAX).contains(&bytes) {
        return Err(damaged());
    }
    file.read_exact(&mut header)?;
    let mut code = Vec::with_capacity(bytes - header.len());
    (&file).take(COMPILED_BYTES_MAX as u64).read_to_end(&mut code)?;
    let (magic, checksum) = header.split_at(MAGIC.len());
    if magic != MAGIC || Sha256::digest(&code)[..] != *checksum {
        return Err(damaged());
    }
    // Its age is that of its last use.
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    rustix::fs::futimens(&file, &rustix::fs::Timestamps { last_access: now, last_modification: now })?;
    Ok(Some(code))
}

#[expect(unsafe_code, reason = "the one place where the host trusts a file to be code")]
fn deserialize(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: `code` has to be what this version of wasmtime made with this configuration, unchanged. It comes out of a
    // file that only this user can write, in a folder of which the same is true (both checked when opened, on the open
    // file itself), and only `Cache::write` puts files there, from `Component::serialize`. Its checksum holds, so that
    // it is not torn or rotten; it was checked on these very bytes in memory, so that nothing can have changed since.
    // Its name carries the engine's compatibility hash, and wasmtime checks its version and settings again.
    match unsafe { Component::deserialize(engine, code) } {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(%error, "not used: a compiled component of another wasmtime; it is compiled anew");
            None
        }
    }
}

/// Checks that a file or folder belongs to this process's user, and that nobody else may use it.
#[expect(clippy::verbose_bit_mask, reason = "permissions read best as they are written")]
fn check_owner(metadata: &fs::Metadata, what: &str, path: &Path) -> io::Result<()> {
    let is_kind = if what == "folder" { metadata.is_dir() } else { metadata.is_file() };
    let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
    if is_kind && is_own && metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{what} {} holds compiled code and must be a {what} of this user's alone: remove it, or `chmod go-rwx` it",
            path.display()
        ),
    ))
}

/// The hash by which a component is known: SHA-256 in lower-case hexadecimal.
pub(crate) fn component_hash(bytes: &[u8]) -> String {
    let mut hash = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a string can't fail.
        let _ = write!(hash, "{byte:02x}");
    }
    hash
}
