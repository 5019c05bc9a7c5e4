//! One comparison: a reader's schema against what is known of the writer's values, place by place.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::{mem, ptr};

use serde_json::Value;

use super::budget::{BREAKS_MAX, Budget, DEPTH_MAX, Exhausted, check_nesting};
use super::conjunction::{Conjunction, Facts};
use super::dialect::Dialect;
use super::document::{Document, Object};
use super::same::{Same, Verdicts};
use super::shapes::first_malformed;
use super::show;
use super::{Break, Rule};

/// Breaks with paths from the place under comparison.
pub(super) type Outcome = Result<Vec<Break>, Exhausted>;

/// A reader's schema and a writer's conjunction at a place of the document.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Pair {
    reader: *const Value,
    parts: Vec<*const Value>,
    hints: Vec<*const Value>,
    is_wild: bool,
}

/// What is known so far.
///
/// **Invariant**: each pair in `held` holds, if those do that are still under comparison. So when one of these turns
/// out not to hold, the pairs that were added since are forgotten. Pairs are places of the document, and from one to
/// the next it is a step into the document, so a pair that rests on itself does so by a smaller document, and holds.
pub(super) struct Comparison<'a> {
    pub reader: Document<'a>,
    pub writer: Document<'a>,
    pub budget: Budget,
    held: HashSet<Pair>,
    /// What is in `held`, in the order of coming.
    held_order: Vec<Pair>,
    /// What doesn't hold, whatever comes: it failed although all pairs under comparison were taken to hold.
    failed: HashMap<Pair, Vec<Break>>,
    depth: usize,
    /// The reader's references that led here without a step into the document. One that leads to itself has no meaning.
    followed: Vec<*const Value>,
    /// Which of the reader's alternatives exclude one another.
    pub apart: RefCell<HashMap<(*const Value, *const Value), bool>>,
    verdicts: Verdicts,
}

pub(super) fn run(reader: &Value, writer: &Value) -> Outcome {
    check_nesting(reader)?;
    check_nesting(writer)?;
    if reader == writer {
        return Ok(Vec::new());
    }
    let not_comparable = |detail: &str| Ok(vec![Break::here(Rule::NotComparable, detail)]);
    let (Some(reading), Some(writing)) = (Document::new(reader), Document::new(writer)) else {
        return not_comparable(
            "the schemas differ, and one is of a version that is older than draft 4 or that changes",
        );
    };
    if (reading.dialect == Dialect::Draft4) != (writing.dialect == Dialect::Draft4) {
        return not_comparable("one of the schemas is of draft 4, for which 1.0 is no integer");
    }
    let mut comparison = Comparison::new(reading, writing);
    let written = Conjunction::new(vec![writer]);
    comparison.compare_pair(comparison.pair(reader, &written), reader, &written)
}

impl<'a> Comparison<'a> {
    fn new(reader: Document<'a>, writer: Document<'a>) -> Self {
        Self {
            reader,
            writer,
            budget: Budget::new(),
            held: HashSet::new(),
            held_order: Vec::new(),
            failed: HashMap::new(),
            depth: 0,
            followed: Vec::new(),
            apart: RefCell::default(),
            verdicts: RefCell::default(),
        }
    }

    /// Compares at one place of the document.
    pub fn compare(&mut self, reader: &'a Value, writer: &Conjunction<'a>) -> Outcome {
        self.deeper(|comparison| comparison.compare_here(reader, writer))
    }

    /// Recursion goes through here, so that it ends.
    pub fn deeper(&mut self, next: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        if self.depth == DEPTH_MAX {
            return Err(Exhausted::Depth);
        }
        self.depth += 1;
        let breaks = next(self)?;
        self.depth -= 1;
        Ok(breaks)
    }

    fn compare_here(&mut self, reader: &'a Value, writer: &Conjunction<'a>) -> Outcome {
        let facts = self.writer.facts(writer, &self.budget)?;
        if facts.kinds.is_empty() {
            return Ok(Vec::new());
        }
        let object = match reader {
            Value::Bool(true) => return Ok(Vec::new()),
            Value::Bool(false) => {
                let detail = format!("the reader takes nothing, and the writer writes {}", facts.kinds);
                return Ok(vec![Break::here(Rule::TypeNarrowed, detail)]);
            }
            Value::Object(object) => object,
            _ => return Ok(vec![Break::here(Rule::NotComparable, "the reader's schema is no schema")]),
        };
        for part in &facts.parts {
            if self.same().objects(object, part)? {
                return Ok(Vec::new());
            }
        }
        let mut breaks = self.demands(object, writer, &facts)?;
        if breaks.is_empty() {
            return Ok(breaks);
        }
        if let Some(choice) = facts.choices.first() {
            breaks.clear();
            for branch in *choice {
                add(&mut breaks, self.compare(reader, &writer.decide(choice, branch))?);
            }
        } else if let Some(reference) = facts.opaque {
            let detail = format!("the writer's reference {} can't be followed", show::name(reference));
            breaks = vec![Break::here(Rule::NotComparable, detail)];
        }
        Ok(breaks)
    }

