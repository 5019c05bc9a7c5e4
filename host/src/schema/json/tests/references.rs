//! References and dialects.

use serde_json::{Value, json};

use super::super::Rule::{
    EnumNarrowed, NotComparable, PropertyRefused, RangeNarrowed, RequiredAdded, TypeNarrowed,
};
use super::{check, check_one_way};

const DRAFT_7: &str = "http://json-schema.org/draft-07/schema#";

fn tree(value: Value) -> Value {
    json!({
        "$ref": "#/$defs/node",
        "$defs": {"node": {
            "type": "object",
            "properties": {"value": value, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
        }},
    })
}

#[test]
fn recursive_schemas_are_compared() {
    check_one_way(vec![(
        "a tree",
        tree(json!({"type": "number"})),
        tree(json!({"type": "integer"})),
        &[("/value", TypeNarrowed)],
    )]);
    let list = |tail: Value| {
        let next = json!({"anyOf": [{"type": "null"}, {"$ref": "#"}]});
        json!({"type": "object", "properties": {"next": next, "tail": tail}})
    };
    check_one_way(vec![(
        "a list",
        list(json!({})),
        list(json!({"type": "string"})),
        // The first step is looked at behind its alternatives, all others are known then.
        &[("/next/tail", TypeNarrowed), ("/tail", TypeNarrowed)],
    )]);
    // One unrolled by a step, and one in two mutual parts.
    let unrolled = json!({
        "properties": {"next": {"properties": {"next": {"$ref": "#"}, "tail": {}}}, "tail": {"type": "string"}},
    });
    let mutual = json!({
        "properties": {"next": {"$ref": "#/$defs/a"}, "tail": {"type": "string"}},
        "$defs": {
            "a": {"properties": {"next": {"$ref": "#/$defs/b"}, "tail": {"type": "string"}}},
            "b": {"properties": {"next": {"$ref": "#/$defs/a"}, "tail": {"type": "string"}}},
        },
    });
    check(vec![
        ("unrolled", unrolled.clone(), mutual.clone(), &[]),
        ("rolled", mutual, unrolled, &[("/next/tail", TypeNarrowed)]),
    ]);
}

#[test]
fn a_failed_place_spoils_what_was_built_on_it() {
    // `b` is met within `a` first, and holds only as long as `a` does.
    let schema = |tail: &str| {
        json!({
            "properties": {"x": {"$ref": "#/$defs/a"}, "y": {"$ref": "#/$defs/b"}},
            "$defs": {
                "a": {"properties": {"b": {"$ref": "#/$defs/b"}, "tail": {"type": tail}}},
                "b": {"properties": {"a": {"$ref": "#/$defs/a"}}},
            },
        })
    };
    check(vec![(
        "both ways to it",
        schema("integer"),
        schema("number"),
        &[("/x/tail", TypeNarrowed), ("/y/a/tail", TypeNarrowed)],
    )]);
}

#[test]
fn a_reference_that_leads_to_itself_takes_nothing_for_granted() {
    for circular in [
        json!({"$ref": "#"}),
        json!({"anyOf": [{"$ref": "#"}, {"type": "string"}]}),
        json!({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}}),
        json!({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"oneOf": [{"$ref": "#/$defs/b"}]}}}),
    ] {
        let writer = json!({"type": ["integer", "object"], "properties": {"a": {"type": "integer"}}});
        assert!(!super::breaks(&circular, &writer).is_empty(), "{circular}");
        // As a writer it only says less.
        check(vec![("writer", json!(true), circular, &[])]);
    }
}

#[test]
fn references_are_followed_wherever_they_point() {
    let pointed = |reference: &str| {
        json!({
            "$id": "https://example.com/order", "properties": {"a": {"$ref": reference}},
            "$defs": {"a b/c": {"type": "integer"}}, "definitions": {"x": {"type": "integer"}},
            "allOf": [true, {"properties": {"z": {"type": "integer"}}}],
        })
    };
    let integer = json!({"properties": {"a": {"type": "integer"}, "z": {"type": "integer"}}});
    for reference in [
        "#/$defs/a%20b~1c",
        "#/definitions/x",
        "#/allOf/1/properties/z",
        "https://example.com/order#/definitions/x",
    ] {
        check(vec![
            (reference, pointed(reference), integer.clone(), &[]),
            (reference, integer.clone(), pointed(reference), &[]),
        ]);
    }
    check(vec![
        ("nowhere", pointed("#/$defs/none"), integer.clone(), &[("/a", NotComparable)]),
        ("nowhere", integer, pointed("#/$defs/none"), &[("/a", NotComparable)]),
    ]);
}

