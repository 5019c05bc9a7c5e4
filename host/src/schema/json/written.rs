//! What objects and arrays hold by a conjunction of schemas.

use std::collections::BTreeSet;

use serde_json::Value;

use super::conjunction::{Conjunction, Facts};
use super::document::{Document, Object};
use super::number::Decimal;
use super::patterns::matches;

/// The properties that are named somewhere.
pub(super) struct Names<'a> {
    pub listed: BTreeSet<&'a str>,
    pub patterns: BTreeSet<&'a str>,
    /// Whether there may be others as well.
    pub is_open: bool,
}

impl Names<'_> {
    /// Whether a property of that name may be there.
    pub fn may_hold(&self, name: &str) -> bool {
        self.is_open
            || self.listed.contains(name)
            || self.patterns.iter().any(|pattern| matches(pattern, name) != Some(false))
    }
}

/// Whether it is a schema of its own, which names what it goes for.
fn is_own(schema: &Value) -> bool {
    schema.as_object().is_some_and(|object| !object.is_empty())
}

impl<'a> Document<'a> {
    pub fn names(&self, facts: &Facts<'a>) -> Names<'a> {
        let mut names = Names { listed: BTreeSet::new(), patterns: BTreeSet::new(), is_open: facts.is_wild };
        for object in facts.parts.iter().chain(&facts.hints) {
            names.listed.extend(self.members(object, "properties").map(|(name, _)| name));
            names.listed.extend(self.texts(object, "required"));
            for keyword in ["dependentRequired", "dependencies"] {
                for (_, required) in self.members(object, keyword) {
                    names.listed.extend(required.as_array().into_iter().flatten().filter_map(Value::as_str));
                }
            }
            names.patterns.extend(self.members(object, "patternProperties").map(|(pattern, _)| pattern));
            let others = ["additionalProperties", "unevaluatedProperties"];
            names.is_open |= others.into_iter().filter_map(|name| self.keyword(object, name)).any(is_own);
        }
        names
    }

    /// The property of that name.
    pub fn property(&self, facts: &Facts<'a>, name: &str) -> Conjunction<'a> {
        self.child(facts, |object, parts, hints| {
            let own = self.member(object, "properties", name);
            let (mut is_matched, mut may_match) = (own.is_some(), false);
            parts.extend(own);
            for (pattern, schema) in self.members(object, "patternProperties") {
                match matches(pattern, name) {
                    Some(true) => {
                        is_matched = true;
                        parts.push(schema);
                    }
                    Some(false) => {}
                    None => {
                        may_match = true;
                        hints.push(schema);
                    }
                }
            }
            if !is_matched {
                let schemas = if may_match { hints } else { parts };
                schemas.extend(self.keyword(object, "additionalProperties"));
            }
        })
    }

    /// A property whose name is listed nowhere and matches all of these patterns, and others maybe.
    pub fn pattern_property(&self, facts: &Facts<'a>, patterns: &[&str]) -> Conjunction<'a> {
        self.child(facts, |object, parts, hints| {
            let mut is_matched = false;
            for (pattern, schema) in self.members(object, "patternProperties") {
                if patterns.contains(&pattern) {
                    is_matched = true;
                    parts.push(schema);
                } else {
                    hints.push(schema);
                }
            }
            if !is_matched {
                hints.extend(self.keyword(object, "additionalProperties"));
            }
        })
    }

    /// A property whose name is listed nowhere and matches no pattern.
    pub fn other_property(&self, facts: &Facts<'a>) -> Conjunction<'a> {
        self.child(facts, |object, parts, _| parts.extend(self.keyword(object, "additionalProperties")))
    }

    fn child(
        &self,
        facts: &Facts<'a>,
        of: impl Fn(&'a Object, &mut Vec<&'a Value>, &mut Vec<&'a Value>),
    ) -> Conjunction<'a> {
        let mut child = Conjunction::new(Vec::new());
        child.is_wild = facts.is_wild;
        for part in &facts.parts {
            of(part, &mut child.parts, &mut child.hints);
        }
        let mut hinted = Vec::new();
        for hint in &facts.hints {
            of(hint, &mut hinted, &mut child.hints);
        }
        child.hints.append(&mut hinted);
        for object in facts.parts.iter().chain(&facts.hints) {
            child.hints.extend(self.keyword(object, "unevaluatedProperties"));
        }
        child
    }

    /// The item at an index, or one behind all tuples.
    pub fn item(&self, facts: &Facts<'a>, index: Option<usize>) -> Conjunction<'a> {
        let at = |object: &'a Object| {
            let (tuple, rest) = self.items(object);
            index.and_then(|index| tuple.get(index)).or(rest)
        };
        let mut child = Conjunction::new(facts.parts.iter().filter_map(|part| at(part)).collect());
        child.is_wild = facts.is_wild;
        child.hints.extend(facts.hints.iter().filter_map(|hint| at(hint)));
        for object in facts.parts.iter().chain(&facts.hints) {
            child.hints.extend(self.keyword(object, "contains"));
            child.hints.extend(self.keyword(object, "unevaluatedItems"));
        }
        child
    }

    /// The length of the longest tuple.
    pub fn tuple_len(&self, facts: &Facts<'a>) -> usize {
        let objects = facts.parts.iter().chain(&facts.hints);
        objects.map(|object| self.items(object).0.len()).max().unwrap_or(0)
    }

    /// The most items of an array, where there is a limit.
    pub fn items_max(&self, facts: &Facts<'a>) -> Option<i128> {
        let closed = facts.parts.iter().filter_map(|part| match self.items(part) {
            (tuple, Some(Value::Bool(false))) => i128::try_from(tuple.len()).ok(),
            _ => None,
        });
        closed.chain(self.counts(facts, "maxItems")).min()
    }

    /// What the parts say of a keyword that is a count.
    pub fn counts(&self, facts: &Facts<'a>, name: &str) -> impl Iterator<Item = i128> {
        facts.parts.iter().filter_map(move |part| self.count(part, name))
    }

    pub fn count(&self, object: &'a Object, name: &str) -> Option<i128> {
        Decimal::of(self.keyword(object, name)?)?.to_integer()
    }
}
