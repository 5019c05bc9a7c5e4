//! Schemas that all hold at one place of a document, taken together.

use std::collections::{BTreeSet, HashSet};
use std::ptr;
use std::rc::Rc;

use serde_json::Value;

use super::budget::{Budget, Exhausted};
use super::dialect::Dialect;
use super::document::{Document, Object};
use super::kinds::Kinds;
use super::number::Decimal;
use super::show::{canonical, weight};

/// What is known of the values at one place of the documents: they are valid by all of `parts`. Without parts they are
/// any values, of which the schema names no properties.
#[derive(Clone)]
pub(super) struct Conjunction<'a> {
    pub parts: Vec<&'a Value>,
    /// Schemas that may go for a value or not, such as alternatives that aren't decided on. What they name may be
    /// there.
    pub hints: Vec<&'a Value>,
    /// Whether properties may be there that no schema here names.
    pub is_wild: bool,
    /// The types that are looked at alone.
    pub kinds: Kinds,
    /// The one value that is looked at alone.
    pub only: Option<&'a Value>,
    /// Lists of alternatives of which one is among the parts already.
    taken: Vec<*const Value>,
}

/// A [`Conjunction`] with its references followed.
#[derive(Clone)]
pub(super) struct Facts<'a> {
    pub parts: Vec<&'a Object>,
    pub hints: Vec<&'a Object>,
    /// Lists of alternatives that aren't decided on, none of them empty.
    pub choices: Vec<&'a [Value]>,
    pub is_wild: bool,
    /// A reference among the parts that isn't followed: the values may be fewer than they seem.
    pub opaque: Option<&'a str>,
    pub kinds: Kinds,
    /// The only values that there may be, where `enum` and `const` list them. Each has one of `kinds`.
    pub values: Option<Vec<&'a Value>>,
}

impl<'a> Conjunction<'a> {
    pub fn new(parts: Vec<&'a Value>) -> Self {
        let (hints, taken) = (Vec::new(), Vec::new());
        Self { parts, hints, is_wild: false, kinds: Kinds::ALL, only: None, taken }
    }

    /// Decides a list of alternatives.
    pub fn decide(&self, choice: &'a [Value], branch: &'a Value) -> Self {
        let mut decided = self.clone();
        decided.parts.push(branch);
        decided.taken.push(choice.as_ptr());
        decided
    }

    /// The schema that is all that is known.
    fn alone(&self) -> Option<&'a Value> {
        let has_more = !self.hints.is_empty()
            || self.is_wild
            || self.kinds != Kinds::ALL
            || self.only.is_some()
            || !self.taken.is_empty();
        match self.parts.as_slice() {
            [schema] if !has_more => Some(schema),
            _ => None,
        }
    }

    pub fn of_kinds(&self, kinds: Kinds) -> Self {
        Self { kinds: self.kinds & kinds, ..self.clone() }
    }

    pub fn of_value(&self, value: &'a Value) -> Self {
        Self { only: Some(value), ..self.clone() }
    }
}

impl<'a> Facts<'a> {
    /// The values are among `listed` as well.
    fn intersect(&mut self, listed: &'a [Value]) {
        let mut allowed: HashSet<_> = listed.iter().map(canonical).collect();
        self.values = Some(match self.values.take() {
            // A list with repetitions counts each value once.
            None => listed.iter().filter(|value| allowed.remove(&canonical(value))).collect(),
            Some(values) => values.into_iter().filter(|value| allowed.contains(&canonical(value))).collect(),
        });
    }

    /// Notes a reference that isn't followed.
    fn add_opaque(&mut self, reference: &'a str, holds: bool) {
        self.is_wild = true;
        if holds {
            self.opaque = self.opaque.or(Some(reference));
        }
    }

    /// Looks at some types alone.
    pub fn restrict(&mut self, kinds: Kinds, dialect: Dialect) {
        self.kinds = self.kinds & kinds;
        if let Some(values) = &mut self.values {
            values.retain(|value| Kinds::of(value, dialect).has(self.kinds));
            let of_values = values.iter().fold(Kinds::NONE, |kinds, value| kinds | Kinds::of(value, dialect));
            self.kinds = self.kinds & of_values;
        }
    }

