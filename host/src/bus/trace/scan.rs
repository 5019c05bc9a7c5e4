//! Reading what belongs to a trace, some at a time, keeping a bounded part of it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{TraceBy, TraceOptions, TraceSummary};
use super::tree::{Found, FoundEvent, Leaf, Place};
use crate::aggregate::{OutcomeRow, STATE_VERSION, outcome_key};
use crate::bus::state::StateView;
use crate::clock::Timestamp;
use crate::event::Event;
use crate::handler::Failure;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{
    READ_BYTES_MAX, READ_EVENTS_MAX, TRACE_BYTES_MAX, TRACE_CORRELATIONS_MAX, TRACE_LETTERS,
};
use crate::log::{ConsumerRow, DeadLetter, Entry, Held, Log, ReadError, Wait};
use crate::timer::{TIMER_TOPIC, TIMER_TOPIC_ID, TimerName};

/// A walk through all that may belong to a trace.
pub(super) struct Scan<'a> {
    log: &'a Log,
    id: String,
    /// The correlations that are followed: the one that was asked for, and those that begin within it.
    followed: Vec<String>,
    options: TraceOptions,
    /// What was found, in the order in which it became durable: what comes last goes first when there is too much.
    events: BTreeMap<(u64, Place), FoundEvent>,
    places: BTreeSet<Place>,
    leaves: Vec<Leaf>,
    /// The texts of all that was found.
    bytes: usize,
    summary: TraceSummary,
}

impl<'a> Scan<'a> {
    pub fn new(log: &'a Log, id: &str, options: TraceOptions) -> Self {
        let id = match options.by {
            TraceBy::Correlation => id.to_owned(),
            TraceBy::TraceId => id.to_ascii_lowercase(),
        };
        Self {
            log,
            followed: vec![id.clone()],
            id,
            options,
            events: BTreeMap::new(),
            places: BTreeSet::new(),
            leaves: Vec::new(),
            bytes: 0,
            summary: TraceSummary::default(),
        }
    }

    /// Reads all there is: once, and again as long as correlations are found that begin within those that are followed, for what
    /// belongs to them may have been passed over. They are bounded, and so are the times.
    pub async fn read(&mut self) -> Result<(), ReadError> {
        loop {
            let followed = self.followed.len();
            self.read_all().await?;
            if self.followed.len() == followed {
                return Ok(());
            }
            self.events.clear();
            self.places.clear();
            self.leaves.clear();
            self.bytes = 0;
            let scanned = self.summary.scanned;
            self.summary = TraceSummary { scanned, ..TraceSummary::default() };
        }
    }

    async fn read_all(&mut self) -> Result<(), ReadError> {
        for (name, topic) in self.topics()? {
            for partition in 0..self.log.partition_count(topic).unwrap_or(0) {
                self.read_partition(&name, topic, partition).await?;
            }
        }
        for (id, row) in self.log.consumers() {
            if row.state_version == Some(STATE_VERSION) {
                self.read_outcomes(id, &row).await?;
            }
            self.read_letters(id, &row.name).await?;
            for partition in 0..row.partitions {
                self.read_lane(LaneId { consumer: id, partition }, &row.name).await?;
            }
        }
        Ok(())
    }

    /// What was found.
    pub fn found(self) -> Found {
        Found { events: self.events.into_values().collect(), leaves: self.leaves, summary: self.summary }
    }

    fn topics(&self) -> Result<Vec<(String, TopicId)>, ReadError> {
        let names = match self.options.topics.as_slice() {
            [] => self.log.topics().into_iter().map(|topic| topic.name.to_string()).collect(),
            some => some.to_vec(),
        };
        let known = |name: String| match self.log.topic_id(&name) {
            Some(id) => Ok((name, id)),
            None => Err(ReadError::UnknownTopic(name)),
        };
        names.into_iter().map(known).collect()
    }

