//! Random schemas and changes to them.

use serde_json::{Value, json};

/// Where randomness comes from: the bytes of a test case, which shrink to simpler choices, or a seed without an end.
pub struct Dice {
    bytes: Vec<u8>,
    at: usize,
    seed: Option<u64>,
}

impl Dice {
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0, seed: None }
    }

    pub fn of_seed(seed: u64) -> Self {
        Self { bytes: Vec::new(), at: 0, seed: Some(seed) }
    }

    /// A number below `end`; 0 when the bytes have run out.
    pub fn roll(&mut self, end: usize) -> usize {
        let number = if let Some(seed) = &mut self.seed {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(*seed >> 40).unwrap()
        } else {
            self.at += 1;
            usize::from(self.bytes.get(self.at - 1).copied().unwrap_or(0))
        };
        number % end
    }

    /// One time in `times`, and never when the bytes have run out.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.roll(times) == times - 1
    }

    pub fn pick<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.roll(all.len())].clone()
    }
}

pub const NAMES: [&str; 5] = ["a", "b", "c", "x-d", "kind"];
/// With names that match them, and that aren't in [`NAMES`].
pub const PATTERNS: [(&str, &str); 3] = [("^x-", "x-e"), ("[bc]$", "bb"), ("d", "d2")];

fn values(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!("a"),
        json!("b"),
        json!(1),
        json!(2),
        json!(1.0),
        json!(0.5),
        json!(null),
        json!(true),
        json!("ab"),
        json!({"a": 1}),
        json!([1, "a"]),
        json!({}),
    ])
}

/// A schema; `is_inside` says that it is behind a step into the document, so that a reference to the root has an end.
pub fn schema(dice: &mut Dice, depth: usize, is_inside: bool) -> Value {
    let kinds = if depth == 0 { 8 } else { 18 };
    match dice.roll(kinds) {
        0 => json!({"type": dice.pick(&["string", "integer", "number", "boolean", "null"])}),
        1 => number(dice),
        2 => text(dice),
        3 => json!({"enum": (0..=dice.roll(4)).map(|_| values(dice)).collect::<Vec<_>>()}),
        4 => json!({"const": values(dice)}),
        5 => {
            json!({"type": [dice.pick(&["string", "object", "array"]), dice.pick(&["integer", "null", "number"])]})
        }
        6 => dice.pick(&[json!(true), json!({}), json!({"type": "object"}), json!(false)]),
        7 if is_inside => json!({"$ref": dice.pick(&["#", "#/$defs/d"])}),
        7 => json!({"type": "array"}),
        8..=11 => object(dice, depth),
        12 | 13 => array(dice, depth),
        14 => merge(json!({"anyOf": list(dice, depth, is_inside)}), dice, depth, is_inside),
        15 => merge(json!({"oneOf": events(dice, depth)}), dice, depth, is_inside),
        16 => merge(json!({"allOf": list(dice, depth, is_inside)}), dice, depth, is_inside),
        _ => merge(condition(dice, depth), dice, depth, is_inside),
    }
}

/// Adds the keywords of another schema.
fn merge(mut base: Value, dice: &mut Dice, depth: usize, is_inside: bool) -> Value {
    if dice.once_in(2)
        && let Value::Object(more) = schema(dice, depth - 1, is_inside)
    {
        let base = base.as_object_mut().unwrap();
        for (key, value) in more {
            base.entry(key).or_insert(value);
        }
    }
    base
}

fn list(dice: &mut Dice, depth: usize, is_inside: bool) -> Vec<Value> {
    (0..=dice.roll(3)).map(|_| schema(dice, depth - 1, is_inside)).collect()
}

fn events(dice: &mut Dice, depth: usize) -> Vec<Value> {
    if dice.once_in(3) {
        return list(dice, depth, false);
    }
    let kinds = (0..=dice.roll(3)).map(|_| dice.pick(&["a", "b", "c"])).collect::<Vec<_>>();
    let event = |kind: &str| {
        let mut event = object(dice, depth);
        event["properties"]["kind"] = json!({"const": kind});
        event["required"] = json!(["kind"]);
        event
    };
    kinds.into_iter().map(event).collect()
}

fn condition(dice: &mut Dice, depth: usize) -> Value {
    let part = |dice: &mut Dice| schema(dice, depth - 1, false);
    match dice.roll(5) {
        0 => json!({"not": part(dice)}),
        1 => json!({"if": part(dice), "then": part(dice)}),
        2 => json!({"if": part(dice), "then": part(dice), "else": part(dice)}),
        3 => json!({"dependentSchemas": {dice.pick(&NAMES): part(dice)}}),
        _ => json!({"type": "array", "contains": part(dice), "minContains": dice.roll(3)}),
    }
}

fn number(dice: &mut Dice) -> Value {
    let mut schema = json!({"type": dice.pick(&["integer", "number"])});
    for name in ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"] {
        if dice.once_in(3) {
            let bounds = [json!(0), json!(1), json!(-2), json!(3), json!(0.5), json!(2.0), json!(5)];
            schema[name] = dice.pick(&bounds);
        }
    }
    if dice.once_in(4) {
        schema["multipleOf"] = dice.pick(&[json!(1), json!(2), json!(0.5), json!(0.1), json!(4)]);
    }
    schema
}

fn text(dice: &mut Dice) -> Value {
    let mut schema = json!({"type": "string"});
    if dice.once_in(2) {
        schema["minLength"] = json!(dice.roll(4));
    }
    if dice.once_in(2) {
        schema["maxLength"] = json!(dice.roll(5));
    }
    if dice.once_in(4) {
        schema["pattern"] = json!(dice.pick(&["a", "^a", "b$", "^a+b$"]));
    }
    schema
}