    pub fn required(&self, document: &Document<'a>) -> BTreeSet<&'a str> {
        self.parts.iter().flat_map(|part| document.texts(part, "required")).collect()
    }
}

impl<'a> Document<'a> {
    /// Follows references and whatever else speaks of the same place.
    pub fn facts(&self, conjunction: &Conjunction<'a>, budget: &Budget) -> Result<Rc<Facts<'a>>, Exhausted> {
        budget.spend(1)?;
        let Some(schema) = conjunction.alone() else { return Ok(Rc::new(self.gather(conjunction, budget)?)) };
        let address = ptr::from_ref(schema);
        let known = self.known.borrow().get(&address).cloned();
        if let Some(facts) = known {
            return Ok(facts);
        }
        let facts = Rc::new(self.gather(conjunction, budget)?);
        self.known.borrow_mut().insert(address, Rc::clone(&facts));
        Ok(facts)
    }

    fn gather(&self, conjunction: &Conjunction<'a>, budget: &Budget) -> Result<Facts<'a>, Exhausted> {
        let mut facts = Facts {
            parts: Vec::new(),
            hints: Vec::new(),
            choices: Vec::new(),
            is_wild: conjunction.is_wild,
            opaque: None,
            kinds: conjunction.kinds,
            values: None,
        };
        let hints = conjunction.hints.iter().map(|hint| (*hint, false));
        let mut waiting: Vec<_> = conjunction.parts.iter().map(|part| (*part, true)).chain(hints).collect();
        waiting.reverse();
        let mut seen = HashSet::new();
        while let Some((schema, holds)) = waiting.pop() {
            budget.spend(1)?;
            if !seen.insert((ptr::from_ref(schema), holds)) {
                continue;
            }
            match schema {
                Value::Bool(false) if holds => facts.kinds = Kinds::NONE,
                Value::Object(object) => {
                    if holds {
                        self.add_part(&mut facts, object, budget)?;
                    } else {
                        facts.hints.push(object);
                    }
                    self.add_in_place(&mut facts, conjunction, object, holds, &mut waiting);
                }
                _ => {}
            }
        }
        if let Some(only) = conjunction.only {
            facts.intersect(std::slice::from_ref(only));
        }
        facts.restrict(Kinds::ALL, self.dialect);
        Ok(facts)
    }

    /// Takes over what a schema says of types and values.
    fn add_part(&self, facts: &mut Facts<'a>, object: &'a Object, budget: &Budget) -> Result<(), Exhausted> {
        facts.parts.push(object);
        if let Some(kinds) = self.keyword(object, "type").and_then(Kinds::of_type) {
            facts.kinds = facts.kinds & kinds;
        }
        let unit = self.keyword(object, "multipleOf").and_then(Decimal::of);
        if unit.is_some_and(Decimal::is_integer) && self.dialect > Dialect::Draft4 {
            facts.kinds = facts.kinds - Kinds::FRACTION;
        }
        if let Some(Value::Array(listed)) = self.keyword(object, "enum") {
            budget.spend(listed.iter().map(weight).sum())?;
            facts.intersect(listed);
        }
        if let Some(value) = self.keyword(object, "const") {
            budget.spend(weight(value))?;
            facts.intersect(std::slice::from_ref(value));
        }
        Ok(())
    }

    /// Queues the schemas within `object` that speak of the same place.
    fn add_in_place(
        &self,
        facts: &mut Facts<'a>,
        conjunction: &Conjunction<'a>,
        object: &'a Object,
        holds: bool,
        waiting: &mut Vec<(&'a Value, bool)>,
    ) {
        if let Some(reference) = self.text(object, "$ref") {
            match self.resolve(reference) {
                Some(target) => waiting.push((target, holds)),
                None => facts.add_opaque(reference, holds),
            }
        }
        for name in ["$dynamicRef", "$recursiveRef"] {
            if let Some(reference) = self.text(object, name) {
                facts.add_opaque(reference, holds);
            }
        }
        waiting.extend(self.list(object, "allOf").iter().map(|schema| (schema, holds)));
        for name in ["anyOf", "oneOf"] {
            let branches = self.list(object, name);
            if conjunction.taken.contains(&branches.as_ptr()) {
                continue;
            }
            if holds && !branches.is_empty() {
                facts.choices.push(branches);
            }
            waiting.extend(branches.iter().map(|branch| (branch, false)));
        }
        let conditional = ["if", "then", "else"].into_iter().filter_map(|name| self.keyword(object, name));
        let dependent =
            ["dependentSchemas", "dependencies"].into_iter().flat_map(|name| self.members(object, name));
        waiting.extend(conditional.chain(dependent.map(|(_, schema)| schema)).map(|schema| (schema, false)));
        // The properties of a listed object are named by it.
        let listed = self.list(object, "enum").iter().chain(self.keyword(object, "const"));
        facts.is_wild |= listed.into_iter().any(|value| value.is_array() || value.is_object());
    }
}
