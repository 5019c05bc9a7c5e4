//! Random documents that a schema describes.

use serde_json::{Map, Value, json};

use super::schemas::{Dice, NAMES, PATTERNS};

const TEXTS: [&str; 8] = ["a", "b", "", "ab", "aab", "xab", "cb", "abcdb"];

/// Decides on one alternative of each list, as whoever writes a document does. The lists stay beside it: with `oneOf`
/// no other alternative may be valid. What a document may not be stays as it is.
pub fn decide(schema: &mut Value, dice: &mut Dice) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| decide(item, dice)),
        Value::Object(object) => {
            let mut decided = Vec::new();
            for name in ["anyOf", "oneOf"] {
                if let Some(Value::Array(branches)) = object.get(name) {
                    decided.push(dice.pick(branches));
                }
            }
            if !decided.is_empty() {
                let all = object.entry("allOf").or_insert_with(|| json!([]));
                all.as_array_mut().unwrap().append(&mut decided);
            }
            for (_, member) in object
                .iter_mut()
                .filter(|(name, _)| !matches!(name.as_str(), "anyOf" | "oneOf" | "not" | "if"))
            {
                decide(member, dice);
            }
        }
        _ => {}
    }
}

/// A document for a place where all of `parts` hold: with the properties that these name, and often valid.
/// Alternatives are decided on.
pub fn document(root: &Value, parts: &[&Value], dice: &mut Dice, depth: usize) -> Value {
    let mut objects = Vec::new();
    let mut seen = Vec::new();
    for part in parts {
        gather(root, part, dice, &mut objects, &mut seen);
    }
    for object in &objects {
        if let Some(Value::Array(listed)) = object.get("enum")
            && !dice.once_in(6)
        {
            return dice.pick(listed);
        }
        if let Some(value) = object.get("const").filter(|_| !dice.once_in(6)) {
            return value.clone();
        }
    }
    let types: Vec<&str> = ["object", "array", "string", "integer", "number", "boolean", "null"]
        .into_iter()
        .filter(|name| objects.iter().all(|object| allows(object, name)))
        .collect();
    let named = types.contains(&"object") && objects.iter().any(|object| object.contains_key("properties"));
    match if types.is_empty() || dice.once_in(12) {
        dice.pick(&["null", "string", "integer"])
    } else if named && dice.once_in(2) {
        "object"
    } else {
        dice.pick(&types)
    } {
        "object" if depth > 0 => properties(root, &objects, dice, depth - 1),
        "array" if depth > 0 => items(root, &objects, dice, depth - 1),
        "object" => json!({}),
        "array" => json!([]),
        "string" => json!(dice.pick(&TEXTS)),
        "boolean" => json!(dice.once_in(2)),
        "null" => json!(null),
        name => {
            let mut number = numbers(&objects, dice);
            if name == "integer" {
                number = number.floor();
            }
            #[allow(clippy::cast_possible_truncation, reason = "small numbers")]
            if number.fract() == 0.0 && !dice.once_in(8) { json!(number as i64) } else { json!(number) }
        }
    }
}

fn allows(object: &Map<String, Value>, name: &str) -> bool {
    match object.get("type") {
        None => true,
        Some(Value::Array(names)) => names.contains(&json!(name)),
        Some(one) => one == name || (one == "number" && name == "integer"),
    }
}

/// Follows references, and takes conditions or not.
fn gather<'a>(
    root: &'a Value,
    schema: &'a Value,
    dice: &mut Dice,
    objects: &mut Vec<&'a Map<String, Value>>,
    seen: &mut Vec<*const Value>,
) {
    let Value::Object(object) = schema else { return };
    if seen.contains(&std::ptr::from_ref(schema)) {
        return;
    }
    seen.push(schema);
    objects.push(object);
    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
        let target = root.pointer(&reference[1..]);
        if let Some(target) = target {
            gather(root, target, dice, objects, seen);
        }
    }
    for schema in object.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        gather(root, schema, dice, objects, seen);
    }
    for name in ["if", "then", "else"] {
        if let Some(schema) = object.get(name).filter(|_| dice.once_in(2)) {
            gather(root, schema, dice, objects, seen);
        }
    }
    for schema in object.get("dependentSchemas").and_then(Value::as_object).into_iter().flat_map(Map::values)
    {
        if dice.once_in(2) {
            gather(root, schema, dice, objects, seen);
        }
    }
}

