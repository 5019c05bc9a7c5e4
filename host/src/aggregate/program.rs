//! An aggregate as a program of a consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::fold::{Fold, Folded, Until};
use super::keeper::Keeper;
use super::model::Models;
use super::rows;
use super::stream::Streams;
use crate::clock::BoxFuture;
use crate::config::AggregateConfig;
use crate::handler::{Failure, Instance, LaneName, Program, ProgramVersion};
use crate::upcast::Lifter;

/// One version of what decides, with its stream.
pub(crate) struct AggregateProgram(Arc<Shared>);

/// What the lanes of an aggregate share.
pub(super) struct Shared {
    pub models: Arc<dyn Models>,
    pub streams: Arc<dyn Streams>,
    pub lifter: Lifter,
    pub config: AggregateConfig,
    /// What its snapshots are of.
    pub seal: u64,
    pub counts: Arc<Counts>,
}

/// What aggregates have cost since their consumer was started or got another program.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Aggregates that were not in memory.
    pub rebuilt: AtomicU64,
    /// Durable events that were folded for that.
    pub folded: AtomicU64,
    /// Snapshots that were made.
    pub snapshots: AtomicU64,
}

impl AggregateProgram {
    pub fn new(
        models: Arc<dyn Models>,
        streams: Arc<dyn Streams>,
        lifter: Lifter,
        config: AggregateConfig,
    ) -> Self {
        let seal = rows::seal(&config.stream, models.state_version());
        Self(Arc::new(Shared { models, streams, lifter, config, seal, counts: Arc::default() }))
    }

    pub fn config(&self) -> &AggregateConfig {
        &self.0.config
    }

    pub fn counts(&self) -> &Counts {
        &self.0.counts
    }

    /// What an aggregate was at some point, in an instance of its own. `snapshot` is what its lane has kept of it, and
    /// `is_early` tells whether the event of a number was there at that point.
    pub async fn at(
        &self,
        lane: &LaneName,
        id: &str,
        until: Until,
        snapshot: Option<Vec<u8>>,
        is_early: impl Fn(u64) -> bool,
    ) -> Result<Folded, Failure> {
        let shared = &self.0;
        let snapshot = snapshot.and_then(|row| rows::from_snapshot(&row, shared.seal));
        let snapshot = snapshot.filter(|kept| kept.version <= until.version && is_early(kept.version));
        let mut folded = snapshot.unwrap_or_default();
        let mut model = shared.models.model(lane).await?;
        // Who looks is no lane, whose work is counted.
        let counts = Counts::default();
        shared.fold(&mut *model, id, &counts).forward(&mut folded, until).await?;
        Ok(folded)
    }
}

impl Shared {
    pub fn fold<'a>(&'a self, model: &'a mut dyn super::Model, id: &'a str, counts: &'a Counts) -> Fold<'a> {
        let stream = &self.config.stream;
        Fold { model, streams: &*self.streams, stream, lifter: &self.lifter, id, counts }
    }
}

impl Counts {
    pub fn read(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.rebuilt), read(&self.folded), read(&self.snapshots))
    }
}

impl Program for AggregateProgram {
    fn version(&self) -> &ProgramVersion {
        self.0.models.version()
    }

    fn instantiate<'a>(&'a self, lane: &'a LaneName) -> BoxFuture<'a, Result<Box<dyn Instance>, Failure>> {
        Box::pin(async move {
            let model = self.0.models.model(lane).await?;
            Ok(Box::new(Keeper::new(Arc::clone(&self.0), model)) as Box<dyn Instance>)
        })
    }

    fn aggregate(&self) -> Option<&AggregateProgram> {
        Some(self)
    }
}
