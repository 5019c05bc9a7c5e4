//! Reading a table setting by setting.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::super::error::join;
use super::super::units::{parse_bytes, parse_duration};
use super::super::{ConfigError, UnitError};
use super::ConfigFileError;
use super::document::Document;

type Result<T> = std::result::Result<T, ConfigFileError>;

/// Characters of a refused value that an error repeats.
const EXCERPT_CHARS: usize = 48;

/// A table of settings.
pub(super) struct Table<'a> {
    document: &'a Document<'a>,
    path: String,
    entries: &'a DeTable<'a>,
}

impl<'a> Table<'a> {
    /// The table of the whole file, which may have these settings and no other.
    pub(super) fn root(document: &'a Document<'a>, table: &'a DeTable<'a>, known: &[&str]) -> Result<Self> {
        let root = Self { document, path: String::new(), entries: table };
        root.check_known(known)?;
        Ok(root)
    }

    /// The setting of this name, where it is there.
    pub(super) fn get(&self, name: &str) -> Option<Entry<'a>> {
        let (key, value) = self.entries.get_key_value(name)?;
        Some(self.entry(key, value))
    }

    /// The setting of this name.
    pub(super) fn require(&self, name: &str, allowed: &str) -> Result<Entry<'a>> {
        self.get(name).ok_or_else(|| self.missing(name, allowed))
    }

    /// The refusal of a table without the setting of this name.
    pub(super) fn missing(&self, name: &str, allowed: &str) -> ConfigFileError {
        let error = ConfigError::Missing { key: join(&self.path, name), allowed: allowed.to_owned() };
        self.document.refuse(error)
    }

    /// All settings with their names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Entry<'a>)> {
        self.entries.iter().map(|(key, value)| (key.get_ref().as_ref(), self.entry(key, value)))
    }

    fn entry(&self, key: &Spanned<std::borrow::Cow<'a, str>>, value: &'a Spanned<DeValue<'a>>) -> Entry<'a> {
        let path = join(&self.path, key.get_ref());
        self.document.note(path.clone(), &key.span());
        Entry { document: self.document, path, value }
    }

    /// The first key of the file that is not known is refused, with the nearest known one.
    fn check_known(&self, known: &[&str]) -> Result<()> {
        let strangers = self.entries.keys().filter(|key| !known.contains(&key.get_ref().as_ref()));
        let Some(first) = strangers.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let name = first.get_ref().as_ref();
        let remedy = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "known here are {}",
                known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
            ),
        };
        Err(self.document.unknown(join(&self.path, name), &first.span(), remedy))
    }
}

