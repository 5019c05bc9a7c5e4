use serde::{Serialize, de::DeserializeOwned};

use crate::{Consumer, Data, Host, Raw, Refusal};

/// A consumer that answers questions from its state: a read model. [`export_projection!`](crate::export_projection) makes it a
/// plugin.
///
/// Its `handle` folds each event into the state of its lane, which is all that it changes: it can't publish, so that it can
/// be made anew from the events at any time. A question with a key is asked of the lane of that key, one without of every
/// lane, each of which answers from its own state; [`combine`](Self::combine) makes one answer of these.
///
/// ```
/// use tidegate_plugin::testing::{FakeHost, delivery};
/// use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Projection, Query, Raw, Refusal};
///
/// /// Counts the events of each key.
/// #[derive(Default)]
/// struct Counts;
///
/// impl Consumer for Counts {
///     const NAME: &'static str = "counts";
///     const USES_STATE: bool = true;
///     type Data = Raw;
///
///     fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
///         let count: u64 = host.get_json(delivery.event.key())?.unwrap_or_default();
///         Ok(host.set_json(delivery.event.key(), &(count + 1))?)
///     }
/// }
///
/// impl Projection for Counts {
///     fn answer(query: &Query, host: &dyn Host) -> Result<Raw, Refusal> {
///         match query.question.as_str() {
///             "count-of" => Ok(Raw::json(&host.get_json::<u64>(query.parameters::<String>()?)?)?),
///             _ => Err(query.unknown()),
///         }
///     }
/// }
///
/// let mut host = FakeHost::new::<Counts>();
/// host.deliver(&mut Counts, delivery(Outgoing::new("Greeting.v1").subject("world")))?;
/// let answer = host.ask::<Counts>(&Query::new("count-of").with(&"world")?)?;
/// assert_eq!(answer, Raw::Json("1".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Projection: Consumer {
    /// Answers a question from the state of one lane. It reads what is durable of it at one moment, and changes nothing.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], which is what whoever asked gets.
    fn answer(query: &Query, host: &dyn Host) -> Result<Raw, Refusal>;

    /// Makes one answer of those of all lanes, by their partition. Unless it is written, those without data are left out; of
    /// the others one alone is the answer, and several JSON arrays become one, in the order of the partitions.
    ///
    /// # Errors
    ///
    /// A [`Refusal`], which is what whoever asked gets: by default with code `not-combinable`, where answers are no arrays.
    fn combine(query: &Query, answers: Vec<Raw>) -> Result<Raw, Refusal> {
        concatenate(query, answers)
    }
}

/// A question to a [`Projection`].
///
/// ```
/// use tidegate_plugin::Query;
///
/// let query = Query::new("strongest").with(&5)?;
/// assert_eq!(query.parameters::<u32>()?, 5);
/// assert_eq!(query.parameters::<String>().unwrap_err().code, "bad-parameters");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Which question.
    pub question: String,
    /// What goes with it.
    pub parameters: Raw,
}

impl Query {
    /// A question without parameters.
    pub fn new(question: impl Into<String>) -> Self {
        Self { question: question.into(), parameters: Raw::Empty }
    }

    /// The same question with these parameters, as JSON.
    ///
    /// # Errors
    ///
    /// They can't be written as JSON.
    pub fn with<T: Serialize + ?Sized>(self, parameters: &T) -> Result<Self, serde_json::Error> {
        Ok(Self { parameters: Raw::json(parameters)?, ..self })
    }

    /// Its parameters, read as those of an event are: from JSON, where there are none from `null`.
    ///
    /// # Errors
    ///
    /// They are something else: a refusal with code `bad-parameters` that says what.
    pub fn parameters<T: Data>(&self) -> Result<T, Refusal> {
        T::decode(self.parameters.clone(), None)
            .map_err(|failure| Refusal::new("bad-parameters", &failure.reason().message))
    }

    /// What to say to a question that isn't known: a refusal with code `unknown-question`.
    pub fn unknown(&self) -> Refusal {
        Refusal::new("unknown-question", format_args!("there is no question `{}`", self.question))
    }
}

impl Raw {
    /// The value of data that is JSON, as [`Projection::combine`] reads the answers of lanes.
    ///
    /// # Errors
    ///
    /// It isn't, or of another shape: a refusal with code `bad-answer`.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        <T as Data>::decode(self, None)
            .map_err(|failure| Refusal::new("bad-answer", &failure.reason().message))
    }
}

/// What [`Projection::combine`] does unless it is written: for a projection that writes it for some of its questions.
///
/// ```
/// use tidegate_plugin::{Query, Raw, concatenate};
///
/// let lanes = [&[1, 2][..], &[], &[3]].map(|answer| Raw::json(answer).unwrap());
/// assert_eq!(concatenate(&Query::new("all"), lanes.into())?, Raw::Json("[1,2,3]".to_owned()));
/// # Ok::<(), tidegate_plugin::Refusal>(())
/// ```
///
/// # Errors
///
/// A refusal with code `not-combinable`: there are several answers, and not all are JSON arrays.
pub fn concatenate(query: &Query, answers: Vec<Raw>) -> Result<Raw, Refusal> {
    let mut answers: Vec<_> = answers.into_iter().filter(|answer| *answer != Raw::Empty).collect();
    if answers.len() <= 1 {
        return Ok(answers.pop().unwrap_or_default());
    }
    // What stands between their brackets, one behind the other.
    let mut all = String::from("[");
    for answer in &answers {
        let items = match answer {
            Raw::Json(text) => {
                text.trim().strip_prefix('[').and_then(|text| text.strip_suffix(']')).map(str::trim)
            }
            _ => None,
        };
        let Some(items) = items else {
            return Err(Refusal::new(
                "not-combinable",
                format_args!(
                    "the lanes' answers to `{}` are no arrays, which alone are put together unasked",
                    query.question
                ),
            ));
        };
        if all.len() > 1 && !items.is_empty() {
            all.push(',');
        }
        all.push_str(items);
    }
    all.push(']');
    Ok(Raw::Json(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Raw {
        Raw::Json(text.to_owned())
    }

    #[test]
    fn arrays_are_put_together_in_the_order_of_the_partitions() {
        let query = Query::new("all");
        for (answers, one) in [
            (vec![json("[1, 2]"), json("[]"), json(" [ 3 ] ")], json("[1, 2,3]")),
            (vec![json("[]"), json("[[1]]"), Raw::Empty, json("[\"]\"]")], json("[[1],\"]\"]")),
            (vec![json("[]"), json("[]")], json("[]")),
            (vec![Raw::Empty, json("17")], json("17")),
            (vec![Raw::Empty, Raw::Empty], Raw::Empty),
            (Vec::new(), Raw::Empty),
        ] {
            assert_eq!(concatenate(&query, answers), Ok(one));
        }
    }

    #[test]
    fn answers_that_are_no_arrays_have_to_be_put_together_by_the_projection() {
        for other in [json("17"), json("{}"), Raw::Text("[]".to_owned())] {
            let refusal = concatenate(&Query::new("count"), vec![json("[]"), other]).unwrap_err();
            assert_eq!(refusal.code, "not-combinable");
            assert!(refusal.message.contains("`count`"), "{refusal}");
        }
    }
}
