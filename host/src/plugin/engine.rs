//! How components are compiled, and the pool in which their instances live.

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, WasmBacktraceDetails,
};

use crate::limits::{
    PLUGIN_CORE_INSTANCES, PLUGIN_HOST_STACK_BYTES, PLUGIN_INSTANCES_MAX, PLUGIN_MEMORIES,
    PLUGIN_MEMORY_CEILING, PLUGIN_STACK_BYTES, PLUGIN_TABLE_ELEMENTS, PLUGIN_TABLES, PLUGIN_WARM_SLOTS,
};

/// Address space for a memory. A 32-bit index can't leave 4 GiB, so that compiled code needs no check of bounds.
const MEMORY_RESERVATION_FAST: u64 = 4 << 30;

/// An engine of its own for one bus.
///
/// Where the process may not reserve the address space that fast code wants, as in a container with `ulimit -v` or
/// with very many buses in one process, the pool takes only what the memories may use, and compiled code checks bounds.
pub(super) fn engine() -> Result<Engine> {
    Engine::new(&config(MEMORY_RESERVATION_FAST))
        .or_else(|_| Engine::new(&config(PLUGIN_MEMORY_CEILING as u64)))
}

fn config(memory_reservation: u64) -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .concurrency_support(false)
        .epoch_interruption(true)
        // The same component on the same delivery has the same effects on every machine.
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .max_wasm_stack(PLUGIN_STACK_BYTES)
        .async_stack_size(PLUGIN_STACK_BYTES + PLUGIN_HOST_STACK_BYTES)
        // Names come from the name section. Reading a plugin's own DWARF at each trap is slow, and it is not trusted.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_reservation(memory_reservation)
        .memory_may_move(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(PLUGIN_INSTANCES_MAX)
        .total_stacks(PLUGIN_INSTANCES_MAX)
        .total_memories(PLUGIN_INSTANCES_MAX)
        // These two cost nothing, or address space alone, until they are used.
        .total_core_instances(PLUGIN_INSTANCES_MAX * PLUGIN_CORE_INSTANCES)
        .total_tables(PLUGIN_INSTANCES_MAX * PLUGIN_TABLES)
        .max_core_instances_per_component(PLUGIN_CORE_INSTANCES)
        .max_memories_per_component(PLUGIN_MEMORIES)
        .max_memories_per_module(PLUGIN_MEMORIES)
        .max_tables_per_component(PLUGIN_TABLES)
        .max_tables_per_module(PLUGIN_TABLES)
        .table_elements(PLUGIN_TABLE_ELEMENTS)
        .max_memory_size(PLUGIN_MEMORY_CEILING)
        .max_unused_warm_slots(PLUGIN_WARM_SLOTS);
    pool
}