#[test]
fn siblings_of_a_reference_count_from_2019_on() {
    let with = |dialect: &str, minimum: u8| {
        json!({
            "$schema": dialect, "properties": {"a": {"$ref": "#/definitions/n", "minimum": minimum}},
            "definitions": {"n": {"type": "integer"}},
        })
    };
    let new = "https://json-schema.org/draft/2020-12/schema";
    check(vec![
        ("2020-12", with(new, 2), with(new, 1), &[("/a", RangeNarrowed)]),
        ("draft 7", with(DRAFT_7, 2), with(DRAFT_7, 1), &[]),
        // The writer's bound is none.
        ("mixed", with(new, 1), with(DRAFT_7, 2), &[("/a", RangeNarrowed)]),
    ]);
}

#[test]
fn keywords_count_as_their_version_has_them() {
    let constant = |dialect: &str| json!({"$schema": dialect, "const": 1});
    let draft_4 = "http://json-schema.org/draft-04/schema#";
    check(vec![
        ("known", constant(DRAFT_7), json!({"const": 1}), &[]),
        (
            "unknown to the writer's",
            json!({"$schema": draft_4, "enum": [1]}),
            constant(draft_4),
            &[("", EnumNarrowed)],
        ),
        ("another notion of integers", constant(draft_4), constant(DRAFT_7), &[("", NotComparable)]),
        (
            "draft 3",
            json!({"$schema": "http://json-schema.org/draft-03/schema#"}),
            json!({}),
            &[("", NotComparable)],
        ),
    ]);
}

#[test]
fn references_to_elsewhere_have_to_be_the_same() {
    let elsewhere = |id: &str, reference: &str, more: Value| {
        let a = json!({"$ref": reference});
        json!({"$id": id, "properties": {"a": a, "b": more}})
    };
    let (id, plain, number) =
        ("https://example.com/v1/order.json", json!({"type": "integer"}), json!({"type": "number"}));
    for (name, readers, writers, expected) in [
        ("same", (id, "money.json"), (id, "money.json"), &[] as &[_]),
        ("another", (id, "money.json"), (id, "price.json"), &[("/a", NotComparable)]),
        (
            "another base",
            ("https://example.com/v2/order.json", "money.json"),
            (id, "money.json"),
            &[("/a", NotComparable)],
        ),
        (
            "no base needed",
            ("https://example.com/v2/order.json", "https://x.y/money"),
            (id, "https://x.y/money"),
            &[],
        ),
        (
            "itself after all",
            (id, "../v1/order.json#/$defs/x"),
            (id, "../v1/order.json#/$defs/x"),
            &[("/a", NotComparable)],
        ),
        ("an anchor", (id, "#money"), (id, "#money"), &[("/a", NotComparable)]),
    ] {
        check(vec![(
            name,
            elsewhere(readers.0, readers.1, number.clone()),
            elsewhere(writers.0, writers.1, plain.clone()),
            expected,
        )]);
    }
    check(vec![
        (
            "what it names isn't known",
            json!({"$ref": "https://x.y/a", "properties": {"a": {"type": "string"}}}),
            json!({"$ref": "https://x.y/a"}),
            &[("", NotComparable)],
        ),
        (
            "and may be refused",
            json!({"properties": {"a": {}}, "additionalProperties": false}),
            json!({"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
            &[("/b", PropertyRefused)],
        ),
    ]);
}

#[test]
fn the_same_reference_to_another_definition_is_not_the_same() {
    let with =
        |required: &str| json!({"not": {"$ref": "#/$defs/x"}, "$defs": {"x": {"required": [required]}}});
    let mut other = with("a");
    other["minLength"] = json!(0);
    check(vec![
        ("same definition", other, with("a"), &[]),
        ("another definition", with("b"), with("a"), &[("", NotComparable)]),
    ]);
}

#[test]
fn an_id_below_the_root_makes_references_incomparable() {
    let with = |required: Value| {
        json!({
            "properties": {
                "a": {"$id": "https://example.com/a", "$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}},
            },
            "$defs": {"n": {"type": "integer"}}, "required": required,
        })
    };
    check(vec![
        ("equal", with(json!(["a"])), with(json!(["a"])), &[]),
        ("not equal", with(json!(["a"])), with(json!([])), &[("/a", RequiredAdded), ("/a", NotComparable)]),
    ]);
}

#[test]
fn dynamic_references_want_an_equal_schema() {
    let tree = |more: Value| {
        let children = json!({"items": {"$dynamicRef": "#node"}});
        json!({"$dynamicAnchor": "node", "properties": {"children": children, "x": more}})
    };
    check(vec![
        ("equal", tree(json!({})), tree(json!({})), &[]),
        ("not equal", tree(json!({})), tree(json!({"type": "null"})), &[("/children/*", NotComparable)]),
    ]);
}
