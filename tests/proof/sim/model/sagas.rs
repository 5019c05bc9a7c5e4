//! What has to be true of sagas: each that was begun is there, ends with all steps done or all undone, or is stuck; its record, the
//! commands in the log and what the participant has done say the same.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::{Attribute, Bus, DeadLetter, FailureKind, Position, Saga, SagaError, SagaState};

use super::super::sagas::{
    COMMANDS, Deed, ORDERS, PARTICIPANT, PARTITIONS, SAGA, STEPS, Undoing, effect_key, fate,
};
use super::{LETTERS, text};

/// What there is to be said of a saga at one moment.
struct Standing {
    saga: Saga,
    /// For each step, how many commands and compensations the log has.
    published: BTreeMap<String, (u32, u32)>,
    /// Steps that the participant has done, and those that it has undone.
    done: BTreeSet<&'static str>,
    undone: BTreeSet<&'static str>,
}

/// For each step how many commands and compensations there are, by the ids of their sagas.
type Published = BTreeMap<String, BTreeMap<String, (u32, u32)>>;

/// Looks at all sagas. Returns how many are in which state.
///
/// # Errors
///
/// The first promise that is broken.
pub fn check(bus: &Bus) -> Result<BTreeMap<SagaState, u64>, String> {
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
        let standing = Standing { saga, published, done, undone };
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
pub fn is_through(bus: &Bus) -> Result<bool, String> {
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
    let states = check(bus)?;
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
        let counts = found.entry(id.to_owned()).or_default().entry(step.to_owned()).or_default();
        if kind == "Do" {
            counts.0 += 1;
        } else {
            counts.1 += 1;
        }
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
        let taken: BTreeMap<_, _> =
            saga.steps.iter().map(|step| (step.name.clone(), (step.commands, step.compensations))).collect();
        if taken != *published {
            return Err(format!("the log has the commands {published:?}"));
        }
        if let Some(step) = self.done.iter().chain(&self.undone).find(|step| !taken.contains_key(**step)) {
            return Err(format!("the participant has done step {step}, and nobody asked for it"));
        }
        let all: BTreeSet<_> = STEPS.into();
        match saga.status.state {
            SagaState::Completed if self.done != all => {
                Err(format!("it is completed, and done is {:?}", self.done))
            }
            SagaState::Completed if STEPS.iter().any(|step| fate(id, step).0 == Deed::Refuses) => {
                Err("it is completed, and a step of it was refused".to_owned())
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

    /// A participant that undoes what it is told to may have been away for longer than it was waited for.
    fn check_overtaken(&self, step: &str) -> Result<(), String> {
        let asked =
            self.saga.steps.iter().find(|taken| taken.name == step).map_or(0, |taken| taken.compensations);
        if asked >= 3 { Ok(()) } else { Err(format!("it is stuck after {asked} attempts")) }
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
