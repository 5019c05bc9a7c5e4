//! The shapes that keywords have to have.

use serde_json::Value;

use super::dialect::Dialect;
use super::document::{Document, Object};
use super::kinds::Kinds;
use super::number::Decimal;

/// The first keyword whose value isn't what it has to be, so that nobody knows what it demands.
pub(super) fn first_malformed<'a>(document: &Document<'a>, object: &'a Object) -> Option<&'a str> {
    let is_well_formed = |name: &str| {
        document.keyword(object, name).is_none_or(|value| is_well_formed(name, value, document.dialect))
    };
    object.keys().map(String::as_str).find(|name| !is_well_formed(name))
}

fn is_well_formed(name: &str, value: &Value, dialect: Dialect) -> bool {
    match name {
        "allOf" | "anyOf" | "oneOf" => is_schemas(value) && value != &Value::Array(Vec::new()),
        "prefixItems" => is_schemas(value),
        "items" => is_schema(value) || is_schemas(value),
        "not"
        | "if"
        | "then"
        | "else"
        | "additionalItems"
        | "unevaluatedItems"
        | "contains"
        | "additionalProperties"
        | "unevaluatedProperties"
        | "propertyNames" => is_schema(value),
        "properties" | "patternProperties" | "dependentSchemas" => {
            value.as_object().is_some_and(|schemas| schemas.values().all(is_schema))
        }
        "dependencies" => value.is_object(),
        "dependentRequired" => value.as_object().is_some_and(|lists| lists.values().all(is_texts)),
        "type" => Kinds::of_type(value).is_some(),
        "enum" => value.is_array(),
        "required" => is_texts(value),
        "exclusiveMinimum" | "exclusiveMaximum" if dialect == Dialect::Draft4 => value.is_boolean(),
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
            Decimal::of(value).is_some()
        }
        "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
            Decimal::of(value).and_then(Decimal::to_integer).is_some()
        }
        "uniqueItems" => value.is_boolean(),
        "$ref" | "pattern" | "format" | "contentEncoding" | "contentMediaType" => value.is_string(),
        _ => true,
    }
}

fn is_schema(value: &Value) -> bool {
    value.is_object() || value.is_boolean()
}

fn is_schemas(value: &Value) -> bool {
    value.as_array().is_some_and(|schemas| schemas.iter().all(is_schema))
}

fn is_texts(value: &Value) -> bool {
    value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string))
}
