//! `context`.

use crate::plugin::bindings::tidegate::plugin::context;
use crate::plugin::host::Host;

impl context::Host for Host {
    fn now(&mut self) -> wasmtime::Result<i64> {
        Ok(Host::now(self).0)
    }

    fn random(&mut self, len: u32) -> wasmtime::Result<Vec<u8>> {
        Ok(Host::random(self, len as usize))
    }

    fn consumer(&mut self) -> wasmtime::Result<String> {
        Ok(self.consumer.to_string())
    }

    fn version(&mut self) -> wasmtime::Result<String> {
        Ok(self.context().map_or("", |context| context.version()).to_owned())
    }
}
