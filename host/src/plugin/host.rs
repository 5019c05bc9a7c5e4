//! What stands behind an instance's imports.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceTable;

use super::deadline::Deadline;
use super::limiter::Limiter;
use super::line::LaneLog;
use super::queries::Asked;
use super::wasi::{GuestClock, Wasi};
use super::worker::Exchange;
use crate::clock::Timestamp;
use crate::effects::{Context, StateUnavailable};
use crate::handler::Batch;
use crate::limits::RANDOM_BYTES_MAX;

/// The data of an instance's store: what its imports read and write.
pub(super) struct Host {
    /// The lane's batch, for the time of a delivery. Outside of one (while the component starts or describes
    /// itself) there is none, and nothing is granted.
    pub batch: Option<Box<dyn Batch>>,
    /// The question that it answers, for that time. An instance that answers has no deliveries.
    pub asked: Option<Asked>,
    /// The consumer's name.
    pub consumer: Arc<str>,
    /// The consumer's settings, a JSON object.
    pub settings: Arc<str>,
    /// What passes between it and its lane, where it fetches its deliveries.
    pub exchange: Option<Arc<Exchange>>,
    /// Where its log lines go.
    pub log: Arc<LaneLog>,
    /// How long each call may take.
    pub time: Duration,
    /// How long the one under way may go on.
    pub deadline: Deadline,
    /// What it may hold.
    pub limiter: Limiter,
    /// Time as WASI shows it.
    pub clock: GuestClock,
    /// That the log could not read state: whatever the guest makes of it, the delivery has failed.
    pub unavailable: Option<StateUnavailable>,
    /// Random numbers drawn outside of a delivery.
    pub draws_at_start: u64,
    /// Whether the call under way is one whose outcome depends on its arguments alone.
    pub is_pure: bool,
    /// Made at the first use: most plugins import nothing of WASI.
    pub wasi: Option<Wasi>,
    /// What WASI handed out to the guest.
    pub resources: ResourceTable,
}

impl Host {
    /// What the delivery may use.
    pub(super) fn context(&mut self) -> Option<&mut Context> {
        match &mut self.asked {
            None => self.batch.as_mut().map(|batch| batch.parts().1),
            Some(asked) => Some(&mut asked.context),
        }
    }

    /// Hands the lane's batch to the guest, for the delivery under way.
    pub(super) fn begin(&mut self, batch: Box<dyn Batch>) {
        self.batch = Some(batch);
        self.start();
    }

    /// Goes on with the delivery that follows the one under way, which has succeeded, if there is one.
    pub(super) fn proceed(&mut self) -> bool {
        let goes_on = self.batch.as_mut().is_some_and(|batch| batch.proceed());
        if goes_on {
            self.log.end();
            self.start();
        }
        goes_on
    }

    fn start(&mut self) {
        self.unavailable = None;
        self.is_pure = false;
        self.limiter.forget();
        if let Some(batch) = &self.batch {
            self.log.begin(batch.delivery());
            self.start_clocks(batch.delivery().now);
        }
    }

    /// Takes the lane's batch back from the guest.
    pub(super) fn end(&mut self) -> Option<Box<dyn Batch>> {
        let batch = self.batch.take()?;
        self.log.end();
        Some(batch)
    }

    /// Starts the clocks of a call that may take as long as a delivery.
    pub(super) fn start_clocks(&mut self, now: Timestamp) {
        self.deadline.set(self.time);
        self.clock.set(now, self.time);
    }

    /// Begins a call whose outcome is to depend on its arguments alone.
    pub(super) fn begin_pure(&mut self) {
        self.limiter.forget();
        self.is_pure = true;
        self.start_clocks(Timestamp(0));
    }

    /// The delivery's time, or the question's; outside of both no time has passed.
    pub(super) fn now(&self) -> Timestamp {
        if let Some(asked) = &self.asked {
            return asked.now;
        }
        self.batch.as_ref().map_or(Timestamp(0), |batch| batch.context().now())
    }

    /// Random bytes of the delivery; outside of one always the same, and in a pure call also however often it asks: what it is
    /// handed at once may come in several calls another time.
    pub(super) fn random(&mut self, len: usize) -> Vec<u8> {
        if let Some(batch) = &mut self.batch {
            return batch.parts().1.random(len);
        }
        if self.is_pure {
            self.draws_at_start = 0;
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
    /// A guest that is cut off in a delivery gives the lane's batch back.
    fn drop(&mut self) {
        if let (Some(batch), Some(exchange)) = (self.end(), &self.exchange) {
            exchange.cut_off(batch);
        }
    }
}
