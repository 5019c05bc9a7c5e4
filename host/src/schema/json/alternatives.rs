//! `anyOf`, `oneOf`, `not`, `if`.

use std::ptr;

use serde_json::Value;

use super::budget::Exhausted;
use super::comparison::{Comparison, Outcome, add};
use super::conjunction::{Conjunction, Facts};
use super::document::{Document, Object};
use super::kinds::Kinds;
use super::show;
use super::{Break, Rule};

/// How deep two alternatives are told apart: by a property, or by a property of a property.
const APART_DEPTH_MAX: usize = 3;

/// The reader's alternatives.
#[derive(Clone, Copy)]
struct Branches<'a> {
    list: &'a [Value],
    /// Whether a second one that goes as well is one too many.
    is_exclusive: bool,
}

/// What one of the sides knows of a value.
type Known<'c, 'a> = (&'c Document<'a>, &'c Facts<'a>);

impl<'a> Comparison<'a> {
    pub fn alternatives(
        &mut self,
        object: &'a Object,
        writer: &Conjunction<'a>,
        facts: &Facts<'a>,
    ) -> Outcome {
        let mut breaks = Vec::new();
        let list = self.reader.list(object, "anyOf");
        if !list.is_empty() && !self.has_all_branches(list, facts)? {
            add(&mut breaks, self.pick(Branches { list, is_exclusive: false }, writer)?);
        }
        let list = self.reader.list(object, "oneOf");
        if !list.is_empty() && !self.extends_branches(list, facts)? {
            add(&mut breaks, self.pick(Branches { list, is_exclusive: true }, writer)?);
        }
        Ok(breaks)
    }

