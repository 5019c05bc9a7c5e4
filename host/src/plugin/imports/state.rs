//! `state`.

use crate::effects::{StateEntry, StateError};
use crate::plugin::bindings::tidegate::plugin::state::{self, Error};
use crate::plugin::host::Host;

impl state::Host for Host {
    fn get(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted));
        };
        let answer = context.get(&key);
        Ok(answer.map_err(|error| self.refuse(error)))
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted));
        };
        let answer = context.set(&key, &value);
        Ok(answer.map_err(|error| self.refuse(error)))
    }

    fn delete(&mut self, key: Vec<u8>) -> wasmtime::Result<Result<(), Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted));
        };
        let answer = context.delete(&key);
        Ok(answer.map_err(|error| self.refuse(error)))
    }

    fn scan(
        &mut self,
        start: Vec<u8>,
        end: Option<Vec<u8>>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<StateEntry>, Error>> {
        let Some(context) = self.context() else {
            return Ok(Err(Error::NotGranted));
        };
        let answer = context.scan(&start, end.as_deref(), limit as usize);
        Ok(answer.map_err(|error| self.refuse(error)))
    }
}

impl Host {
    fn refuse(&mut self, error: StateError) -> Error {
        match error {
            StateError::NotGranted => Error::NotGranted,
            StateError::KeySize { max, .. } => Error::KeySize(super::bound(max)),
            StateError::ValueSize { max, .. } => Error::ValueSize(super::bound(max)),
            StateError::EffectsSize { max } => Error::EffectsSize(super::bound(max)),
            StateError::Unavailable(unavailable) => {
                self.unavailable = Some(unavailable);
                Error::Unavailable
            }
        }
    }
}
