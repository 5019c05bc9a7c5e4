//! An aggregate at one version, and how it comes to the next ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::model::Model;
use super::program::Counts;
use super::stream::{Streams, Unreadable};
use crate::clock::Timestamp;
use crate::effects::StateUnavailable;
use crate::event::Event;
use crate::handler::{Delivery, Failure};
use crate::limits::AGGREGATE_STATE_BYTES_MAX;
use crate::upcast::Lifter;

/// An aggregate at one version. The default is one that nothing has happened to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Folded {
    /// The number of its last event, 0 where there is none.
    pub version: u64,
    /// What its events come to; `None` before the first one.
    pub state: Option<Vec<u8>>,
    /// When the log accepted the last event; `None` where that isn't durable yet, or nobody has looked.
    pub appended: Option<Timestamp>,
    /// The last command that events came of, as far as its events tell.
    pub decided: Option<Place>,
    /// The version of the snapshot that is kept of it, 0 where there is none.
    pub snapshot: u64,
}

/// Where a command is: in its topic, and the partition of its aggregate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub topic: Arc<str>,
    pub offset: u64,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    /// To the event of this number.
    pub version: u64,
    /// To the last event that was accepted by then.
    pub time: Timestamp,
}

impl Until {
    /// To the end.
    pub const END: Self = Self { version: u64::MAX, time: Timestamp(i64::MAX) };
}

impl Folded {
    /// Whether the events of a command are among its own. The commands of an aggregate come in their order, so what
    /// lies at the last one's place or before it has been decided on, however it is delivered again: by a move of the
    /// consumer, or to one of another name. A dead letter that is put back to work hasn't.
    pub fn has_decided(&self, command: &Delivery) -> bool {
        let is_behind = |last: &Place| last.topic == command.topic && command.offset <= last.offset;
        !command.redriven && self.decided.as_ref().is_some_and(is_behind)
    }

    /// Takes note of the command that an event came of.
    fn note(&mut self, event: &Event) {
        let Some(place) = place_of(event) else { return };
        match &mut self.decided {
            Some(last) if last.topic == place.topic => last.offset = last.offset.max(place.offset),
            decided => *decided = Some(place),
        }
    }
}

/// The source of the events that a consumer decides.
pub(super) fn source_of(consumer: &str) -> String {
    format!("/tidegate/consumers/{consumer}")
}

/// The id of an event: of the consumer that has decided it, where its command is, and its number in the stream.
///
/// Where the command is tells later whether the command has been decided. The number is what makes the id another one
/// where a command is decided anew on another state: then the attempt before left nothing behind.
pub(super) fn id_of(consumer: &str, command: &Delivery, number: u64) -> String {
    format!("{consumer}/{}/{}/{}@{number}", command.topic, command.partition, command.offset)
}

/// Where the command is that an event came of, if an aggregate has decided it.
fn place_of(event: &Event) -> Option<Place> {
    let mut parts = event.id().split('/');
    let (consumer, topic, _, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (offset, _) = rest.split_once('@')?;
    let offset = offset.parse().ok()?;
    let is_whole = parts.next().is_none() && event.source() == source_of(consumer);
    is_whole.then(|| Place { topic: topic.into(), offset })
}

/// What brings aggregates of one stream forward.
pub(super) struct Fold<'a> {
    pub model: &'a mut dyn Model,
    pub streams: &'a dyn Streams,
    pub stream: &'a str,
    /// What lifts the events of the stream.
    pub lifter: &'a Lifter,
    pub id: &'a str,
    pub counts: &'a Counts,
}

impl Fold<'_> {
    /// Goes forward over the durable events that are there now: others may append faster than it reads.
    pub async fn forward(&mut self, folded: &mut Folded, until: Until) -> Result<(), Failure> {
        let unavailable =
            |error: StateUnavailable| Failure::transient("state-unavailable", error.to_string());
        let end = self.streams.version(self.stream, self.id).map_err(unavailable)?.min(until.version);
        while folded.version < end {
            let entries = self.streams.events(self.stream, self.id, folded.version).map_err(unavailable)?;
            let (mut events, mut last, mut is_over) = (Vec::new(), None, entries.is_empty());
            for (expected, entry) in (folded.version + 1..).zip(entries) {
                // What lies behind the point that is asked for may be as it is.
                if expected > end {
                    is_over = true;
                    break;
                }
                if entry.number != expected {
                    return Err(self.gap(expected, entry.number - 1));
                }
                let (appended, event) = match entry.event {
                    Ok(event) => event,
                    Err(Unreadable::Removed) => return Err(self.gap(expected, expected)),
                    Err(
                        Unreadable::Damaged { appended: Some(at), .. }
                        | Unreadable::Unavailable { appended: at, .. },
                    ) if at > until.time => {
                        is_over = true;
                        break;
                    }
                    Err(Unreadable::Unavailable { reason, .. }) => {
                        return Err(unavailable(StateUnavailable(reason)));
                    }
                    Err(Unreadable::Damaged { reason, .. }) => return Err(self.damaged(expected, &reason)),
                };
                if appended > until.time {
                    is_over = true;
                    break;
                }
                events.push(event);
                last = Some(appended);
            }
            if !events.is_empty() {
                self.counts.folded.fetch_add(events.len() as u64, Ordering::Relaxed);
                self.apply(folded, &events).await?;
                folded.appended = last;
            }
            if is_over {
                break;
            }
            // A long stream is no reason to keep a thread from others.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Goes forward over these events, which follow. The model sees them as consumers do.
    pub async fn apply(&mut self, folded: &mut Folded, events: &[Arc<Event>]) -> Result<(), Failure> {
        if self.lifter.lifts_any(events) {
            let mut rest = events;
            while !rest.is_empty() {
                let lifted = self.lifter.lift_first(self.stream, rest).await?;
                self.evolve(folded, &lifted).await?;
                rest = &rest[lifted.len()..];
            }
        } else {
            self.evolve(folded, events).await?;
        }
        folded.version += events.len() as u64;
        folded.appended = None;
        for event in events {
            folded.note(event);
        }
        Ok(())
    }

    async fn evolve(&mut self, folded: &mut Folded, events: &[Arc<Event>]) -> Result<(), Failure> {
        let state = self.model.evolve(folded.state.as_deref(), events).await?;
        if state.len() > AGGREGATE_STATE_BYTES_MAX {
            let message = format!(
                "the state of aggregate `{}` would have {} bytes, and may have {AGGREGATE_STATE_BYTES_MAX}: keep in it what \
                 decisions need, and the rest in a read model",
                self.id,
                state.len()
            );
            return Err(Failure::permanent("state-size", message));
        }
        folded.state = Some(state);
        Ok(())
    }

    fn gap(&self, first: u64, last: u64) -> Failure {
        let message = format!(
            "events {first} to {last} of aggregate `{}` are gone from topic `{}`: a stream is kept whole, so give the topic no \
             retention",
            self.id, self.stream,
        );
        Failure::permanent("stream-gap", message)
    }

    fn damaged(&self, number: u64, reason: &str) -> Failure {
        let message = format!(
            "event {number} of aggregate `{}` in topic `{}` can't be read: {reason}",
            self.id, self.stream
        );
        Failure::permanent("stream-damaged", message)
    }
}
