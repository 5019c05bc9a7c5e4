//! The events of a lane on their way to the latest version of their type.
//!
//! The lane lifts in its task, where it may wait, and the desk needs a lifted event where it may not: so what is lifted ahead is
//! kept here until its delivery comes. It is never durable. A held event and a dead letter have the event as it was published.

use std::collections::HashMap;
use std::sync::Arc;

use super::merge::Merge;
use crate::event::Event;
use crate::handler::Failure;
use crate::ids::TopicId;
use crate::log::Stored;
use crate::upcast::{Lifts, Work};

/// See the module.
#[derive(Default)]
pub(super) struct Lifting {
    lifts: Arc<Lifts>,
    /// What was lifted of what the lane has read ahead.
    ahead: HashMap<(TopicId, u64), Result<Arc<Event>, Failure>>,
}

/// How an event comes to its delivery.
#[derive(Clone, Debug)]
pub(super) enum Lifted {
    /// Like this.
    Event(Arc<Event>),
    /// It is to be lifted first.
    Wanted,
    /// It can't be lifted.
    Failed(Failure),
}

impl From<Result<Arc<Event>, Failure>> for Lifted {
    fn from(outcome: Result<Arc<Event>, Failure>) -> Self {
        match outcome {
            Ok(event) => Self::Event(event),
            Err(failure) => Self::Failed(failure),
        }
    }
}

impl Lifting {
    /// Goes over to these lifts.
    pub(super) fn adopt(&mut self, lifts: &Arc<Lifts>) {
        if !Arc::ptr_eq(&self.lifts, lifts) {
            self.lifts = Arc::clone(lifts);
            self.forget();
        }
    }

    /// Lets go of what was lifted ahead.
    pub(super) fn forget(&mut self) {
        self.ahead.clear();
    }

    /// What all of a bus lifts.
    pub(super) fn lifts(&self) -> &Arc<Lifts> {
        &self.lifts
    }

    /// The event as its consumer is to see it, taken out where it was lifted ahead.
    pub(super) fn take(&mut self, topic: TopicId, offset: u64, event: &Arc<Event>) -> Lifted {
        if self.lifts.is_empty() || !self.lifts.has(event.kind()) {
            return Lifted::Event(Arc::clone(event));
        }
        self.ahead.remove(&(topic, offset)).map_or(Lifted::Wanted, Lifted::from)
    }

    /// The event is read ahead no more, and not delivered yet.
    pub(super) fn pass(&mut self, topic: TopicId, offset: u64) {
        if !self.ahead.is_empty() {
            self.ahead.remove(&(topic, offset));
        }
    }

    /// The bytes of what is lifted ahead: a batch that lifts more adds to what is there.
    pub(super) fn bytes(&self) -> usize {
        self.ahead.values().flatten().map(|event| event.size()).sum()
    }

    /// What is to be lifted: the event of a delivery first, and with it what was read ahead, unless the delivery is to be found
    /// out if it ends the process. Not what would have to be read from the blob store for that.
    pub(super) fn works(&self, first: Work, merge: &Merge, is_alone: bool) -> Vec<Work> {
        let is_ahead = |topic, stored: &Stored| {
            !is_alone
                && self.lifts.has(stored.event.kind())
                && stored.event.blob().is_none()
                && !self.ahead.contains_key(&(topic, stored.offset))
        };
        let ahead = merge.ahead().filter(|(topic, stored)| is_ahead(*topic, stored));
        let ahead = ahead.map(|(topic, stored)| Work::new(topic, stored.offset, Arc::clone(&stored.event)));
        std::iter::once(first).chain(ahead).collect()
    }

    /// Keeps what was lifted. Returns what has become of the first, and whether an upcaster was cut off in one of the others.
    pub(super) fn keep(&mut self, works: Vec<Work>) -> (Lifted, bool) {
        let mut works = works.into_iter();
        let first = works.next().and_then(Work::outcome).map_or(Lifted::Wanted, Lifted::from);
        let mut has_trapped = false;
        for work in works {
            let place = work.place();
            let Some(outcome) = work.outcome() else { continue };
            has_trapped |= outcome.as_ref().is_err_and(|failure| failure.kind.is_of_program());
            self.ahead.insert(place, outcome);
        }
        (first, has_trapped)
    }
}
