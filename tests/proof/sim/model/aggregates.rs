//! What has to be true of aggregates: each command is decided once, on the state that its aggregate had then, and has one answer;
//! each that is rejected is told of once; streams have no gap; and what an aggregate is at any version or time is what its events come to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use tidegate::{
    AggregateError, AggregateState, At, Attribute, Bus, Event, FailureKind, Outcome, Position, REJECTED,
    ReadError, Record, Rejection,
};

use super::super::aggregates::{
    COMMANDS, Decided, IMPOSSIBLE, KEYS, NAME, NO, PARTITIONS, REJECTIONS, STREAM, Seen, Verdict, fold,
    key_of, verdict,
};
use super::{LETTERS, Place, text};

/// What is known of commands beside what the log has.
#[derive(Default)]
pub struct Aggregates {
    /// Those that are durable, as somebody was told.
    durable: BTreeSet<String>,
    answers: BTreeMap<String, Outcome>,
    /// What was told of those that others have appended.
    given: BTreeSet<String>,
    redriven: BTreeSet<String>,
    /// Whether the consumer was moved back: what was given up on is tried again then.
    was_moved: bool,
}

/// An aggregate's events, and what has been seen after each of them: first after none.
#[derive(Default)]
struct Stream {
    events: Vec<Record>,
    folds: Vec<u64>,
}

/// What is told of a rejection.
#[derive(Deserialize)]
struct Told {
    version: u64,
    code: String,
    data: Value,
}

/// The durable commands by their ids, with their places.
type Commands = BTreeMap<String, Place>;

/// What came of a command: how many events, and the number of the last one.
type Made = BTreeMap<String, (u64, u64)>;

impl Aggregates {
    /// A command is durable.
    pub fn accept(&mut self, id: &str) {
        self.durable.insert(id.to_owned());
    }