fn numbers(objects: &[&Map<String, Value>], dice: &mut Dice) -> f64 {
    let mut numbers = vec![0.0, 1.0, 4.0, 0.3];
    for object in objects {
        for name in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"] {
            let bound = object.get(name).and_then(Value::as_f64);
            numbers
                .extend(bound.into_iter().flat_map(|bound| [bound, bound + 1.0, bound - 1.0, bound + 0.5]));
        }
    }
    dice.pick(&numbers)
}

fn properties(root: &Value, objects: &[&Map<String, Value>], dice: &mut Dice, depth: usize) -> Value {
    let mut names: Vec<&str> = Vec::new();
    let mut required: Vec<&str> = Vec::new();
    for object in objects {
        let members = |name| object.get(name).and_then(Value::as_object).into_iter().flatten();
        names.extend(members("properties").map(|(name, _)| name.as_str()));
        required.extend(
            object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str),
        );
        for (_, listed) in members("dependentRequired") {
            names.extend(listed.as_array().into_iter().flatten().filter_map(Value::as_str));
        }
        for (pattern, _) in members("patternProperties") {
            names.extend(PATTERNS.iter().filter(|(known, _)| known == pattern).map(|(_, name)| name));
            names.extend(NAMES.iter().filter(|name| is_match(pattern, name)));
        }
        for keyword in ["additionalProperties", "unevaluatedProperties"] {
            if object.get(keyword).and_then(Value::as_object).is_some_and(|schema| !schema.is_empty()) {
                names.extend(["p", "c", "kind"]);
            }
        }
    }
    let chosen: Vec<_> = names.into_iter().filter(|_| dice.once_in(2)).collect();
    let mut members = Map::new();
    for name in required.into_iter().filter(|_| !dice.once_in(12)).chain(chosen).collect::<Vec<_>>() {
        let parts: Vec<_> = objects.iter().flat_map(|object| at(object, name)).collect();
        members.insert(name.to_owned(), document(root, &parts, dice, depth));
    }
    Value::Object(members)
}

/// The schemas of an object's property.
fn at<'a>(object: &'a Map<String, Value>, name: &str) -> Vec<&'a Value> {
    let own = object.get("properties").and_then(|properties| properties.get(name));
    let patterns = object.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
    let patterns = patterns.filter(|(pattern, _)| is_match(pattern, name)).map(|(_, schema)| schema);
    let mut schemas: Vec<_> = own.into_iter().chain(patterns).collect();
    if schemas.is_empty() {
        schemas.extend(object.get("additionalProperties"));
        schemas.extend(object.get("unevaluatedProperties"));
    }
    schemas
}

/// Of the patterns in [`PATTERNS`].
fn is_match(pattern: &str, name: &str) -> bool {
    match pattern {
        "^x-" => name.starts_with("x-"),
        "[bc]$" => name.ends_with(['b', 'c']),
        _ => name.contains('d'),
    }
}

fn items(root: &Value, objects: &[&Map<String, Value>], dice: &mut Dice, depth: usize) -> Value {
    let least = objects.iter().filter_map(|object| object.get("minItems")?.as_u64()).max().unwrap_or(0);
    let tuple = objects.iter().filter_map(|object| object.get("prefixItems")?.as_array()).map(Vec::len).max();
    let length = usize::try_from(least).unwrap() + dice.roll(tuple.unwrap_or(1) + 2);
    let item = |index: usize| {
        let mut parts: Vec<&Value> = Vec::new();
        for object in objects {
            let own = object.get("prefixItems").and_then(|tuple| tuple.get(index));
            parts.extend(own.or(object.get("items")).or(object.get("unevaluatedItems")));
            parts.extend(object.get("contains").filter(|_| dice.once_in(2)));
        }
        document(root, &parts, dice, depth)
    };
    Value::Array((0..length.min(6)).map(item).collect())
}