    /// All that a schema of the reader's demands.
    fn demands(&mut self, object: &'a Object, writer: &Conjunction<'a>, facts: &Facts<'a>) -> Outcome {
        let mut breaks = Vec::new();
        if let Some(name) = first_malformed(&self.reader, object) {
            let detail = format!("the reader's {} isn't what the keyword has to be", show::name(name));
            return Ok(vec![Break::here(Rule::NotComparable, detail)]);
        }
        add(&mut breaks, self.reference(object, writer, facts)?);
        for schema in self.reader.list(object, "allOf") {
            add(&mut breaks, self.compare(schema, writer)?);
        }
        add(&mut breaks, self.alternatives(object, writer, facts)?);
        add(&mut breaks, self.conditions(object, facts)?);
        add(&mut breaks, self.values(object, facts)?);
        Ok(breaks)
    }

    fn reference(&mut self, object: &'a Object, writer: &Conjunction<'a>, facts: &Facts<'a>) -> Outcome {
        for name in ["$dynamicRef", "$recursiveRef"] {
            if self.reader.keyword(object, name).is_some() {
                return Ok(not_comparable(name));
            }
        }
        let Some(reference) = self.reader.text(object, "$ref") else { return Ok(Vec::new()) };
        let Some(target) = self.reader.resolve(reference) else {
            return self.wants_same(object, facts, &["$ref"]);
        };
        if self.followed.contains(&ptr::from_ref(target)) {
            let detail = format!("the reader's reference {} leads to itself", show::name(reference));
            return Ok(vec![Break::here(Rule::NotComparable, detail)]);
        }
        self.followed.push(target);
        let breaks = self.compare(target, writer)?;
        self.followed.pop();
        Ok(breaks)
    }

    /// Takes a step into the document, to what is called `token` there. `refusal` is the rule where the reader takes
    /// nothing in this place.
    pub fn descend(
        &mut self,
        schema: &'a Value,
        child: &Conjunction<'a>,
        token: &str,
        refusal: Rule,
    ) -> Outcome {
        if schema == &Value::Bool(false) {
            let is_written = !self.writer.facts(child, &self.budget)?.kinds.is_empty();
            let detail = match token {
                "*" => "the writer may write more, and the reader is closed to more".to_owned(),
                name => format!("the writer may write {}, and the reader is closed to it", show::name(name)),
            };
            let refused = Break { path: show::token(token), rule: refusal, detail };
            return Ok(if is_written { vec![refused] } else { Vec::new() });
        }
        let pair = self.pair(schema, child);
        if self.held.contains(&pair) {
            return Ok(Vec::new());
        }
        let breaks = if let Some(breaks) = self.failed.get(&pair) {
            self.budget.spend(breaks.len())?;
            breaks.clone()
        } else {
            self.compare_pair(pair, schema, child)?
        };
        let token = show::token(token);
        Ok(breaks
            .into_iter()
            .map(|found| Break { path: format!("{token}{}", found.path), ..found })
            .collect())
    }

    fn pair(&self, reader: &'a Value, child: &Conjunction<'a>) -> Pair {
        let addresses = |schemas: &[&'a Value]| {
            let mut addresses: Vec<*const Value> =
                schemas.iter().map(|schema| ptr::from_ref(self.writer.target(schema))).collect();
            addresses.sort_unstable();
            addresses.dedup();
            addresses
        };
        let (parts, hints) = (addresses(&child.parts), addresses(&child.hints));
        Pair { reader: self.reader.target(reader), parts, hints, is_wild: child.is_wild }
    }

    fn compare_pair(&mut self, pair: Pair, schema: &'a Value, child: &Conjunction<'a>) -> Outcome {
        let before = self.held_order.len();
        self.held.insert(pair.clone());
        self.held_order.push(pair.clone());
        let followed = mem::take(&mut self.followed);
        let breaks = self.compare(schema, child)?;
        self.followed = followed;
        if !breaks.is_empty() {
            for forgotten in self.held_order.drain(before..) {
                self.held.remove(&forgotten);
            }
            self.failed.insert(pair, breaks.clone());
        }
        Ok(breaks)
    }

    pub fn same(&self) -> Same<'_, 'a> {
        Same::new(&self.reader, &self.writer, &self.budget, &self.verdicts)
    }

    /// Whether a part of the writer's has all these keywords as the reader has them.
    pub fn has_same(&self, object: &'a Object, facts: &Facts<'a>, names: &[&str]) -> Result<bool, Exhausted> {
        for part in &facts.parts {
            let mut same = self.same();
            let mut is_same = true;
            for name in names {
                is_same = is_same && same.keywords(object, part, name)?;
            }
            if is_same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A break unless [`has_same`](Self::has_same).
    pub fn wants_same(&self, object: &'a Object, facts: &Facts<'a>, names: &[&str]) -> Outcome {
        let name = names.iter().find(|name| self.reader.keyword(object, name).is_some());
        match name {
            Some(name) if !self.has_same(object, facts, names)? => Ok(not_comparable(name)),
            _ => Ok(Vec::new()),
        }
    }
}

pub(super) fn not_comparable(keyword: &str) -> Vec<Break> {
    let detail = format!("{} differs, and isn't compared by its meaning", show::name(keyword));
    vec![Break::here(Rule::NotComparable, detail)]
}

/// Adds breaks that aren't there yet, up to the bound.
pub(super) fn add(breaks: &mut Vec<Break>, more: Vec<Break>) {
    for found in more {
        if breaks.len() < BREAKS_MAX && !breaks.contains(&found) {
            breaks.push(found);
        }
    }
}
