//! A schema as a whole: its keywords by its dialect, and its references.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::conjunction::Facts;
use super::dialect::Dialect;
use super::same::is_annotation;

/// Most references that only lead to references: what is told from each other by that isn't worth more.
const HOPS_MAX: usize = 16;

/// A schema object.
pub(super) type Object = Map<String, Value>;

/// A whole schema, which its references point into.
pub(super) struct Document<'a> {
    pub dialect: Dialect,
    root: &'a Value,
    /// `$id` of the root, without an empty fragment.
    id: Option<&'a str>,
    has_inner_ids: bool,
    resolved: RefCell<HashMap<&'a str, Option<&'a Value>>>,
    /// The facts of schemas that were looked at alone.
    pub known: RefCell<HashMap<*const Value, Rc<Facts<'a>>>>,
}

/// What is found below the root and changes how that part is read.
#[derive(Default)]
struct Inner {
    has_ids: bool,
    has_dialects: bool,
}

impl<'a> Document<'a> {
    /// `None` where its dialect is unknown, or is another one in some part of it.
    pub fn new(root: &'a Value) -> Option<Self> {
        let dialect = Dialect::of(root)?;
        let id_key = if dialect == Dialect::Draft4 { "id" } else { "$id" };
        let mut inner = Inner::default();
        if let Value::Object(members) = root {
            members.values().for_each(|member| inner.search(member, id_key));
        }
        let id = root.get(id_key).and_then(Value::as_str).map(|id| id.trim_end_matches('#'));
        let (resolved, known) = (RefCell::default(), RefCell::default());
        (!inner.has_dialects).then_some(Self {
            dialect,
            root,
            id,
            has_inner_ids: inner.has_ids,
            resolved,
            known,
        })
    }

    /// A keyword that has a meaning there.
    pub fn keyword(&self, object: &'a Object, name: &str) -> Option<&'a Value> {
        let hidden = name != "$ref" && self.dialect.ref_hides_siblings() && object.contains_key("$ref");
        if hidden || !self.dialect.knows(name) {
            return None;
        }
        object.get(name)
    }

    pub fn text(&self, object: &'a Object, name: &str) -> Option<&'a str> {
        self.keyword(object, name).and_then(Value::as_str)
    }

    /// The values of a keyword that is a list, none where it isn't one.
    pub fn list(&self, object: &'a Object, name: &str) -> &'a [Value] {
        self.keyword(object, name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The texts of a keyword that is a list of them.
    pub fn texts(&self, object: &'a Object, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        self.list(object, name).iter().filter_map(Value::as_str)
    }

    /// The members of a keyword that is an object, none where it isn't one.
    pub fn members(
        &self,
        object: &'a Object,
        name: &str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        let members = self.keyword(object, name).and_then(Value::as_object);
        members.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    pub fn member(&self, object: &'a Object, name: &str, key: &str) -> Option<&'a Value> {
        self.keyword(object, name)?.as_object()?.get(key)
    }

    /// The items of a tuple and what goes for those behind them.
    pub fn items(&self, object: &'a Object) -> (&'a [Value], Option<&'a Value>) {
        match self.keyword(object, "items") {
            Some(Value::Array(tuple)) => (tuple, self.keyword(object, "additionalItems")),
            items => (self.list(object, "prefixItems"), items),
        }
    }

    /// What a reference within this schema points to. `None` for one to elsewhere, or into nothing.
    pub fn resolve(&self, reference: &'a str) -> Option<&'a Value> {
        let known = self.resolved.borrow().get(reference).copied();
        known.unwrap_or_else(|| {
            let target = self.find(reference);
            self.resolved.borrow_mut().insert(reference, target);
            target
        })
    }

    fn find(&self, reference: &str) -> Option<&'a Value> {
        if self.has_inner_ids {
            return None;
        }
        let own = self.id.filter(|id| !id.is_empty()).and_then(|id| reference.strip_prefix(id));
        let fragment = match own {
            Some("") => "",
            Some(rest) => rest.strip_prefix('#')?,
            None => reference.strip_prefix('#')?,
        };
        let target = self.root.pointer(&percent_decode(fragment)?)?;
        (target.is_object() || target.is_boolean()).then_some(target)
    }

    /// Where a schema leads that says nothing but a reference; other schemas themselves.
    pub fn target(&self, schema: &'a Value) -> &'a Value {
        let mut target = schema;
        for _ in 0..HOPS_MAX {
            let next = target.as_object().and_then(|object| {
                let says_more = |name: &str| name != "$ref" && !is_annotation(name);
                let is_plain =
                    !object.keys().any(|name| says_more(name) && self.keyword(object, name).is_some());
                self.resolve(self.text(object, "$ref")?).filter(|_| is_plain)
            });
            let Some(next) = next else { break };
            target = next;
        }
        target
    }

    /// Whether a reference that both documents have leads to one and the same schema elsewhere.
    pub fn shares_elsewhere(&self, other: &Document<'_>, reference: &str) -> bool {
        if self.has_inner_ids || other.has_inner_ids || reference.contains('%') {
            return false;
        }
        let address = reference.split('#').next().unwrap_or_default();
        let is_absolute = address.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['/', '?']));
        if !is_absolute && self.id != other.id {
            return false;
        }
        // It may be one of these schemas by another spelling of its address, and these differ.
        let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
        let name = last(address);
        let is_own = |id: &str| last(id) == name;
        !matches!(name.as_str(), "" | "." | "..")
            && !name.starts_with('?')
            && !self.id.is_some_and(is_own)
            && !other.id.is_some_and(is_own)
    }
}

impl Inner {
    fn search(&mut self, value: &Value, id_key: &str) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.search(item, id_key)),
            Value::Object(members) => {
                let text = |key: &str| members.get(key).and_then(Value::as_str);
                // With a `#` it is a name for this part, and leaves references alone.
                self.has_ids |= text(id_key).is_some_and(|id| !id.starts_with('#'));
                self.has_dialects |= text("$schema").is_some();
                members.values().for_each(|member| self.search(member, id_key));
            }
            _ => {}
        }
    }
}

/// `None` for what is no percent-encoded UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(decoded).ok()
}
