//! Values: types, numbers, texts.

use serde_json::json;

use super::super::Rule::{
    ContentChanged, EnumNarrowed, FormatChanged, LengthNarrowed, MultipleNarrowed, NotComparable,
    PatternChanged, RangeNarrowed, TypeNarrowed,
};
use super::{check, check_one_way};

#[test]
fn types_may_be_widened_only() {
    check_one_way(vec![
        ("integer to number", json!({"type": "number"}), json!({"type": "integer"}), &[("", TypeNarrowed)]),
        ("nullable", json!({"type": ["string", "null"]}), json!({"type": "string"}), &[("", TypeNarrowed)]),
        ("any", json!({}), json!({"type": "string"}), &[("", TypeNarrowed)]),
        ("true", json!(true), json!({"type": "string"}), &[("", TypeNarrowed)]),
        ("nothing is written", json!({"type": "string"}), json!(false), &[("", TypeNarrowed)]),
        (
            "integers by multiple",
            json!({"type": "integer"}),
            json!({"type": "number", "multipleOf": 2}),
            &[("", MultipleNarrowed)],
        ),
        (
            "integral floats are integers",
            json!({"type": "integer"}),
            json!({"enum": [1.0, 2, 1e10]}),
            &[("", EnumNarrowed)],
        ),
    ]);
    check(vec![
        ("string to integer", json!({"type": "integer"}), json!({"type": "string"}), &[("", TypeNarrowed)]),
        ("fractions", json!({"type": "integer"}), json!({"const": 1.5}), &[("", TypeNarrowed)]),
        ("true is any", json!(true), json!({}), &[]),
        ("any is true", json!({"description": "x"}), json!(true), &[]),
    ]);
}

#[test]
fn listed_values_may_be_added_only() {
    check_one_way(vec![
        ("enum", json!({"enum": ["a", "b", "c"]}), json!({"enum": ["a", "b"]}), &[("", EnumNarrowed)]),
        ("const to enum", json!({"enum": ["a", "b"]}), json!({"const": "a"}), &[("", EnumNarrowed)]),
        ("no enum", json!({"type": "string"}), json!({"enum": ["a"]}), &[("", EnumNarrowed)]),
        (
            "a type that takes a part of it",
            json!({"enum": ["a", "b"]}),
            json!({"enum": ["a", "b", null, 1], "type": "string"}),
            // The writer has four values, of which two are no strings, and the reader's other schema says so.
            &[],
        ),
    ]);
    check(vec![
        ("booleans are two", json!({"enum": [true, false, null]}), json!({"type": ["boolean", "null"]}), &[]),
        ("not one", json!({"const": true}), json!({"type": "boolean"}), &[("", EnumNarrowed)]),
        ("1 is 1.0", json!({"enum": [1.0, {"a": 2.0}]}), json!({"enum": [1, {"a": 2}]}), &[]),
        (
            "beyond 2^53",
            json!({"const": 9_007_199_254_740_993_u64}),
            json!({"const": 9_007_199_254_740_992_u64}),
            &[("", EnumNarrowed)],
        ),
        (
            "values that keep to the bounds",
            json!({"minLength": 2, "maxLength": 3, "minimum": 1, "multipleOf": 2, "pattern": "^a"}),
            json!({"enum": ["ab", "abc", 2, 4, null]}),
            &[],
        ),
        (
            "and that don't",
            json!({"minLength": 3, "maximum": 3, "multipleOf": 4, "pattern": "b$"}),
            json!({"enum": ["ab", "abc", 2, 4]}),
            &[("", RangeNarrowed), ("", MultipleNarrowed), ("", LengthNarrowed), ("", PatternChanged)],
        ),
    ]);
}

