//! Sagas, as the state of the consumer that runs them has them.
//!
//! What is stored is a contract with the SDK, which writes it: `docs/patterns/sagas.md` has the format.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::clock::Timestamp;
use crate::log::{AdminError, ReadError};

/// What the key of a saga's record begins with; its id follows.
pub(crate) const SAGA_PREFIX: &[u8] = b"saga/";
/// The version of a record's format.
const VERSION: u32 = 1;
/// The timer by which an operator has a saga ask again.
pub(crate) const SAGA_RETRY: &str = "saga:retry";
/// The timer by which an operator has a saga compensated.
pub(crate) const SAGA_COMPENSATE: &str = "saga:compensate";
/// The timer by which an operator says that the step where a saga is stuck is undone.
pub(crate) const SAGA_RESOLVE: &str = "saga:resolve";

/// How far a saga is.
///
/// ```
/// use tidegate::SagaState;
///
/// assert_eq!(SagaState::Stuck.to_string(), "stuck");
/// assert!(SagaState::Compensated.is_ended() && !SagaState::Stuck.is_ended());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SagaState {
    /// It can't compensate a step, and waits for an operator.
    Stuck,
    /// It waits for the outcome of a step.
    Running,
    /// It waits for a step to be undone.
    Compensating,
    /// It has ended with all steps done.
    Completed,
    /// It has ended with all steps undone that were done.
    Compensated,
}

impl SagaState {
    /// Whether nothing happens to it any more.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Completed | Self::Compensated)
    }
}

impl fmt::Display for SagaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stuck => "stuck",
            Self::Running => "running",
            Self::Compensating => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
        })
    }
}

/// Which sagas [`Bus::sagas`](crate::Bus::sagas) lists: all that there are, unless it says otherwise.
///
/// ```
/// use std::time::Duration;
/// use tidegate::{SagaQuery, SagaState};
///
/// // Ten that wait for an operator, or for something else, for a quarter of an hour and longer.
/// let query = SagaQuery::default().waiting_for(Duration::from_secs(15 * 60)).limit(10);
/// assert_eq!(query.state(SagaState::Stuck).state, Some(SagaState::Stuck));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SagaQuery {
    /// Of one consumer, or of all.
    pub consumer: Option<String>,
    /// In one state, or in any.
    pub state: Option<SagaState>,
    /// Those alone that haven't ended, and have been in their state and step for so long.
    pub waiting: Option<Duration>,
    /// How many at most: 100 unless it says otherwise, up to 1000.
    pub limit: usize,
}

impl Default for SagaQuery {
    fn default() -> Self {
        Self { consumer: None, state: None, waiting: None, limit: 100 }
    }
}

impl SagaQuery {
    /// Of this consumer.
    #[must_use]
    pub fn consumer(mut self, name: impl Into<String>) -> Self {
        self.consumer = Some(name.into());
        self
    }

    /// In this state.
    #[must_use]
    pub fn state(mut self, state: SagaState) -> Self {
        self.state = Some(state);
        self
    }

    /// That haven't ended, and have been in their state and step for so long.
    #[must_use]
    pub fn waiting_for(mut self, time: Duration) -> Self {
        self.waiting = Some(time);
        self
    }

    /// At most so many, up to 1000.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Whether this is one of them.
    pub(crate) fn fits(&self, saga: &SagaStatus) -> bool {
        self.state.is_none_or(|state| state == saga.state)
            && self.waiting.is_none_or(|time| !saga.state.is_ended() && saga.waiting >= time)
    }
}

/// A saga, as [`Bus::sagas`](crate::Bus::sagas) lists it.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// for saga in bus.sagas(tidegate::SagaQuery::default())? {
///     println!("{} of {}: {} for {:?}", saga.id, saga.consumer, saga.state, saga.waiting);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SagaStatus {
    /// The consumer that runs it.
    pub consumer: String,
    /// The partition number of its lane.
    pub partition: u32,
    /// Its id, which is the key in whose order all happens to it.
    pub id: String,
    /// How far it is.
    pub state: SagaState,
    /// The step that is about, unless it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Why it is compensated, or stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// When it began.
    pub began: Timestamp,
    /// When it came to its state and step.
    pub since: Timestamp,
    /// Time since it began, up to its end where it has ended.
    pub age: Duration,
    /// Time since it came to its state and step.
    pub waiting: Duration,
}

