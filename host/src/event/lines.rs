//! Events in JSON Lines: one in the JSON format on each line.

use std::io::{self, BufRead};

use super::{Event, EventError};
use crate::limits::LINE_BYTES_MAX;

/// Bytes that an event on a line may take for each byte of its size: as many as `\u0007` takes.
const ESCAPE_FACTOR: usize = 6;

/// Reads events in JSON Lines, with the number of the line of each.
///
/// A wrong line is one error, and the lines after it still come. Blank lines are skipped; a byte order mark at the
/// beginning and line ends of `\r\n` are accepted. Memory is bounded by the largest event: of a line that no event of
/// that size can need, only the number is kept.
///
/// ```
/// # use tidegate::EventLines;
/// let text = br#"{"specversion": "1.0", "id": "1", "source": "/a", "type": "t"}
/// {"specversion": "1.0", "source": "/a", "type": "t"}
/// "#;
/// for (line, event) in EventLines::new(text.as_slice(), 1 << 20) {
///     match event {
///         Ok(event) => assert_eq!((line, event.id()), (1, "1")),
///         Err(error) => assert!(line == 2 && error.to_string().starts_with("`id` is missing")),
///     }
/// }
/// ```
#[derive(Debug)]
pub struct EventLines<R> {
    reader: R,
    event_bytes_max: usize,
    line_bytes_max: usize,
    /// The number of the line read last.
    line: u64,
    text: Vec<u8>,
    ended: bool,
}

/// Why there is no event of a line.
///
/// ```
/// use tidegate::{EventLines, LineError};
///
/// for (line, event) in EventLines::new(&b"not JSON\n"[..], 1 << 20) {
///     match event {
///         Ok(event) => println!("{}", event.id()),
///         Err(LineError::Event(wrong)) => println!("line {line}: {wrong}"),
///         Err(other) => println!("line {line}: {other}"),
///     }
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It is no event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// It is longer than an event can be.
    #[error("the line is longer than {bytes_max} bytes, more than an event can take")]
    TooLong {
        /// The bound.
        bytes_max: usize,
    },
    /// It could not be read, and so neither can the rest.
    #[error("the line could not be read")]
    Read(#[source] io::Error),
}

impl<R: BufRead> EventLines<R> {
    /// Reads events of at most this [`size`](Event::size).
    pub fn new(reader: R, event_bytes_max: usize) -> Self {
        let line_bytes_max = event_bytes_max.saturating_mul(ESCAPE_FACTOR).min(LINE_BYTES_MAX);
        Self { reader, event_bytes_max, line_bytes_max, line: 0, text: Vec::new(), ended: false }
    }

    /// Reads a line without its end. Answers whether it is within the bound, and nothing when there is no more line.
    fn read_line(&mut self) -> io::Result<Option<bool>> {
        self.text.clear();
        let mut fits = true;
        let mut any = false;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(any.then_some(fits));
            }
            any = true;
            let end = chunk.iter().position(|b| *b == b'\n');
            let part = &chunk[..end.unwrap_or(chunk.len())];
            fits = fits && self.text.len() + part.len() <= self.line_bytes_max;
            if fits {
                self.text.extend_from_slice(part);
            }
            let used = end.map_or(chunk.len(), |at| at + 1);
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(fits));
            }
        }
    }
}

impl<R: BufRead> Iterator for EventLines<R> {
    type Item = (u64, Result<Event, LineError>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            self.line += 1;
            let event = match self.read_line() {
                Ok(None) => {
                    self.ended = true;
                    continue;
                }
                Ok(Some(true)) => {
                    let mut text = self.text.as_slice();
                    if self.line == 1 {
                        text = text.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(text);
                    }
                    if text.trim_ascii().is_empty() {
                        continue;
                    }
                    Event::from_json(text, self.event_bytes_max).map_err(LineError::from)
                }
                Ok(Some(false)) => Err(LineError::TooLong { bytes_max: self.line_bytes_max }),
                Err(error) => {
                    self.ended = true;
                    Err(LineError::Read(error))
                }
            };
            return Some((self.line, event));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::*;

    fn line(id: &str) -> String {
        format!(r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t"}}"#)
    }

    fn read(
        text: impl AsRef<[u8]>,
        chunk: usize,
        event_bytes_max: usize,
    ) -> Vec<(u64, Result<String, LineError>)> {
        EventLines::new(BufReader::with_capacity(chunk, text.as_ref()), event_bytes_max)
            .map(|(line, event)| (line, event.map(|event| event.id().to_owned())))
            .collect()
    }

    fn ids(found: &[(u64, Result<String, LineError>)]) -> Vec<(u64, &str)> {
        found.iter().filter_map(|(line, event)| Some((*line, event.as_ref().ok()?.as_str()))).collect()
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_the_others_still_come() {
        let text = format!("\u{FEFF}{}\r\n\r\n  \n{{oops\n{}\n\n{}", line("a"), line("b"), line("c"));
        for chunk in [1, 7, 4096] {
            let found = read(&text, chunk, 1000);
            assert_eq!(ids(&found), [(1, "a"), (5, "b"), (7, "c")]);
            assert_eq!(found.len(), 4);
            assert!(matches!(found[1], (4, Err(LineError::Event(EventError::Json(_))))), "{:?}", found[1]);
        }
    }

    #[test]
    fn an_overlong_line_is_one_error_and_is_not_kept() {
        let text = format!("{}\n{}\n{}\n", line("a"), "x".repeat(100_000), line("b"));
        let mut lines = EventLines::new(BufReader::with_capacity(64, text.as_bytes()), 100);
        let found: Vec<_> = lines.by_ref().map(|(line, event)| (line, event.is_ok())).collect();
        assert_eq!(found, [(1, true), (2, false), (3, true)]);
        assert!(lines.text.capacity() < 2000, "{}", lines.text.capacity());
        let found = read(&text, 64, 100);
        assert!(matches!(found[1].1, Err(LineError::TooLong { bytes_max: 600 })), "{:?}", found[1]);
    }

    #[test]
    fn the_end_of_an_overlong_line_is_never_taken_for_its_rest() {
        for len in 601..1300 {
            let text = format!("{}{}\n{}\n", line("a"), " ".repeat(len - line("a").len()), line("b"));
            assert_eq!(ids(&read(&text, 64, 100)), [(2, "b")], "{len}");
        }
    }

    #[test]
    fn a_fault_in_reading_ends_the_lines() {
        struct Faulty;
        impl Read for Faulty {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("gone"))
            }
        }
        let text = format!("{}\n", line("a"));
        let mut lines = EventLines::new(BufReader::new(text.as_bytes().chain(Faulty)), 1000);
        assert!(matches!(lines.next(), Some((1, Ok(_)))));
        assert!(matches!(lines.next(), Some((2, Err(LineError::Read(_))))));
        assert!(lines.next().is_none());
    }

    #[test]
    fn an_empty_file_has_no_events() {
        for text in ["", "\n", "\r\n\r\n", "\u{FEFF}"] {
            assert!(read(text, 16, 1000).is_empty(), "{text:?}");
        }
    }
}
