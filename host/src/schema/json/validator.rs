//! JSON Schemas that data can be held against.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError};
use serde_json::Value;

use super::weight;
use crate::event::Event;
use crate::limits::{SCHEMA_PATTERN_BYTES_MAX, VIOLATION_CHARS_MAX};
use crate::schema::compiled::Violation;
use crate::schema::{SchemaError, cut};

/// A JSON Schema that data can be held against.
#[derive(Debug)]
pub(crate) struct Validator {
    validator: Box<jsonschema::Validator>,
    schema: Value,
}

impl Validator {
    pub fn new(schema: Value) -> Result<Self, SchemaError> {
        // A pattern comes from outside and is matched with what comes from outside: in linear time, and not in one that
        // grows with each step back.
        let patterns = PatternOptions::regex()
            .size_limit(SCHEMA_PATTERN_BYTES_MAX)
            .dfa_size_limit(SCHEMA_PATTERN_BYTES_MAX);
        let heavy = |reason| SchemaError::Invalid { path: String::new(), reason };
        weight::check(&schema).map_err(heavy)?;
        let validator = jsonschema::options()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|error| invalid(&error))?;
        Ok(Self { validator: Box::new(validator), schema })
    }

    /// Holds an event's data against it. Without any, that is null.
    pub fn check(&self, event: &Event) -> Result<(), Violation> {
        let data: Value = match event.data() {
            None => Value::Null,
            Some(_) => event
                .data_as()
                .map_err(|error| Violation { path: String::new(), reason: error.to_string() })?,
        };
        self.check_data(&data).map_err(|mut violation| {
            if event.data().is_none() {
                violation.reason.push_str(" (the event has no data, which counts as null)");
            }
            violation
        })
    }

    fn check_data(&self, data: &Value) -> Result<(), Violation> {
        // This remembers what it has found out of each part of the data, which looking for the place doesn't.
        if self.validator.is_valid(data) {
            return Ok(());
        }
        if !weight::is_light(&self.schema, data) {
            return Err(Violation {
                path: String::new(),
                reason: "it breaks the schema, whose alternatives are too many to find the place".to_owned(),
            });
        }
        self.validator.validate(data).map_err(|error| Violation {
            path: cut(&error.instance_path().to_string(), VIOLATION_CHARS_MAX),
            reason: reason(&error),
        })
    }
}

/// What is wrong there. What stands there may be anybody's secret, and as long as the event.
fn reason(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::PropertyNames { .. } => {
            "a property has a name that the schema doesn't allow".to_owned()
        }
        _ => cut(&error.masked_with("what is there").to_string(), VIOLATION_CHARS_MAX),
    }
}

