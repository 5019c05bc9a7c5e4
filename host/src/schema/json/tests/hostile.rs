//! Schemas that are made to take long, or the whole stack.

use serde_json::{Map, Value, json};

use super::super::{Rule, breaks};
use crate::limits::SCHEMA_BREAKS_FOUND_MAX;

/// The rules that break, once a comparison has come to its end.
fn rules(reader: &Value, writer: &Value) -> Vec<Rule> {
    let found = breaks(reader, writer);
    assert!(found.len() <= SCHEMA_BREAKS_FOUND_MAX, "{}", found.len());
    found.into_iter().map(|found| found.rule).collect()
}

/// Runs with a little more than half of the stack that threads have by default.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(1200 << 10).spawn(test).unwrap().join().unwrap();
}

fn nested(levels: usize, core: Value, wrap: impl Fn(Value) -> Value) -> Value {
    (0..levels).fold(core, |inner, _| wrap(inner))
}

/// `json!` would copy what is inside, and recurse.
fn object(key: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(key.to_owned(), value)]))
}

/// A chain of definitions, each of which leads to the next.
fn chain(length: usize, link: impl Fn(Value) -> Value, end: Value) -> Value {
    let mut definitions: Map<String, Value> = (1..length)
        .map(|number| (number.to_string(), link(json!({"$ref": format!("#/$defs/{}", number + 1)}))))
        .collect();
    definitions.insert(length.to_string(), end);
    json!({"$ref": "#/$defs/1", "$defs": definitions})
}

#[test]
fn deep_nesting_is_not_comparable() {
    on_a_small_stack(|| {
        let deep: [fn(Value) -> Value; 4] = [
            |inner| object("properties", object("a", inner)),
            |inner| object("anyOf", Value::Array(vec![inner])),
            |inner| object("const", Value::Array(vec![inner])),
            |inner| object("x-unknown", inner),
        ];
        for wrap in deep {
            let (reader, writer) = (nested(10_000, json!(true), wrap), nested(10_000, json!({}), wrap));
            let flat = json!({"type": "object"});
            assert_eq!(rules(&reader, &writer), [Rule::NotComparable]);
            assert_eq!(rules(&reader, &flat), [Rule::NotComparable]);
            assert_eq!(rules(&flat, &writer), [Rule::NotComparable]);
            // Their own drop recurses, on the small stack.
            std::mem::forget((reader, writer));
        }
    });
}

#[test]
fn nesting_as_deep_as_text_allows_is_compared() {
    on_a_small_stack(|| {
        for wrap in [
            |inner: Value| json!({"properties": {"a": inner}}),
            |inner: Value| json!({"allOf": [inner, {"type": "object"}]}),
            |inner: Value| json!({"items": {"items": {"items": inner}}}),
        ] {
            let schema = |core: Value| nested(42, core, wrap);
            let (wide, narrow) = (schema(json!({"minimum": 1})), schema(json!({"minimum": 2})));
            assert_eq!(rules(&wide, &narrow), []);
            assert_ne!(rules(&narrow, &wide), [Rule::NotComparable]);
        }
    });
}

#[test]
fn long_chains_of_references_end() {
    on_a_small_stack(|| {
        let links: [fn(Value) -> Value; 4] = [
            |next| next,
            |next| json!({"allOf": [next]}),
            |next| json!({"anyOf": [next, {"type": "null"}]}),
            |next| json!({"properties": {"a": next, "b": next}}),
        ];
        for link in links {
            let writer = chain(10_000, link, json!({"type": "integer", "title": "x"}));
            let reader = chain(10_000, link, json!({"type": "integer"}));
            let narrow = chain(10_000, link, json!({"type": "string"}));
            for (reader, writer) in [(&reader, &writer), (&narrow, &writer), (&narrow, &reader)] {
                assert_eq!(rules(reader, writer), [Rule::NotComparable]);
            }
            // Of the depth alone.
            let deep = |end: Value| chain(300, link, end);
            rules(&deep(json!({"minimum": 2})), &deep(json!({"minimum": 1})));
            // Not beyond the bounds.
            let (wide, narrow) =
                (chain(20, link, json!({"minimum": 1})), chain(20, link, json!({"minimum": 2})));
            assert_eq!(rules(&wide, &narrow), []);
            assert_ne!(rules(&narrow, &wide), []);
        }
    });
}

#[test]
fn circles_of_references_end() {
    let circles = [
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"allOf": [{"$ref": "#"}], "anyOf": [{"$ref": "#"}, {"type": "null"}]}),
        json!({"oneOf": [{"$ref": "#"}, {"$ref": "#"}], "not": {"$ref": "#"}}),
        json!({"properties": {"a": {"$ref": "#"}}, "additionalProperties": {"$ref": "#"}, "items": {"$ref": "#"}}),
        json!({"if": {"$ref": "#"}, "then": {"$ref": "#"}, "dependentSchemas": {"a": {"$ref": "#"}}}),
    ];
    for reader in &circles {
        for writer in &circles {
            rules(reader, writer);
        }
    }
}

