//! Aggregates for a request: commands to them, and what they are.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Answer;
use super::execute::{Ended, Failed, Outlet};
use super::protocol::base64;
use crate::bus::{AggregateState, At, Bus};
use crate::clock::Timestamp;
use crate::event::Event;

/// What an aggregate is at some point.
///
/// ```
/// // A state is bytes, so JSON has it in base64.
/// let line = r#"{"version": 3, "since": "2018-01-31T00:00:00Z", "state": "e30="}"#;
/// let line: tidegate::server::AggregateLine = serde_json::from_str(line).unwrap();
/// assert_eq!((line.version, &line.state[..]), (3, &b"{}"[..]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AggregateLine {
    /// The number of its last event.
    pub version: u64,
    /// When the log accepted that.
    pub since: Timestamp,
    /// The state.
    #[serde(with = "base64")]
    pub state: Vec<u8>,
}

impl From<AggregateState> for AggregateLine {
    fn from(state: AggregateState) -> Self {
        Self { version: state.version, since: state.since, state: state.state }
    }
}

pub(super) async fn execute(
    bus: &Bus,
    aggregate: &str,
    command: Event,
    wait: Duration,
    outlet: &Outlet,
) -> Result<(), Ended> {
    let outcome = bus.execute(aggregate, command, wait).await.map_err(Failed)?;
    outlet.answer(Answer::Outcome(outcome)).await
}

pub(super) async fn show(bus: &Bus, name: &str, id: &str, at: At, outlet: &Outlet) -> Result<(), Ended> {
    let state = bus.aggregate_at(name, id, at).await.map_err(Failed)?;
    outlet.answer(Answer::Aggregate(state.map(AggregateLine::from))).await
}
