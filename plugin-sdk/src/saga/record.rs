//! What the state has of a saga.
//!
//! It is a contract with the host, which shows sagas to people: `docs/patterns/sagas.md` has the format. Moments are microseconds
//! since the beginning of 1970.

use serde::{Deserialize, Serialize};

use crate::{Event, Timestamp};

/// The version of the format.
const VERSION: u32 = 1;
/// What the key of a saga's record begins with; its id follows.
const PREFIX: &str = "saga/";
/// What happened to a saga that its record keeps; older entries are counted. One takes some 100 bytes, and the record is written
/// anew with each.
const HISTORY_MAX: usize = 50;

/// The key of a saga's record in the state of its lane.
pub(crate) fn state_key(id: &str) -> String {
    format!("{PREFIX}{id}")
}

/// What there is of a saga.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Record<D> {
    /// The version of the format.
    pub version: u32,
    /// The name of the plugin that began it.
    pub saga: String,
    /// How far it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// Why it is compensated, or stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why it is compensated, while it is stuck as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When it began.
    pub began: i64,
    /// When it came to its phase.
    pub since: i64,
    /// Counts the timers that it has set: one that isn't the last says nothing any more.
    pub turn: u64,
    /// How often what it waits for was asked for in this phase.
    pub attempt: u32,
    /// The steps that it has taken, in order.
    pub steps: Vec<StepRecord>,
    /// What it knows.
    pub data: D,
    /// What happened to it, the newest last.
    pub history: Vec<Entry>,
    /// Older entries that the history has no room for.
    pub history_dropped: u64,
}

/// How far a saga is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// It waits for the outcome of a step.
    Running {
        /// The step's name.
        step: String,
    },
    /// It waits for a step to be undone.
    Compensating {
        /// The step's name.
        step: String,
    },
    /// It waits for an operator: a step can't be undone.
    Stuck {
        /// The step's name.
        step: String,
    },
    /// All steps are done.
    Completed,
    /// All steps that were done, or may have been, are undone.
    Compensated,
}

impl Phase {
    /// The step that it is about.
    pub fn step(&self) -> Option<&str> {
        match self {
            Self::Running { step } | Self::Compensating { step } | Self::Stuck { step } => Some(step),
            Self::Completed | Self::Compensated => None,
        }
    }
}

/// A step that a saga has taken.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StepRecord {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub status: Status,
    /// How often its command was published.
    pub commands: u32,
    /// How often its compensation was.
    pub compensations: u32,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Status {
    /// Its outcome is waited for.
    Asked,
    /// It has happened.
    Done,
    /// It has not happened, as its participant says.
    Failed,
    /// Whether it has happened isn't known.
    InDoubt,
    /// Its undoing is waited for.
    Compensating,
    /// It is undone.
    Compensated,
    /// It has no compensation.
    NotCompensated,
}

impl Status {
    /// Whether it is to be undone, where the saga is.
    pub fn needs_compensation(self) -> bool {
        matches!(self, Self::Done | Self::InDoubt)
    }
}

/// Something that happened to a saga.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// When.
    pub at: i64,
    /// What.
    pub what: What,
    /// To which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The type of the event that said so.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// The event's id, or that of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// What can happen to a saga.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    /// It began.
    Began,
    /// A step was asked for.
    Asked,
    /// A step was done.
    Succeeded,
    /// A step's participant refused it.
    Failed,
    /// A step's time was up.
    TimedOut,
    /// A step's undoing was asked for.
    CompensationAsked,
    /// A step was undone.
    CompensationSucceeded,
    /// A step's participant refused to undo it.
    CompensationFailed,
    /// A step has no compensation.
    NotCompensated,
    /// It ended with all steps done.
    Completed,
    /// It ended with all undone.
    Compensated,
    /// It was set aside for an operator.
    Stuck,
    /// An operator had it ask again.
    OperatorRetried,
    /// An operator had it compensated.
    OperatorCompensated,
    /// An operator has undone the step where it was stuck.
    OperatorResolved,
    /// Something came that says nothing to it in its state.
    Ignored,
}

impl<D> Record<D> {
    /// That of a saga that begins.
    pub fn new(saga: &str, now: Timestamp, data: D) -> Self {
        Self {
            version: VERSION,
            saga: saga.to_owned(),
            phase: Phase::Completed,
            why: None,
            failure: None,
            began: now.as_micros(),
            since: now.as_micros(),
            turn: 0,
            attempt: 0,
            steps: Vec::new(),
            data,
            history: Vec::new(),
            history_dropped: 0,
        }
    }

    /// Notes what happened.
    pub fn note(&mut self, now: Timestamp, what: What, step: Option<&str>, event: Option<&Event>) {
        let event_type = event.map(|event| event.event_type.clone());
        let id = event.map(|event| event.id.clone());
        self.push(Entry { at: now.as_micros(), what, step: step.map(str::to_owned), event_type, id });
    }

    /// Notes that something was asked for.
    pub fn note_asked(&mut self, now: Timestamp, what: What, step: &str, command: Option<String>) {
        let at = now.as_micros();
        self.push(Entry { at, what, step: Some(step.to_owned()), event_type: None, id: command });
    }

    fn push(&mut self, entry: Entry) {
        if self.history.len() >= HISTORY_MAX {
            let over = self.history.len() + 1 - HISTORY_MAX;
            self.history.drain(..over);
            self.history_dropped += over as u64;
        }
        self.history.push(entry);
    }

    /// The step of this name among those that were taken.
    pub fn taken(&self, step: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|taken| taken.name == step)
    }

    /// The same, to be changed.
    pub fn taken_mut(&mut self, step: &str) -> Option<&mut StepRecord> {
        self.steps.iter_mut().find(|taken| taken.name == step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_has_the_format_that_the_host_reads() {
        let mut record =
            Record::new("orders", Timestamp::from_micros(7), serde_json::json!({ "cents": 995 }));
        record.phase = Phase::Running { step: "pay".to_owned() };
        record.steps.push(StepRecord {
            name: "pay".to_owned(),
            status: Status::InDoubt,
            commands: 1,
            compensations: 0,
        });
        record.note_asked(Timestamp::from_micros(8), What::CompensationAsked, "pay", Some("c".to_owned()));
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(
            json,
            r#"{"version":1,"saga":"orders","state":"running","step":"pay","began":7,"since":7,"turn":0,"attempt":0,"steps":[{"name":"pay","status":"in-doubt","commands":1,"compensations":0}],"data":{"cents":995},"history":[{"at":8,"what":"compensation-asked","step":"pay","id":"c"}],"history_dropped":0}"#
        );
        let again: Record<serde_json::Value> = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), json);
    }

    #[test]
    fn a_long_history_drops_its_oldest_entries_and_counts_them() {
        let mut record = Record::new("orders", Timestamp::default(), ());
        for at in 0..60 {
            record.note(Timestamp::from_micros(at), What::Ignored, None, None);
        }
        assert_eq!((record.history.len(), record.history[0].at, record.history_dropped), (50, 10, 10));
    }
}