impl SagaStatus {
    /// Where it stands in a list: those that are stuck first, then those that go on, of either those first that have waited
    /// longest; then those that have ended, the last one first.
    pub(crate) fn rank(&self) -> (u8, i64) {
        match self.state {
            SagaState::Stuck => (0, self.since.0),
            SagaState::Running | SagaState::Compensating => (1, self.since.0),
            SagaState::Completed | SagaState::Compensated => (2, self.since.0.saturating_neg()),
        }
    }
}

/// All that there is of a saga, as [`Bus::saga`](crate::Bus::saga) shows it.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?;
/// match bus.saga("order-saga", "17") {
///     Ok(saga) => println!("{}: {}", saga.status.state, saga.data),
///     Err(error) => println!("{error}"), // there is no such consumer
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Saga {
    /// How far it is.
    #[serde(flatten)]
    pub status: SagaStatus,
    /// The name of the plugin that began it.
    pub name: String,
    /// How often what it waits for was asked for.
    pub attempt: u32,
    /// The steps that it has taken, in order.
    pub steps: Vec<SagaStep>,
    /// What it knows: JSON.
    pub data: String,
    /// What happened to it, the newest last.
    pub history: Vec<SagaEvent>,
    /// Older entries that the history has no room for.
    pub history_dropped: u64,
}

/// A step that a saga has taken.
///
/// ```
/// let json = r#"{"name": "take-payment", "status": "in-doubt", "commands": 1, "compensations": 0}"#;
/// let step: tidegate::SagaStep = serde_json::from_str(json).unwrap();
/// assert_eq!((&*step.name, &*step.status), ("take-payment", "in-doubt"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SagaStep {
    /// Its name.
    pub name: String,
    /// What became of it: `asked`, `done`, `failed`, `in-doubt`, `compensating`, `compensated` or `not-compensated`.
    pub status: String,
    /// How often its command was published.
    pub commands: u32,
    /// How often its compensation was.
    pub compensations: u32,
}

/// Something that happened to a saga.
///
/// ```
/// let json = r#"{"at": "2026-01-01T00:00:00Z", "what": "failed", "step": "pay", "type": "PaymentRefused.v1", "id": "7"}"#;
/// let event: tidegate::SagaEvent = serde_json::from_str(json).unwrap();
/// assert_eq!((&*event.what, event.kind.as_deref()), ("failed", Some("PaymentRefused.v1")));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SagaEvent {
    /// When.
    pub at: Timestamp,
    /// What: see the history in `docs/patterns/sagas.md`.
    pub what: String,
    /// To which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The type of the event that said so.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The event's id, or that of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Why a saga could not be shown, or told what to do.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::SagaError;
///
/// match bus.retry_saga("order-saga", "17") {
///     Err(SagaError::Ended { state, .. }) => println!("nothing to do: it is {state}"),
///     other => println!("{other:?}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SagaError {
    /// There is no such saga: it never began, or has ended and is forgotten.
    #[error("consumer `{consumer}` has no saga `{id}`: it never began, or has ended and is forgotten")]
    Unknown {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
    },
    /// The saga has ended: there is nothing to ask for again, or to compensate.
    #[error("saga `{id}` of consumer `{consumer}` has ended: it is {state}")]
    Ended {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
        /// How it has ended.
        state: SagaState,
    },
    /// The saga is being compensated already.
    #[error("saga `{id}` of consumer `{consumer}` is {state} already: `retry` has it ask again")]
    CompensatedAlready {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
        /// How far it is.
        state: SagaState,
    },
    /// The saga isn't stuck: there is nothing to resolve.
    #[error("saga `{id}` of consumer `{consumer}` is {state}: one that is stuck alone can be resolved")]
    NotStuck {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
        /// How far it is.
        state: SagaState,
    },
    /// What the state has under the saga's key is no saga that this version can read.
    #[error("state `saga/{id}` of consumer `{consumer}` is no saga that this version can read: {reason}")]
    Unreadable {
        /// The consumer.
        consumer: String,
        /// The saga's id.
        id: String,
        /// What doesn't fit.
        reason: String,
    },
    /// The log can't be read, or there is no such consumer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log refuses.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

/// Where a record was found.
pub(crate) struct SagaPlace<'a> {
    pub consumer: &'a str,
    pub partition: u32,
    pub id: &'a str,
}

/// The part of a record that a list shows. The rest is passed over unread.
#[derive(Deserialize)]
struct Head {
    version: u32,
    state: SagaState,
    step: Option<String>,
    why: Option<String>,
    began: i64,
    since: i64,
}

