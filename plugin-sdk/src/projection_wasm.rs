//! The adapter between the bindings of projections and the words of this crate.

pub use crate::bindings::tidegate::plugin::types::Data;
pub use crate::projection_bindings::exports::tidegate::plugin::{
    plugin::{Description, Guest as DescribeGuest},
    queries::{Guest as QueriesGuest, Refusal as GuestRefusal},
    worker::Guest as WorkerGuest,
};

use crate::{
    Entry, Host, Level, Outgoing, Projection, PublishError, Query, Raw, Refusal, StateError, TimerError,
    Timestamp,
    wasm::{Bus, log_panics, work},
    words,
};

/// Answers the contract's `describe`.
pub fn describe<P: Projection>(version: &str) -> Description {
    const { assert!(P::PUBLISHES.is_empty(), "a projection can't publish") };
    log_panics();
    Description {
        name: P::NAME.to_owned(),
        version: version.to_owned(),
        publishes: Vec::new(),
        uses_state: P::USES_STATE,
        state_version: P::STATE_VERSION,
    }
}

/// Answers the contract's `run`.
pub fn run<P: Projection>() {
    work::<P>(&mut Model);
}

/// Answers the contract's `answer`.
pub fn answer<P: Projection>(
    question: String,
    parameters: Option<Data>,
) -> Result<Option<Data>, GuestRefusal> {
    log_panics();
    P::answer(&query(question, parameters), &Model).map(words::data).map_err(GuestRefusal::from)
}

/// Answers the contract's `combine`.
pub fn combine<P: Projection>(
    question: String,
    parameters: Option<Data>,
    answers: Vec<Option<Data>>,
) -> Result<Option<Data>, GuestRefusal> {
    log_panics();
    let answers = answers.into_iter().map(words::raw).collect();
    P::combine(&query(question, parameters), answers).map(words::data).map_err(GuestRefusal::from)
}

fn query(question: String, parameters: Option<Data>) -> Query {
    Query { question, parameters: words::raw(parameters) }
}

impl From<Refusal> for GuestRefusal {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, message: refusal.message }
    }
}

/// The host without what a projection has no part in: a component that doesn't call it doesn't import it either.
struct Model;

impl Host for Model {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        Bus.get(key)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        Bus.set(key, value)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        Bus.delete(key)
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, StateError> {
        Bus.scan(start, end, limit)
    }

    fn publish(&mut self, topic: &str, _: Outgoing) -> Result<(), PublishError> {
        Err(PublishError::NotGranted { topic: topic.to_owned() })
    }

    fn set_timer(&mut self, _: &str, _: Timestamp, _: Raw) -> Result<(), TimerError> {
        Err(TimerError::NotGranted)
    }

    fn cancel_timer(&mut self, _: &str) -> Result<(), TimerError> {
        Err(TimerError::NotGranted)
    }

    fn now(&self) -> Timestamp {
        Bus.now()
    }

    fn random(&mut self, len: u32) -> Vec<u8> {
        Bus.random(len)
    }

    fn consumer(&self) -> String {
        Bus.consumer()
    }

    fn version(&self) -> String {
        Bus.version()
    }

    fn settings_json(&self) -> String {
        Bus.settings_json()
    }

    fn log(&mut self, level: Level, message: &str) {
        Bus.log(level, message);
    }
}
