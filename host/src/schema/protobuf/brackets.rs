//! Looking at the text of a `.proto` before the compiler does, which recurses into each bracket without a bound.
//!
//! This reads the same tokens as the compiler, as far as brackets go. So it refuses whatever the two might read differently: a
//! character that belongs to no token, a string that isn't closed or has an unknown escape, a comment within a comment.

use crate::limits::PROTOBUF_NESTING_MAX;
use crate::schema::SchemaError;

/// Refuses a text whose brackets don't pair, or are open too many at once.
pub(super) fn check(text: &str) -> Result<(), SchemaError> {
    let mut scan = Scan { text: text.as_bytes(), at: 0, open: Vec::new() };
    scan.run().map_err(|reason| SchemaError::NotProtobuf { place: Some(scan.place()), reason })
}

/// What means nothing to brackets: white space, and the signs of tokens.
const PLAIN: &[u8] = b"\t\n\x0b\x0c\r .-+,=:;/_";

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    /// What closes the brackets that are open.
    open: Vec<u8>,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(byte) = self.peek(0) {
            match byte {
                b'/' if self.peek(1) == Some(b'/') => self.line_comment(),
                b'/' if self.peek(1) == Some(b'*') => self.block_comment()?,
                b'#' => self.line_comment(),
                b'"' | b'\'' => self.string(byte)?,
                b'{' => self.opens(b'}')?,
                b'[' => self.opens(b']')?,
                b'(' => self.opens(b')')?,
                b'<' => self.opens(b'>')?,
                b'}' | b']' | b')' | b'>' => self.closes(byte)?,
                byte if byte.is_ascii_alphanumeric() || PLAIN.contains(&byte) => self.at += 1,
                _ => return Err("a character that has no meaning in a `.proto`".to_owned()),
            }
        }
        if self.open.is_empty() { Ok(()) } else { Err("the text ends within a bracket".to_owned()) }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn opens(&mut self, closing: u8) -> Result<(), String> {
        if self.open.len() == PROTOBUF_NESTING_MAX {
            return Err(format!("more than {PROTOBUF_NESTING_MAX} brackets within one another"));
        }
        self.open.push(closing);
        self.at += 1;
        Ok(())
    }

    fn closes(&mut self, closing: u8) -> Result<(), String> {
        if self.open.last() != Some(&closing) {
            return Err("a bracket that closes none".to_owned());
        }
        self.open.pop();
        self.at += 1;
        Ok(())
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn block_comment(&mut self) -> Result<(), String> {
        self.at += 2;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) => break,
                (Some(b'/'), Some(b'*')) => return Err("a comment within a comment".to_owned()),
                (None, _) => return Err("the text ends within a comment".to_owned()),
                _ => self.at += 1,
            }
        }
        self.at += 2;
        Ok(())
    }

    fn string(&mut self, quote: u8) -> Result<(), String> {
        self.at += 1;
        loop {
            match self.peek(0) {
                Some(byte) if byte == quote => break,
                None | Some(b'\n' | b'\0') => return Err("a string that isn't closed".to_owned()),
                Some(b'\\') => self.escape()?,
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let digits = |from: usize, count: usize| {
            (from..from + count).all(|at| self.peek(at).is_some_and(|byte| byte.is_ascii_hexdigit()))
        };
        let bytes = match self.peek(1) {
            Some(b'x' | b'X') if digits(2, 1) => 3,
            Some(b'u') if digits(2, 4) => 6,
            Some(b'U') if digits(2, 8) => 10,
            Some(
                b'0'..=b'7' | b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'?' | b'\\' | b'\'' | b'"',
            ) => 2,
            _ => return Err("an escape that a string doesn't have".to_owned()),
        };
        self.at += bytes;
        Ok(())
    }

    /// The line and the column of the place that was looked at last, from 1.
    fn place(&self) -> (usize, usize) {
        let before = &self.text[..self.at.min(self.text.len())];
        let lines = before.split(|byte| *byte == b'\n');
        let column = lines.clone().next_back().map_or(0, <[u8]>::len);
        (lines.count(), column + 1)
    }
}
