//! `wasi:random` on the delivery's chance.

use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

use crate::limits::RANDOM_BYTES_MAX;
use crate::plugin::host::Host;

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    random::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    insecure::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)?;
    insecure_seed::add_to_linker::<Host, HasSelf<Host>>(linker, |host| host)
}

impl Host {
    /// WASI has no way to answer with less than was asked for.
    fn random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        match usize::try_from(len) {
            Ok(len) if len <= RANDOM_BYTES_MAX => Ok(self.random(len)),
            _ => Err(wasmtime::format_err!(
                "{len} random bytes at once; at most {RANDOM_BYTES_MAX} are allowed"
            )),
        }
    }

    fn random_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.random(8));
        u64::from_le_bytes(bytes)
    }
}

impl random::Host for Host {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random_u64())
    }
}

impl insecure::Host for Host {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random_u64())
    }
}

impl insecure_seed::Host for Host {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.random_u64(), self.random_u64()))
    }
}
