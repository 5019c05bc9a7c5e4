//! Arrays and their items.

use serde_json::Value;

use super::comparison::{Comparison, Outcome, add};
use super::conjunction::Facts;
use super::document::Object;
use super::{Break, Rule};

impl<'a> Comparison<'a> {
    pub fn arrays(&mut self, object: &'a Object, facts: &Facts<'a>) -> Outcome {
        let mut breaks = Vec::new();
        let least = self.writer.counts(facts, "minItems").max().unwrap_or(0);
        let most = self.writer.items_max(facts);
        breaks.extend(self.at_least(object, "minItems", least, Rule::ItemsNarrowed));
        breaks.extend(self.at_most(object, "maxItems", most, Rule::ItemsNarrowed));
        let is_unique =
            |part: &&'a Object| self.writer.keyword(part, "uniqueItems") == Some(&Value::Bool(true));
        if self.reader.keyword(object, "uniqueItems") == Some(&Value::Bool(true))
            && !facts.parts.iter().any(is_unique)
            && most.is_none_or(|most| most > 1)
        {
            let detail = "the reader wants unique items, and the writer may repeat one";
            breaks.push(Break::here(Rule::UniquenessAdded, detail));
        }
        add(&mut breaks, self.wants_same(object, facts, &["contains", "minContains", "maxContains"])?);
        add(&mut breaks, self.unevaluated(object, "unevaluatedItems"));
        add(&mut breaks, self.items(object, facts, most)?);
        Ok(breaks)
    }

    /// The items of a tuple one by one, then all others together.
    fn items(&mut self, object: &'a Object, facts: &Facts<'a>, most: Option<i128>) -> Outcome {
        let mut breaks = Vec::new();
        let (tuple, rest) = self.reader.items(object);
        let tuple_len = self.writer.tuple_len(facts).max(tuple.len());
        let is_written =
            |index: usize| most.is_none_or(|most| i128::try_from(index).is_ok_and(|index| index < most));
        for index in (0..tuple_len).take_while(|index| is_written(*index)) {
            self.budget.spend(facts.parts.len() + facts.hints.len())?;
            if let Some(schema) = tuple.get(index).or(rest) {
                let item = self.writer.item(facts, Some(index));
                add(&mut breaks, self.descend(schema, &item, &index.to_string(), Rule::ItemsNarrowed)?);
            }
        }
        if let Some(schema) = rest.filter(|_| is_written(tuple_len)) {
            let item = self.writer.item(facts, None);
            add(&mut breaks, self.descend(schema, &item, "*", Rule::ItemsNarrowed)?);
        }
        Ok(breaks)
    }
}
