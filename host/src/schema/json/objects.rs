//! Objects and their properties.

use std::collections::BTreeSet;

use serde_json::Value;

use super::comparison::{Comparison, Outcome, add, not_comparable};
use super::conjunction::{Conjunction, Facts};
use super::document::Object;
use super::patterns::matches;
use super::show::{self, text_weight};
use super::written::Names;
use super::{Break, Rule};

impl<'a> Comparison<'a> {
    pub fn objects(&mut self, object: &'a Object, facts: &Facts<'a>) -> Outcome {
        let names = self.writer.names(facts);
        self.budget.spend(names.listed.len() + names.patterns.len())?;
        let mut breaks = Vec::new();
        let required = facts.required(&self.writer);
        for name in self.reader.texts(object, "required").filter(|name| !required.contains(name)) {
            let detail = format!("{} is required by the reader, and not by the writer", show::name(name));
            let path = show::token(name);
            add(&mut breaks, vec![Break { path, rule: Rule::RequiredAdded, detail }]);
        }
        add(&mut breaks, self.dependencies(object, facts, &names, &required));
        let least = self.writer.counts(facts, "minProperties").max().unwrap_or(0);
        let least = least.max(i128::try_from(required.len()).unwrap_or(i128::MAX));
        let is_finite = names.patterns.is_empty() && !names.is_open;
        let listed = i128::try_from(names.listed.len()).ok().filter(|_| is_finite);
        let most = self.writer.counts(facts, "maxProperties").chain(listed).min();
        breaks.extend(self.at_least(object, "minProperties", least, Rule::PropertyCountNarrowed));
        breaks.extend(self.at_most(object, "maxProperties", most, Rule::PropertyCountNarrowed));
        for keyword in ["propertyNames", "dependentSchemas", "dependencies"] {
            add(&mut breaks, self.wants_same(object, facts, &[keyword])?);
        }
        add(&mut breaks, self.unevaluated(object, "unevaluatedProperties"));

        for name in &names.listed {
            let child = self.writer.property(facts, name);
            add(&mut breaks, self.property(object, facts, name, &child)?);
        }
        let own = self.reader.members(object, "properties").map(|(name, _)| name);
        for name in own.filter(|name| !names.listed.contains(name) && names.may_hold(name)) {
            add(&mut breaks, self.unlisted_property(object, facts, &names, name)?);
        }
        for pattern in &names.patterns {
            add(&mut breaks, self.pattern_property(object, facts, pattern)?);
        }
        if names.is_open {
            add(&mut breaks, self.other_property(object, facts, &names)?);
        }
        Ok(breaks)
    }

    fn dependencies(
        &self,
        object: &'a Object,
        facts: &Facts<'a>,
        names: &Names<'a>,
        required: &BTreeSet<&str>,
    ) -> Vec<Break> {
        let mut breaks = Vec::new();
        for (name, wanted) in self.reader.members(object, "dependentRequired") {
            if !names.may_hold(name) {
                continue;
            }
            let granted =
                facts.parts.iter().filter_map(|part| self.writer.member(part, "dependentRequired", name));
            let granted = granted.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
            let granted: BTreeSet<_> = granted.collect();
            for wanted in wanted.as_array().into_iter().flatten() {
                let text = wanted.as_str().unwrap_or_default();
                if required.contains(text) || granted.contains(text) || text == name {
                    continue;
                }
                let (shown, name) = (show::name(text), show::name(name));
                let detail =
                    format!("{shown} is required by the reader where {name} is, and not by the writer");
                breaks.push(Break { path: show::token(text), rule: Rule::DependencyAdded, detail });
            }
        }
        breaks
    }

    /// A property that the reader names, and that the writer writes by a pattern or among others if it does.
    fn unlisted_property(
        &mut self,
        object: &'a Object,
        facts: &Facts<'a>,
        names: &Names<'a>,
        name: &'a str,
    ) -> Outcome {
        let mut breaks = Vec::new();
        let matching = |wanted| names.patterns.iter().filter(move |pattern| matches(pattern, name) == wanted);
        if matching(Some(true)).next().is_some() {
            let child = self.writer.property(facts, name);
            return self.property(object, facts, name, &child);
        }
        for pattern in matching(None) {
            let child = self.writer.pattern_property(facts, &[pattern]);
            let found = unsure(self.property(object, facts, name, &child)?, name, Some(pattern));
            if !found.is_empty() {
                return Ok(found);
            }
        }
        if names.is_open {
            let child = self.writer.other_property(facts);
            add(&mut breaks, self.property(object, facts, name, &child)?);
        }
        Ok(breaks)
    }

