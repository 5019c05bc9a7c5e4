//! Needs 96 MiB of memory from the start.

use std::{
    hint::black_box,
    sync::atomic::{AtomicU64, Ordering},
};

use tidegate_plugin::{Consumer, Delivery, Failure, Host, Raw};

static MEMORY: [AtomicU64; 12 << 20] = [const { AtomicU64::new(0) }; 12 << 20];

#[derive(Default)]
struct BigMemory;

impl Consumer for BigMemory {
    const NAME: &'static str = "big-memory";
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, _host: &mut dyn Host) -> Result<(), Failure> {
        // Used, so that it is there.
        let place = usize::try_from(delivery.offset).unwrap_or_default() % MEMORY.len();
        black_box(&MEMORY)[place].store(1, Ordering::Relaxed);
        Ok(())
    }
}

tidegate_plugin::export!(BigMemory);
