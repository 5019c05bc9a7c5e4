//! The text of a configuration file, and where its settings stand.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use super::super::ConfigError;
use super::ConfigFileError;

/// The text of a configuration file, and where its settings stand, so that each refusal has its line.
pub(super) struct Document<'a> {
    path: &'a Path,
    text: &'a str,
    /// The line of each setting that was read.
    lines: RefCell<HashMap<String, usize>>,
}

impl<'a> Document<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, lines: RefCell::default() }
    }

    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigFileError> {
        DeTable::parse(self.text).map_err(|error| ConfigFileError::Syntax {
            path: self.path.to_owned(),
            line: self.line(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })
    }

    pub(super) fn text(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    /// Notes where a setting stands.
    pub(super) fn note(&self, key: String, span: &Range<usize>) {
        self.lines.borrow_mut().insert(key, self.line(span.start));
    }

    /// A refusal of a setting, with its line or, where it isn't in the file, that of the table around it.
    pub(super) fn refuse(&self, error: ConfigError) -> ConfigFileError {
        let lines = self.lines.borrow();
        let key = error.key();
        let mut known = key.as_str();
        let line = loop {
            if let Some(line) = lines.get(known) {
                break *line;
            }
            match known.rsplit_once('.') {
                Some((above, _)) => known = above,
                None => break 1,
            }
        };
        ConfigFileError::Setting { path: self.path.to_owned(), line, error }
    }

    pub(super) fn unknown(&self, key: String, span: &Range<usize>, remedy: String) -> ConfigFileError {
        ConfigFileError::UnknownKey { path: self.path.to_owned(), line: self.line(span.start), key, remedy }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|b| *b == b'\n').count()
    }
}
