//! WASI 0.2 for components that import it, with nothing behind it: no files, no network, no environment, no arguments.
//! Time and chance are the delivery's, and what the guest prints goes where its log lines go.

mod random;
mod stdio;
mod time;

use wasmtime::component::Linker;
use wasmtime_wasi::p2::{self, bindings};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use self::stdio::LogStream;
pub(super) use self::time::GuestClock;
use self::time::GuestTime;
use super::host::Host;
use super::line::Level;

/// The state of an instance's WASI.
pub(super) struct Wasi(WasiCtx);

/// Links WASI 0.2.
pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    // wasmtime's own implementation reads the machine's clocks and chance: what follows takes its place.
    linker.allow_shadowing(true);
    p2::add_to_linker_async(linker)?;
    bindings::clocks::wall_clock::add_to_linker::<Host, GuestTime>(linker, Host::time)?;
    bindings::clocks::monotonic_clock::add_to_linker::<Host, GuestTime>(linker, Host::time)?;
    random::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let log = &self.log;
        let wasi = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            if log.is_granted() {
                builder.stdout(LogStream::new(log.clone(), Level::Info));
                builder.stderr(LogStream::new(log.clone(), Level::Warn));
            }
            Wasi(builder.build())
        });
        WasiCtxView { ctx: &mut wasi.0, table: &mut self.resources }
    }
}
