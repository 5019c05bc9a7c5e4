//! A question to a projection, and its answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::{Data, DataError};
use crate::handler::{Failure, ProgramVersion};
use crate::limits::{
    QUESTION_BYTES_MAX, QUESTION_LETTERS_MAX, QUESTION_PARAMETERS_BYTES_MAX, QUESTION_PLACES_MAX,
    QUESTION_WAIT, QUESTION_WAIT_MAX,
};
use crate::log::{Published, ReadError};
use crate::question::Question;

/// A question to a projection.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(4))?;
/// use std::time::Duration;
/// use tidegate::{Event, Query, QueryError};
///
/// let order = Event::new("order-17", "/shop", "OrderPlaced.v1").subject("customer-4").build()?;
/// let published = bus.publish("orders", order)?;
/// let query = Query::new("orders-of")
///     .json(&"customer-4")?
///     .key("customer-4") // the lane that has this customer's orders
///     .at_least("orders", &published) // with the order from above
///     .wait(Duration::from_secs(1));
/// match bus.query("shop-window", query) {
///     Ok(answer) => println!("{:?}, which reflects {:?}", answer.data, answer.positions),
///     Err(QueryError::UnknownProjection(name)) => assert_eq!(name, "shop-window"),
///     Err(other) => return Err(other.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    pub(super) question: Question,
    pub(super) key: Option<String>,
    pub(super) at_least: Vec<EventPlace>,
    pub(super) wait: Duration,
}

/// The place of an event that an answer is to reflect.
///
/// ```
/// use tidegate::EventPlace;
///
/// let place: EventPlace = "orders/2/17".parse().unwrap();
/// assert_eq!(place, EventPlace { topic: "orders".into(), partition: 2, offset: 17 });
/// assert_eq!(place.to_string(), "orders/2/17");
/// assert!("orders/17".parse::<EventPlace>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPlace {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The offset within the partition.
    pub offset: u64,
}

impl std::fmt::Display for EventPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

impl std::str::FromStr for EventPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.rsplitn(3, '/');
        let (offset, partition, topic) = (parts.next(), parts.next(), parts.next());
        let place = topic.zip(partition.and_then(|text| text.parse().ok()));
        match (place, offset.and_then(|text| text.parse().ok())) {
            (Some((topic, partition)), Some(offset)) => {
                Ok(Self { topic: topic.to_owned(), partition, offset })
            }
            _ => Err(format!("a place is TOPIC/PARTITION/OFFSET, such as `orders/2/17`, not {text:?}")),
        }
    }
}

impl Query {
    /// A question without parameters, to all lanes of the projection as they are now.
    pub fn new(question: impl Into<String>) -> Self {
        Self {
            question: Question { name: question.into(), parameters: None },
            key: None,
            at_least: Vec::new(),
            wait: QUESTION_WAIT,
        }
    }

    /// With these parameters, at most 1 MiB.
    #[must_use]
    pub fn parameters(mut self, parameters: Data) -> Self {
        self.question.parameters = Some(parameters);
        self
    }

    /// With these parameters, as JSON.
    ///
    /// # Errors
    ///
    /// They can't be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, parameters: &T) -> Result<Self, serde_json::Error> {
        Ok(self.parameters(Data::Json(serde_json::to_string(parameters)?)))
    }

    /// To the lane alone that has the events of this key, whose answer it then is.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The answer has to reflect the event that was published there.
    #[must_use]
    pub fn at_least(self, topic: impl Into<String>, published: &Published) -> Self {
        self.at_least_place(EventPlace {
            topic: topic.into(),
            partition: published.partition,
            offset: published.offset,
        })
    }

    /// The answer has to reflect the event at this place.
    #[must_use]
    pub fn at_least_place(mut self, place: EventPlace) -> Self {
        self.at_least.push(place);
        self
    }

    /// How long to wait until the projection reflects what the answer has to: 2 seconds by default, at most 10 minutes.
    /// Without anything that it has to reflect, nothing is waited for.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait.min(QUESTION_WAIT_MAX);
        self
    }

    pub(super) fn check(&mut self) -> Result<(), QueryError> {
        let parameters = self.question.parameters.as_ref().map_or(0, |data| data.as_bytes().len());
        for (what, size, max) in [
            ("the question's name, in bytes,", self.question.name.len(), QUESTION_BYTES_MAX),
            ("the question's parameters, in bytes,", parameters, QUESTION_PARAMETERS_BYTES_MAX),
            ("the number of places to reflect", self.at_least.len(), QUESTION_PLACES_MAX),
        ] {
            if size > max {
                return Err(QueryError::Size { what, size, max });
            }
        }
        let parameters = self.question.parameters.take().map(Data::checked).transpose();
        self.question.parameters = parameters.map_err(|error| QueryError::Parameters(error.to_string()))?;
        Ok(())
    }
}

/// An answer of a projection, with the position that it reflects.
///
/// ```no_run
/// # fn example(bus: tidegate::Blocking) -> Result<(), Box<dyn std::error::Error>> {
/// use tidegate::Query;
///
/// let answer = bus.query("quake-board", Query::new("count"))?;
/// println!("{} earthquakes", answer.data_as::<u64>()?);
/// for position in &answer.positions {
///     println!("partition {}: all before {:?}", position.partition, position.next);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QueryAnswer {
    /// What the projection says.
    pub data: Option<Data>,
    /// What it has read to come to that: of each lane that was asked, by its partition.
    pub positions: Vec<LanePosition>,
    /// How often its state had been made anew, see [`Bus::rebuild`](crate::Bus::rebuild).
    pub generation: u64,
    /// The version that has answered.
    pub version: ProgramVersion,
}

