//! The adapter between the contract's bindings of an aggregate and the words of this crate.

pub use crate::aggregate_bindings::exports::tidegate::plugin::{
    decider::{Fact, Guest as DeciderGuest, Rejection as WireRejection, Undecided},
    plugin::{Description, Guest as DescribeGuest},
};
pub use crate::bindings::tidegate::plugin::types::{Event as WireEvent, Failure as WireFailure};
use crate::bindings::tidegate::plugin::{config, context, logging};
use crate::{
    Aggregate, Event, Level, Outgoing, Timestamp,
    aggregate::{self, DecisionHost},
    wasm::log_panics,
    words,
};

/// Answers the contract's `describe`.
pub fn describe<A: Aggregate>(version: &str) -> Description {
    log_panics();
    Description {
        name: A::NAME.to_owned(),
        version: version.to_owned(),
        publishes: Vec::new(),
        uses_state: false,
        state_version: A::STATE_VERSION,
    }
}

/// Answers the contract's `decide`.
pub fn decide<A: Aggregate>(state: Option<Vec<u8>>, command: WireEvent) -> Result<Vec<Fact>, Undecided> {
    log_panics();
    let now = Timestamp::from_micros(context::now());
    let decided = aggregate::decide::<A>(state.as_deref(), command.into(), now, &Bus);
    match decided {
        Ok(facts) => Ok(facts.into_iter().map(Fact::from).collect()),
        Err(aggregate::Undecided::Rejected(rejection)) => Err(Undecided::Rejected(WireRejection {
            code: rejection.code,
            message: rejection.message,
            data: rejection.data,
        })),
        Err(aggregate::Undecided::Failed(failure)) => Err(Undecided::Failed(failure.into())),
    }
}

/// Answers the contract's `evolve`.
pub fn evolve<A: Aggregate>(state: Option<Vec<u8>>, events: Vec<WireEvent>) -> Result<Vec<u8>, WireFailure> {
    log_panics();
    let events = events.into_iter().map(Event::from);
    aggregate::evolve::<A>(state.as_deref(), events).map_err(WireFailure::from)
}

/// The host on the other side of the imports.
struct Bus;

impl DecisionHost for Bus {
    fn settings_json(&self) -> String {
        config::settings()
    }

    fn random(&self, len: u32) -> Vec<u8> {
        context::random(len)
    }

    fn log(&self, level: Level, message: &str) {
        logging::log(level.into(), message);
    }
}

impl From<Outgoing> for Fact {
    fn from(event: Outgoing) -> Self {
        Self {
            type_: event.event_type,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, value.into())).collect(),
            data: words::data(event.data),
        }
    }
}
