//! Types, values, numbers, texts.

use std::cmp::Ordering;

use serde_json::Value;

use super::budget::Exhausted;
use super::comparison::{Comparison, Outcome, add};
use super::conjunction::Facts;
use super::dialect::Dialect;
use super::document::{Document, Object};
use super::kinds::Kinds;
use super::number::Decimal;
use super::patterns::matches;
use super::show;
use super::{Break, Rule};

/// An end of a range.
#[derive(Clone, Copy)]
enum End {
    Low,
    High,
}

/// A number that values may not pass.
#[derive(Clone, Copy)]
struct Bound<'a> {
    keyword: &'static str,
    value: Decimal,
    is_exclusive: bool,
    text: &'a Value,
}

impl End {
    fn keywords(self) -> (&'static str, &'static str) {
        match self {
            End::Low => ("minimum", "exclusiveMinimum"),
            End::High => ("maximum", "exclusiveMaximum"),
        }
    }

    /// Greater is farther inside the range.
    fn cmp(self, left: Decimal, right: Decimal) -> Ordering {
        match self {
            End::Low => left.cmp(&right),
            End::High => right.cmp(&left),
        }
    }

    /// The integer next to `value` on the inside.
    fn next(self, value: Decimal) -> Option<i128> {
        let value = value.to_integer()?;
        match self {
            End::Low => value.checked_add(1),
            End::High => value.checked_sub(1),
        }
    }

    fn bounds<'a>(
        self,
        document: &Document<'a>,
        object: &'a Object,
    ) -> impl Iterator<Item = Bound<'a>> + use<'a> {
        let (keyword, exclusive_keyword) = self.keywords();
        let number = |keyword| {
            let text = document.keyword(object, keyword)?;
            Some((keyword, Decimal::of(text)?, text))
        };
        let is_draft_4 = document.dialect == Dialect::Draft4;
        let is_flagged = is_draft_4 && object.get(exclusive_keyword) == Some(&Value::Bool(true));
        let exclusive = number(exclusive_keyword).filter(|_| !is_draft_4);
        let bound = |is_exclusive| move |(keyword, value, text)| Bound { keyword, value, is_exclusive, text };
        number(keyword).map(bound(is_flagged)).into_iter().chain(exclusive.map(bound(true)))
    }
}

impl Bound<'_> {
    fn takes(&self, end: End, value: Decimal) -> bool {
        match end.cmp(value, self.value) {
            Ordering::Greater => true,
            Ordering::Equal => !self.is_exclusive,
            Ordering::Less => false,
        }
    }

    /// Whether what keeps to this bound keeps to `other`.
    fn implies(&self, end: End, other: &Self, has_fractions: bool) -> bool {
        match end.cmp(self.value, other.value) {
            Ordering::Greater => true,
            Ordering::Equal => self.is_exclusive || !other.is_exclusive,
            Ordering::Less => {
                let next = end.next(self.value).filter(|_| !has_fractions && self.is_exclusive);
                next.is_some() && !other.is_exclusive && next == other.value.to_integer()
            }
        }
    }
}

impl<'a> Comparison<'a> {
    /// Everything that depends on the type of a value.
    pub fn values(&mut self, object: &'a Object, facts: &Facts<'a>) -> Outcome {
        let mut breaks = Vec::new();
        let mut facts = facts.clone();
        if let Some(kinds) = self.reader.keyword(object, "type").and_then(Kinds::of_type) {
            if !facts.kinds.is_within(kinds) {
                let written = facts.kinds;
                let detail = format!("the writer may write {written}, and the reader takes only {kinds}");
                breaks.push(Break::here(Rule::TypeNarrowed, detail));
            }
            facts.restrict(kinds, self.writer.dialect);
        }
        add(&mut breaks, self.listed_values(object, &facts)?);
        if facts.kinds.has(Kinds::NUMBER) {
            add(&mut breaks, self.numbers(object, &facts));
        }
        if facts.kinds.has(Kinds::STRING) {
            add(&mut breaks, self.strings(object, &facts));
        }
        if facts.kinds.has(Kinds::ARRAY) {
            add(&mut breaks, self.arrays(object, &facts)?);
        }
        if facts.kinds.has(Kinds::OBJECT) {
            add(&mut breaks, self.objects(object, &facts)?);
        }
        Ok(breaks)
    }

