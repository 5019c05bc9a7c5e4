//! Alternatives: `anyOf`, `oneOf`, `allOf`, `not`.

use serde_json::{Value, json};

use super::super::Rule::{
    AlternativeRemoved, EnumNarrowed, LengthNarrowed, NotComparable, PropertyRefused, RangeNarrowed,
    RequiredAdded, TypeNarrowed,
};
use super::{check, check_one_way};

/// An event of a kind, told from others by a property.
fn event(kind: &str, properties: Value) -> Value {
    let mut event = json!({"type": "object", "properties": properties, "required": ["kind"]});
    event["properties"]["kind"] = json!({"const": kind});
    event
}

#[test]
fn null_comes_by_a_list_of_types_or_by_any_of() {
    let by_list = json!({"type": ["string", "null"], "maxLength": 3});
    let by_any = json!({"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]});
    let by_one = json!({"oneOf": [{"type": "null"}, {"type": "string", "maxLength": 3}]});
    let text = json!({"type": "string", "maxLength": 3});
    for nullable in [&by_list, &by_any, &by_one] {
        for other in [&by_list, &by_any, &by_one, &text] {
            check(vec![("nullable", nullable.clone(), other.clone(), &[])]);
        }
        check(vec![("not nullable", text.clone(), nullable.clone(), &[("", TypeNarrowed)])]);
    }
    let longer = json!({"type": ["string", "null"], "maxLength": 4});
    for nullable in [by_list, by_any, by_one] {
        check(vec![("longer", nullable, longer.clone(), &[("", LengthNarrowed)])]);
    }
}

#[test]
fn an_alternative_may_be_added_only() {
    let (a, b, c) = (json!({"type": "string"}), json!({"type": "integer"}), json!({"type": "null"}));
    for name in ["anyOf", "oneOf"] {
        check_one_way(vec![
            ("by type", json!({name: [c, a, b]}), json!({name: [a, b]}), &[("", AlternativeRemoved)]),
            (
                "by a property",
                json!({name: [event("a", json!({})), event("b", json!({})), event("c", json!({}))]}),
                json!({name: [event("c", json!({})), event("a", json!({}))]}),
                &[("", AlternativeRemoved)],
            ),
            (
                "by value",
                json!({name: [{"const": "a"}, {"const": "b"}]}),
                json!({"enum": ["a"]}),
                &[("", EnumNarrowed)],
            ),
            (
                "a part of one",
                json!({name: [event("a", json!({"x": {"type": "number"}})), event("b", json!({}))]}),
                json!({name: [event("b", json!({})), event("a", json!({"x": {"type": "integer"}}))]}),
                &[("/x", TypeNarrowed)],
            ),
            (
                "beside siblings",
                json!({"type": "object", "properties": {"id": {"type": "number"}}, name: [event("a", json!({}))]}),
                json!({"type": "object", "properties": {"id": {"type": "integer"}}, name: [event("a", json!({}))]}),
                &[("/id", TypeNarrowed)],
            ),
        ]);
    }
    check(vec![(
        "which one is told",
        json!({"oneOf": [event("a", json!({})), event("c", json!({}))]}),
        json!({"oneOf": [event("a", json!({})), event("b", json!({}))]}),
        &[("", AlternativeRemoved)],
    )]);
}

#[test]
fn one_of_wants_alternatives_that_exclude_one_another() {
    let (short, long) =
        (json!({"type": "string", "maxLength": 5}), json!({"type": "string", "minLength": 3}));
    let both = json!([short, long]);
    check(vec![
        ("overlapping", json!({"oneOf": both}), short.clone(), &[("", NotComparable)]),
        ("not for any", json!({"anyOf": both}), short.clone(), &[]),
        (
            "the same, and one that is apart",
            json!({"oneOf": [long, {"type": "null"}, short]}),
            json!({"oneOf": both, "description": "x"}),
            &[],
        ),
        (
            "the same, and one that isn't",
            json!({"oneOf": [long, {"const": "four"}, short]}),
            json!({"oneOf": both}),
            &[("", NotComparable)],
        ),
        (
            "twice the same",
            json!({"oneOf": [short, short]}),
            json!({"oneOf": [short]}),
            &[("", NotComparable)],
        ),
        (
            "apart by a closed property",
            json!({"oneOf": [
                {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": false},
                {"type": "object", "properties": {"b": {}}, "required": ["b"], "additionalProperties": false},
            ]}),
            json!({"type": "object", "properties": {"b": {}}, "required": ["b"]}),
            &[],
        ),
        (
            "a property that needn't be there keeps nothing apart",
            json!({"oneOf": [
                {"type": "object", "properties": {"kind": {"const": "a"}}},
                {"type": "object", "properties": {"kind": {"const": "b"}}},
            ]}),
            json!({"type": "object", "properties": {"kind": {"const": "a"}}}),
            &[("", NotComparable)],
        ),
    ]);
}

#[test]
fn all_of_is_taken_together() {
    let base = json!({"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]});
    let more = json!({"properties": {"at": {"type": "integer"}}, "required": ["at"]});
    let whole = json!({
        "type": "object", "required": ["id", "at"],
        "properties": {"id": {"type": "string"}, "at": {"type": "integer"}}
    });
    check(vec![
        ("the reader's parts", json!({"allOf": [base, more]}), whole.clone(), &[]),
        ("the writer's parts", whole.clone(), json!({"allOf": [base, more]}), &[]),
        (
            "closed by one part",
            json!({"allOf": [base, {"additionalProperties": false, "properties": {"id": {}}}]}),
            whole.clone(),
            &[("/at", PropertyRefused)],
        ),
        (
            "one property in two parts",
            json!({"properties": {"n": {"type": "integer", "minimum": 1}}}),
            json!({"allOf": [{"properties": {"n": {"type": "integer"}}}, {"properties": {"n": {"minimum": 2}}}]}),
            &[],
        ),
        ("a part is missing", whole, json!({"allOf": [base]}), &[("/at", RequiredAdded)]),
    ]);
}

#[test]
fn what_is_not_followed_has_to_be_the_same() {
    let condition =
        |text: &str| json!({"if": {"properties": {"a": {"const": text}}}, "then": {"required": ["b"]}});
    for (keyword, value, other) in [
        ("not", json!({"required": ["a"]}), json!({"required": ["b"]})),
        ("contains", json!({"type": "string"}), json!({"type": "null"})),
        ("propertyNames", json!({"pattern": "^a"}), json!({"pattern": "^b"})),
        ("dependentSchemas", json!({"a": {"required": ["b"]}}), json!({"a": {"required": ["c"]}})),
        ("dependencies", json!({"a": ["b"]}), json!({"a": ["c"]})),
    ] {
        let same = |properties: Value| json!({keyword: value, "properties": properties});
        check(vec![
            ("same", same(json!({"new": {"type": "string"}})), same(json!({})), &[]),
            ("differs", json!({keyword: other}), json!({keyword: value}), &[("", NotComparable)]),
            ("dropped", json!({}), json!({keyword: value}), &[]),
        ]);
    }
    for keyword in ["unevaluatedProperties", "unevaluatedItems"] {
        check(vec![
            (
                "same, beside others",
                json!({keyword: false, "minimum": 1}),
                json!({keyword: false}),
                &[("", RangeNarrowed), ("", NotComparable)],
            ),
            ("dropped", json!({}), json!({keyword: false}), &[]),
            ("true", json!({keyword: true}), json!({}), &[]),
        ]);
    }
    check(vec![
        (
            "same condition",
            condition("x"),
            {
                let mut c = condition("x");
                c["minimum"] = json!(1);
                c
            },
            &[],
        ),
        ("another condition", condition("x"), condition("y"), &[("", NotComparable)]),
        ("not what is never written", json!({"not": {"type": "null"}}), json!({"type": "string"}), &[]),
        ("not what may be written", json!({"not": {"type": "null"}}), json!({}), &[("", NotComparable)]),
        (
            "a property that a condition names",
            json!({"properties": {"b": {"type": "string"}}}),
            json!({"if": {"required": ["a"]}, "then": {"properties": {"b": {"type": "integer"}}}}),
            &[("/b", TypeNarrowed)],
        ),
    ]);
}

#[test]
fn properties_of_undecided_alternatives_count_as_written() {
    check(vec![
        (
            "of the branch",
            json!({"type": "object", "properties": {"b": {"type": "string"}}}),
            json!({"type": "object", "anyOf": [
                {"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {"type": "integer"}}},
            ]}),
            &[("/b", TypeNarrowed)],
        ),
        (
            "closed to a branch",
            json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false}),
            json!({"type": "object", "anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]}),
            &[("/b", PropertyRefused)],
        ),
        (
            "an item that an array contains",
            json!({"items": {"properties": {"a": {"type": "string"}}}}),
            json!({"type": "array", "contains": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}}),
            &[("/*/a", TypeNarrowed)],
        ),
    ]);
}
