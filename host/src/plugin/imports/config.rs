//! `config`.

use crate::plugin::bindings::tidegate::plugin::config;
use crate::plugin::host::Host;

impl config::Host for Host {
    fn settings(&mut self) -> wasmtime::Result<String> {
        Ok(self.settings.to_string())
    }
}
