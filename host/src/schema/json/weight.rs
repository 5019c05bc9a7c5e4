//! What it may take to hold data against a schema, beyond the size of both.
//!
//! Schemas apply to one place in the data by references and alternatives, these lead to others, and a validator has no
//! bound for it: a schema of a few lines could keep one for years, or take its whole stack.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::document::Document;
use crate::limits::{SCHEMA_DEPTH_MAX, SCHEMA_PATTERNS_MAX, SCHEMA_WEIGHT_MAX, VIOLATION_STEPS_MAX};

/// What applies to the same place in the data: lists of schemas, single ones, and ones by name.
const LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SINGLE: [&str; 4] = ["not", "if", "then", "else"];
const NAMED: [&str; 2] = ["dependentSchemas", "dependencies"];
const REFERENCES: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];

/// What applies to a place within it.
const LISTS_BELOW: [&str; 2] = ["prefixItems", "items"];
const SINGLE_BELOW: [&str; 7] = [
    "additionalProperties",
    "propertyNames",
    "items",
    "additionalItems",
    "contains",
    "unevaluatedItems",
    "unevaluatedProperties",
];
const NAMED_BELOW: [&str; 2] = ["properties", "patternProperties"];

/// Says why a schema would take too long, if it would.
pub(in crate::schema) fn check(schema: &Value) -> Result<(), String> {
    let document = Document::new(schema)
        .ok_or_else(|| "drafts before 4 and several of them in one schema are not known".to_owned())?;
    let mut weigher = Weigher { document, weighed: HashMap::new(), under_way: HashSet::new(), patterns: 0 };
    weigher.walk(schema)
}

/// Whether finding the place where data breaks its schema is a matter of a moment.
pub(in crate::schema) fn is_light(schema: &Value, data: &Value) -> bool {
    let (nodes, depth) = size(data);
    let Some(document) = Document::new(schema) else { return false };
    let mut schemas = Vec::new();
    collect(schema, &mut schemas);
    // How many schemas are looked at for data of this depth, level by level.
    let mut below: HashMap<*const Value, u64> = HashMap::new();
    for level in 0..=depth {
        let mut steps =
            Steps { document: &document, below: (level > 0).then_some(&below), found: HashMap::new() };
        for schema in &schemas {
            steps.of(schema);
        }
        below = steps.found;
    }
    below
        .get(&std::ptr::from_ref(schema))
        .is_none_or(|steps| steps.saturating_mul(nodes) <= VIOLATION_STEPS_MAX)
}

/// How many values there are, and how deep.
fn size(data: &Value) -> (u64, usize) {
    let of = |parts: &mut dyn Iterator<Item = &Value>| {
        parts.map(size).fold((1, 0), |(nodes, depth), part| (nodes + part.0, depth.max(part.1 + 1)))
    };
    match data {
        Value::Array(items) => of(&mut items.iter()),
        Value::Object(members) => of(&mut members.values()),
        _ => (1, 0),
    }
}

/// All objects of a schema, itself first.
fn collect<'a>(value: &'a Value, all: &mut Vec<&'a Value>) {
    match value {
        Value::Object(members) => {
            all.push(value);
            members.values().for_each(|member| collect(member, all));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, all)),
        _ => {}
    }
}

/// The schemas of some keywords.
fn parts<'a>(
    object: &'a Map<String, Value>,
    lists: &'static [&'static str],
    single: &'static [&'static str],
    named: &'static [&'static str],
) -> impl Iterator<Item = &'a Value> {
    let lists = lists.iter().filter_map(|name| object.get(*name)?.as_array()).flatten();
    let single = single.iter().filter_map(|name| object.get(*name));
    let named = named.iter().filter_map(|name| object.get(*name)?.as_object()).flat_map(Map::values);
    lists.chain(single).chain(named).filter(|part| part.is_object())
}

fn references(object: &Map<String, Value>) -> impl Iterator<Item = &str> {
    REFERENCES.iter().filter_map(|name| object.get(*name)?.as_str())
}

