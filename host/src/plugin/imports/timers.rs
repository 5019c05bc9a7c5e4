//! `timers`.

use super::bound;
use crate::clock::Timestamp;
use crate::event::Data;
use crate::plugin::bindings::tidegate::plugin::timers::{self, Error};
use crate::plugin::bindings::tidegate::plugin::types;
use crate::plugin::host::Host;
use crate::timer::TimerError;

impl timers::Host for Host {
    fn set(
        &mut self,
        name: String,
        due: i64,
        data: Option<types::DataResult>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted));
        };
        Ok(context.set_timer(&name, Timestamp(due), data.map(Data::from)).map_err(Error::from))
    }

    fn cancel(&mut self, name: String) -> wasmtime::Result<Result<(), Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted));
        };
        Ok(context.cancel_timer(&name).map_err(Error::from))
    }
}

impl From<TimerError> for Error {
    fn from(error: TimerError) -> Self {
        match error {
            TimerError::NotGranted => Self::NotGranted,
            TimerError::NameSize { max, .. } => Self::NameSize(bound(max)),
            TimerError::DataSize { max, .. } => Self::DataSize(bound(max)),
            TimerError::Due(_) => Self::Due,
            TimerError::TooMany { max } => Self::TooMany(max),
            TimerError::EffectsSize { timers_max, bytes_max } => {
                Self::EffectsSize((bound(timers_max), bound(bytes_max)))
            }
            TimerError::Invalid(error) => Self::Invalid(error.to_string()),
        }
    }
}
