//! The address of the control socket, whatever the length of its path.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes that an address of a Unix socket holds on the systems that there are, without the zero behind them: 107 on
/// Linux, 103 on macOS.
pub(super) const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// A path to something in a folder that is short enough for an address.
pub(super) struct SocketPath {
    path: PathBuf,
    /// The folder that a short path goes through: it holds for as long as this is open.
    _folder: Option<File>,
}

impl SocketPath {
    /// The address of `name` in a folder; `None` where there is none, see [`SOCKET_PATH_BYTES_MAX`].
    pub fn of(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let path = folder.join(name);
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(Some(Self { path, _folder: None }));
        }
        // Linux shows an open folder under a short name.
        let folder = File::open(folder)?;
        let descriptors = Path::new("/proc/self/fd");
        if !descriptors.exists() {
            return Ok(None);
        }
        let path = descriptors.join(folder.as_raw_fd().to_string()).join(name);
        Ok(Some(Self { path, _folder: Some(folder) }))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}
