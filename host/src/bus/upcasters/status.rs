//! What there is to see of an upcaster.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::handler::ProgramVersion;
use crate::upcast::Lift;

/// An upcaster.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # use tidegate::upcast::Lifted;
/// bus.add_upcaster("orders", "OrderPlaced.v1", "OrderPlaced.v2", |_| Ok(Lifted::default()))?;
/// let orders = bus.bus().upcasters().remove(0);
/// assert_eq!((&*orders.name, &*orders.version.name, orders.file), ("orders", "native", None));
/// assert_eq!(orders.lifts[0].to(), "OrderPlaced.v2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpcasterStatus {
    /// Its name.
    pub name: String,
    /// The file of its plugin; `None` for a function of the application.
    pub file: Option<PathBuf>,
    /// The version that runs.
    pub version: ProgramVersion,
    /// What it lifts, in the order of the event types.
    pub lifts: Vec<Lift>,
    /// Why the last candidate was refused, until one is accepted.
    pub refused: Option<String>,
}
