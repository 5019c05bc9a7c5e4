//! What an aggregate's lane keeps in its state: snapshots and outcomes.
//!
//! ```text
//! key      := 's' '/' id                          a snapshot
//!           | 'o' '/' offset(u64, big-endian)     what became of the command at this offset
//! snapshot := format(u8, 1) seal(u64) version(u64) offset(u64) topic-len(u16) topic state
//! outcome  := OutcomeRow in MessagePack
//! ```
//!
//! Numbers are little-endian where nothing else is said. A snapshot is a cache: one that is of another stream or
//! another version of the state's layout, by its seal, or can't be read, is as if there were none. An empty topic means
//! that no command is known to have been decided.

use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::Outcome;
use super::fold::{Folded, Place};
use crate::handler::Failure;

const FORMAT: u8 = 1;
/// Bytes before the topic.
const HEAD: usize = 1 + 8 + 8 + 8 + 2;

/// The key of an aggregate's snapshot.
pub(crate) fn snapshot_key(id: &str) -> Vec<u8> {
    [b"s/", id.as_bytes()].concat()
}

/// The key of the outcome of the command at this offset.
pub(crate) fn outcome_key(offset: u64) -> Vec<u8> {
    [&b"o/"[..], &offset.to_be_bytes()].concat()
}

/// What a snapshot is of: a stream, and a version of the state's layout.
pub(super) fn seal(stream: &str, state_version: u32) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(&state_version.to_le_bytes());
    hasher.write(stream.as_bytes());
    hasher.finish()
}

/// An aggregate as a snapshot; `None` before its first event.
pub(super) fn snapshot(folded: &Folded, seal: u64) -> Option<Vec<u8>> {
    let state = folded.state.as_ref()?;
    let (topic, offset) = match &folded.decided {
        Some(Place { topic, offset }) => (&**topic, *offset),
        None => ("", 0),
    };
    let topic_len = u16::try_from(topic.len()).ok()?;
    let mut row = Vec::with_capacity(HEAD + topic.len() + state.len());
    row.push(FORMAT);
    row.extend_from_slice(&seal.to_le_bytes());
    row.extend_from_slice(&folded.version.to_le_bytes());
    row.extend_from_slice(&offset.to_le_bytes());
    row.extend_from_slice(&topic_len.to_le_bytes());
    row.extend_from_slice(topic.as_bytes());
    row.extend_from_slice(state);
    Some(row)
}

/// The aggregate that a snapshot of this seal is of.
pub(super) fn from_snapshot(row: &[u8], wanted: u64) -> Option<Folded> {
    let (format, row) = row.split_first()?;
    let (seal, row) = row.split_first_chunk()?;
    let (version, row) = row.split_first_chunk()?;
    let (offset, row) = row.split_first_chunk()?;
    let (topic_len, row) = row.split_first_chunk()?;
    let (topic, state) = row.split_at_checked(usize::from(u16::from_le_bytes(*topic_len)))?;
    let topic = std::str::from_utf8(topic).ok()?;
    let version = u64::from_le_bytes(*version);
    if *format != FORMAT || u64::from_le_bytes(*seal) != wanted || version == 0 {
        return None;
    }
    let offset = u64::from_le_bytes(*offset);
    let decided = (!topic.is_empty()).then(|| Place { topic: topic.into(), offset });
    Some(Folded { version, state: Some(state.to_vec()), appended: None, decided, snapshot: version })
}

/// What became of a command, as it is kept.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutcomeRow {
    /// The hash of the aggregate's id: the same command id may have been given to another one.
    key: u64,
    outcome: Outcome,
}

impl OutcomeRow {
    pub fn new(id: &str, outcome: Outcome) -> Self {
        Self { key: Self::key(id), outcome }
    }

    /// The outcome, if it is of this aggregate.
    pub fn of(self, id: &str) -> Option<Outcome> {
        (self.key == Self::key(id)).then_some(self.outcome)
    }

    pub fn encode(&self) -> Result<Vec<u8>, Failure> {
        rmp_serde::to_vec_named(self).map_err(|error| Failure::permanent("bad-outcome", error.to_string()))
    }

    pub fn decode(row: &[u8]) -> Option<Self> {
        rmp_serde::from_slice(row).ok()
    }

    fn key(id: &str) -> u64 {
        let mut hasher = SipHasher24::new();
        hasher.write(id.as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Rejection;

    #[test]
    fn a_snapshot_comes_back_unless_it_is_of_another_stream_or_layout() {
        let decided = Some(Place { topic: "commands".into(), offset: 7 });
        let folded = Folded { version: 3, state: Some(b"{}".to_vec()), snapshot: 3, decided, appended: None };
        for folded in [folded.clone(), Folded { decided: None, ..folded }] {
            let row = snapshot(&folded, seal("accounts", 1)).unwrap();
            assert_eq!(from_snapshot(&row, seal("accounts", 1)), Some(folded));
            assert_eq!(from_snapshot(&row, seal("accounts", 2)), None);
            assert_eq!(from_snapshot(&row, seal("orders", 1)), None);
            for len in 0..HEAD {
                assert_eq!(from_snapshot(&row[..len], seal("accounts", 1)), None);
            }
        }
        assert_eq!(snapshot(&Folded::default(), 1), None, "nothing has happened to it");
    }

    #[test]
    fn an_outcome_comes_back_to_the_aggregate_that_it_is_of() {
        let data = serde_json::json!({"balance": 5, "list": [1.5, null, "x"]});
        let outcomes = [
            Outcome::Accepted { version: u64::MAX, events: 2 },
            Outcome::Rejected(Rejection::new("overdrawn", "no").data(data)),
            Outcome::Rejected(Rejection::new("overdrawn", "no")),
        ];
        for outcome in outcomes {
            let row = OutcomeRow::new("a", outcome.clone()).encode().unwrap();
            assert_eq!(OutcomeRow::decode(&row).unwrap().of("a"), Some(outcome));
            assert_eq!(OutcomeRow::decode(&row).unwrap().of("b"), None);
        }
        assert_eq!(OutcomeRow::decode(b"x"), None);
    }
}
