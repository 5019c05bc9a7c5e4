//! Objects and arrays.

use serde_json::{Value, json};

use super::super::Rule::{
    DependencyAdded, EnumNarrowed, ItemsNarrowed, LengthNarrowed, NotComparable, PropertyCountNarrowed,
    PropertyRefused, RequiredAdded, TypeNarrowed, UniquenessAdded,
};
use super::{check, check_one_way};

fn open(properties: Value) -> Value {
    json!({"type": "object", "properties": properties})
}

fn closed(properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn requiring(properties: Value, required: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

#[test]
fn an_optional_property_comes_and_goes_where_schemas_are_open() {
    let one = open(json!({"id": {"type": "string"}}));
    let two = open(json!({"id": {"type": "string"}, "note": {"type": "string"}}));
    check(vec![
        ("added", two.clone(), one.clone(), &[]),
        ("removed", one, two, &[]),
        ("to an empty one", open(json!({"a": {"type": "string"}})), json!({"type": "object"}), &[]),
        (
            "true is no schema of its own",
            open(json!({"a": {"type": "string"}})),
            json!({"type": "object", "additionalProperties": true}),
            &[],
        ),
    ]);
}

#[test]
fn a_closed_reader_refuses_what_was_removed() {
    let id = json!({"type": "string"});
    check_one_way(vec![(
        "removed",
        closed(json!({"id": id, "note": id})),
        closed(json!({"id": id})),
        &[("/note", PropertyRefused)],
    )]);
    check(vec![
        ("closed", closed(json!({"id": id})), open(json!({"id": id})), &[]),
        ("by false", open(json!({"a/b": false})), open(json!({"a/b": id})), &[("/a~1b", PropertyRefused)]),
        (
            "what the writer never writes",
            closed(json!({})),
            open(json!({"a": false, "b": {"type": []}})),
            &[],
        ),
        (
            "others",
            closed(json!({"id": id})),
            json!({"properties": {"id": id}, "additionalProperties": id, "type": "object"}),
            &[("/*", PropertyRefused)],
        ),
        (
            "required and not described",
            closed(json!({})),
            json!({"type": "object", "required": ["a"]}),
            &[("/a", PropertyRefused)],
        ),
        ("of a listed object", closed(json!({})), json!({"const": {"a": 1}}), &[("/*", PropertyRefused)]),
    ]);
}

#[test]
fn a_property_may_become_optional_only() {
    let text = json!({"type": "string"});
    check_one_way(vec![
        (
            "required",
            open(json!({"a": text})),
            requiring(json!({"a": text}), json!(["a"])),
            &[("/a", RequiredAdded)],
        ),
        (
            "another one",
            requiring(json!({"a": text, "b": text}), json!(["a"])),
            requiring(json!({"a": text, "b": text}), json!(["b", "a"])),
            &[("/b", RequiredAdded)],
        ),
        (
            "with another",
            open(json!({"a": text, "b": text})),
            json!({"type": "object", "properties": {"a": text, "b": text}, "dependentRequired": {"a": ["b"]}}),
            &[("/b", DependencyAdded)],
        ),
    ]);
    check(vec![
        (
            "with another that the writer never writes",
            json!({"dependentRequired": {"x": ["y"]}}),
            open(json!({"a": text})),
            &[],
        ),
        (
            "with another, and always there",
            json!({"dependentRequired": {"a": ["b"]}}),
            requiring(json!({"a": text}), json!(["b"])),
            &[],
        ),
    ]);
}

#[test]
fn breaks_are_found_deep_in_a_document() {
    let order = |line: Value| {
        open(json!({
            "lines": {"type": "array", "items": line},
            "customer": open(json!({"name": {"type": "string"}})),
        }))
    };
    check_one_way(vec![(
        "array of objects",
        order(requiring(json!({"sku": {"enum": ["a", "b"]}}), json!([]))),
        order(requiring(json!({"sku": {"enum": ["a"]}, "count": {"type": "integer"}}), json!(["count"]))),
        &[("/lines/*/count", RequiredAdded), ("/lines/*/sku", EnumNarrowed)],
    )]);
    check(vec![(
        "object in an object",
        open(json!({"customer": open(json!({"name": {"type": "string", "maxLength": 9}}))})),
        order(json!({})),
        &[("/customer/name", LengthNarrowed)],
    )]);
}

#[test]
fn maps_are_compared_by_their_values() {
    let map = |schema: Value| json!({"type": "object", "additionalProperties": schema});
    check_one_way(vec![(
        "values",
        map(json!({"type": "number"})),
        map(json!({"type": "integer"})),
        &[("/*", TypeNarrowed)],
    )]);
    check(vec![
        (
            "a name among the others",
            json!({"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}}),
            map(json!({"type": "integer"})),
            &[("/a", TypeNarrowed)],
        ),
        (
            "others become a name",
            map(json!({"type": "integer"})),
            json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}),
            &[("/a", TypeNarrowed)],
        ),
    ]);
}

#[test]
fn properties_by_pattern_are_compared() {
    let by = |pattern: &str, schema: Value| json!({"type": "object", "patternProperties": {pattern: schema}});
    let (integer, number, text) =
        (json!({"type": "integer"}), json!({"type": "number"}), json!({"type": "string"}));
    check_one_way(vec![(
        "the same pattern",
        by("^[a-z]+_count$", number.clone()),
        by("^[a-z]+_count$", integer.clone()),
        &[("/*", TypeNarrowed)],
    )]);
    let mixed = |name: &str| {
        json!({
            "type": "object", "properties": {"id": text, name: text}, "additionalProperties": false,
            "patternProperties": {"^[a-z]+_count$": integer, "^x-": text, "_[0-9]$": number},
        })
    };
    check(vec![
        ("a name beside them", mixed("note"), mixed("id"), &[("/note", NotComparable)]),
        ("a name beside them that goes for both", mixed("x-note"), mixed("id"), &[]),
        ("a name beside them is gone", mixed("id"), mixed("note"), &[("/note", NotComparable)]),
        (
            "another pattern",
            by("^[a-c]", text.clone()),
            by("^[a-b]", integer.clone()),
            &[("/*", TypeNarrowed)],
        ),
        (
            "a name that matches",
            by("^x-", text.clone()),
            open(json!({"x-a": integer})),
            &[("/x-a", TypeNarrowed)],
        ),
        ("a name that doesn't", by("^x-", text.clone()), open(json!({"a": integer})), &[]),
        (
            "a name that may match",
            by("^[x]", text.clone()),
            open(json!({"a": integer})),
            &[("/a", NotComparable)],
        ),
        ("and needn't", by("^[x]", number), open(json!({"a": integer})), &[]),
        (
            "a name of the reader's",
            open(json!({"x-a": text})),
            by("^x-", integer.clone()),
            &[("/x-a", TypeNarrowed)],
        ),
        ("others", json!({"additionalProperties": text}), by("^x-", integer), &[("/*", TypeNarrowed)]),
        ("closed", closed(json!({})), by("^x-", text), &[("/*", PropertyRefused)]),
    ]);
}

#[test]
fn counts_of_properties_may_be_widened_only() {
    check_one_way(vec![
        (
            "at least",
            json!({"minProperties": 1}),
            json!({"minProperties": 2}),
            &[("", PropertyCountNarrowed)],
        ),
        (
            "at most",
            json!({"additionalProperties": {"type": "string"}, "maxProperties": 3}),
            json!({"additionalProperties": {"type": "string"}, "maxProperties": 2}),
            &[("", PropertyCountNarrowed)],
        ),
    ]);
    check(vec![
        ("as many as required", json!({"minProperties": 1}), requiring(json!({}), json!(["a"])), &[]),
        ("as many as named", json!({"maxProperties": 1}), open(json!({"a": {}})), &[]),
        (
            "more than named",
            json!({"maxProperties": 1}),
            open(json!({"a": {}, "b": {}})),
            &[("", PropertyCountNarrowed)],
        ),
    ]);
}

#[test]
fn arrays_may_be_widened_only() {
    let tuple = |rest: Value| json!({"type": "array", "prefixItems": [{"type": "string"}], "items": rest});
    check_one_way(vec![
        ("at least", json!({"minItems": 1}), json!({"minItems": 2}), &[("", ItemsNarrowed)]),
        ("at most", json!({"maxItems": 2}), json!({"maxItems": 1}), &[("", ItemsNarrowed)]),
        ("unique", json!({}), json!({"uniqueItems": true}), &[("", UniquenessAdded)]),
        (
            "items",
            json!({"type": "array", "items": {"type": "number"}}),
            json!({"type": "array", "items": {"type": "integer"}}),
            &[("/*", TypeNarrowed)],
        ),
        ("a closed tuple", tuple(json!({"type": "string"})), tuple(json!(false)), &[("/*", ItemsNarrowed)]),
        (
            "a longer tuple",
            json!({"type": "array", "prefixItems": [{"type": "string"}, {"type": "null"}], "items": false}),
            tuple(json!(false)),
            &[("/1", ItemsNarrowed)],
        ),
        (
            "a tuple as a list",
            json!({"type": "array", "items": {"type": ["string", "null"]}}),
            tuple(json!({"type": "null"})),
            &[("/0", TypeNarrowed), ("/*", TypeNarrowed)],
        ),
        (
            "a tuple of draft 7",
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "number"}],
                "additionalItems": {"type": "string"}}),
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}],
                "additionalItems": false}),
            &[("/0", TypeNarrowed), ("/*", ItemsNarrowed)],
        ),
    ]);
    check(vec![
        ("one item is unique", json!({"uniqueItems": true}), json!({"maxItems": 1}), &[]),
        ("no items", json!({"items": {"type": "string"}}), json!({"maxItems": 0}), &[]),
        ("no arrays", json!({"minItems": 1, "items": false}), json!({"type": "object"}), &[]),
    ]);
}
