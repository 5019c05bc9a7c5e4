//! What has to be true of sagas: each that was begun is there, ends with all steps done or all undone, or is stuck; its record, the
//! commands in the log and what the participant has done say the same; and the log alone says that steps are taken in their order,
//! undone in the reverse one, and asked for no more often than that.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{Attribute, Bus, DeadLetter, FailureKind, Position, Saga, SagaError, SagaState};

use super::super::sagas::{
    ATTEMPTS, COMMANDS, Deed, ORDERS, PARTICIPANT, PARTITIONS, SAGA, STEPS, Undoing, effect_key, fate,
};
use super::{LETTERS, text};

/// What operators have said to sagas.
#[derive(Default)]
pub struct Words {
    /// How often each was told to ask again, by its id.
    retries: BTreeMap<String, u32>,
}

impl Words {
    /// A saga is told to ask again.
    pub fn retry(&mut self, id: &str) {
        *self.retries.entry(id.to_owned()).or_default() += 1;
    }
}

/// What there is to be said of a saga at one moment.
struct Standing {
    saga: Saga,
    /// What the log has of each step.
    published: BTreeMap<String, Asked>,
    /// How often an operator may have had it ask again.
    retries: u32,
    /// Steps that the participant has done, and those that it has undone.
    done: BTreeSet<&'static str>,
    undone: BTreeSet<&'static str>,
}

/// What the log has of a step: how many commands and compensations, and the commits of the first ones.
#[derive(Debug, Default)]
struct Asked {
    commands: u32,
    compensations: u32,
    first_command: Option<u64>,
    first_compensation: Option<u64>,
}

/// What the log has of each step, by the ids of their sagas.
type Published = BTreeMap<String, BTreeMap<String, Asked>>;

/// Looks at all sagas. Returns how many are in which state.
///
/// # Errors
///
/// The first promise that is broken.
pub fn check(bus: &Bus, words: &Words) -> Result<BTreeMap<SagaState, u64>, String> {
    let mut states = BTreeMap::new();
    if !bus.consumers().map_err(text)?.iter().any(|consumer| consumer.name == SAGA.0) {
        return Ok(states);
    }
    // A delivery in which the process ended too often is one, and no other.
    if let Some(letter) = letters(bus)?.iter().find(|letter| letter.reason.kind != FailureKind::HostCrash) {
        return Err(format!("there is a dead letter: {letter:?}"));
    }
    let mut published = commands(bus)?;
    for id in begun(bus)? {
        let saga = match bus.saga(SAGA.0, &id) {
            Ok(saga) => saga,
            Err(SagaError::Unknown { .. }) => return Err(format!("saga {id} is lost")),
            Err(error) => return Err(error.to_string()),
        };
        *states.entry(saga.status.state).or_default() += 1;
        let (mut done, mut undone) = (BTreeSet::new(), BTreeSet::new());
        for step in STEPS {
            match effect(bus, &id, step)?.as_deref() {
                Some(b"done") => drop(done.insert(step)),
                Some(_) => drop(undone.insert(step)),
                None => {}
            }
        }
        let published = published.remove(&id).unwrap_or_default();
        let retries = words.retries.get(&id).copied().unwrap_or(0);
        let standing = Standing { saga, published, retries, done, undone };
        standing.check().map_err(|broken| format!("saga {id}: {broken}: {:?}", standing.saga))?;
    }
    match published.first_key_value() {
        Some((id, _)) => Err(format!("saga {id} has commands, and never began")),
        None => Ok(states),
    }
}

/// Whether nothing is to come of any saga but by an operator, and nothing waits in its topics.
///
/// # Errors
///
/// It can't be read.
pub fn is_through(bus: &Bus, words: &Words) -> Result<bool, String> {
    let topics = bus.topics();
    for (consumer, of_consumer) in [SAGA, PARTICIPANT] {
        for partition in 0..PARTITIONS {
            let lane = bus.durable_lane(consumer, partition).map_err(text)?;
            let is_behind = |topic: &&str| {
                let status = topics.iter().find(|status| status.name == *topic);
                let end = status.map_or(0, |status| status.partitions[partition as usize].next_offset);
                lane.next.get(*topic).copied().unwrap_or(0) < end
            };
            if !lane.held.is_empty() || of_consumer.iter().any(is_behind) {
                return Ok(false);
            }
        }
    }
    // One whose time-out, or answer, is a dead letter waits for an operator as well.
    let states = check(bus, words)?;
    Ok(!letters(bus)?.is_empty() || states.keys().all(|state| state.is_ended() || *state == SagaState::Stuck))
}

fn letters(bus: &Bus) -> Result<Vec<DeadLetter>, String> {
    let mut found = Vec::new();
    for consumer in [SAGA.0, PARTICIPANT.0] {
        found.extend(bus.dead_letters(consumer, 0, LETTERS).map_err(text)?);
    }
    Ok(found)
}

/// The sagas that are to be there: those of the orders that the consumer is past, and that are no dead letters.
fn begun(bus: &Bus) -> Result<BTreeSet<String>, String> {
    let mut begun = BTreeSet::new();
    let mut lanes = Vec::new();
    for partition in 0..PARTITIONS {
        lanes.push(bus.durable_lane(SAGA.0, partition).map_err(text)?);
    }
    let letters = letters(bus)?.into_iter().filter(|letter| letter.topic == ORDERS);
    let letters: BTreeSet<_> = letters.map(|letter| (letter.partition, letter.offset)).collect();
    let mut orders = bus.read(ORDERS, None, Position::Earliest).map_err(text)?;
    while let Some(order) = orders.try_next().map_err(text)? {
        let lane = &lanes[order.partition as usize];
        let is_past = lane.next.get(ORDERS).is_some_and(|next| *next > order.offset);
        let is_letter = letters.contains(&(order.partition, order.offset));
        if is_past && !is_letter && !lane.held.contains_key(&(ORDERS.to_owned(), order.offset)) {
            begun.insert(order.event.key().to_owned());
        }
    }
    Ok(begun)
}

