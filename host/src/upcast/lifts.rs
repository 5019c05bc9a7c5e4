//! The lifts of a bus, and how events go through them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{Lift, LiftError, Lifted};
use crate::clock::BoxFuture;
use crate::effects::TopicDirectory;
use crate::event::Event;
use crate::handler::{Failure, ProgramVersion};
use crate::ids::TopicId;
use crate::limits::{LIFT_CHAIN_MAX, UPCASTER_LIFTS_MAX};

/// One version of an upcaster.
pub(crate) trait Upcaster: Send + Sync + 'static {
    /// The version, as the list of upcasters shows it.
    fn version(&self) -> &ProgramVersion;

    /// What it lifts.
    fn lifts(&self) -> &[Lift];

    /// Begins to lift some events. Who waits for this, and while it lasts, holds nothing that another one waits for.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn LiftRun + '_>, Failure>>;
}

/// Lifting some events, one after the other. After a failure it is thrown away.
pub(crate) trait LiftRun: Send {
    /// Lifts an event. The future is driven to its end: an implementation bounds the time itself.
    fn lift<'a>(&'a mut self, event: &'a Event) -> BoxFuture<'a, Result<Lifted, Failure>>;
}

/// All lifts of a bus at one moment.
#[derive(Clone, Default)]
pub(crate) struct Lifts {
    by_type: HashMap<String, Owned>,
}

/// A lift with its upcaster.
#[derive(Clone)]
struct Owned {
    lift: Lift,
    name: Arc<str>,
    upcaster: Arc<dyn Upcaster>,
}

/// An event on its way to the latest version.
#[derive(Debug)]
pub(crate) struct Work {
    topic: TopicId,
    place: u64,
    event: Arc<Event>,
    outcome: Option<Result<(), Failure>>,
}

impl Work {
    /// An event of a topic. By its place, which is not looked at, the caller knows it again.
    pub(crate) fn new(topic: TopicId, place: u64, event: Arc<Event>) -> Self {
        Self { topic, place, event, outcome: None }
    }

    /// The topic and the place that it was made with.
    pub(crate) fn place(&self) -> (TopicId, u64) {
        (self.topic, self.place)
    }

    /// What has become of it; nothing where it wasn't come to.
    pub(crate) fn outcome(self) -> Option<Result<Arc<Event>, Failure>> {
        Some(self.outcome?.map(|()| self.event))
    }

    fn is_done(&self) -> bool {
        self.outcome.is_some()
    }

    fn has_failed_for_now(&self) -> bool {
        matches!(&self.outcome, Some(Err(failure)) if failure.kind.is_retryable())
    }
}

