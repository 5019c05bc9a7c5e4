//! Names and values in the sentences of breaks.

use std::collections::BTreeMap;

use serde_json::Value;

use super::number::Decimal;

/// Most characters of a name or a value in a sentence.
const SHOWN_MAX: usize = 60;

/// Most values in a sentence.
const VALUES_MAX: usize = 4;

/// A name in backticks, shortened.
pub(super) fn name(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("`{}…`", text.get(..end).unwrap_or_default()),
        None => format!("`{text}`"),
    }
}

/// A value in backticks, shortened. Texts have no quotes where they can't be taken for something else.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with(|first: char| first.is_alphabetic()) => name(text),
        _ => name(&value.to_string()),
    }
}

/// Some values, such as "`a`, `b` and 3 more".
pub(super) fn values<'a>(all: impl IntoIterator<Item = &'a Value>) -> String {
    let mut all = all.into_iter();
    let shown: Vec<_> = all.by_ref().take(VALUES_MAX).map(value).collect();
    match all.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A text that values share exactly when JSON Schema holds them for equal: 1 and 1.0 do.
pub(super) fn canonical(value: &Value) -> String {
    match value {
        Value::Number(number) => {
            Decimal::of_number(number).map_or_else(|| number.to_string(), Decimal::canonical)
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(members) => {
            // Whatever order the map keeps.
            let members: BTreeMap<_, _> =
                members.iter().map(|(key, value)| (key, canonical(value))).collect();
            let members: Vec<_> = members.iter().map(|(key, value)| format!("{key:?}:{value}")).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::String(text) => format!("{text:?}"),
        Value::Null | Value::Bool(_) => value.to_string(),
    }
}

/// About how many steps it is to look at all of a value.
pub(super) fn weight(value: &Value) -> usize {
    1 + match value {
        Value::String(text) => text_weight(text),
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(members) => members.iter().map(|(key, value)| text_weight(key) + weight(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The same for a text: short ones cost nothing of note.
pub(super) fn text_weight(text: &str) -> usize {
    text.len() / 64
}

/// A step of a JSON Pointer.
pub(super) fn token(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