#[test]
fn ranges_may_be_widened_only() {
    check_one_way(vec![
        ("minimum", json!({"minimum": 1}), json!({"minimum": 2}), &[("", RangeNarrowed)]),
        ("maximum", json!({"maximum": 2.5}), json!({"maximum": 2}), &[("", RangeNarrowed)]),
        ("dropped", json!({}), json!({"exclusiveMaximum": 2}), &[("", RangeNarrowed)]),
        ("exclusive", json!({"minimum": 1}), json!({"exclusiveMinimum": 1}), &[("", RangeNarrowed)]),
        ("high and exclusive", json!({"maximum": 1}), json!({"exclusiveMaximum": 1}), &[("", RangeNarrowed)]),
        (
            "beyond 2^53",
            json!({"minimum": 9_007_199_254_740_992_u64}),
            json!({"minimum": 9_007_199_254_740_993_u64}),
            &[("", RangeNarrowed)],
        ),
        ("multiples", json!({"multipleOf": 0.1}), json!({"multipleOf": 0.3}), &[("", MultipleNarrowed)]),
    ]);
    check(vec![
        (
            "integers next to the bound",
            json!({"type": "integer", "minimum": 1, "maximum": 9}),
            json!({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}),
            &[],
        ),
        (
            "not of fractions",
            json!({"minimum": 1}),
            json!({"type": "number", "exclusiveMinimum": 0}),
            &[("", RangeNarrowed)],
        ),
        (
            "integers are multiples of a tenth",
            json!({"type": "number", "multipleOf": 0.1}),
            json!({"type": "integer"}),
            &[],
        ),
        ("no numbers", json!({"minimum": 1, "multipleOf": 3}), json!({"type": "string"}), &[]),
        (
            "draft 4's flags",
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true}),
            json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1}),
            &[("", RangeNarrowed)],
        ),
        (
            "flags elsewhere have no meaning",
            json!({"minimum": 0, "exclusiveMinimum": true}),
            json!({"minimum": 1, "exclusiveMinimum": true}),
            &[("", NotComparable)],
        ),
    ]);
}

#[test]
fn texts_may_be_freed_only() {
    check_one_way(vec![
        ("shorter", json!({"minLength": 1}), json!({"minLength": 2}), &[("", LengthNarrowed)]),
        ("longer", json!({"maxLength": 10}), json!({"maxLength": 9}), &[("", LengthNarrowed)]),
        ("pattern dropped", json!({}), json!({"pattern": "^a"}), &[("", PatternChanged)]),
        ("format dropped", json!({}), json!({"format": "date"}), &[("", FormatChanged)]),
        ("content", json!({}), json!({"contentEncoding": "base64"}), &[("", ContentChanged)]),
    ]);
    check(vec![
        ("pattern changed", json!({"pattern": "a+"}), json!({"pattern": "a*"}), &[("", PatternChanged)]),
        ("format changed", json!({"format": "date"}), json!({"format": "date-time"}), &[("", FormatChanged)]),
        (
            "media type changed",
            json!({"contentMediaType": "a/b"}),
            json!({"contentMediaType": "a/c"}),
            &[("", ContentChanged)],
        ),
        (
            "no texts",
            json!({"minLength": 1, "pattern": "a", "format": "date"}),
            json!({"type": ["integer", "object"]}),
            &[],
        ),
    ]);
}

#[test]
fn annotations_and_unknown_keywords_do_not_matter() {
    let plain = json!({"type": "string"});
    let annotated = json!({
        "$id": "https://example.com/a", "$schema": "https://json-schema.org/draft/2020-12/schema", "$comment": "x",
        "title": "t", "description": "d", "default": "", "examples": ["a"], "deprecated": true, "readOnly": true,
        "writeOnly": true, "$anchor": "a", "$defs": {"x": false}, "x-owner": "me", "type": "string",
    });
    check(vec![("added", annotated.clone(), plain.clone(), &[]), ("removed", plain, annotated.clone(), &[])]);
    let mut changed = annotated.clone();
    changed["description"] = json!("other");
    changed["not"] = json!({"const": 1, "title": "a"});
    let mut before = annotated;
    before["not"] = json!({"const": 1, "title": "b"});
    before["type"] = json!(["string", "integer"]);
    changed["type"] = json!(["string", "integer", "null"]);
    check(vec![("within a keyword that has to be the same", changed, before, &[])]);
}

#[test]
fn a_malformed_keyword_of_the_reader_is_not_comparable() {
    for (name, malformed) in [
        ("type", json!({"type": "text"})),
        ("required", json!({"required": true})),
        ("anyOf", json!({"anyOf": []})),
        ("minLength", json!({"minLength": "3"})),
        ("properties", json!({"properties": {"a": 1}})),
    ] {
        check(vec![
            (name, malformed.clone(), json!({}), &[("", NotComparable)]),
            (name, json!({}), malformed, &[]),
        ]);
    }
}