impl Lifts {
    /// The lifts of these upcasters, by their names.
    pub(crate) fn of<'a>(
        upcasters: impl IntoIterator<Item = (&'a str, &'a Arc<dyn Upcaster>)>,
    ) -> Result<Self, LiftError> {
        let mut lifts = Self::default();
        for (name, upcaster) in upcasters {
            let (name, own) = (Arc::<str>::from(name), upcaster.lifts());
            match own.len() {
                0 => return Err(LiftError::Nothing),
                1..=UPCASTER_LIFTS_MAX => {}
                count => return Err(LiftError::TooMany { count, max: UPCASTER_LIFTS_MAX }),
            }
            for lift in own {
                let owned =
                    Owned { lift: lift.clone(), name: Arc::clone(&name), upcaster: Arc::clone(upcaster) };
                if let Some(other) = lifts.by_type.insert(lift.from().to_owned(), owned) {
                    let upcaster = other.name.to_string();
                    return Err(LiftError::Taken { from: lift.from().to_owned(), upcaster });
                }
            }
        }
        lifts.check_chains()?;
        Ok(lifts)
    }

    /// Each lift leads to a later version, so that a chain has an end.
    fn check_chains(&self) -> Result<(), LiftError> {
        for from in self.by_type.keys() {
            let next = |from: &&str| self.by_type.get(*from).map(|owned| owned.lift.to());
            if std::iter::successors(Some(from.as_str()), next).nth(LIFT_CHAIN_MAX + 1).is_some() {
                return Err(LiftError::ChainTooLong { from: from.clone(), max: LIFT_CHAIN_MAX });
            }
        }
        Ok(())
    }

    /// Whether nothing is lifted.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_type.is_empty()
    }

    /// Whether events of this type are lifted.
    pub(crate) fn has(&self, event_type: &str) -> bool {
        self.by_type.contains_key(event_type)
    }

    /// Lifts events, each as far as lifts go from its type on. It comes to the first one for certain, and to others for as long
    /// as `goes_on` says, which is asked with the bytes that were made so far, and up to the first failure that isn't the event's
    /// own: what is behind is not kept waiting for a program that hangs more than once.
    pub(crate) async fn lift_all(
        &self,
        directory: &dyn TopicDirectory,
        works: &mut Vec<Work>,
        goes_on: impl Fn(usize) -> bool,
    ) {
        let mut bytes = 0;
        while let Some(first) = works.iter().position(|work| !work.is_done()) {
            let Some(owned) = self.by_type.get(works[first].event.kind()) else {
                works[first].outcome = Some(Ok(()));
                continue;
            };
            // One upcaster at a time: who held one and waited for another could wait for who does the reverse.
            let upcaster = Arc::clone(&owned.upcaster);
            let mut run = None;
            for at in first..works.len() {
                let is_come_to =
                    self.lift_by(&upcaster, &mut run, directory, &mut works[at], &mut bytes).await;
                if works[at].has_failed_for_now() {
                    works.truncate(at + 1);
                    break;
                }
                if is_come_to && !goes_on(bytes) {
                    let mut places = 0..;
                    works.retain(|work| places.next() == Some(0) || work.is_done());
                    break;
                }
            }
        }
    }

    /// Lifts an event as far as one upcaster does. Returns whether it does at all.
    async fn lift_by<'u>(
        &self,
        upcaster: &'u Arc<dyn Upcaster>,
        run: &mut Option<Box<dyn LiftRun + 'u>>,
        directory: &dyn TopicDirectory,
        work: &mut Work,
        bytes: &mut usize,
    ) -> bool {
        let mut is_come_to = false;
        while !work.is_done()
            && let Some(owned) = self.by_type.get(work.event.kind())
            && Arc::ptr_eq(&owned.upcaster, upcaster)
        {
            is_come_to = true;
            match self.lift_once(owned, upcaster, run, directory, work).await {
                Ok(lifted) => {
                    *bytes += lifted.size();
                    if !self.has(lifted.kind()) {
                        work.outcome = Some(Ok(()));
                    }
                    work.event = Arc::new(lifted);
                }
                Err(failure) => {
                    // It may be in any state.
                    *run = None;
                    work.outcome = Some(Err(owned.blamed(failure)));
                }
            }
        }
        is_come_to
    }

    async fn lift_once<'u>(
        &self,
        owned: &Owned,
        upcaster: &'u Arc<dyn Upcaster>,
        run: &mut Option<Box<dyn LiftRun + 'u>>,
        directory: &dyn TopicDirectory,
        work: &Work,
    ) -> Result<Event, Failure> {
        let running = match run {
            Some(running) => running,
            none => none.insert(upcaster.begin().await?),
        };
        let lifted = running.lift(&work.event).await?;
        let event = lifted
            .put_into(&work.event, owned.lift.to())
            .map_err(|error| Failure::permanent("invalid-event", error.to_string()))?;
        // One that was accepted when there was more room may be lifted within that.
        let (size, max) =
            (event.size(), directory.event_bytes_max(work.topic, &event).max(work.event.size()));
        if size > max {
            let message =
                format!("the lifted event has {size} bytes, more than the {max} that the bus allows");
            return Err(Failure::permanent("event-size", message));
        }
        // What is lifted further is nobody's to see.
        if !self.has(event.kind()) {
            directory.check_schema(work.topic, &event).map_err(Failure::from)?;
        }
        Ok(event)
    }
}

impl Owned {
    /// The failure of a lift, with its name.
    fn blamed(&self, failure: Failure) -> Failure {
        let message = format!("upcaster `{}`, {}: {}", self.name, self.lift, failure.message);
        let mut blamed = Failure::new(failure.kind, failure.code, message);
        blamed.backtrace = failure.backtrace;
        blamed.retry_after = failure.retry_after;
        blamed
    }
}

impl fmt::Debug for Lifts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_type.values().map(|owned| &owned.lift)).finish()
    }
}