    /// Each page is a read of its own: a snapshot that is kept for long keeps the file from using its space again.
    async fn read_partition(&mut self, name: &str, topic: TopicId, partition: u32) -> Result<(), ReadError> {
        let end = self.log.next_offset(topic, partition);
        let mut next = match self.options.since {
            Some(since) => self.log.offset_at(topic, partition, since)?,
            None => self.log.low_offset(topic, partition),
        };
        while next < end {
            let entries = self.log.read(topic, partition, next, READ_EVENTS_MAX, READ_BYTES_MAX)?;
            let Some(last) = entries.last() else { break };
            next = last.offset_last() + 1;
            for entry in entries {
                match entry {
                    Entry::Event(stored) if stored.offset < end => {
                        self.summary.scanned += 1;
                        if self.belongs(&stored.event) {
                            let place = Place::in_topic(name, partition, stored.offset);
                            self.add_event(place, stored.commit, stored.appended, &stored.event, true);
                        }
                    }
                    Entry::Event(_) => {}
                    Entry::Damaged { .. } => self.summary.damaged += 1,
                }
            }
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// What an aggregate has made of the commands that were found.
    async fn read_outcomes(&mut self, id: ConsumerId, aggregate: &ConsumerRow) -> Result<(), ReadError> {
        let topics: Vec<_> =
            aggregate.topics.iter().filter_map(|topic| self.log.topic_name(*topic)).collect();
        let mut commands: BTreeMap<u32, Vec<(Place, String, Timestamp)>> = BTreeMap::new();
        for event in self.events.values() {
            if event.is_in_log && topics.iter().any(|topic| **topic == *event.place.topic) {
                let command = (event.place.clone(), event.key.clone(), event.at);
                commands.entry(event.place.partition).or_default().push(command);
            }
        }
        for (partition, commands) in commands {
            // A view for each page, as with events.
            for page in commands.chunks(READ_EVENTS_MAX) {
                let view = StateView::new(self.log.state(LaneId { consumer: id, partition })?);
                for (place, key, at) in page {
                    let row = view.get(&outcome_key(place.offset))?;
                    let outcome = row.as_deref().and_then(OutcomeRow::decode).and_then(|row| row.of(key));
                    let Some(outcome) = outcome else { continue };
                    let (consumer, at) = (aggregate.name.to_string(), *at);
                    self.add_leaf(place, |place| Leaf::Outcome { place, consumer, at, outcome });
                }
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    async fn read_letters(&mut self, id: ConsumerId, consumer: &str) -> Result<(), ReadError> {
        let mut after = 0;
        loop {
            let letters = self.log.dead_letters(id, after, TRACE_LETTERS)?;
            let Some(last) = letters.last() else { return Ok(()) };
            after = last.id;
            for letter in letters {
                self.summary.scanned += 1;
                self.add_letter(consumer, &letter);
            }
            tokio::task::yield_now().await;
        }
    }

    fn add_letter(&mut self, consumer: &str, letter: &DeadLetter) {
        let place = match letter.topic.as_str() {
            TIMER_TOPIC => Place::of_timer(consumer, letter.partition, letter.offset),
            topic => Place::in_topic(topic, letter.partition, letter.offset),
        };
        if let Some(event) = &letter.event
            && self.belongs(event)
            && self.may_show(&place.topic)
        {
            self.add_event(place.clone(), letter.commit, letter.appended, event, false);
        }
        self.add_leaf(&place, |place| Leaf::Letter {
            place,
            consumer: consumer.to_owned(),
            letter: letter.id,
            at: letter.at,
            attempts: letter.attempts.len(),
            reason: plain(&letter.reason),
            redriven: letter.redriven,
        });
    }

    async fn read_lane(&mut self, id: LaneId, consumer: &str) -> Result<(), ReadError> {
        let lane = match self.log.lane(id) {
            // It was forgotten meanwhile, or another generation has its name.
            Err(ReadError::UnknownConsumer(_)) => return Ok(()),
            lane => lane?,
        };
        let has_timers = lane.progress.timers.set > 0;
        for held in lane.held.into_values() {
            // The place of a dead letter is no event that waits: the letter shows it.
            if held.wait != Wait::Operator {
                self.add_held(consumer, id.partition, &held);
            }
        }
        tokio::task::yield_now().await;
        if has_timers { self.read_timers(id, consumer).await } else { Ok(()) }
    }

    async fn read_timers(&mut self, id: LaneId, consumer: &str) -> Result<(), ReadError> {
        let mut after = None;
        loop {
            let timers = self.log.set_timers(id, after, (READ_EVENTS_MAX, READ_BYTES_MAX))?;
            let Some((last, ..)) = timers.last() else { return Ok(()) };
            after = Some(*last);
            for (place, event, set) in timers {
                self.summary.scanned += 1;
                let Ok(event) = event else {
                    self.summary.damaged += 1;
                    continue;
                };
                if self.belongs(&event) && self.has_room() {
                    let at = Place::of_timer(consumer, id.partition, place.number);
                    let name = TimerName::of(&event).name;
                    let event = FoundEvent::new(at, 0, set, &event, false);
                    let (consumer, due) = (consumer.to_owned(), place.due);
                    let leaf = Leaf::Timer { event, consumer, name, due };
                    self.bytes += leaf.bytes();
                    self.leaves.push(leaf);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn add_held(&mut self, consumer: &str, partition: u32, held: &Held) {
        let place = match held.topic {
            TIMER_TOPIC_ID => Place::of_timer(consumer, partition, held.offset),
            topic => {
                let Some(name) = self.log.topic_name(topic) else { return };
                Place::in_topic(&name, partition, held.offset)
            }
        };
        if let Some(event) = &held.event
            && self.belongs(event)
            && self.may_show(&place.topic)
        {
            self.add_event(place.clone(), held.commit, held.appended, event, false);
        }
        let until = match held.wait {
            Wait::Until(due) => Some(due),
            Wait::Behind | Wait::Operator => None,
        };
        self.add_leaf(&place, |place| Leaf::Held {
            place,
            consumer: consumer.to_owned(),
            at: held.attempts.last().map_or(held.appended, |attempt| attempt.at),
            until,
            attempts: held.attempts.len(),
            reason: held.attempts.last().map(|attempt| plain(&attempt.failure)),
        });
    }

    /// Whether an event belongs to it. One that begins a correlation within those that are followed has that one followed as well.
    fn belongs(&mut self, event: &Event) -> bool {
        if self.options.by == TraceBy::TraceId {
            return event.trace_id() == Some(&self.id);
        }
        let correlation = event.correlation();
        if self.is_followed(&correlation) {
            return true;
        }
        if event.parent_correlation().is_some_and(|parent| self.is_followed(parent)) {
            if self.followed.len() <= TRACE_CORRELATIONS_MAX {
                self.followed.push(correlation.into_owned());
            }
            return true;
        }
        event.id() == self.id
    }

    fn is_followed(&self, correlation: &str) -> bool {
        self.followed.iter().any(|followed| *followed == correlation)
    }

    /// Timers are in no topic.
    fn may_show(&self, topic: &str) -> bool {
        let topics = &self.options.topics;
        topics.is_empty() || topic == TIMER_TOPIC || topics.iter().any(|name| name == topic)
    }

    /// Adds an event, once. Where there are too many, those that came last make room.
    fn add_event(&mut self, place: Place, commit: u64, at: Timestamp, event: &Event, is_in_log: bool) {
        if !self.places.insert(place.clone()) {
            return;
        }
        self.note_correlation(event);
        let found = FoundEvent::new(place.clone(), commit, at, event, is_in_log);
        self.bytes += found.bytes();
        self.events.insert((commit, place), found);
        while self.events.len() > 1 && !self.has_room_for(0) {
            let Some((_, last)) = self.events.pop_last() else { break };
            self.places.remove(&last.place);
            self.bytes -= last.bytes();
            self.summary.left_out += 1;
        }
    }

    /// Adds what hangs on the event of this place, where that was found.
    fn add_leaf(&mut self, place: &Place, leaf: impl FnOnce(Place) -> Leaf) {
        if self.places.contains(place) && self.has_room() {
            let leaf = leaf(place.clone());
            self.bytes += leaf.bytes();
            self.leaves.push(leaf);
        }
    }

    /// Whether one more may be added. Counts it as left out where not.
    fn has_room(&mut self) -> bool {
        let has_room = self.has_room_for(1);
        self.summary.left_out += u64::from(!has_room);
        has_room
    }

    fn has_room_for(&self, more: usize) -> bool {
        self.events.len() + self.leaves.len() + more <= self.options.nodes_max()
            && self.bytes <= TRACE_BYTES_MAX
    }

    /// An event that was asked for by its own id may belong to something else, and one that begins a correlation to another one.
    fn note_correlation(&mut self, event: &Event) {
        if self.options.by != TraceBy::Correlation {
            return;
        }
        let correlation = event.correlation();
        for other in [Some(&*correlation), event.parent_correlation()].into_iter().flatten() {
            let correlations = &self.summary.correlations;
            if !self.is_followed(other)
                && correlations.len() < TRACE_CORRELATIONS_MAX
                && !correlations.iter().any(|known| *known == other)
            {
                self.summary.correlations.push(other.to_owned());
            }
        }
    }
}

/// A failure without its backtrace.
fn plain(failure: &Failure) -> Failure {
    Failure { backtrace: None, ..failure.clone() }
}