    fn listed_values(&self, object: &'a Object, facts: &Facts<'a>) -> Outcome {
        let mut breaks = Vec::new();
        for name in ["enum", "const"] {
            let listed = match self.reader.keyword(object, name) {
                Some(Value::Array(listed)) if name == "enum" => listed.as_slice(),
                Some(value) if name == "const" => std::slice::from_ref(value),
                _ => continue,
            };
            let detail = match self.unlisted(listed, facts)? {
                Some(values) if values.is_empty() => continue,
                Some(values) => {
                    let values = show::values(&values);
                    format!(
                        "the writer may write {values}, which the reader's {} doesn't have",
                        show::name(name)
                    )
                }
                None => format!("the writer may write any {}, and the reader takes only {}", facts.kinds, {
                    show::values(listed)
                }),
            };
            breaks.push(Break::here(Rule::EnumNarrowed, detail));
        }
        Ok(breaks)
    }

    /// The values of the writer's that aren't listed. `None` where there is no end of them.
    fn unlisted(&self, listed: &[Value], facts: &Facts<'a>) -> Result<Option<Vec<Value>>, Exhausted> {
        self.budget.spend(listed.iter().map(show::weight).sum())?;
        let written: Vec<Value> = match &facts.values {
            Some(values) => values.iter().copied().cloned().collect(),
            None if facts.kinds.is_within(Kinds::NULL | Kinds::BOOLEAN) => {
                let all = [Value::Null, Value::Bool(false), Value::Bool(true)];
                all.into_iter()
                    .filter(|value| facts.kinds.has(Kinds::of(value, self.writer.dialect)))
                    .collect()
            }
            None => return Ok(None),
        };
        self.budget.spend(written.iter().map(show::weight).sum())?;
        let listed: std::collections::HashSet<_> = listed.iter().map(show::canonical).collect();
        Ok(Some(written.into_iter().filter(|value| !listed.contains(&show::canonical(value))).collect()))
    }

    fn numbers(&self, object: &'a Object, facts: &Facts<'a>) -> Vec<Break> {
        let mut breaks = Vec::new();
        let has_fractions = facts.kinds.has(Kinds::FRACTION);
        for end in [End::Low, End::High] {
            let granted: Vec<_> =
                facts.parts.iter().flat_map(|part| end.bounds(&self.writer, part)).collect();
            for bound in end.bounds(&self.reader, object) {
                let is_met = granted.iter().any(|granted| granted.implies(end, &bound, has_fractions))
                    || all_values(facts, |value| {
                        Decimal::of(value).is_none_or(|value| bound.takes(end, value))
                    });
                if !is_met {
                    let tightest = granted.iter().max_by(|left, right| end.cmp(left.value, right.value));
                    let keyword = show::name(bound.keyword);
                    let detail = match tightest {
                        Some(granted) if granted.keyword == bound.keyword => {
                            format!(
                                "{keyword} is {} for the reader, and {} for the writer",
                                bound.text, granted.text
                            )
                        }
                        Some(granted) => format!(
                            "{keyword} is {} for the reader, and the writer's {} is {}",
                            bound.text,
                            show::name(granted.keyword),
                            granted.text
                        ),
                        None => {
                            format!("{keyword} is {} for the reader, and the writer has none", bound.text)
                        }
                    };
                    breaks.push(Break::here(Rule::RangeNarrowed, detail));
                }
            }
        }
        breaks.extend(self.multiple(object, facts));
        breaks
    }

