//! Whether two schemas mean the same by saying the same.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::ptr;

use serde_json::Value;

use super::budget::{Budget, DEPTH_MAX, Exhausted};
use super::document::{Document, Object};
use super::show::weight;

/// What the value of a keyword is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    /// It doesn't change which documents are valid.
    Annotation,
    Data,
    /// A schema, or a list of them.
    Schemas,
    /// Schemas by name, or lists of names.
    Named,
    Reference,
    /// It means what stands around it.
    Dynamic,
}

fn content(keyword: &str) -> Content {
    match keyword {
        "$ref" => Content::Reference,
        "$dynamicRef" | "$recursiveRef" => Content::Dynamic,
        "allOf"
        | "anyOf"
        | "oneOf"
        | "not"
        | "if"
        | "then"
        | "else"
        | "items"
        | "prefixItems"
        | "additionalItems"
        | "unevaluatedItems"
        | "contains"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "propertyNames" => Content::Schemas,
        "properties" | "patternProperties" | "dependentSchemas" | "dependencies" => Content::Named,
        "type" | "enum" | "const" | "required" | "minProperties" | "maxProperties" | "dependentRequired"
        | "minItems" | "maxItems" | "uniqueItems" | "minContains" | "maxContains" | "minimum" | "maximum"
        | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" | "minLength" | "maxLength" | "pattern"
        | "format" | "contentEncoding" | "contentMediaType" => Content::Data,
        _ => Content::Annotation,
    }
}

/// Whether a keyword leaves the valid documents as they are.
pub(super) fn is_annotation(keyword: &str) -> bool {
    content(keyword) == Content::Annotation
}

/// Answers for pairs of schemas. A "no" may also mean that it takes too deep a look to tell.
pub(super) type Verdicts = RefCell<HashMap<(*const Object, *const Object), bool>>;

/// Compares schemas of a reader and a writer, the schemas that they refer to included. One is for one question: after a
/// "no" its pairs are wrong.
pub(super) struct Same<'c, 'a> {
    reader: &'c Document<'a>,
    writer: &'c Document<'a>,
    budget: &'c Budget,
    verdicts: &'c Verdicts,
    /// Pairs under comparison: met again, they are the same as far as they go.
    pairs: HashSet<(*const Object, *const Object)>,
    depth: usize,
}

impl<'c, 'a> Same<'c, 'a> {
    pub fn new(
        reader: &'c Document<'a>,
        writer: &'c Document<'a>,
        budget: &'c Budget,
        verdicts: &'c Verdicts,
    ) -> Self {
        Self { reader, writer, budget, verdicts, pairs: HashSet::new(), depth: 0 }
    }

    pub fn schemas(&mut self, reader: &'a Value, writer: &'a Value) -> Result<bool, Exhausted> {
        match (reader, writer) {
            (Value::Bool(reader), Value::Bool(writer)) => Ok(reader == writer),
            (Value::Object(reader), Value::Object(writer)) => self.objects(reader, writer),
            _ => Ok(false),
        }
    }

    pub fn objects(&mut self, reader: &'a Object, writer: &'a Object) -> Result<bool, Exhausted> {
        self.budget.spend(1)?;
        let pair = (ptr::from_ref(reader), ptr::from_ref(writer));
        if let Some(verdict) = self.verdicts.borrow().get(&pair) {
            return Ok(*verdict);
        }
        if !self.pairs.insert(pair) {
            return Ok(true);
        }
        // References make chains of any length.
        if self.depth == DEPTH_MAX {
            return Ok(false);
        }
        self.depth += 1;
        let is_same = self.all_keywords(reader, writer)?;
        self.depth -= 1;
        if !is_same {
            self.verdicts.borrow_mut().insert(pair, false);
        } else if self.depth == 0 {
            // Only now the pairs that were taken to be the same are.
            self.verdicts.borrow_mut().extend(self.pairs.drain().map(|pair| (pair, true)));
        }
        Ok(is_same)
    }

    fn all_keywords(&mut self, reader: &'a Object, writer: &'a Object) -> Result<bool, Exhausted> {
        for name in reader.keys().chain(writer.keys().filter(|name| !reader.contains_key(*name))) {
            if !self.keywords(reader, writer, name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a keyword is the same in both. One that is in neither is.
    pub fn keywords(
        &mut self,
        reader: &'a Object,
        writer: &'a Object,
        name: &str,
    ) -> Result<bool, Exhausted> {
        let content = content(name);
        if content == Content::Annotation {
            return Ok(true);
        }
        let (left, right) = match (self.reader.keyword(reader, name), self.writer.keyword(writer, name)) {
            (None, None) => return Ok(true),
            (Some(left), Some(right)) if self.reader.dialect == self.writer.dialect => (left, right),
            _ => return Ok(false),
        };
        match content {
            Content::Annotation => Ok(true),
            Content::Data => self.data(left, right),
            Content::Schemas => match (left, right) {
                (Value::Array(left), Value::Array(right)) => self.lists(left, right),
                _ => self.schemas(left, right),
            },
            Content::Named => self.named(left, right),
            Content::Reference => self.references(left, right),
            Content::Dynamic => Ok(false),
        }
    }

    fn data(&self, reader: &Value, writer: &Value) -> Result<bool, Exhausted> {
        self.budget.spend(weight(reader))?;
        Ok(reader == writer)
    }

    fn lists(&mut self, reader: &'a [Value], writer: &'a [Value]) -> Result<bool, Exhausted> {
        if reader.len() != writer.len() {
            return Ok(false);
        }
        for (left, right) in reader.iter().zip(writer) {
            if !self.schemas(left, right)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn named(&mut self, reader: &'a Value, writer: &'a Value) -> Result<bool, Exhausted> {
        let (Value::Object(reader), Value::Object(writer)) = (reader, writer) else { return Ok(false) };
        if reader.len() != writer.len() {
            return Ok(false);
        }
        for (name, left) in reader {
            let Some(right) = writer.get(name) else { return Ok(false) };
            let is_same = if left.is_array() { self.data(left, right)? } else { self.schemas(left, right)? };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn references(&mut self, reader: &'a Value, writer: &'a Value) -> Result<bool, Exhausted> {
        let (Some(left), Some(right)) = (reader.as_str(), writer.as_str()) else { return Ok(false) };
        match (self.reader.resolve(left), self.writer.resolve(right)) {
            (Some(reader), Some(writer)) => self.schemas(reader, writer),
            (None, None) => Ok(left == right && self.reader.shares_elsewhere(self.writer, left)),
            _ => Ok(false),
        }
    }
}