    /// A property with a name.
    fn property(
        &mut self,
        object: &'a Object,
        facts: &Facts<'a>,
        name: &'a str,
        child: &Conjunction<'a>,
    ) -> Outcome {
        let patterns: Vec<_> = self.reader.members(object, "patternProperties").collect();
        let looks: usize = patterns.iter().map(|(pattern, _)| 1 + text_weight(pattern)).sum();
        self.budget.spend(looks + facts.parts.len() + facts.hints.len() + text_weight(name))?;
        let mut breaks = Vec::new();
        let own = self.reader.member(object, "properties", name);
        let mut is_matched = own.is_some();
        let mut may_match = None;
        if let Some(schema) = own {
            add(&mut breaks, self.descend(schema, child, name, Rule::PropertyRefused)?);
        }
        for (pattern, schema) in patterns {
            let mut child = child.clone();
            match matches(pattern, name) {
                Some(true) => is_matched = true,
                Some(false) => continue,
                // Where the name does match, the writer's schema for the same pattern holds as well.
                None => {
                    may_match = Some(pattern);
                    child.parts.extend(self.writer.pattern_property(facts, &[pattern]).parts);
                }
            }
            let found = self.descend(schema, &child, name, Rule::PropertyRefused)?;
            add(&mut breaks, unsure(found, name, may_match));
        }
        if let Some(schema) = self.reader.keyword(object, "additionalProperties").filter(|_| !is_matched) {
            let found = self.descend(schema, child, name, Rule::PropertyRefused)?;
            add(&mut breaks, unsure(found, name, may_match));
        }
        Ok(breaks)
    }

    /// The properties whose names match a pattern of the writer's.
    fn pattern_property(&mut self, object: &'a Object, facts: &Facts<'a>, pattern: &str) -> Outcome {
        let mut breaks = Vec::new();
        let mut is_matched = false;
        for (other, schema) in self.reader.members(object, "patternProperties") {
            self.budget.spend(1 + facts.parts.len() + facts.hints.len())?;
            is_matched |= other == pattern;
            // Names may match both, and then both of the writer's schemas hold.
            let child = self.writer.pattern_property(facts, &[pattern, other]);
            add(&mut breaks, self.descend(schema, &child, "*", Rule::PropertyRefused)?);
        }
        if let Some(schema) = self.reader.keyword(object, "additionalProperties").filter(|_| !is_matched) {
            let child = self.writer.pattern_property(facts, &[pattern]);
            add(&mut breaks, self.descend(schema, &child, "*", Rule::PropertyRefused)?);
        }
        Ok(breaks)
    }

    /// The properties that the writer doesn't name.
    fn other_property(&mut self, object: &'a Object, facts: &Facts<'a>, names: &Names<'a>) -> Outcome {
        let child = self.writer.other_property(facts);
        let mut breaks = Vec::new();
        for (pattern, schema) in self.reader.members(object, "patternProperties") {
            if !names.patterns.contains(pattern) {
                add(&mut breaks, self.descend(schema, &child, "*", Rule::PropertyRefused)?);
            }
        }
        if let Some(schema) = self.reader.keyword(object, "additionalProperties") {
            add(&mut breaks, self.descend(schema, &child, "*", Rule::PropertyRefused)?);
        }
        Ok(breaks)
    }

    /// A break for a keyword of which only an equal schema around it would tell.
    pub fn unevaluated(&self, object: &'a Object, name: &str) -> Vec<Break> {
        match self.reader.keyword(object, name) {
            Some(Value::Bool(true)) | None => Vec::new(),
            Some(Value::Object(schema)) if schema.is_empty() => Vec::new(),
            Some(_) => not_comparable(name),
        }
    }
}

/// What is found of a property if it isn't known whether its name matches a pattern.
fn unsure(found: Vec<Break>, name: &str, pattern: Option<&str>) -> Vec<Break> {
    let (Some(pattern), false) = (pattern, found.is_empty()) else { return found };
    let (path, pattern) = (show::token(name), show::name(pattern));
    let detail = format!("whether {} matches {pattern} isn't known, and that decides", show::name(name));
    vec![Break { path, rule: Rule::NotComparable, detail }]
}