/// A setting with its value.
pub(super) struct Entry<'a> {
    document: &'a Document<'a>,
    path: String,
    value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Entry<'a> {
    /// A table that may have these settings and no other.
    pub(super) fn table(self, known: &[&str]) -> Result<Table<'a>> {
        let table = self.free_table()?;
        table.check_known(known)?;
        Ok(table)
    }

    /// A table whose keys the user chooses.
    pub(super) fn free_table(self) -> Result<Table<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Ok(Table { document: self.document, path: self.path, entries: table }),
            _ => Err(self.refuse("a table")),
        }
    }

    pub(super) fn string(&self) -> Result<&'a str> {
        self.value.get_ref().as_str().ok_or_else(|| self.refuse("a string"))
    }

    /// The text, where it is one.
    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.get_ref().as_str()
    }

    /// A string that may hold a secret: one of another kind is refused without showing it.
    pub(super) fn secret_text(&self) -> Result<&'a str> {
        self.text().ok_or_else(|| self.refuse_unseen("a string"))
    }

    /// A list of such strings.
    pub(super) fn secret_texts(&self) -> Result<Vec<String>> {
        self.strings().map_err(|_| self.refuse_unseen("a list of strings"))
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    pub(super) fn boolean(&self) -> Result<bool> {
        self.value.get_ref().as_bool().ok_or_else(|| self.refuse("`true` or `false`"))
    }

    pub(super) fn number<T: TryFrom<i64>>(&self) -> Result<T> {
        let number = self.value.get_ref().as_integer().and_then(integer);
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.refuse("a whole number, zero or more"))
    }

    pub(super) fn duration(&self) -> Result<Duration> {
        let text = self.value.get_ref().as_str().unwrap_or_default();
        parse_duration(text).map_err(|_| self.refuse(UnitError::DURATION))
    }

    pub(super) fn bytes(&self) -> Result<u64> {
        let bytes = match self.value.get_ref() {
            DeValue::Integer(number) => integer(number).and_then(|number| u64::try_from(number).ok()),
            DeValue::String(text) => parse_bytes(text).ok(),
            _ => None,
        };
        bytes.ok_or_else(|| self.refuse(UnitError::BYTES))
    }

    /// A size of something in memory; what is larger than memory can be is its largest.
    pub(super) fn memory_bytes(&self) -> Result<usize> {
        self.bytes().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    pub(super) fn word<T: FromStr<Err = &'static str>>(&self) -> Result<T> {
        // A time may stand there as TOML's own, without quotes.
        let text = match self.value.get_ref() {
            DeValue::Datetime(moment) => moment.to_string(),
            other => other.as_str().unwrap_or_default().to_owned(),
        };
        text.parse().map_err(|allowed| self.refuse(allowed))
    }

    /// A string that stands for a value; `allowed` says which there are.
    pub(super) fn parsed<T: FromStr>(&self, allowed: &str) -> Result<T> {
        self.text().and_then(|text| text.parse().ok()).ok_or_else(|| self.refuse(allowed))
    }

    pub(super) fn strings<C: FromIterator<String>>(&self) -> Result<C> {
        let items = self.value.get_ref().as_array().map(|array| array.iter());
        let strings =
            items.and_then(|items| items.map(|item| item.get_ref().as_str().map(str::to_owned)).collect());
        strings.ok_or_else(|| self.refuse("a list of strings"))
    }

    /// A table as JSON; dates and times become strings.
    pub(super) fn json_object(&self) -> Result<Value> {
        match self.value.get_ref() {
            table @ DeValue::Table(_) => {
                json(table).ok_or_else(|| self.refuse("a table of values that JSON has too"))
            }
            _ => Err(self.refuse("a table")),
        }
    }

    /// A refusal of a value's kind that doesn't repeat it, as it may be a secret.
    pub(super) fn refuse_unseen(&self, allowed: &str) -> ConfigFileError {
        self.document.refuse(ConfigError::invalid(self.path.clone(), "of another kind", allowed))
    }

    /// A refusal of a setting that has no place here, whatever its value.
    pub(super) fn refuse_presence(&self, why: &str) -> ConfigFileError {
        self.document.refuse(ConfigError::invalid(self.path.clone(), "set", format!("nothing, as {why}")))
    }

    fn refuse(&self, allowed: &str) -> ConfigFileError {
        let written = self.document.text(self.value.span());
        let excerpt: String = written.chars().take(EXCERPT_CHARS).take_while(|c| *c != '\n').collect();
        let value =
            if excerpt.len() < written.len() { format!("`{excerpt}`...") } else { format!("`{excerpt}`") };
        self.document.refuse(ConfigError::invalid(self.path.clone(), value, allowed))
    }
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// The same value in JSON, which has no infinity and no NaN. The parser has bounded the depth.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Integer(number) => Value::from(integer(number)?),
        DeValue::Float(number) => Value::Number(serde_json::Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Datetime(moment) => Value::from(moment.to_string()),
        DeValue::Array(items) => {
            items.iter().map(|item| json(item.get_ref())).collect::<Option<Vec<_>>>()?.into()
        }
        DeValue::Table(table) => {
            let members =
                table.iter().map(|(key, value)| Some((key.get_ref().to_string(), json(value.get_ref())?)));
            Value::Object(members.collect::<Option<_>>()?)
        }
    })
}

/// The known name that differs from `name` least, if that is little enough for a slip of the hand.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let slips_max = 1 + name.len() / 4;
    let distances = known.iter().map(|other| (distance(name, other), *other));
    distances.filter(|(slips, _)| *slips <= slips_max).min_by_key(|(slips, _)| *slips).map(|(_, other)| other)
}

/// Levenshtein's distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_finds_the_name_that_was_meant() {
        let known = ["partitions", "retention", "dedup", "age", "max"];
        for (slip, meant) in [
            ("partition", Some("partitions")),
            ("partitons", Some("partitions")),
            ("retension", Some("retention")),
            ("dedupe", Some("dedup")),
            ("aeg", None),
            ("mx", Some("max")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, &known), meant, "{slip}");
        }
    }
}
