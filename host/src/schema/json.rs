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
#[cfg(feature = "schemas")]
pub(super) mod weight;
mod written;

#[cfg(test)]
#[cfg(feature = "schemas")]
mod tests;

use std::fmt::{self, Display, Formatter};

use serde_json::Value;

/// Why the reader may not take a document of the writer's.
///
/// ```
/// use tidegate::schema::{Compatibility, Rule, Schema};
///
/// let old = Schema::json(r#"{"properties": {"id": {"type": "string"}}}"#)?;
/// let new = Schema::json(r#"{"properties": {"id": {"type": "string"}}, "required": ["id"]}"#)?;
/// let broken = Compatibility::Backward.check("Order", 2, &new, [(1, &old)]).unwrap_err();
/// assert_eq!((&*broken.breaks[0].path, broken.breaks[0].rule), ("/id", Rule::RequiredAdded));
/// # Ok::<(), tidegate::schema::SchemaError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// Where in the document: a JSON Pointer, empty for the whole of it. `*` stands for any item of an array and for
    /// any property that has no name of its own in the schema. Items of a tuple have their index. A property that is
    /// missing or refused is named by its own path.
    pub path: String,
    /// What the reader demands more than the writer grants.
    pub rule: Rule,
    /// A short sentence with the names and values, such as "`price` is required by the reader, and not by the writer".
    pub detail: String,
}

/// What a reader demands more than its writer grants.
///
/// ```
/// use tidegate::schema::Rule;
///
/// assert_eq!(Rule::RequiredAdded.to_string(), "required-added");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// The writer writes a type that the reader doesn't take.
    TypeNarrowed,
    /// The writer writes a value that the reader's `enum` or `const` doesn't have.
    EnumNarrowed,
    /// The reader requires a property that the writer may leave out.
    RequiredAdded,
    /// The reader is closed to a property that the writer writes.
    PropertyRefused,
    /// The reader takes fewer properties, or wants more of them: `minProperties`, `maxProperties`.
    PropertyCountNarrowed,
    /// With one property the reader requires another, and the writer doesn't: `dependentRequired`.
    DependencyAdded,
    /// A number's `minimum`, `maximum`, `exclusiveMinimum` or `exclusiveMaximum`.
    RangeNarrowed,
    /// A number's `multipleOf`.
    MultipleNarrowed,
    /// A string's `minLength` or `maxLength`.
    LengthNarrowed,
    /// The reader's `pattern` isn't one of the writer's.
    PatternChanged,
    /// The reader's `format` isn't one of the writer's.
    FormatChanged,
    /// The reader's `contentEncoding` or `contentMediaType` isn't one of the writer's.
    ContentChanged,
    /// The reader takes fewer items, or wants more of them: `minItems`, `maxItems`, the end of a tuple.
    ItemsNarrowed,
    /// The reader wants unique items, and the writer may repeat one.
    UniquenessAdded,
    /// None of the reader's alternatives takes what the writer writes.
    AlternativeRemoved,
    /// A keyword that differs, and whose meaning isn't followed here. Also a schema beyond the bounds.
    NotComparable,
}

impl Rule {
    /// Its name in kebab case, such as `required-added`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::TypeNarrowed => "type-narrowed",
            Rule::EnumNarrowed => "enum-narrowed",
            Rule::RequiredAdded => "required-added",
            Rule::PropertyRefused => "property-refused",
            Rule::PropertyCountNarrowed => "property-count-narrowed",
            Rule::DependencyAdded => "dependency-added",
            Rule::RangeNarrowed => "range-narrowed",
            Rule::MultipleNarrowed => "multiple-narrowed",
            Rule::LengthNarrowed => "length-narrowed",
            Rule::PatternChanged => "pattern-changed",
            Rule::FormatChanged => "format-changed",
            Rule::ContentChanged => "content-changed",
            Rule::ItemsNarrowed => "items-narrowed",
            Rule::UniquenessAdded => "uniqueness-added",
            Rule::AlternativeRemoved => "alternative-removed",
            Rule::NotComparable => "not-comparable",
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Display for Break {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} at `{}`: {}", self.rule, self.path, self.detail)
    }
}

impl Break {
    /// A break at the place under comparison. Paths grow on the way out.
    fn here(rule: Rule, detail: impl Into<String>) -> Self {
        Self { path: String::new(), rule, detail: detail.into() }
    }
}

/// Why `reader` may not take each document that `writer` writes; empty where it takes them all, see the
/// [module](self) for what is written and what is promised. At most 100 breaks, without repetitions.
#[must_use]
pub fn breaks(reader: &Value, writer: &Value) -> Vec<Break> {
    comparison::run(reader, writer)
        .unwrap_or_else(|exhausted| vec![Break::here(Rule::NotComparable, exhausted.to_string())])
}
