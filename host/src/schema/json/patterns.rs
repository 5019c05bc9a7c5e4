//! Patterns that are plain enough to be decided without an engine for regular expressions.

/// Whether the pattern matches the text. `None` for a pattern with more than anchors and plain characters.
pub(super) fn matches(pattern: &str, text: &str) -> Option<bool> {
    if pattern == ".*" {
        return Some(true);
    }
    let (from_start, rest) = pattern.strip_prefix('^').map_or((false, pattern), |rest| (true, rest));
    let (to_end, literal) = rest.strip_suffix('$').map_or((false, rest), |rest| (true, rest));
    if literal.contains(['\\', '.', '*', '+', '?', '(', ')', '[', ']', '{', '}', '|', '^', '$']) {
        return None;
    }
    Some(match (from_start, to_end) {
        (true, true) => text == literal,
        (true, false) => text.starts_with(literal),
        (false, true) => text.ends_with(literal),
        (false, false) => text.contains(literal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_patterns_are_decided_and_others_are_not() {
        for (pattern, text, expected) in [
            ("^x-", "x-a", Some(true)),
            ("^x-", "ax-", Some(false)),
            ("_id$", "user_id", Some(true)),
            ("_id$", "user_ids", Some(false)),
            ("^id$", "id", Some(true)),
            ("^id$", "ids", Some(false)),
            ("b", "abc", Some(true)),
            ("", "", Some(true)),
            (".*", "a", Some(true)),
            ("^a.", "ab", None),
            ("a|b", "a", None),
            ("^[a-z]+$", "a", None),
            ("\\$", "$", None),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