#[test]
fn products_of_alternatives_end_within_the_bound() {
    on_a_small_stack(|| {
        let choices = |name: &str, count: usize, shift: usize| {
            let branch =
                |number: usize| json!({"properties": {(number + shift).to_string(): {"type": "integer"}}});
            let all: Vec<_> = (0..count)
                .map(|choice| json!({name: (0..6).map(|number| branch(choice * 10 + number)).collect::<Vec<_>>()}))
                .collect();
            json!({"type": "object", "allOf": all, "required": [shift.to_string()]})
        };
        for name in ["anyOf", "oneOf"] {
            for count in [12, 200] {
                let found = rules(&choices(name, count, 1), &choices(name, count, 0));
                assert_eq!(found, [Rule::NotComparable], "{name} {count}");
            }
        }
    });
}

#[test]
fn alternatives_at_each_level_end() {
    on_a_small_stack(|| {
        for name in ["anyOf", "oneOf"] {
            let link =
                |next: Value| json!({name: [{"properties": {"a": next}}, {"properties": {"a": next}}]});
            let (reader, writer) = (chain(25, link, json!({"type": "null"})), chain(25, link, json!(true)));
            assert_ne!(rules(&reader, &writer), []);
        }
    });
}

#[test]
fn shared_definitions_are_compared_once() {
    // Ways through it: 2^60.
    let schema = |core: Value| chain(60, |next| json!({"properties": {"a": next, "b": next}}), core);
    let found = rules(&schema(json!({"type": "number"})), &schema(json!({"type": "integer"})));
    assert_eq!(found, []);
    let found = rules(&schema(json!({"type": "integer"})), &schema(json!({"type": "number"})));
    assert_eq!(found, [Rule::TypeNarrowed; 100]);
}

#[test]
fn mutual_recursion_is_not_a_product() {
    let schema = |title: &str, last: Value| {
        let node = |number: usize| {
            let all: Vec<_> = (0..20).map(|other| json!({"$ref": format!("#/$defs/{other}")})).collect();
            let core = if number == 19 { last.clone() } else { json!({"type": "string"}) };
            json!({"type": "object", "title": title, "required": ["kind"], "properties": {
                "kind": {"const": number.to_string()}, "core": core, "next": {"oneOf": all},
            }})
        };
        let nodes: Map<String, Value> = (0..20).map(|number| (number.to_string(), node(number))).collect();
        json!({"$ref": "#/$defs/0", "$defs": nodes})
    };
    let (old, new) = (schema("old", json!({"type": "integer"})), schema("new", json!({"type": "number"})));
    assert_eq!(rules(&new, &old), []);
    let found = rules(&old, &new);
    assert!(!found.is_empty() && found.iter().all(|rule| *rule == Rule::TypeNarrowed), "{found:?}");
}

#[test]
fn a_large_union_is_within_the_bound() {
    let schema = |version: &str| {
        let event = |number: usize| {
            let mut properties: Map<String, Value> =
                (0..15).map(|field| (format!("field{field}"), json!({"type": ["string", "null"]}))).collect();
            properties.insert("kind".to_owned(), json!({"const": format!("event{number}")}));
            properties.insert(version.to_owned(), json!({"$ref": "#/$defs/money"}));
            json!({"type": "object", "properties": properties, "required": ["kind", "field1"]})
        };
        let money = json!({"type": "object", "properties": {"cents": {"type": "integer"}}, "title": version});
        json!({"oneOf": (0..100).map(event).collect::<Vec<_>>(), "$defs": {"money": money}})
    };
    assert_eq!(rules(&schema("v2"), &schema("v1")), []);
    assert_eq!(rules(&schema("v1"), &schema("v2")), []);
}

#[test]
fn large_values_are_paid_for() {
    let text = "x".repeat(100_000);
    let branches = |end: &str| -> Vec<_> {
        (0..300).map(|number| json!({"const": format!("{text}{number}{end}")})).collect()
    };
    let (reader, writer) = (json!({"anyOf": branches("a")}), json!({"anyOf": branches("b")}));
    assert_eq!(rules(&reader, &writer), [Rule::NotComparable]);
    let listed = |range: std::ops::Range<u32>| json!({"enum": range.collect::<Vec<_>>()});
    assert_eq!(rules(&listed(0..20_000), &listed(1..20_000)), []);
    assert_eq!(rules(&listed(1..20_000), &listed(0..20_000)), [Rule::EnumNarrowed]);
}
