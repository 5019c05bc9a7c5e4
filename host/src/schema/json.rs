//! Compatibility of two JSON Schemas: whether a reader takes each document that a writer writes.
//!
//! [`breaks`] knows a reader and a writer only. A registry asks `(new, old)` for backward compatibility, `(old, new)`
//! for forward compatibility, both for full compatibility, and each earlier version for the transitive modes.
//!
//! # What a writer writes
//!
//! Documents that are valid by its schema, with the properties that the schema names and no others: by `properties`,
//! `required`, `dependentRequired` or `patternProperties`, or by `additionalProperties` where that is a schema of its
//! own (`true`, `{}` and its absence name nothing). With `anyOf` and `oneOf` these are the properties that are named by
//! the alternative that the document is written by, and by what stands beside it. Without this assumption no optional
//! property could ever be added to an open schema. Confluent calls it the lenient policy. With it:
//!
//! - An optional property may be added and removed, as long as the reader is open.
//! - A reader with `additionalProperties: false` refuses what is removed from it ([`Rule::PropertyRefused`]).
//! - A required property may be removed from a reader, not added to it ([`Rule::RequiredAdded`]).
//!
//! # What is promised
//!
//! An empty answer is a proof: the reader takes all of these documents. A break is one that is there or one whose
//! absence isn't shown; [`Rule::NotComparable`] says so of keywords whose meaning this doesn't follow. They are taken
//! where reader and writer have the same: `if`/`then`/`else`, `contains`, `propertyNames`, `dependentSchemas`,
//! `dependencies`, references to elsewhere. `not` is taken also where it plainly excludes nothing of the writer's. A
//! `pattern` has to be one of the writer's, letter by letter. `unevaluatedProperties` and `unevaluatedItems` depend on
//! what stands around them, so they want an equal schema around them; `$dynamicRef` and `$recursiveRef` an equal whole.
//!
//! Keywords are those of drafts 4, 6, 7, 2019-09 and 2020-12 as `$schema` says, and 2020-12 without it. Unknown ones
//! are annotations, as the specification has it. `format` and the `content…` keywords count as demands. Numbers
//! compare as decimals, so integers beyond 2^53 keep their last digits. Schemas may come from anywhere: what is
//! nested too deep or takes too long ends as one [`Rule::NotComparable`].

mod alternatives;
mod arrays;
mod budget;
mod comparison;
mod conjunction;
mod dialect;
mod document;
mod kinds;
mod number;
mod objects;
mod patterns;
mod same;
mod scalars;
mod shapes;
mod show;
#[cfg(feature = "schemas-json")]
mod validator;
#[cfg(feature = "schemas-json")]
mod weight;
mod written;

#[cfg(test)]
#[cfg(feature = "schemas-json")]
mod tests;

use serde_json::Value;

use super::rule::{Break, Rule};
#[cfg(feature = "schemas-json")]
pub(super) use validator::Validator;

/// Why `reader` may not take each document that `writer` writes; empty where it takes them all, see the
/// [module](self) for what is written and what is promised. At most 100 breaks, without repetitions.
#[must_use]
pub fn breaks(reader: &Value, writer: &Value) -> Vec<Break> {
    comparison::run(reader, writer)
        .unwrap_or_else(|exhausted| vec![Break::here(Rule::NotComparable, exhausted.to_string())])
}