    /// A command was answered.
    ///
    /// # Errors
    ///
    /// It had another answer before.
    pub fn answer(&mut self, id: &str, outcome: &Outcome) -> Result<(), String> {
        self.accept(id);
        match self.answers.insert(id.to_owned(), outcome.clone()) {
            Some(before) if before != *outcome => {
                Err(format!("{id} was answered with {before:?}, and now with {outcome:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Somebody else has appended this.
    pub fn append(&mut self, id: &str) {
        self.given.insert(id.to_owned());
    }

    /// These may be at work again.
    pub fn redrive<'e>(&mut self, commands: impl IntoIterator<Item = &'e Arc<Event>>) {
        self.redriven.extend(commands.into_iter().map(|event| event.id().to_owned()));
    }

    /// The consumer may be moved back to the first command.
    pub fn move_back(&mut self) {
        self.was_moved = true;
    }

    /// Looks at all commands, answers and events.
    ///
    /// # Errors
    ///
    /// The first promise that is broken.
    pub fn check(&self, bus: &Bus, crashes: u32) -> Result<(), String> {
        if !bus.topics().iter().any(|topic| topic.name == STREAM) {
            return Ok(());
        }
        let commands = commands(bus)?;
        if let Some(id) = self.durable.iter().find(|id| !commands.contains_key(*id)) {
            return Err(format!("command {id} is lost"));
        }
        let (mut made, mut given) = (Made::new(), BTreeSet::new());
        let mut streams = BTreeMap::new();
        for key in keys() {
            let stream = stream(bus, &key)?;
            self.check_stream(&stream, &key, &commands, &mut made, &mut given)
                .map_err(|broken| format!("aggregate {key}: {broken}"))?;
            streams.insert(key, stream);
        }
        if let Some(id) = self.given.iter().find(|id| !given.contains(*id)) {
            return Err(format!("{id} was appended to a stream, and is lost"));
        }
        for (id, outcome) in &self.answers {
            let stream = &streams[&key_of(id)];
            self.check_answer(id, outcome, made.get(id).copied(), stream)
                .map_err(|broken| format!("command {id}: {broken}: {outcome:?}"))?;
        }
        let told = self.check_told(bus, &commands, &streams)?;
        self.check_rejections(bus, &commands, &told)?;
        self.check_letters(bus, crashes, &made)
    }

    /// Looks at what is told of rejections: each of a command that is rejected, once, on the state that its aggregate had at that
    /// version, and as whoever asked was told. Returns of which commands.
    fn check_told(
        &self,
        bus: &Bus,
        commands: &Commands,
        streams: &BTreeMap<String, Stream>,
    ) -> Result<BTreeSet<String>, String> {
        let mut told = BTreeSet::new();
        let mut reader = bus.read(REJECTIONS, None, Position::Earliest).map_err(text)?;
        while let Some(record) = reader.try_next().map_err(text)? {
            let event = &record.event;
            let id = event.extension("causationid").and_then(Attribute::as_text).unwrap_or_default();
            let Told { version, code, data } = event.data_as().map_err(text)?;
            let folds = streams.get(event.key()).map(|stream| &*stream.folds).unwrap_or_default();
            let saw = usize::try_from(version).ok().and_then(|version| folds.get(version)).copied();
            let answer = self.answers.get(id);
            let was_answered = match answer {
                Some(Outcome::Rejected(rejection)) => rejection.data == Some(data.clone()),
                Some(_) => false,
                None => true,
            };
            let is_right = event.kind() == REJECTED
                && verdict(id) == Verdict::Rejects
                && commands.contains_key(id)
                && event.key() == key_of(id)
                && code == NO
                && data["saw"].as_u64() == saw
                && was_answered;
            if !is_right {
                return Err(format!("{event:?} tells of a rejection, and {id} was answered with {answer:?}"));
            }
            if !told.insert(id.to_owned()) {
                return Err(format!("command {id} is told twice to be rejected"));
            }
        }
        Ok(told)
    }

    /// Each command that is rejected is told of with the commit in which the consumer goes on behind it.
    fn check_rejections(
        &self,
        bus: &Bus,
        commands: &Commands,
        told: &BTreeSet<String>,
    ) -> Result<(), String> {
        if !is_registered(bus)? {
            return Ok(());
        }
        let letters = bus.dead_letters(NAME, 0, LETTERS).map_err(text)?;
        let mut open: BTreeSet<Place> =
            letters.iter().map(|letter| (letter.partition, letter.offset)).collect();
        let mut next = Vec::new();
        for partition in 0..PARTITIONS {
            let lane = bus.durable_lane(NAME, partition).map_err(text)?;
            open.extend(lane.held.keys().map(|(_, offset)| (partition, *offset)));
            next.push(lane.next.get(COMMANDS).copied().unwrap_or(0));
        }
        for (id, place) in commands.iter().filter(|(id, _)| verdict(id) == Verdict::Rejects) {
            let is_done = next[place.0 as usize] > place.1 && !open.contains(place);
            let is_told = told.contains(id);
            if is_done != is_told && !(is_told && self.was_moved) {
                return Err(format!(
                    "command {id} is done: {is_done}, and is told to be rejected: {is_told}"
                ));
            }
        }
        Ok(())
    }

    fn check_stream(
        &self,
        stream: &Stream,
        key: &str,
        commands: &Commands,
        made: &mut Made,
        given: &mut BTreeSet<String>,
    ) -> Result<(), String> {
        let mut last = None;
        let mut at = 0;
        while let Some(record) = stream.events.get(at) {
            let event = &record.event;
            if event.source() == "/sim" {
                if !given.insert(event.id().to_owned()) {
                    return Err(format!("{} is there twice", event.id()));
                }
                at += 1;
                continue;
            }
            let decided: Decided = event.data_as().map_err(text)?;
            let id = decided.command.as_str();
            let Some(place) = commands.get(id) else { return Err(format!("nobody gave command {id}")) };
            let count = usize::try_from(decided.of).unwrap_or(usize::MAX);
            let of_command = stream.events.get(at..at.saturating_add(count)).unwrap_or_default();
            for (index, other) in (0..decided.of).zip(of_command) {
                let expected = Decided { index, ..decided.clone() };
                let number = at as u64 + index + 1;
                let name = format!("{NAME}/{COMMANDS}/{}/{}@{number}", place.0, place.1);
                if other.event.data_as::<Decided>().ok() != Some(expected)
                    || other.commit != record.commit
                    || other.event.id() != name
                {
                    return Err(format!("event {number} is none of what was decided on {id}: {other:?}"));
                }
            }
            if decided.index != 0 || of_command.len() != count {
                return Err(format!("event {} of {id} is there without the others", decided.index));
            }
            if decided.saw != stream.folds[at] {
                return Err(format!("{id} was decided on another state than that after event {at}"));
            }
            if key_of(id) != key || self.facts(id) != Some(decided.of) {
                return Err(format!("{id} has come to {} events of {key}", decided.of));
            }
            if made.insert(id.to_owned(), (decided.of, (at + count) as u64)).is_some() {
                return Err(format!("{id} took effect twice"));
            }
            // What was redriven is out of its order.
            if !self.redriven.contains(id) {
                if last > Some(place.1) {
                    return Err(format!("{id} was decided on after a later command"));
                }
                last = Some(place.1);
            }
            at += count;
        }
        Ok(())
    }

    /// How many events may come of a command.
    fn facts(&self, id: &str) -> Option<u64> {
        match verdict(id) {
            Verdict::Facts(of) => Some(of),
            Verdict::TrapsOnce => Some(1),
            Verdict::Traps | Verdict::Impossible if self.redriven.contains(id) => Some(1),
            Verdict::Rejects | Verdict::Traps | Verdict::Impossible => None,
        }
    }

    fn check_answer(
        &self,
        id: &str,
        outcome: &Outcome,
        made: Option<(u64, u64)>,
        stream: &Stream,
    ) -> Result<(), String> {
        let is_right = match outcome {
            Outcome::Accepted { version, events: 0 } => {
                made.is_none() && self.facts(id) == Some(0) && *version <= stream.events.len() as u64
            }
            Outcome::Accepted { version, events } => made == Some((*events, *version)),
            Outcome::Rejected(rejection) => {
                made.is_none() && verdict(id) == Verdict::Rejects && is_of(rejection, stream)
            }
            _ => false,
        };
        if is_right { Ok(()) } else { Err(format!("the log has {made:?} of it")) }
    }

    fn check_letters(&self, bus: &Bus, crashes: u32, made: &Made) -> Result<(), String> {
        if !is_registered(bus)? {
            return Ok(());
        }
        for letter in bus.dead_letters(NAME, 0, LETTERS).map_err(text)? {
            let Some(event) = &letter.event else {
                return Err(format!("a dead letter of nothing: {letter:?}"));
            };
            let (id, code) = (event.id(), letter.reason.code.as_str());
            let is_expected = match verdict(id) {
                Verdict::Traps => code == "panic",
                Verdict::Impossible => code == IMPOSSIBLE,
                _ => false,
            };
            // Others may be faster, or the process may end, as often as attempts are made.
            let is_crash = letter.reason.kind == FailureKind::HostCrash && crashes > 0;
            if !is_expected && !is_crash && code != "version-conflict" {
                return Err(format!("command {id} is a dead letter for {}", letter.reason));
            }
            let is_done = made.contains_key(id) || self.answers.contains_key(id);
            if is_done && !self.redriven.contains(id) && !self.was_moved {
                return Err(format!("command {id} was decided on, and is a dead letter"));
            }
        }
        Ok(())
    }

    /// Looks at what an aggregate is said to be. `before` is how many events it had of that when it was asked for.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn check_state(
        bus: &Bus,
        (key, at): (&str, At),
        before: u64,
        found: Result<Option<AggregateState>, AggregateError>,
    ) -> Result<(), String> {
        let what = || format!("aggregate {key} at {at:?}");
        let state = match found {
            Ok(state) => state,
            // While the storage is being opened anew, nothing can be said.
            Err(
                AggregateError::NotRunning(_)
                | AggregateError::Read(ReadError::Reopening | ReadError::Closed),
            ) => {
                return Ok(());
            }
            Err(AggregateError::Failed { failure, .. }) if failure.code == "state-unavailable" => {
                return Ok(());
            }
            Err(error) => return Err(format!("{}: {error}", what())),
        };
        let stream = stream(bus, key)?;
        let version = state.as_ref().map_or(0, |state| state.version);
        if !(before..=stream.until(at)).contains(&version) {
            return Err(format!("{} is of version {version}, not {before}", what()));
        }
        let Some(state) = state else { return Ok(()) };
        let seen: Seen = state.json().map_err(text)?;
        let last = usize::try_from(version).unwrap_or(usize::MAX);
        if (seen.version, Some(&seen.fold)) != (version, stream.folds.get(last)) {
            return Err(format!("{} has seen something else than its events: {seen:?}", what()));
        }
        let since = stream.events.get(last - 1).map(|record| record.appended);
        if since == Some(state.since) {
            Ok(())
        } else {
            Err(format!("{} is since {since:?}: {state:?}", what()))
        }
    }

    /// How many events of an aggregate there are up to some point.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn until(bus: &Bus, key: &str, at: At) -> Result<u64, String> {
        Ok(stream(bus, key)?.until(at))
    }

    /// When the log accepted an event of an aggregate, if it has so many.
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub fn accepted(bus: &Bus, key: &str, number: u64) -> Result<Option<tidegate::Timestamp>, String> {
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        Ok(stream(bus, key)?.events.get(at).map(|record| record.appended))
    }
}

impl Stream {
    fn until(&self, at: At) -> u64 {
        match at {
            At::Version(version) => version,
            At::Time(time) => self.events.iter().filter(|record| record.appended <= time).count() as u64,
            _ => self.events.len() as u64,
        }
    }
}

/// All aggregates.
pub fn keys() -> impl Iterator<Item = String> {
    (0..KEYS).map(|key| format!("k{key}"))
}

/// The ids of the durable commands.
///
/// # Errors
///
/// The log can't be read.
pub fn ids(bus: &Bus) -> Result<Vec<String>, String> {
    Ok(commands(bus)?.into_keys().collect())
}

/// Whether every command was decided on or given up on.
///
/// # Errors
///
/// It can't be read.
pub fn is_through(bus: &Bus) -> Result<bool, String> {
    let topics = bus.topics();
    let status = topics.iter().find(|status| status.name == COMMANDS);
    for partition in 0..PARTITIONS {
        let lane = bus.durable_lane(NAME, partition).map_err(text)?;
        let end = status.map_or(0, |status| status.partitions[partition as usize].next_offset);
        if !lane.held.is_empty() || lane.next.get(COMMANDS).copied().unwrap_or(0) < end {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_registered(bus: &Bus) -> Result<bool, String> {
    Ok(bus.consumers().map_err(text)?.iter().any(|consumer| consumer.name == NAME))
}

/// Whether a rejection is of some state that the aggregate has had.
fn is_of(rejection: &Rejection, stream: &Stream) -> bool {
    let saw = rejection.data.as_ref().and_then(|data| data["saw"].as_u64());
    rejection.code == NO && saw.is_some_and(|saw| stream.folds.contains(&saw))
}

fn commands(bus: &Bus) -> Result<Commands, String> {
    let mut commands = Commands::new();
    let mut reader = bus.read(COMMANDS, None, Position::Earliest).map_err(text)?;
    while let Some(record) = reader.try_next().map_err(text)? {
        let (id, place) = (record.event.id().to_owned(), (record.partition, record.offset));
        if let Some(before) = commands.insert(id, place) {
            return Err(format!("command {} is at {before:?} and at {place:?}", record.event.id()));
        }
    }
    Ok(commands)
}

/// The events of an aggregate, numbered without a gap.
fn stream(bus: &Bus, key: &str) -> Result<Stream, String> {
    let mut stream = Stream { events: Vec::new(), folds: vec![0] };
    let mut seen = 0;
    let mut reader = bus.read(STREAM, None, Position::Earliest).map_err(text)?;
    while let Some(record) = reader.try_next().map_err(text)? {
        if record.event.key() != key {
            continue;
        }
        let number = stream.events.len() as u64 + 1;
        if record.event.sequence() != Some(number) {
            return Err(format!("event {number} of {key} has the number {:?}", record.event.sequence()));
        }
        seen = fold(seen, &record.event);
        stream.folds.push(seen);
        stream.events.push(record);
    }
    let version = bus.version(STREAM, key).map_err(text)?;
    if version != stream.events.len() as u64 {
        return Err(format!("aggregate {key} has {} events and version {version}", stream.events.len()));
    }
    Ok(stream)
}
