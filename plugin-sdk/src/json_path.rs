//! Where in a JSON text an error lies, as a path that a person can follow.
//!
//! `serde_json` tells a line and a column. Wrapping every deserializer to carry a path would cost each component more
//! than this second look at the text, which is only taken when something is wrong.

use std::fmt::Write as _;

/// The path of the innermost value that holds the byte at `line` and `column`, both counted from 1, for example
/// `.depths[1]`; empty for the root, and for line 0, which `serde_json` gives to an error without a place.
pub(crate) fn path_at(json: &str, line: usize, column: usize) -> String {
    let Some(before) = line.checked_sub(1) else {
        return String::new();
    };
    let start: usize = json.split_inclusive('\n').take(before).map(str::len).sum();
    let mut walk =
        Walk { json: json.as_bytes(), at: 0, target: start + column.saturating_sub(1), steps: Vec::new() };
    walk.run();
    walk.path()
}

/// One open array or object.
enum Step {
    Index(usize),
    Field { name: String, value: bool },
}

struct Walk<'a> {
    json: &'a [u8],
    at: usize,
    target: usize,
    steps: Vec<Step>,
}

impl Walk<'_> {
    /// Reads up to the target, keeping the path. The text up to there was accepted by a parser, so what isn't
    /// structure is passed over without judging it.
    fn run(&mut self) {
        while let Some(byte) = self.json.get(self.at).copied().filter(|_| self.at < self.target) {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'[' => self.steps.push(Step::Index(0)),
                b'{' => self.steps.push(Step::Field { name: String::new(), value: false }),
                b']' | b'}' => {
                    self.steps.pop();
                }
                b':' => {
                    if let Some(Step::Field { value, .. }) = self.steps.last_mut() {
                        *value = true;
                    }
                }
                b',' => match self.steps.last_mut() {
                    Some(Step::Index(index)) => *index += 1,
                    Some(Step::Field { value, .. }) => *value = false,
                    None => {}
                },
                _ => {}
            }
            self.at += 1;
        }
        // The target is the closing bracket: what is wrong is the array or object itself.
        if self.at == self.target && matches!(self.json.get(self.at), Some(b']' | b'}')) {
            self.steps.pop();
        }
    }

    fn string(&mut self) {
        let start = self.at + 1;
        self.at = start;
        while let Some(byte) = self.json.get(self.at) {
            match byte {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        let end = self.at.min(self.json.len());
        self.at = end + 1;
        if let Some(Step::Field { name, value: false }) = self.steps.last_mut() {
            *name = String::from_utf8_lossy(&self.json[start..end]).into_owned();
        }
    }

    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            // Writing into a string can't fail.
            let _ = match step {
                Step::Index(index) => write!(path, "[{index}]"),
                Step::Field { value: true, name } => write!(path, ".{name}"),
                Step::Field { value: false, .. } => Ok(()),
            };
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::path_at;

    /// The path of the place where `marker` stands.
    fn path_of(json: &str, marker: &str) -> String {
        let at = json.find(marker).unwrap();
        let line = json[..at].matches('\n').count() + 1;
        let column = at - json[..at].rfind('\n').map_or(0, |newline| newline + 1) + 1;
        path_at(json, line, column)
    }

    #[test]
    fn a_place_has_the_path_of_its_value() {
        let json = "{\n \"a\": {\"b,]\\\"\": [1, [2, 3], 4], \"c\": true},\n \"d\": 5 }";
        assert!(serde_json::from_str::<Value>(json).is_ok());
        assert_eq!(path_of(json, "1"), ".a.b,]\\\"[0]");
        assert_eq!(path_of(json, "3"), ".a.b,]\\\"[1][1]");
        assert_eq!(path_of(json, "4"), ".a.b,]\\\"[2]");
        assert_eq!(path_of(json, "true"), ".a.c");
        assert_eq!(path_of(json, "5"), ".d");
    }

    #[test]
    fn a_closing_bracket_stands_for_the_whole() {
        assert_eq!(path_of(r#"{"a": {"b": 1}}"#, "}"), ".a");
        assert_eq!(path_of(r#"{"a": [1]}"#, "]"), ".a");
        assert_eq!(path_of("{}", "}"), "");
    }

    #[test]
    fn no_place_and_a_place_past_the_end_have_paths() {
        assert_eq!(path_at(r#"{"a": 1}"#, 0, 0), "");
        assert_eq!(path_at(r#"{"a": 1}"#, 9, 9), "");
        assert_eq!(path_at(r#"{"a": "un"#, 1, 99), ".a");
    }
}