fn object(dice: &mut Dice, depth: usize) -> Value {
    let mut schema = json!({"type": "object", "properties": {}});
    for name in NAMES {
        if dice.once_in(2) {
            schema["properties"][name] = self::schema(dice, depth - 1, true);
        }
        if dice.once_in(5) {
            if schema.get("required").is_none() {
                schema["required"] = json!([]);
            }
            schema["required"].as_array_mut().unwrap().push(json!(name));
        }
    }
    match dice.roll(6) {
        3 => schema["additionalProperties"] = json!(false),
        4 => schema["additionalProperties"] = self::schema(dice, depth - 1, true),
        5 => schema["unevaluatedProperties"] = self::schema(dice, depth - 1, true),
        _ => {}
    }
    for (pattern, _) in PATTERNS {
        if dice.once_in(6) {
            schema["patternProperties"][pattern] = self::schema(dice, depth - 1, true);
        }
    }
    match dice.roll(10) {
        6 => schema["minProperties"] = json!(dice.roll(3)),
        7 => schema["maxProperties"] = json!(dice.roll(4)),
        8 => schema["dependentRequired"] = json!({dice.pick(&NAMES): [dice.pick(&NAMES)]}),
        9 => schema["propertyNames"] = json!({"maxLength": dice.roll(4)}),
        _ => {}
    }
    schema
}

fn array(dice: &mut Dice, depth: usize) -> Value {
    let mut schema = json!({"type": "array"});
    if dice.once_in(2) {
        schema["prefixItems"] = json!(list(dice, depth, true));
    }
    if !dice.once_in(3) {
        schema["items"] = self::schema(dice, depth - 1, true);
    }
    match dice.roll(9) {
        5 => schema["minItems"] = json!(dice.roll(3)),
        6 => schema["maxItems"] = json!(dice.roll(4)),
        7 => schema["uniqueItems"] = json!(true),
        8 => schema["unevaluatedItems"] = self::schema(dice, depth - 1, true),
        _ => {}
    }
    schema
}

/// A whole schema with a definition.
pub fn root(dice: &mut Dice) -> Value {
    let definition = schema(dice, 1, false);
    let root = if dice.once_in(4) { schema(dice, 3, false) } else { object(dice, 3) };
    match root {
        Value::Object(mut root) => {
            root.insert("$defs".to_owned(), json!({"d": definition}));
            Value::Object(root)
        }
        root => root,
    }
}

/// Changes a place of a schema. The places are schemas, chosen by chance.
pub fn mutate(root: &mut Value, dice: &mut Dice) {
    let mut place = root;
    loop {
        let inner: Vec<String> = inner_places(place);
        if inner.is_empty() || dice.once_in(3) {
            return change(place, dice);
        }
        place = place.pointer_mut(&dice.pick(&inner)).unwrap();
    }
}

fn inner_places(schema: &Value) -> Vec<String> {
    let mut places = Vec::new();
    for (key, value) in schema.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "dependentSchemas", Value::Object(members)) => {
                places.extend(members.keys().map(|name| format!("/{key}/{name}")));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(items)) => {
                places.extend((0..items.len()).map(|index| format!("/{key}/{index}")));
            }
            (
                "items"
                | "additionalProperties"
                | "unevaluatedProperties"
                | "not"
                | "if"
                | "then"
                | "else"
                | "contains",
                _,
            ) => places.push(format!("/{key}")),
            _ => {}
        }
    }
    places
}

fn change(place: &mut Value, dice: &mut Dice) {
    let choice = dice.roll(11);
    let Value::Object(object) = &mut *place else {
        *place = schema(dice, 1, false);
        return;
    };
    let key = object.keys().nth(dice.roll(object.len().max(1))).cloned();
    match choice {
        0 => {
            object.insert("title".to_owned(), json!("changed"));
        }
        1 | 2 => drop(key.filter(|key| key != "$defs").and_then(|key| object.remove(&key))),
        3 | 4 => {
            if let Some(value) = key.and_then(|key| object.get_mut(&key)) {
                nudge(value, dice);
            }
        }
        5 | 6 => {
            if let Value::Object(more) = schema(dice, 1, false) {
                object.extend(more);
            }
        }
        7 => {
            let properties = object.entry("properties").or_insert_with(|| json!({}));
            let name = dice.pick(&NAMES);
            if properties.as_object_mut().unwrap().remove(name).is_none() {
                properties[name] = schema(dice, 1, false);
            }
        }
        8 if !object.contains_key("$defs") => {
            *place = json!({"anyOf": [place.clone(), {"type": "null"}]});
        }
        9 if !object.contains_key("$defs") => {
            *place = json!({"allOf": [place.clone(), schema(dice, 0, false)]});
        }
        _ => {
            let required = object.entry("required").or_insert_with(|| json!([]));
            required.as_array_mut().unwrap().push(json!(dice.pick(&NAMES)));
        }
    }
}

/// Changes the value of a keyword a little.
fn nudge(value: &mut Value, dice: &mut Dice) {
    let up = dice.once_in(2);
    match value {
        Value::Number(number) if number.is_u64() => {
            let number = number.as_u64().unwrap();
            *value =
                json!(if up { number + 1 } else { number.saturating_sub(1).max(u64::from(number == 1)) });
        }
        Value::Number(number) => *value = json!(number.as_f64().unwrap().abs() * if up { 2.0 } else { 0.5 }),
        Value::Bool(is_true) => *is_true = !*is_true,
        Value::String(text) if text == "integer" => *value = json!("number"),
        Value::String(text) if text == "number" => *value = json!(["number", "null"]),
        Value::Array(items) if up || items.len() < 2 => items.extend(items.first().cloned()),
        Value::Array(items) => drop(items.remove(dice.roll(items.len()))),
        _ => {}
    }
}
