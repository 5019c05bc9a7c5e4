//! Why an upcaster could not be added or changed.

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use crate::config::{ConfigError, NameError};
use crate::log::AdminError;
use crate::plugin::LoadError;
use crate::upcast::LiftError;

/// Why an upcaster was not added or changed. What ran before goes on.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::UpcasterError;
/// use tidegate::upcast::{LiftError, Lifted};
///
/// let refused = bus.add_upcaster("orders", "OrderPlaced.v2", "OrderPlaced.v1", |_| Ok(Lifted::default()));
/// assert!(matches!(refused, Err(UpcasterError::Lift { source: LiftError::NotLater { .. }, .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpcasterError {
    /// The name is none that an upcaster can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A setting is out of its bounds.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is one of this name.
    #[error("upcaster `{0}` is there already: remove it first")]
    Exists(String),
    /// There is none of this name.
    #[error("there is no upcaster `{0}` in this process")]
    Unknown(String),
    /// A function has no file that it could be loaded from again.
    #[error("upcaster `{0}` is a function of the application: only plugins can be reloaded")]
    Native(String),
    /// There are too many.
    #[error("a bus has at most {max} upcasters: let one of them lift several event types")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// What it lifts can't be lifted by it.
    #[error("upcaster `{upcaster}`: {source}")]
    Lift {
        /// The upcaster.
        upcaster: String,
        /// Why.
        source: LiftError,
    },
    /// The plugin's file can't be read or kept.
    #[error("upcaster `{upcaster}`, {}: {source}", .path.display())]
    File {
        /// The upcaster.
        upcaster: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// The plugin was refused.
    #[error("upcaster `{upcaster}`, {}: {source}", .path.display())]
    Load {
        /// The upcaster.
        upcaster: String,
        /// The plugin's file.
        path: PathBuf,
        /// Why.
        source: Box<LoadError>,
    },
    /// It is to change together with another one, which is refused.
    #[error(
        "upcaster `{upcaster}` stays as it is until upcaster `{other}` can run as it is to: what one lifts now, the other may be \
         meant to lift then, and nobody would in between"
    )]
    Waits {
        /// The upcaster.
        upcaster: String,
        /// The one that it waits for.
        other: String,
    },
    /// The bus refuses, as it is closed or the call came from within a transaction.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl UpcasterError {
    /// Whether it is about the upcaster of this name.
    #[cfg(feature = "server")]
    pub(super) fn is_of(&self, name: &str) -> bool {
        match self {
            Self::Lift { upcaster, .. } | Self::File { upcaster, .. } | Self::Load { upcaster, .. } => {
                upcaster == name
            }
            _ => false,
        }
    }
}