#[derive(Deserialize)]
struct Body<'a> {
    saga: String,
    attempt: u32,
    steps: Vec<SagaStep>,
    #[serde(borrow)]
    data: &'a RawValue,
    history: Vec<Entry>,
    history_dropped: u64,
}

#[derive(Deserialize)]
struct Entry {
    at: i64,
    what: String,
    step: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
}

/// What a list shows of a record; an error where it is none.
pub(crate) fn status(place: &SagaPlace<'_>, record: &[u8], now: Timestamp) -> Result<SagaStatus, String> {
    let head: Head = serde_json::from_slice(record).map_err(|error| error.to_string())?;
    if head.version != VERSION {
        return Err(format!("its format has version {}, and this is for {VERSION}", head.version));
    }
    let (began, since) = (Timestamp(head.began), Timestamp(head.since));
    let end = if head.state.is_ended() { since } else { now };
    Ok(SagaStatus {
        consumer: place.consumer.to_owned(),
        partition: place.partition,
        id: place.id.to_owned(),
        state: head.state,
        step: head.step,
        why: head.why,
        began,
        since,
        age: end.since(began),
        waiting: now.since(since),
    })
}

/// All of a record; an error where it is none.
pub(crate) fn saga(place: &SagaPlace<'_>, record: &[u8], now: Timestamp) -> Result<Saga, String> {
    let status = status(place, record, now)?;
    let body: Body<'_> = serde_json::from_slice(record).map_err(|error| error.to_string())?;
    let event = |entry: Entry| SagaEvent {
        at: Timestamp(entry.at),
        what: entry.what,
        step: entry.step,
        kind: entry.kind,
        id: entry.id,
    };
    Ok(Saga {
        status,
        name: body.saga,
        attempt: body.attempt,
        steps: body.steps,
        data: body.data.get().to_owned(),
        history: body.history.into_iter().map(event).collect(),
        history_dropped: body.history_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: SagaPlace<'_> = SagaPlace { consumer: "c", partition: 3, id: "17" };

    #[test]
    fn a_record_is_read_to_its_end_and_in_part() {
        // As the SDK's test of its format has it.
        let record = br#"{"version":1,"saga":"orders","state":"running","step":"pay","began":7,"since":9,"turn":0,"attempt":0,
            "steps":[{"name":"pay","status":"in-doubt","commands":1,"compensations":0}],"data":{"cents": 995},
            "history":[{"at":8,"what":"compensation-asked","step":"pay","id":"c"}],"history_dropped":0}"#;
        let saga = saga(&PLACE, record, Timestamp(12)).unwrap();
        assert_eq!(
            (saga.status.age, saga.status.waiting),
            (Duration::from_micros(5), Duration::from_micros(3))
        );
        assert_eq!((&*saga.name, &*saga.data, saga.steps.len()), ("orders", r#"{"cents": 995}"#, 1));
        assert_eq!((saga.history[0].at, saga.history[0].id.as_deref()), (Timestamp(8), Some("c")));
        assert_eq!(status(&PLACE, record, Timestamp(12)).unwrap(), saga.status);
    }

    #[test]
    fn what_is_no_saga_says_why() {
        for (record, why) in [
            (&b"17"[..], "invalid type"),
            (b"\xff", "expected value"),
            (br#"{"version":1,"state":"lost","began":7,"since":9}"#, "unknown variant `lost`"),
            (br#"{"version":2,"state":"running","began":7,"since":9}"#, "version 2"),
        ] {
            let refused = status(&PLACE, record, Timestamp(9)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn what_waits_for_an_operator_comes_first_then_what_has_waited_longest_and_at_last_what_has_ended() {
        let status = |state: &str, since: i64| {
            let record = format!(r#"{{"version":1,"state":"{state}","began":0,"since":{since}}}"#);
            status(&PLACE, record.as_bytes(), Timestamp(100)).unwrap()
        };
        let sorted = [
            ("stuck", 50),
            ("stuck", 60),
            ("compensating", 1),
            ("running", 2),
            ("completed", 40),
            ("compensated", 30),
        ];
        let mut sagas: Vec<_> = sorted.iter().rev().map(|(state, since)| status(state, *since)).collect();
        sagas.sort_by_key(SagaStatus::rank);
        let found: Vec<_> = sagas.iter().map(|saga| (saga.state.to_string(), saga.since.0)).collect();
        assert_eq!(found, sorted.map(|(state, since)| (state.to_owned(), since)));
    }
}
