//! What an instance may hold: memory and tables.

use wasmtime::ResourceLimiter;

use crate::limits::{PLUGIN_CORE_INSTANCES, PLUGIN_MEMORIES, PLUGIN_TABLE_ELEMENTS, PLUGIN_TABLES};

/// Bounds what one instance holds, and remembers that it wanted more: a guest that is refused memory mostly ends in
/// a trap that doesn't say why.
pub(super) struct Limiter {
    memory_bytes: usize,
    memory_bytes_max: usize,
    refused: Option<Refusal>,
}

/// What an instance was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Linear memory, and the total that it wanted, in bytes.
    Memory(usize),
    /// A table of so many elements.
    Table(usize),
}

impl Limiter {
    pub(super) fn new(memory_bytes_max: usize) -> Self {
        Self { memory_bytes: 0, memory_bytes_max, refused: None }
    }

    /// The bound on all linear memories together, in bytes.
    pub(super) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

    /// What was refused since the last call to [`forget`](Self::forget).
    pub(super) fn refused(&self) -> Option<Refusal> {
        self.refused
    }

    /// A refusal that the guest coped with says nothing of its next delivery.
    pub(super) fn forget(&mut self) {
        self.refused = None;
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(Refusal::Memory(total));
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > PLUGIN_TABLE_ELEMENTS || maximum.is_some_and(|maximum| desired > maximum) {
            self.refused = Some(Refusal::Table(desired));
            return Ok(false);
        }
        Ok(true)
    }

    fn instances(&self) -> usize {
        PLUGIN_CORE_INSTANCES as usize
    }

    fn tables(&self) -> usize {
        PLUGIN_TABLES as usize
    }

    fn memories(&self) -> usize {
        PLUGIN_MEMORIES as usize
    }
}
