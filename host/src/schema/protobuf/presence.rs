//! What was there of a message that may lack something.

use std::collections::{HashMap, HashSet};

use super::definition::{Cardinality, Definition, Field, MessageId};

/// What was there of a message that is whole by itself, and of the singular messages within it. A singular message that is
/// written several times is one, with all that was written of it; one of a `oneof` is gone when another member of it is written.
///
/// It lies flat, so that it takes some dozens of bytes for a message of two in the data, however they lie within one another.
#[derive(Debug)]
pub(super) struct Presence {
    /// The messages, each behind the one around it. The first one is the whole.
    parts: Vec<Part>,
    /// The part under a number of another one.
    within: HashMap<(PartId, u32), PartId>,
    /// The required fields that were there.
    required: HashSet<(PartId, u32)>,
    /// The number of the member that was written last, for each `oneof`.
    oneofs: HashMap<(PartId, usize), u32>,
}

/// The place of a message in [`Presence::parts`].
type PartId = usize;

#[derive(Debug)]
struct Part {
    message: MessageId,
    /// The part around it, and the number of the field there.
    around: Option<(PartId, u32)>,
}

/// One of the messages, to note what is there of it.
#[derive(Debug)]
pub(super) struct Noted<'p> {
    presence: &'p mut Presence,
    part: PartId,
}

impl Presence {
    pub fn of(message: MessageId) -> Self {
        Self {
            parts: vec![Part { message, around: None }],
            within: HashMap::new(),
            required: HashSet::new(),
            oneofs: HashMap::new(),
        }
    }

    pub fn whole(&mut self) -> Noted<'_> {
        Noted { presence: self, part: 0 }
    }

    /// The names that lead to the first field that is required and isn't there, the innermost one first. Each look but the last
    /// finds something that was there, so that this takes no longer than reading the data did.
    pub fn missing<'d>(&self, definition: &'d Definition) -> Option<Vec<&'d str>> {
        let mut is_there = Vec::with_capacity(self.parts.len());
        for (id, part) in self.parts.iter().enumerate() {
            is_there.push(part.around.is_none_or(|(around, number)| {
                is_there[around] && self.within.get(&(around, number)) == Some(&id)
            }));
            let message = &definition.messages[part.message];
            let lacks = |number: &&u32| !self.required.contains(&(id, **number));
            if is_there[id]
                && let Some(number) = message.required.iter().find(lacks)
            {
                return Some(self.names(definition, id, *number));
            }
        }
        None
    }

    fn names<'d>(&self, definition: &'d Definition, part: PartId, number: u32) -> Vec<&'d str> {
        let outwards = std::iter::successors(Some((part, number)), |(part, _)| self.parts[*part].around);
        let name = |(part, number): (PartId, u32)| {
            let field = definition.messages[self.parts[part].message].field(number);
            field.map_or("", |field| &*field.name)
        };
        outwards.map(name).collect()
    }
}

impl Noted<'_> {
    /// Takes note of a field.
    pub fn note(&mut self, field: &Field) {
        let Self { presence, part } = self;
        if field.cardinality == Cardinality::Required {
            presence.required.insert((*part, field.number));
        }
        if let Some(oneof) = field.oneof {
            let before = presence.oneofs.insert((*part, oneof), field.number);
            if let Some(before) = before.filter(|before| *before != field.number) {
                presence.within.remove(&(*part, before));
            }
        }
    }

    /// The singular message under a number.
    pub fn within(&mut self, number: u32, message: MessageId) -> Noted<'_> {
        let around = (self.part, number);
        let Presence { parts, within, .. } = &mut *self.presence;
        let part = *within.entry(around).or_insert_with(|| {
            parts.push(Part { message, around: Some(around) });
            parts.len() - 1
        });
        Noted { presence: self.presence, part }
    }
}