    fn multiple(&self, object: &'a Object, facts: &Facts<'a>) -> Option<Break> {
        let text = self.reader.keyword(object, "multipleOf")?;
        let unit = Decimal::of(text)?;
        let mut granted = facts.parts.iter().filter_map(|part| self.writer.keyword(part, "multipleOf"));
        let one = Decimal::of(&Value::from(1));
        let is_met =
            granted.clone().any(|text| Decimal::of(text).is_some_and(|own| own.is_multiple_of(unit)))
                || !facts.kinds.has(Kinds::FRACTION) && one.is_some_and(|one| one.is_multiple_of(unit))
                || all_numbers(facts, |value| value.is_multiple_of(unit));
        if is_met {
            return None;
        }
        let detail = match granted.next() {
            Some(own) => {
                format!("numbers are multiples of {text} for the reader, and of {own} for the writer")
            }
            None => format!("numbers are multiples of {text} for the reader, and any for the writer"),
        };
        Some(Break::here(Rule::MultipleNarrowed, detail))
    }

    fn strings(&self, object: &'a Object, facts: &Facts<'a>) -> Vec<Break> {
        let mut breaks = Vec::new();
        let lengths = facts.values.as_ref().map(|values| {
            let texts = values.iter().filter_map(|value| value.as_str());
            texts.map(|text| i128::try_from(text.chars().count()).unwrap_or(i128::MAX)).collect::<Vec<_>>()
        });
        let lengths = lengths.unwrap_or_default();
        let shortest =
            self.writer.counts(facts, "minLength").chain(lengths.iter().min().copied()).max().unwrap_or(0);
        let longest = self.writer.counts(facts, "maxLength").chain(lengths.iter().max().copied()).min();
        breaks.extend(self.at_least(object, "minLength", shortest, Rule::LengthNarrowed));
        breaks.extend(self.at_most(object, "maxLength", longest, Rule::LengthNarrowed));
        for (name, rule) in [
            ("pattern", Rule::PatternChanged),
            ("format", Rule::FormatChanged),
            ("contentEncoding", Rule::ContentChanged),
            ("contentMediaType", Rule::ContentChanged),
        ] {
            let Some(wanted) = self.reader.text(object, name) else { continue };
            let mut granted = facts.parts.iter().filter_map(|part| self.writer.text(part, name));
            let is_plain = name == "pattern"
                && all_values(facts, |value| {
                    value.as_str().is_none_or(|text| matches(wanted, text) == Some(true))
                });
            if is_plain || granted.clone().any(|granted| granted == wanted) {
                continue;
            }
            let (keyword, wanted) = (show::name(name), show::name(wanted));
            let detail = match granted.next() {
                Some(own) => {
                    format!("{keyword} is {wanted} for the reader, and {} for the writer", show::name(own))
                }
                None => format!("{keyword} is {wanted} for the reader, and the writer has none"),
            };
            breaks.push(Break::here(rule, detail));
        }
        breaks
    }

    /// A break where the reader's `name` wants more than what is there at least.
    pub fn at_least(&self, object: &'a Object, name: &str, least: i128, rule: Rule) -> Option<Break> {
        let wanted = self.reader.count(object, name).filter(|wanted| *wanted > least)?;
        let detail =
            format!("{} is {wanted} for the reader, and the writer may write {least}", show::name(name));
        Some(Break::here(rule, detail))
    }

    /// A break where the reader's `name` takes less than what may be there.
    pub fn at_most(&self, object: &'a Object, name: &str, most: Option<i128>, rule: Rule) -> Option<Break> {
        let taken = self.reader.count(object, name).filter(|taken| most.is_none_or(|most| most > *taken))?;
        let most = most.map_or("any number".to_owned(), |most| most.to_string());
        let detail =
            format!("{} is {taken} for the reader, and the writer may write {most}", show::name(name));
        Some(Break::here(rule, detail))
    }
}

/// Whether the values are listed, and each is one of these.
fn all_values(facts: &Facts<'_>, is_met: impl Fn(&Value) -> bool) -> bool {
    facts.values.as_ref().is_some_and(|values| values.iter().all(|value| is_met(value)))
}

/// The same of the numbers among them.
fn all_numbers(facts: &Facts<'_>, is_met: impl Fn(Decimal) -> bool) -> bool {
    all_values(facts, |value| !value.is_number() || Decimal::of(value).is_some_and(&is_met))
}
