//! What stands behind an instance's imports.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;

use super::deadline::Deadline;
use super::limiter::Limiter;
use super::line::LaneLog;
use super::wasi::{GuestClock, Wasi};
use super::worker::Exchange;
use crate::clock::Timestamp;
use crate::effects::{Context, StateUnavailable};
use crate::limits::RANDOM_BYTES_MAX;

/// The data of an instance's store: what its imports read and write.
pub(super) struct Host {
    /// The lane's context, for the time of a delivery. Outside of one (while the component starts or describes
    /// itself) there is none, and nothing is granted.
    pub context: Option<Box<Context>>,
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// The consumer's settings, a JSON object.
    pub settings: Arc<str>,
    /// What passes between it and its lane, where it fetches its deliveries.
    pub exchange: Option<Arc<Exchange>>,
    /// Where its log lines go.
    pub log: Arc<LaneLog>,
    /// How long it may go on.
    pub deadline: Deadline,
    /// What it may hold.
    pub limiter: Limiter,
    /// Time as WASI shows it.
    pub clock: GuestClock,
    /// That the log could not read state: whatever the guest makes of it, the delivery has failed.
    pub unavailable: Option<StateUnavailable>,
    /// Random numbers drawn outside of a delivery.
    pub draws_at_start: u64,
    /// Made at the first use: most plugins import nothing of WASI.
    pub wasi: Option<Wasi>,
    /// What WASI handed out to the guest.
    pub resources: ResourceTable,
}

impl Host {
    /// Hands the lane's context to the guest for a delivery.
    pub(super) fn begin(&mut self, context: Box<Context>) {
        self.context = Some(context);
        self.unavailable = None;
        self.limiter.forget();
    }

    /// Starts the clocks of a call that may take so long.
    pub(super) fn start_clocks(&mut self, now: Timestamp, time: Duration) {
        self.deadline.set(time);
        self.clock.set(now, time);
    }

    /// The delivery's time; outside of a delivery no time has passed.
    pub(super) fn now(&self) -> Timestamp {
        self.context.as_ref().map_or(Timestamp(0), |context| context.now())
    }

    /// Random bytes of the delivery; outside of one, always the same.
    pub(super) fn random(&mut self, len: usize) -> Vec<u8> {
        if let Some(context) = &mut self.context {
            return context.random(len);
        }
        let len = len.min(RANDOM_BYTES_MAX);
        let words = (0..len.div_ceil(8)).map(|_| self.draw_at_start().to_le_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(len);
        bytes
    }

    /// `SplitMix64` from a fixed seed: other runtimes seed their hash tables when they start.
    fn draw_at_start(&mut self) -> u64 {
        self.draws_at_start += 1;
        let mut word = self.draws_at_start.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }
}

impl Drop for Host {
    /// A guest that is cut off in a delivery gives the lane's context back.
    fn drop(&mut self) {
        if let (Some(context), Some(exchange)) = (self.context.take(), &self.exchange) {
            exchange.cut_off(context);
        }
    }
}
