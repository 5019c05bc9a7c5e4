//! What was there of a message that may lack something.

use std::collections::{BTreeMap, BTreeSet};

use super::definition::{Cardinality, Definition, Field, MessageId};
use super::kinds::Kind;

/// What was there of a message, and of the singular messages within it. A singular message that is written several times is
/// one, with all that was written of it; one of a `oneof` is gone when another member of it is written.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// The numbers of required fields.
    required: BTreeSet<u32>,
    within: BTreeMap<u32, Presence>,
    /// The number of the member that was written last, for each `oneof`.
    oneofs: BTreeMap<usize, u32>,
}

impl Presence {
    /// Takes note of a field.
    pub fn note(&mut self, field: &Field) {
        if field.cardinality == Cardinality::Required {
            self.required.insert(field.number);
        }
        if let Some(oneof) = field.oneof {
            let before = self.oneofs.insert(oneof, field.number);
            if let Some(before) = before.filter(|before| *before != field.number) {
                self.within.remove(&before);
            }
        }
    }

    /// That of the singular message under a number.
    pub fn within(&mut self, number: u32) -> &mut Self {
        self.within.entry(number).or_default()
    }

    /// The names that lead to the first field that is required and isn't there, the outermost one first.
    pub fn missing<'d>(&self, definition: &'d Definition, id: MessageId) -> Option<Vec<&'d str>> {
        let message = definition.messages.get(id).filter(|message| message.has_required)?;
        message.fields.iter().find_map(|field| {
            if field.cardinality == Cardinality::Required && !self.required.contains(&field.number) {
                return Some(vec![&*field.name]);
            }
            let (Kind::Message(inner) | Kind::Group(inner)) = field.kind else { return None };
            let mut names = self.within.get(&field.number)?.missing(definition, inner)?;
            names.insert(0, &field.name);
            Some(names)
        })
    }
}