impl QueryAnswer {
    /// Reads an answer that is JSON as a value, which may borrow from it.
    ///
    /// # Errors
    ///
    /// There is no data, it is not JSON, or its JSON has another shape.
    pub fn data_as<T: DeserializeOwned>(&self) -> Result<T, DataError> {
        match self.data.as_ref().ok_or(DataError::Missing)? {
            Data::Json(text) => Ok(serde_json::from_str(text)?),
            Data::Text(_) => Err(DataError::NotJson { media_type: "text".to_owned() }),
            Data::Binary(_) => Err(DataError::NotJson { media_type: "bytes".to_owned() }),
        }
    }
}

/// What an answer reflects of a partition: every event before `next`, but for those that its projection holds or has given up
/// on. It was read together with the state that the answer comes from.
///
/// ```no_run
/// # fn example(bus: tidegate::Blocking) -> Result<(), Box<dyn std::error::Error>> {
/// let answer = bus.query("quake-board", tidegate::Query::new("count"))?;
/// let is_whole = answer.positions.iter().all(|position| position.held + position.dead_letters == 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LanePosition {
    /// The partition number.
    pub partition: u32,
    /// Of each topic the offset that the projection comes to next. It never goes back, unless an operator moves the projection.
    pub next: BTreeMap<String, u64>,
    /// Events before that which wait for a retry, or behind one, and are not reflected yet.
    pub held: u64,
    /// Events before that which it has given up on since it began: reflected are those alone that were redriven since.
    pub dead_letters: u64,
}

/// Why there is no answer. Nothing has changed.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// # bus.create_topic("orders", tidegate::config::TopicConfig::new(1))?;
/// use tidegate::config::ConsumerConfig;
/// use tidegate::{Query, QueryError, handler_fn};
///
/// bus.subscribe("billing", ConsumerConfig::new(["orders"]), handler_fn(|_, _| Ok(())))?;
/// match bus.query("billing", Query::new("count")) {
///     Err(QueryError::NotProjection(name)) => assert_eq!(name, "billing"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum QueryError {
    /// There is no consumer of this name.
    #[error("there is no projection `{0}`: `tidegate projections` lists those that run")]
    UnknownProjection(String),
    /// It doesn't run in this process.
    #[error("projection `{0}` isn't running: the process that runs it answers, as `tidegate run` does")]
    NotRunning(String),
    /// Its program answers no questions.
    #[error(
        "consumer `{0}` is no projection: its plugin doesn't export `queries`, see the world `tidegate:plugin/projection`"
    )]
    NotProjection(String),
    /// More than a question may have.
    #[error("{what} is at most {max}, not {size}")]
    Size {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        size: usize,
        /// The bound.
        max: usize,
    },
    /// The question's parameters are to be JSON, and are none.
    #[error("the question's parameters are no JSON: {0}")]
    Parameters(String),
    /// The answer is to reflect what the projection doesn't read.
    #[error("projection `{projection}` doesn't read partition {} of topic `{}`", .place.partition, .place.topic)]
    NotRead {
        /// The projection.
        projection: String,
        /// What it is to reflect.
        place: EventPlace,
    },
    /// The projection didn't come to what the answer is to reflect within the time.
    #[error(
        "projection `{projection}` doesn't reflect {place} after {} ms: {}", .waited.as_millis(),
        if *.is_held { "it holds that event, which waits for a retry".to_owned() } else { format!("it is at {next}") }
    )]
    Behind {
        /// The projection.
        projection: String,
        /// What it is to reflect.
        place: EventPlace,
        /// The offset that it comes to next in that partition.
        next: u64,
        /// Whether it has come past the event, which waits for a retry or behind one.
        is_held: bool,
        /// How long was waited.
        waited: Duration,
    },
    /// The projection has given up on the event that the answer is to reflect, or may have.
    #[error("projection `{projection}` {}", given_up(.projection, .place, *.letter))]
    GivenUp {
        /// The projection.
        projection: String,
        /// What it is to reflect.
        place: EventPlace,
        /// The dead letter; none where there are so many that it isn't looked for.
        letter: Option<u64>,
    },
    /// The projection says that there is no answer.
    #[error("projection `{projection}` doesn't answer `{question}`: {code}: {message}")]
    Refused {
        /// The projection.
        projection: String,
        /// The question.
        question: String,
        /// A short word that stays the same for the same cause, as the plugin says it.
        code: String,
        /// What happened, as the plugin says it.
        message: String,
    },
    /// The plugin trapped, or went over a limit. Its lanes go on.
    #[error("projection `{projection}` failed at `{question}`: {failure}")]
    Failed {
        /// The projection.
        projection: String,
        /// The question.
        question: String,
        /// How.
        failure: Box<Failure>,
    },
    /// A transaction's closure asks: it would wait for itself.
    #[error("a projection can't be asked from within a transaction: ask before it")]
    InTransaction,
    /// The bus is shutting down.
    #[error("the bus is shutting down")]
    Closed,
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

fn given_up(projection: &str, place: &EventPlace, letter: Option<u64>) -> String {
    match letter {
        Some(letter) => format!(
            "has given up on {place}, which is its dead letter {letter}: `tidegate dlq show {projection} {letter}` says why, and \
             `tidegate dlq redrive` has it tried again"
        ),
        None => format!(
            "has more than {QUESTION_LETTERS_MAX} dead letters, among which {place} may be: redrive or discard them \
             (`tidegate dlq list {projection}`)"
        ),
    }
}