fn invalid(error: &ValidationError<'_>) -> SchemaError {
    SchemaError::Invalid {
        path: cut(&error.instance_path().to_string(), VIOLATION_CHARS_MAX),
        reason: cut(&error.to_string(), VIOLATION_CHARS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compiled(schema: &Value) -> Result<Validator, SchemaError> {
        Validator::new(schema.clone())
    }

    #[test]
    fn data_that_breaks_its_schema_is_told_with_its_path() {
        let schema = json!({
            "type": "object", "required": ["lines"],
            "properties": { "lines": { "type": "array", "items": {
                "type": "object", "required": ["price"], "properties": { "price": { "type": "number", "minimum": 0 } },
            } } },
        });
        let schema = compiled(&schema).unwrap();
        assert_eq!(schema.check_data(&json!({ "lines": [{ "price": 1 }] })), Ok(()));
        for (data, path) in [
            (json!({ "lines": [{ "price": 1 }, { "price": "1" }] }), "/lines/1/price"),
            (json!({ "lines": [{ "price": -1 }] }), "/lines/0/price"),
            (json!({ "lines": [{}] }), "/lines/0"),
            (json!({}), ""),
            (json!(null), ""),
        ] {
            let violation = schema.check_data(&data).unwrap_err();
            assert_eq!(violation.path, path, "{data}: {violation:?}");
        }
    }

    #[test]
    fn a_refusal_doesnt_repeat_the_data() {
        let schema = compiled(&json!({ "maxLength": 3, "type": "string" })).unwrap();
        let secret = "secret".repeat(1000);
        let violation = schema.check_data(&json!(secret)).unwrap_err();
        assert!(!violation.reason.contains("secret"), "{violation:?}");
        assert!(violation.reason.contains('3'), "{violation:?}");
    }

    #[test]
    fn a_schema_that_is_none_or_reaches_outside_is_refused() {
        for schema in [
            json!({ "type": "objekt" }),
            json!({ "properties": [] }),
            json!({ "$ref": "https://example.com/other.json" }),
            json!({ "$ref": "file:///etc/passwd" }),
            json!({ "$ref": "#/$defs/missing" }),
            json!({ "pattern": "(" }),
            json!({ "pattern": "(?=a)b" }),
            json!({ "pattern": "(a{1000}){1000}" }),
            json!(7),
        ] {
            let error = compiled(&schema).expect_err(&schema.to_string());
            assert!(matches!(error, SchemaError::Invalid { .. }), "{error}");
        }
    }

    #[test]
    fn formats_are_checked() {
        let schema = compiled(&json!({ "format": "date-time" })).unwrap();
        assert!(
            schema.check_data(&json!("2026-01-01T00:00:00Z")).is_ok()
                && schema.check_data(&json!("soon")).is_err()
        );
    }

    /// Definitions 0 to `count`, each of which leads to the next.
    fn chain(count: usize, link: impl Fn(Value) -> Value) -> Value {
        let next = |number: usize| json!({ "$ref": format!("#/$defs/{}", number + 1) });
        let definitions = (0..count).map(|number| (number.to_string(), link(next(number))));
        let definitions: serde_json::Map<_, _> =
            definitions.chain([(count.to_string(), json!(true))]).collect();
        json!({ "$ref": "#/$defs/0", "$defs": definitions })
    }

    #[test]
    fn a_schema_that_could_take_a_validator_very_long_is_refused() {
        let twice = |next: Value| json!({ "allOf": [next.clone(), next] });
        let patterns: serde_json::Map<_, _> =
            (0..101).map(|number| (format!("p{number}"), json!({ "pattern": "a" }))).collect();
        for (schema, words) in [
            (chain(40, twice), "10000"),
            (chain(7000, |next| next), "128"),
            (json!({ "$ref": "#" }), "back to itself"),
            (json!({ "anyOf": [{ "not": { "$ref": "#" } }] }), "back to itself"),
            (json!({ "$ref": "#name", "$defs": { "a": { "$anchor": "name" } } }), "elsewhere"),
            (json!({ "properties": patterns }), "patterns"),
        ] {
            let error = compiled(&schema).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        assert!(compiled(&chain(10, twice)).is_ok() && compiled(&chain(100, |next| next)).is_ok());
    }

    #[test]
    fn data_doesnt_make_a_schema_of_alternatives_take_very_long() {
        let side = json!({ "$ref": "#/$defs/term" });
        let kinds = ["add", "mul", "div", "sub", "pow", "mod"].map(|kind| {
            json!({ "properties": { "kind": { "const": kind }, "left": side, "right": side }, "required": ["kind"] })
        });
        let term = json!({ "anyOf": [{ "type": "integer" }, { "type": "object", "anyOf": kinds }] });
        let schema = compiled(&json!({ "$ref": "#/$defs/term", "$defs": { "term": term } })).unwrap();
        let nested = |depth: usize, leaf: Value| {
            (0..depth).fold(leaf, |inner, _| json!({ "kind": "mod", "left": inner, "right": 1 }))
        };
        assert_eq!(schema.check_data(&nested(60, json!(1))), Ok(()));
        let deep = schema.check_data(&nested(60, json!("one"))).unwrap_err();
        assert!(deep.reason.contains("too many"), "{deep:?}");
        let shallow = schema.check_data(&nested(2, json!("one"))).unwrap_err();
        assert!(!shallow.reason.contains("too many"), "{shallow:?}");
    }

    #[test]
    fn the_name_of_a_property_is_cut_and_not_shown_where_it_is_what_is_wrong() {
        let schema = compiled(&json!({ "propertyNames": { "maxLength": 3 } })).unwrap();
        let violation = schema.check_data(&json!({ "secret": 1 })).unwrap_err();
        assert!(!violation.reason.contains("secret"), "{violation:?}");
        let schema = compiled(&json!({ "additionalProperties": { "type": "null" } })).unwrap();
        let violation = schema.check_data(&json!({ "x".repeat(10_000): 1 })).unwrap_err();
        assert_eq!(violation.path.chars().count(), VIOLATION_CHARS_MAX + 1);
    }
}