/// What sagas have published.
fn commands(bus: &Bus) -> Result<Published, String> {
    let mut found = Published::new();
    let mut reader = bus.read(COMMANDS, None, Position::Earliest).map_err(text)?;
    while let Some(record) = reader.try_next().map_err(text)? {
        let id = record.event.extension("correlationid").and_then(Attribute::as_text).unwrap_or_default();
        let (kind, step) = record.event.kind().split_once('/').unwrap_or_default();
        let asked = found.entry(id.to_owned()).or_default().entry(step.to_owned()).or_default();
        let (count, first) = if kind == "Do" {
            (&mut asked.commands, &mut asked.first_command)
        } else {
            (&mut asked.compensations, &mut asked.first_compensation)
        };
        *count += 1;
        // They are in several partitions.
        *first = Some(first.map_or(record.commit, |first| first.min(record.commit)));
    }
    Ok(found)
}

/// What the participant keeps of a step, whichever lane it is in.
fn effect(bus: &Bus, id: &str, step: &str) -> Result<Option<Vec<u8>>, String> {
    for partition in 0..PARTITIONS {
        let view = bus.state(PARTICIPANT.0, partition).map_err(text)?;
        if let Some(value) = view.get(&effect_key(id, step)).map_err(text)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

impl Standing {
    fn check(&self) -> Result<(), String> {
        let Self { saga, published, .. } = self;
        let id = &saga.status.id;
        self.check_log()?;
        let taken: BTreeMap<_, _> =
            saga.steps.iter().map(|step| (&step.name, (step.commands, step.compensations))).collect();
        let asked = published.iter().map(|(step, asked)| (step, (asked.commands, asked.compensations)));
        if taken != asked.collect() {
            return Err(format!("the log has the commands {published:?}"));
        }
        if let Some(step) = self.done.iter().chain(&self.undone).find(|step| !published.contains_key(**step))
        {
            return Err(format!("the participant has done step {step}, and nobody asked for it"));
        }
        let all: BTreeSet<_> = STEPS.into();
        match saga.status.state {
            SagaState::Completed if self.done != all => {
                Err(format!("it is completed, and done is {:?}", self.done))
            }
            SagaState::Completed
                if STEPS.iter().any(|step| matches!(fate(id, step).0, Deed::Refuses | Deed::Silent)) =>
            {
                Err("it is completed, and a step of it was refused, or never heard of".to_owned())
            }
            SagaState::Compensated if !self.done.is_empty() => {
                Err(format!("it is compensated, and done is {:?}", self.done))
            }
            SagaState::Stuck => {
                let step = saga.status.step.as_deref().unwrap_or_default();
                match fate(id, step).1 {
                    // Its answers may come too late as well: the participant was down.
                    Undoing::Never | Undoing::Ignores(_) => Ok(()),
                    Undoing::Undoes => self.check_overtaken(step),
                }
            }
            _ => self.check_order(),
        }
    }

    /// What the log alone has of it: each step was asked for after the one before it, and undone before it; once, or as often as its
    /// compensation is repeated, and again for each word of an operator.
    fn check_log(&self) -> Result<(), String> {
        let of = |step: &str| self.published.get(step);
        for step in STEPS {
            let Some(asked) = of(step) else { continue };
            let times = 1 + self.retries;
            if asked.commands > times || asked.compensations > ATTEMPTS * times {
                return Err(format!("step {step} was asked for too often: {asked:?}"));
            }
            if asked.first_command.is_none() {
                return Err(format!("step {step} is to be undone, and was never asked for"));
            }
        }
        for (at, later) in STEPS.iter().enumerate() {
            for earlier in &STEPS[..at] {
                let Some(asked) = of(later) else { continue };
                let before = of(earlier);
                if before.and_then(|before| before.first_command) >= asked.first_command || before.is_none() {
                    return Err(format!("step {later} was asked for before step {earlier}"));
                }
                let undone = (before.and_then(|before| before.first_compensation), asked.first_compensation);
                if let (Some(before), Some(after)) = undone
                    && before <= after
                {
                    return Err(format!("step {earlier} was to be undone before step {later}"));
                }
            }
        }
        Ok(())
    }

    /// A participant that undoes what it is told to may have been away for longer than it was waited for.
    fn check_overtaken(&self, step: &str) -> Result<(), String> {
        let asked =
            self.saga.steps.iter().find(|taken| taken.name == step).map_or(0, |taken| taken.compensations);
        if asked >= ATTEMPTS { Ok(()) } else { Err(format!("it is stuck after {asked} attempts")) }
    }

    /// What is undone was asked to be, the last step first.
    fn check_order(&self) -> Result<(), String> {
        let asked: Vec<_> = self.saga.steps.iter().map(|step| step.compensations > 0).collect();
        // Behind a step whose undoing was asked for, all others are settled.
        let Some(first) = asked.iter().position(|asked| *asked) else { return Ok(()) };
        let is_open = |status: &str| matches!(status, "asked" | "done" | "in-doubt" | "compensating");
        match self.saga.steps[first + 1..].iter().find(|step| is_open(&step.status)) {
            Some(step) => Err(format!("step {} is to be undone after one before it", step.name)),
            None => Ok(()),
        }
    }
}
