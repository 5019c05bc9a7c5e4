//! The projections of a bus, for people.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Bus, ConsumerStatus};
use crate::clock::Timestamp;
use crate::handler::ProgramVersion;
use crate::ids::ConsumerId;
use crate::log::{ConsumerRow, ReadError, rebuilt_name};

/// A projection that runs.
///
/// ```no_run
/// # fn example(bus: tidegate::Bus) -> Result<(), tidegate::ReadError> {
/// for projection in bus.projections()? {
///     println!("{}: generation {}, {} to come", projection.name, projection.generation, projection.model.lag_events);
///     if let Some(rebuild) = &projection.rebuild {
///         println!("generation {} is being made, {} to come", projection.generation + 1, rebuild.lag_events);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProjectionStatus {
    /// Its name.
    pub name: String,
    /// How often its state was made anew.
    pub generation: u64,
    /// Its topics.
    pub topics: Vec<String>,
    /// Whether an operator has paused it. It answers all the same.
    pub paused: bool,
    /// The state that answers.
    pub model: ModelStatus,
    /// The state that is being made to replace it.
    pub rebuild: Option<ModelStatus>,
    /// How the last rebuild ended that was begun since the bus was opened.
    pub last_rebuild: Option<RebuildOutcome>,
}

/// The state of a projection, or one that is being made.
///
/// ```no_run
/// # fn example(bus: tidegate::Bus) -> Result<(), tidegate::ReadError> {
/// let model = &bus.projections()?[0].model;
/// println!("layout {} of {} {}", model.state_version, model.version.name, model.version.version);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelStatus {
    /// When it was begun; of one that has replaced others when the projection was registered.
    pub begun: Timestamp,
    /// What makes it.
    pub version: ProgramVersion,
    /// The layout of its state.
    pub state_version: u32,
    /// Events in its topics that it hasn't come to yet.
    pub lag_events: u64,
    /// How long ago the log accepted the oldest of them; zero where there is none.
    #[serde(rename = "lag_seconds", with = "crate::clock::seconds")]
    pub lag: Duration,
    /// Events that wait for a retry, or behind one: it doesn't reflect them yet.
    pub held: u64,
    /// Its dead letters: it doesn't reflect them.
    pub dead_letters: u64,
}

/// How a rebuild ended.
///
/// ```no_run
/// # fn example(bus: tidegate::Blocking) -> Result<(), tidegate::ConsumerError> {
/// use tidegate::{Rebuild, RebuildOutcome};
///
/// bus.rebuild("quake-board", Rebuild::new())?;
/// match bus.rebuilt("quake-board")? {
///     RebuildOutcome::Switched { generation } => println!("generation {generation} answers"),
///     RebuildOutcome::Refused { reason } => println!("the one before goes on answering: {reason}"),
///     other => println!("{other:?}"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
#[non_exhaustive]
pub enum RebuildOutcome {
    /// The new generation answers.
    Switched {
        /// Its number.
        generation: u64,
    },
    /// The new generation wasn't fit to answer, and is removed; the one before goes on.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// It was called off, and what there was of the new generation is removed; the one before goes on.
    Cancelled {
        /// What called it off.
        reason: String,
    },
}

impl Bus {
    /// The projections that run, by name.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// assert!(bus.projections()?.is_empty(), "no plugin that answers questions runs yet");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn projections(&self) -> Result<Vec<ProjectionStatus>, ReadError> {
        let log = &self.inner.log;
        let mut projections = Vec::new();
        for (id, row) in log.consumers() {
            let is_one =
                |running: &mut super::roster::Running| running.consumer.program().answering().is_some();
            let is_live = self.inner.roster.with(&row.name, is_one) == Some(true);
            if !is_live {
                continue;
            }
            let (name, generation) = (row.name.to_string(), row.generation);
            let rebuilt = log.consumer(&rebuilt_name(&name));
            let rebuild = match rebuilt.map(|(id, row)| self.model(id, row)) {
                // It has ended since, or has the name by now.
                None | Some(Err(ReadError::UnknownConsumer(_))) => None,
                Some(rebuild) => Some(rebuild?),
            };
            let (model, status) = match self.model(id, row) {
                Err(ReadError::UnknownConsumer(_)) => continue,
                model => model?,
            };
            projections.push(ProjectionStatus {
                generation,
                topics: status.topics,
                paused: status.paused,
                model,
                rebuild: rebuild.map(|(model, _)| model),
                last_rebuild: self.inner.rebuilds.last(&name),
                name,
            });
        }
        projections.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(projections)
    }

    fn model(&self, id: ConsumerId, row: ConsumerRow) -> Result<(ModelStatus, ConsumerStatus), ReadError> {
        let (begun, state_version) = (row.registered, row.state_version.unwrap_or(0));
        let status = self.status(id, row)?;
        let model = ModelStatus {
            begun,
            version: status.version.clone(),
            state_version,
            lag_events: status.lag_events,
            lag: status.lag,
            held: status.held,
            dead_letters: status.dead_letters,
        };
        Ok((model, status))
    }
}
