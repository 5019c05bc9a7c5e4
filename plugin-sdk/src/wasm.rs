//! The adapter between the contract's bindings and the words of this crate.

use std::{mem, sync::Once};

pub use crate::bindings::exports::tidegate::plugin::{
    plugin::{Description, Guest as DescribeGuest},
    worker::Guest as WorkerGuest,
};
use crate::{
    Consumer, Data, Delivery, Entry, Failure, Host, Level, Outgoing, PublishError, Raw, StateError,
    TimerError, Timestamp,
    bindings::tidegate::plugin::{config, context, deliveries, logging, publisher, state, timers, types},
    consumer::{handle, handle_timer, is_timer, wants},
    record::{self, Malformed},
    words,
};

/// Answers the contract's `describe`.
pub fn describe<C: Consumer>(version: &str) -> Description {
    log_panics();
    Description {
        name: C::NAME.to_owned(),
        version: version.to_owned(),
        publishes: C::PUBLISHES.iter().map(|&topic| topic.to_owned()).collect(),
        uses_state: C::USES_STATE,
        state_version: C::STATE_VERSION,
    }
}

/// Answers the contract's `run`: works on deliveries for as long as the instance lives.
pub fn run<C: Consumer>() {
    work::<C>(&mut Bus);
}

#[expect(clippy::inline_always, reason = "in a place of its own it is a function more in each component")]
#[inline(always)]
pub(crate) fn work<C: Consumer>(host: &mut dyn Host) {
    log_panics();
    let mut worker = Worker::<C>::default();
    let mut outcome = Ok(());
    loop {
        let record = deliveries::next(outcome.as_ref().copied());
        outcome = match worker.work(record, host) {
            Ok(outcome) => outcome.map_err(types::Failure::from),
            Err(malformed) => panic!("the host hands over a delivery that can't be read: {malformed}"),
        };
    }
}

#[derive(Default)]
struct Worker<C> {
    consumer: C,
    /// What is left of the last delivery: its strings are used again.
    last: Delivery<()>,
}

impl<C: Consumer> Worker<C> {
    fn work(&mut self, record: Vec<u8>, host: &mut dyn Host) -> Result<Result<(), Failure>, Malformed> {
        let place = record::envelope(&record, &mut self.last)?;
        if is_timer(&self.last) {
            let data = record::data(record, place)?;
            let delivery = mem::take(&mut self.last).with_data(data);
            let outcome = handle_timer(&mut self.consumer, &delivery, host);
            self.last = delivery.with_data(());
            return Ok(outcome);
        }
        let event = &self.last.event;
        if !wants::<C>(&event.event_type) {
            return Ok(Ok(()));
        }
        let decoded = C::Data::decode(record::data(record, place)?, event.datacontenttype.as_deref());
        let decoded = decoded.map(|data| mem::take(&mut self.last).with_data(data));
        let outcome = handle(&mut self.consumer, decoded.as_ref().map_err(Failure::clone), host);
        if let Ok(delivery) = decoded {
            self.last = delivery.with_data(());
        }
        Ok(outcome)
    }
}

/// A panic is a trap, and a trap has no message: leave it in the log.
pub(crate) fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| logging::log(logging::Level::Error, &panic.to_string())));
    });
}

/// The host on the other side of the imports.
pub(crate) struct Bus;

impl Host for Bus {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        state::get(key).map_err(StateError::from)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        state::set(key, value).map_err(StateError::from)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), StateError> {
        state::delete(key).map_err(StateError::from)
    }

    fn scan(&self, start: &[u8], end: Option<&[u8]>, limit: u32) -> Result<Vec<Entry>, StateError> {
        state::scan(start, end, limit).map_err(StateError::from)
    }

    fn publish(&mut self, topic: &str, event: Outgoing) -> Result<(), PublishError> {
        publisher::publish(topic, &event.into()).map_err(PublishError::from)
    }

    fn set_timer(&mut self, name: &str, due: Timestamp, data: Raw) -> Result<(), TimerError> {
        timers::set(name, due.as_micros(), words::data(data).as_ref()).map_err(TimerError::from)
    }

    fn cancel_timer(&mut self, name: &str) -> Result<(), TimerError> {
        timers::cancel(name).map_err(TimerError::from)
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_micros(context::now())
    }

    fn random(&mut self, len: u32) -> Vec<u8> {
        context::random(len)
    }

    fn consumer(&self) -> String {
        context::consumer()
    }

    fn version(&self) -> String {
        context::version()
    }

    fn settings_json(&self) -> String {
        config::settings()
    }

    fn log(&mut self, level: Level, message: &str) {
        logging::log(level.into(), message);
    }
}

impl From<state::Error> for StateError {
    fn from(error: state::Error) -> Self {
        match error {
            state::Error::NotGranted => Self::NotGranted,
            state::Error::KeySize(max) => Self::KeySize { max },
            state::Error::ValueSize(max) => Self::ValueSize { max },
            state::Error::EffectsSize(max) => Self::EffectsSize { max },
            state::Error::Unavailable => Self::Unavailable,
        }
    }
}

impl From<publisher::Error> for PublishError {
    fn from(error: publisher::Error) -> Self {
        match error {
            publisher::Error::NotGranted(topic) => Self::NotGranted { topic },
            publisher::Error::UnknownTopic(topic) => Self::UnknownTopic { topic },
            publisher::Error::Invalid(publisher::Refusal { attribute, message }) => {
                Self::Invalid { attribute, message }
            }
            publisher::Error::EventSize(max) => Self::EventSize { max },
            publisher::Error::EffectsSize((max_events, max_bytes)) => {
                Self::EffectsSize { max_events, max_bytes }
            }
        }
    }
}

impl From<Outgoing> for publisher::Outgoing {
    fn from(event: Outgoing) -> Self {
        Self {
            id: event.id,
            source: event.source,
            type_: event.event_type,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions.into_iter().map(|(name, value)| (name, value.into())).collect(),
            data: words::data(event.data),
        }
    }
}

impl From<timers::Error> for TimerError {
    fn from(error: timers::Error) -> Self {
        match error {
            timers::Error::NotGranted => Self::NotGranted,
            timers::Error::NameSize(max) => Self::NameSize { max },
            timers::Error::DataSize(max) => Self::DataSize { max },
            timers::Error::Due => Self::Due,
            timers::Error::TooMany(max) => Self::TooMany { max },
            timers::Error::EffectsSize((max_timers, max_bytes)) => {
                Self::EffectsSize { max_timers, max_bytes }
            }
            timers::Error::Invalid(message) => Self::Invalid { message },
        }
    }
}
