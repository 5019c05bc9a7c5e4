//! The versions of JSON Schema.

use serde_json::Value;

/// A version, by what its keywords mean here. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Dialect {
    Draft4,
    Draft6,
    Draft7,
    Draft201909,
    Draft202012,
}

impl Dialect {
    /// What `$schema` says of a schema; `None` for draft 3 and older, whose keywords mean other things. The newest is
    /// the default, as it is for validators.
    pub fn of(root: &Value) -> Option<Self> {
        let text = root.get("$schema").and_then(Value::as_str).unwrap_or_default();
        let names = |part: &str| text.contains(part);
        Some(match () {
            () if names("json-schema.org/draft-04/") => Self::Draft4,
            () if names("json-schema.org/draft-06/") => Self::Draft6,
            () if names("json-schema.org/draft-07/") => Self::Draft7,
            () if names("json-schema.org/draft/2019-09/") => Self::Draft201909,
            () if names("json-schema.org/draft-0") => return None,
            () => Self::Draft202012,
        })
    }

    /// Whether the keyword means anything: an unknown one is an annotation.
    pub fn knows(self, keyword: &str) -> bool {
        let since = match keyword {
            "const" | "contains" | "propertyNames" => Self::Draft6,
            "if" | "then" | "else" | "contentEncoding" | "contentMediaType" => Self::Draft7,
            "dependentRequired"
            | "dependentSchemas"
            | "unevaluatedItems"
            | "unevaluatedProperties"
            | "minContains"
            | "maxContains"
            | "$recursiveRef" => Self::Draft201909,
            "prefixItems" | "$dynamicRef" => Self::Draft202012,
            _ => Self::Draft4,
        };
        self >= since
    }

    /// Whether `$ref` hides the keywords beside it.
    pub fn ref_hides_siblings(self) -> bool {
        self <= Self::Draft7
    }
}
