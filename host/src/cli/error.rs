//! How a command ends.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use tidegate::config::ConfigFileError;
use tidegate::server::{ClientError, ControlError, Refusal};
use tidegate::{BusError, OpenError};

/// The exit codes, as `tidegate --help` and `docs/operations.md` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// Something was refused or failed, or a problem was found; the rest is done.
    Refused = 1,
    /// The command line is wrong. Clap's own.
    Usage = 2,
    /// There is no data directory, or another process has it open and can't be reached.
    Unreachable = 3,
    /// The database is damaged, or of a newer version.
    Unusable = 4,
    /// A key's last event has another number than was expected.
    Conflict = 5,
    /// An aggregate has rejected a command.
    Rejected = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Who read the output doesn't any more.
    #[error("the output is closed")]
    OutputClosed,
    /// The output can't be written.
    #[error("the output can't be written: {0}")]
    Output(#[source] io::Error),
    /// A file or a folder can't be used.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The arguments don't fit together.
    #[error("{0}")]
    Usage(String),
    /// There is no data directory.
    #[error(
        "there is no data directory {}: `tidegate init {}` makes one, and `--dir` names another", .0.display(), .0.display()
    )]
    NoDirectory(PathBuf),
    /// Another process has the directory open and doesn't answer.
    #[error(
        "the data directory {} is in use by another process, which doesn't serve the control socket ({source}): stop that \
         process, or have it call `serve_control`", .directory.display()
    )]
    Unreachable {
        /// The directory.
        directory: PathBuf,
        /// What connecting said.
        source: ClientError,
    },
    /// Another process runs on the directory.
    #[error(
        "the data directory {} is in use: process {process} serves it with tidegate {version}; stop that one first",
        .directory.display()
    )]
    RunsAlready {
        /// The directory.
        directory: PathBuf,
        /// The number of the process.
        process: u32,
        /// Its version.
        version: String,
    },
    /// The configuration is wrong.
    #[error("{source}{}", cause(.source))]
    Config {
        /// What is wrong, and where.
        #[from]
        source: ConfigFileError,
    },
    /// The bus can't be opened.
    #[error(transparent)]
    Open(#[from] BusError),
    /// The bus refused, or the connection to it broke.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The control socket can't be served.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Anything else that a command can't do.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::NoDirectory(_)
            | Self::Unreachable { .. }
            | Self::RunsAlready { .. }
            | Self::Open(BusError::Open(OpenError::InUse { .. }))
            | Self::Client(ClientError::Version(_) | ClientError::Unreachable { .. }) => Exit::Unreachable,
            Self::Open(BusError::Open(OpenError::NewerFormat { .. } | OpenError::Damaged { .. })) => {
                Exit::Unusable
            }
            Self::Client(ClientError::Refused(Refusal { actual: Some(_), .. })) => Exit::Conflict,
            _ => Exit::Refused,
        }
    }
}

/// What lies behind an error whose own words don't say it.
fn cause(error: &ConfigFileError) -> String {
    match error {
        ConfigFileError::Read { source, .. } => format!(" ({source})"),
        _ => String::new(),
    }
}
