//! Lifting events of a topic, whoever asks, by what a bus lifts at the moment.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Lifts, Work};
use crate::effects::TopicDirectory;
use crate::event::Event;
use crate::handler::Failure;
use crate::ids::TopicId;
use crate::limits::READ_BYTES_MAX;

/// What a bus lifts at the moment.
#[derive(Debug, Default)]
pub(crate) struct CurrentLifts(Mutex<Arc<Lifts>>);

impl CurrentLifts {
    pub(crate) fn get(&self) -> Arc<Lifts> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set(&self, lifts: Lifts) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(lifts);
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Lifter {
    lifts: Arc<CurrentLifts>,
    directory: Arc<dyn TopicDirectory>,
}

impl Lifter {
    pub(crate) fn new(lifts: Arc<CurrentLifts>, directory: Arc<dyn TopicDirectory>) -> Self {
        Self { lifts, directory }
    }

    /// Whether one of these events is lifted.
    pub(crate) fn lifts_any(&self, events: &[Arc<Event>]) -> bool {
        let lifts = self.lifts.get();
        !lifts.is_empty() && events.iter().any(|event| lifts.has(event.kind()))
    }

    /// Lifts events of a topic, each with its own outcome.
    pub(crate) async fn lift_each(
        &self,
        topic: &str,
        events: &[Arc<Event>],
    ) -> Vec<Result<Arc<Event>, Failure>> {
        let topic = match self.topic(topic) {
            Ok(topic) => topic,
            Err(failure) => return events.iter().map(|_| Err(failure.clone())).collect(),
        };
        let lifts = self.lifts.get();
        let mut outcomes: Vec<_> = events.iter().map(|_| None).collect();
        while let Some(first) = outcomes.iter().position(Option::is_none) {
            let left = (first..).zip(&events[first..]).filter(|(at, _)| outcomes[*at].is_none());
            let work = |(at, event): (usize, &Arc<Event>)| Work::new(topic, at as u64, Arc::clone(event));
            let mut works: Vec<_> = left.map(work).collect();
            // It comes to the first one at least.
            lifts.lift_all(&*self.directory, &mut works, |_| true).await;
            for work in works {
                let at = usize::try_from(work.place().1).unwrap_or(first);
                outcomes[at] = work.outcome();
            }
        }
        outcomes.into_iter().flatten().collect()
    }

    /// Lifts the first of some events of a topic, of one at least: as many as don't come to more memory than what is read at once.
    pub(crate) async fn lift_first(
        &self,
        topic: &str,
        events: &[Arc<Event>],
    ) -> Result<Vec<Arc<Event>>, Failure> {
        let topic = self.topic(topic)?;
        let work = |(at, event): (u64, &Arc<Event>)| Work::new(topic, at, Arc::clone(event));
        let mut works: Vec<_> = (0..).zip(events).map(work).collect();
        self.lifts.get().lift_all(&*self.directory, &mut works, |bytes| bytes < READ_BYTES_MAX).await;
        let mut lifted = Vec::with_capacity(works.len());
        for (at, work) in (0..).zip(works) {
            // Where it was cut short, some behind may be done before others.
            let outcome = if work.place().1 == at { work.outcome() } else { None };
            let Some(outcome) = outcome else { break };
            lifted.push(outcome?);
        }
        Ok(lifted)
    }

    fn topic(&self, name: &str) -> Result<TopicId, Failure> {
        self.directory
            .topic_id(name)
            .ok_or_else(|| Failure::permanent("unknown-topic", format!("there is no topic `{name}`")))
    }
}

impl fmt::Debug for Lifter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lifter").field(&self.lifts.get()).finish()
    }
}
