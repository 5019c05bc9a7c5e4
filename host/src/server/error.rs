//! What goes wrong around the control socket.

use std::io;
use std::path::PathBuf;

use super::Refusal;

/// Why the control socket can't be served.
///
/// ```
/// use tidegate::server::{ControlError, serve_control};
///
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?;
/// match serve_control(&bus) {
///     Err(ControlError::Socket { path, source }) => println!("{}: {source}", path.display()),
///     other => drop(other?),
/// }
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The socket could not be made.
    #[error("the control socket {} can't be served: {source}", .path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path is longer than the system's addresses of sockets, and the system has no way around that.
    #[error(
        "the control socket {} can't be served: its path has more than {bytes_max} bytes, which is all that an address \
         of a socket holds here; use a data directory with a shorter path", .path.display()
    )]
    PathTooLong {
        /// The socket.
        path: PathBuf,
        /// The longest path that there can be.
        bytes_max: usize,
    },
}

/// Why a request over the control socket has no answer.
///
/// ```
/// use tidegate::server::{Client, ClientError};
///
/// # let directory = tempfile::tempdir()?;
/// let nobody = Client::connect(directory.path()).unwrap_err();
/// assert!(matches!(nobody, ClientError::Unreachable { .. }), "{nobody}");
///
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody serves the socket.
    #[error("nobody answers at the control socket {}: {source}", .path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side is of another version, or no tidegate.
    #[error("{0}")]
    Version(String),
    /// The connection broke, or what came over it is no answer.
    #[error("the connection to the bus broke: {0}; what was asked may have been done")]
    Broken(#[from] io::Error),
    /// The bus refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