    /// Whether each alternative of a list of the writer's is among the reader's.
    fn has_all_branches(&self, reader: &'a [Value], facts: &Facts<'a>) -> Result<bool, Exhausted> {
        for part in &facts.parts {
            for name in ["anyOf", "oneOf"] {
                let writer = self.writer.list(part, name);
                if !writer.is_empty() && self.match_branches(reader, writer)?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether the reader has a `oneOf` of the writer's, with nothing added that could match as well.
    fn extends_branches(&self, reader: &'a [Value], facts: &Facts<'a>) -> Result<bool, Exhausted> {
        for part in &facts.parts {
            let writer = self.writer.list(part, "oneOf");
            if writer.is_empty() {
                continue;
            }
            if let Some(added) = self.match_branches(reader, writer)?
                && self.are_apart_from_all(&added, writer)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Finds a reader's alternative for each of the writer's, no one twice. Returns those that are left over.
    fn match_branches(
        &self,
        reader: &'a [Value],
        writer: &'a [Value],
    ) -> Result<Option<Vec<&'a Value>>, Exhausted> {
        let mut left: Vec<_> = reader.iter().collect();
        for branch in writer {
            let mut found = None;
            for (index, candidate) in left.iter().enumerate() {
                self.budget.spend(1)?;
                if self.same().schemas(candidate, branch)? {
                    found = Some(index);
                    break;
                }
            }
            let Some(index) = found else { return Ok(None) };
            left.remove(index);
        }
        Ok(Some(left))
    }

    fn are_apart_from_all(&self, reader: &[&'a Value], writer: &'a [Value]) -> Result<bool, Exhausted> {
        for branch in writer {
            let facts = self.writer.facts(&Conjunction::new(vec![branch]), &self.budget)?;
            for added in reader {
                if !self.is_apart(added, (&self.writer, &facts))? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Finds an alternative for what the writer writes: one for all of it, or one for each of its alternatives, types
    /// or values.
    fn pick(&mut self, branches: Branches<'a>, writer: &Conjunction<'a>) -> Outcome {
        self.deeper(|comparison| comparison.pick_here(branches, writer))
    }

    fn pick_here(&mut self, branches: Branches<'a>, writer: &Conjunction<'a>) -> Outcome {
        let facts = self.writer.facts(writer, &self.budget)?;
        let mut breaks = Vec::new();
        if facts.kinds.is_empty() {
            return Ok(breaks);
        }
        if let Some(choice) = facts.choices.first() {
            for branch in *choice {
                add(&mut breaks, self.pick(branches, &writer.decide(choice, branch))?);
            }
            return Ok(breaks);
        }
        let mut refusals = Vec::new();
        let mut is_ambiguous = false;
        for branch in branches.list {
            if self.is_apart(branch, (&self.writer, &facts))? {
                continue;
            }
            let refused = self.compare(branch, writer)?;
            if !refused.is_empty() {
                refusals.push(refused);
            } else if !branches.is_exclusive || self.is_alone(branch, branches.list, &facts)? {
                return Ok(breaks);
            } else {
                is_ambiguous = true;
            }
        }
        if facts.kinds.each().count() > 1 {
            for kind in facts.kinds.each() {
                add(&mut breaks, self.pick(branches, &writer.of_kinds(kind))?);
            }
        } else if let Some(values) = facts.values.as_ref().filter(|values| values.len() > 1) {
            for value in values {
                add(&mut breaks, self.pick(branches, &writer.of_value(value))?);
            }
        } else if is_ambiguous {
            let detail =
                "more than one of the reader's `oneOf` may take the same value, and only one is allowed to";
            breaks.push(Break::here(Rule::NotComparable, detail));
        } else if let [refused] = refusals.as_mut_slice() {
            // What the only possible alternative lacks says more than that there is none.
            breaks.append(refused);
        } else {
            breaks.push(self.no_alternative(branches, &facts)?);
        }
        Ok(breaks)
    }

    fn no_alternative(&self, branches: Branches<'a>, facts: &Facts<'a>) -> Result<Break, Exhausted> {
        let Some(values) = &facts.values else {
            let subject = match self.discriminator(facts)? {
                Some((name, value)) => format!("{} {}", show::name(name), show::value(value)),
                None => facts.kinds.to_string(),
            };
            let detail =
                format!("the writer writes {subject}, and none of the reader's alternatives takes all of it");
            return Ok(Break::here(Rule::AlternativeRemoved, detail));
        };
        let mut has_only_values = true;
        for branch in branches.list {
            let taken = self.reader.facts(&Conjunction::new(vec![branch]), &self.budget)?;
            has_only_values &= taken.values.is_some();
        }
        let rule = if has_only_values { Rule::EnumNarrowed } else { Rule::AlternativeRemoved };
        let values = show::values(values.iter().copied());
        Ok(Break::here(
            rule,
            format!("the writer may write {values}, and none of the reader's alternatives takes it"),
        ))
    }

    /// A property that the writer always writes with one and the same value.
    fn discriminator(&self, facts: &Facts<'a>) -> Result<Option<(&'a str, &'a Value)>, Exhausted> {
        for name in facts.required(&self.writer) {
            let property = self.writer.facts(&self.writer.property(facts, name), &self.budget)?;
            if let Some([value]) = property.values.as_deref() {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// Whether no other alternative takes a value that is the writer's and is valid by `branch`.
    fn is_alone(
        &self,
        branch: &'a Value,
        branches: &'a [Value],
        facts: &Facts<'a>,
    ) -> Result<bool, Exhausted> {
        let own = self.reader.facts(&Conjunction::new(vec![branch]), &self.budget)?;
        for other in branches {
            if !ptr::eq(other, branch)
                && !self.are_apart_alone(other, branch, &own)?
                && !self.is_apart(other, (&self.writer, facts))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a schema of the reader's takes none of the values.
    fn is_apart(&self, reader: &'a Value, known: Known<'_, 'a>) -> Result<bool, Exhausted> {
        let facts = self.reader.facts(&Conjunction::new(vec![reader]), &self.budget)?;
        self.are_apart((&self.reader, &facts), known, 0)
    }

    /// Whether two of the reader's alternatives exclude one another, whatever is written.
    fn are_apart_alone(
        &self,
        left: &'a Value,
        right: &'a Value,
        facts: &Facts<'a>,
    ) -> Result<bool, Exhausted> {
        self.budget.spend(1)?;
        let pair = (ptr::from_ref(left).min(right), ptr::from_ref(left).max(right));
        if let Some(are_apart) = self.apart.borrow().get(&pair) {
            return Ok(*are_apart);
        }
        let are_apart = self.is_apart(left, (&self.reader, facts))?;
        self.apart.borrow_mut().insert(pair, are_apart);
        Ok(are_apart)
    }

    /// Whether no value is known of on both sides: by type, by value, or by a property that one of them requires.
    fn are_apart(&self, left: Known<'_, 'a>, right: Known<'_, 'a>, depth: usize) -> Result<bool, Exhausted> {
        let kinds = left.1.kinds & right.1.kinds;
        if kinds.is_empty() {
            return Ok(true);
        }
        if let (Some(left), Some(right)) = (&left.1.values, &right.1.values) {
            self.budget.spend(left.iter().chain(right).map(|value| show::weight(value)).sum())?;
            let left: Vec<_> = left.iter().map(|value| show::canonical(value)).collect();
            return Ok(!right.iter().any(|value| left.contains(&show::canonical(value))));
        }
        if kinds != Kinds::OBJECT || depth == APART_DEPTH_MAX {
            return Ok(false);
        }
        let required = left.1.required(left.0).into_iter().chain(right.1.required(right.0));
        for name in required {
            let facts = |known: Known<'_, 'a>| known.0.facts(&known.0.property(known.1, name), &self.budget);
            let (left_facts, right_facts) = (facts(left)?, facts(right)?);
            if self.are_apart((left.0, &left_facts), (right.0, &right_facts), depth + 1)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `not` and `if`.
    pub fn conditions(&self, object: &'a Object, facts: &Facts<'a>) -> Outcome {
        let mut breaks = Vec::new();
        if let Some(schema) = self.reader.keyword(object, "not")
            && !self.is_apart(schema, (&self.writer, facts))?
        {
            add(&mut breaks, self.wants_same(object, facts, &["not"])?);
        }
        let has = |name| self.reader.keyword(object, name).is_some();
        if has("if") && (has("then") || has("else")) {
            add(&mut breaks, self.wants_same(object, facts, &["if", "then", "else"])?);
        }
        Ok(breaks)
    }
}
