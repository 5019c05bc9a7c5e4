//! What breaks the compatibility of two schemas, in any language.

use std::fmt::{self, Display, Formatter};

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
    /// Where in the document: a JSON Pointer, empty for the whole of it. `*` stands for any item of an array, any element of a
    /// repeated field, any value of a map and any property that has no name of its own in the schema. Items of a tuple have
    /// their index. A property or field that is missing or refused is named by its own path.
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
    /// The writer writes a value that the reader's `enum` or `const` doesn't have; in Protobuf, that the reader's closed enum
    /// doesn't have.
    EnumNarrowed,
    /// The reader requires a property or field that the writer may leave out.
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
    /// In Protobuf, a field's type isn't one that holds each value of the writer's under the same bytes.
    FieldTypeChanged,
    /// A field is singular, repeated or a map for the one, and another of these for the other.
    FieldCardinalityChanged,
    /// A number has another name: a new name can't be told from another field under an old number.
    FieldNameChanged,
    /// A field of the same name has another number, so that the reader never sees it.
    FieldNumberChanged,
    /// What a field is where it isn't written differs.
    FieldDefaultChanged,
    /// The reader keeps only one of some fields, and the writer may write several: they are of one `oneof` for the reader.
    FieldOneofChanged,
    /// A value of an enum has other names.
    EnumValueNameChanged,
    /// A keyword that differs, and whose meaning isn't followed here. Also a schema beyond the bounds, two languages, and one
    /// that this build doesn't know.
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
            Rule::FieldTypeChanged => "field-type-changed",
            Rule::FieldCardinalityChanged => "field-cardinality-changed",
            Rule::FieldNameChanged => "field-name-changed",
            Rule::FieldNumberChanged => "field-number-changed",
            Rule::FieldDefaultChanged => "field-default-changed",
            Rule::FieldOneofChanged => "field-oneof-changed",
            Rule::EnumValueNameChanged => "enum-value-name-changed",
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
    pub(super) fn here(rule: Rule, detail: impl Into<String>) -> Self {
        Self { path: String::new(), rule, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_in_kebab_case() {
        let name = format!("{:?}", Rule::PropertyCountNarrowed);
        assert_eq!(name, "PropertyCountNarrowed");
        for rule in [
            Rule::TypeNarrowed,
            Rule::EnumNarrowed,
            Rule::RequiredAdded,
            Rule::PropertyRefused,
            Rule::PropertyCountNarrowed,
            Rule::DependencyAdded,
            Rule::RangeNarrowed,
            Rule::MultipleNarrowed,
            Rule::LengthNarrowed,
            Rule::PatternChanged,
            Rule::FormatChanged,
            Rule::ContentChanged,
            Rule::ItemsNarrowed,
            Rule::UniquenessAdded,
            Rule::AlternativeRemoved,
            Rule::FieldTypeChanged,
            Rule::FieldCardinalityChanged,
            Rule::FieldNameChanged,
            Rule::FieldNumberChanged,
            Rule::FieldDefaultChanged,
            Rule::FieldOneofChanged,
            Rule::EnumValueNameChanged,
            Rule::NotComparable,
        ] {
            let mut kebab = String::new();
            for letter in format!("{rule:?}").chars() {
                if letter.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.push(letter.to_ascii_lowercase());
            }
            assert_eq!(rule.to_string(), kebab);
        }
    }
}
