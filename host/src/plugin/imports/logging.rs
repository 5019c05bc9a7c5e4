//! `logging`.

use crate::plugin::bindings::tidegate::plugin::logging;
use crate::plugin::host::Host;
use crate::plugin::line::Level;

impl logging::Host for Host {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
        };
        self.log.write(level, &message);
        Ok(())
    }
}
