//! Whether a bus and an outbox share their past.
//!
//! Each batch has a token, drawn at random. It is written into the outbox's table before the bus commits the batch
//! (*claimed*), into the bus with the events and the position, and into the table again when the rows are marked
//! (*settled*). So both sides know the last step of the other, and a side that was put back to an earlier state, or
//! exchanged for another, is found out.

use serde::{Deserialize, Serialize};

/// What the bus keeps of an outbox: it commits with the events that it tells of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The outbox's identity.
    pub outbox: String,
    /// The batch that was committed last.
    pub token: String,
    /// The position of its last row.
    pub position: u64,
}

/// What an outbox's table says of its relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct History {
    /// The outbox's identity.
    pub outbox: String,
    /// The batch that was read last.
    pub claimed: Option<String>,
    /// The batch whose rows were marked last.
    pub settled: Option<String>,
    /// The position up to which rows are marked.
    pub position: u64,
    /// The highest position that was ever given out.
    pub position_last: u64,
}

/// How a relay goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// The two have never met.
    Begin,
    /// The bus has noted the outbox, and the table doesn't know of it yet.
    Introduce,
    /// Nothing is left half done.
    Resume,
    /// The bus has committed the last batch, and its rows are to be marked.
    Settle,
}

/// Why a relay may not go on: publishing could lose rows, or repeat them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mismatch {
    #[error("it is another database than the one that this bus has published from under this name")]
    OtherDatabase,
    #[error("its rows are published by another bus, or were by one that is lost")]
    OtherBus,
    #[error(
        "the database or the bus was put back to an earlier state, such as by a restored backup, or another bus has taken \
         the outbox over: the bus has published up to position {bus}, and the table is marked up to {database}"
    )]
    Parted { bus: u64, database: u64 },
    #[error(
        "its positions begin anew: the bus has published up to position {bus}, and the last that the database gave out is \
         {database}"
    )]
    SetBack { bus: u64, database: u64 },
}

/// Compares both sides.
pub(super) fn compare(entry: Option<&Entry>, history: &History) -> Result<Course, Mismatch> {
    let Some(entry) = entry else {
        let is_new = history.settled.is_none() && history.claimed.is_none();
        return if is_new { Ok(Course::Begin) } else { Err(Mismatch::OtherBus) };
    };
    if entry.outbox != history.outbox {
        return Err(Mismatch::OtherDatabase);
    }
    let parted = || Mismatch::Parted { bus: entry.position, database: history.position };
    let token = Some(&entry.token);
    let course = if history.settled.is_none() && history.claimed.is_none() && entry.position == 0 {
        Course::Introduce
    } else if history.settled.as_ref() == token && history.position == entry.position {
        Course::Resume
    } else if history.claimed.as_ref() == token && history.position <= entry.position {
        Course::Settle
    } else {
        return Err(parted());
    };
    if history.position_last < entry.position {
        return Err(Mismatch::SetBack { bus: entry.position, database: history.position_last });
    }
    Ok(course)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(token: &str, position: u64) -> Entry {
        Entry { outbox: "o".to_owned(), token: token.to_owned(), position }
    }

    fn history(claimed: Option<&str>, settled: Option<&str>, position: u64) -> History {
        History {
            outbox: "o".to_owned(),
            claimed: claimed.map(str::to_owned),
            settled: settled.map(str::to_owned),
            position,
            position_last: 100,
        }
    }

    #[test]
    fn every_step_that_a_crash_can_come_after_has_its_course() {
        for (entry, history, course) in [
            (None, history(None, None, 0), Course::Begin),
            (Some(entry("a", 0)), history(None, None, 0), Course::Introduce),
            (Some(entry("a", 0)), history(Some("a"), Some("a"), 0), Course::Resume),
            (Some(entry("a", 0)), history(Some("b"), Some("a"), 0), Course::Resume),
            (Some(entry("b", 9)), history(Some("b"), Some("a"), 0), Course::Settle),
            (Some(entry("b", 9)), history(Some("b"), Some("b"), 9), Course::Resume),
        ] {
            assert_eq!(compare(entry.as_ref(), &history), Ok(course), "{entry:?} {history:?}");
        }
    }

    #[test]
    fn a_side_that_was_put_back_or_exchanged_is_found_out() {
        let other = History { outbox: "p".to_owned(), ..history(Some("b"), Some("b"), 9) };
        let set_back = History { position_last: 8, ..history(Some("b"), Some("b"), 9) };
        for (what, entry, history) in [
            ("another database", Some(entry("b", 9)), other),
            ("a new bus", None, history(Some("b"), Some("b"), 9)),
            ("a new bus, and a claim of another", None, history(Some("b"), None, 0)),
            ("an older database", Some(entry("c", 19)), history(Some("b"), Some("a"), 5)),
            ("an older database, never relayed", Some(entry("c", 19)), history(None, None, 0)),
            ("an older bus", Some(entry("a", 5)), history(Some("c"), Some("c"), 19)),
            ("positions that begin anew", Some(entry("b", 9)), set_back),
        ] {
            assert!(compare(entry.as_ref(), &history).is_err(), "{what}");
        }
    }
}