struct Weigher<'a> {
    document: Document<'a>,
    /// How many schemas apply with one, and how deep they lie within one another.
    weighed: HashMap<*const Value, (u64, usize)>,
    under_way: HashSet<*const Value>,
    patterns: usize,
}

impl<'a> Weigher<'a> {
    fn walk(&mut self, value: &'a Value) -> Result<(), String> {
        match value {
            Value::Object(members) => {
                let by_name = members.get("patternProperties").and_then(Value::as_object).map_or(0, Map::len);
                self.patterns += by_name + usize::from(members.get("pattern").is_some_and(Value::is_string));
                if self.patterns > SCHEMA_PATTERNS_MAX {
                    return Err(format!("it has more than {SCHEMA_PATTERNS_MAX} patterns"));
                }
                self.weigh(value, 0)?;
                members.values().try_for_each(|member| self.walk(member))
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.walk(item)),
            _ => Ok(()),
        }
    }

    fn weigh(&mut self, schema: &'a Value, depth: usize) -> Result<(u64, usize), String> {
        let Some(object) = schema.as_object() else { return Ok((1, 1)) };
        let at = std::ptr::from_ref(schema);
        let deep = || {
            format!(
                "more than {SCHEMA_DEPTH_MAX} schemas lie within one another at one place, by references and alternatives"
            )
        };
        if let Some(&(weight, height)) = self.weighed.get(&at) {
            return if depth + height > SCHEMA_DEPTH_MAX { Err(deep()) } else { Ok((weight, height)) };
        }
        if depth >= SCHEMA_DEPTH_MAX {
            return Err(deep());
        }
        if !self.under_way.insert(at) {
            return Err("a schema leads back to itself at the same place in the data".to_owned());
        }
        let mut targets: Vec<&Value> = parts(object, &LISTS, &SINGLE, &NAMED).collect();
        for reference in references(object) {
            let target = self.document.resolve(reference);
            targets.push(target.ok_or_else(|| {
                "a reference leads elsewhere than into the schema itself, by `#` or `#/$defs/NAME`".to_owned()
            })?);
        }
        let (mut weight, mut height) = (1_u64, 1);
        for target in targets {
            let (more, higher) = self.weigh(target, depth + 1)?;
            weight = weight.saturating_add(more);
            height = height.max(higher + 1);
        }
        if weight > SCHEMA_WEIGHT_MAX {
            return Err(format!(
                "more than {SCHEMA_WEIGHT_MAX} schemas apply at one place, by references and alternatives"
            ));
        }
        self.under_way.remove(&at);
        self.weighed.insert(at, (weight, height));
        Ok((weight, height))
    }
}

/// How many schemas are looked at for data of some depth.
struct Steps<'a, 'd> {
    document: &'d Document<'a>,
    /// The same of data that is one level less deep; nothing for the least deep.
    below: Option<&'d HashMap<*const Value, u64>>,
    found: HashMap<*const Value, u64>,
}

impl<'a> Steps<'a, '_> {
    /// Ends, as a schema that was checked leads to itself only at another place.
    fn of(&mut self, schema: &'a Value) -> u64 {
        let Some(object) = schema.as_object() else { return 1 };
        let at = std::ptr::from_ref(schema);
        if let Some(steps) = self.found.get(&at) {
            return *steps;
        }
        let mut targets: Vec<&Value> = parts(object, &LISTS, &SINGLE, &NAMED).collect();
        targets.extend(references(object).filter_map(|reference| self.document.resolve(reference)));
        let same = targets.into_iter().map(|target| self.of(target)).fold(1, u64::saturating_add);
        let deeper = self.below.map_or(0, |below| {
            let parts = parts(object, &LISTS_BELOW, &SINGLE_BELOW, &NAMED_BELOW);
            parts
                .filter_map(|part| below.get(&std::ptr::from_ref(part)))
                .fold(0_u64, |sum, steps| sum.saturating_add(*steps))
        });
        let steps = same.saturating_add(deeper);
        self.found.insert(at, steps);
        steps
    }
}
