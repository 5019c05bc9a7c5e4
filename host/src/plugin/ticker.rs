//! The epoch's ticker: what cuts a guest's execution into slices.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};

use wasmtime::{Engine, EngineWeak};

use crate::limits::EPOCH_TICK;

/// Ticks without a running guest after which the thread parks: long enough that a busy lane never wakes it.
const IDLE_TICKS: u32 = 50;

/// The thread that advances an engine's epoch while guests run. It ends when this is dropped.
pub(super) struct Ticker {
    pulse: Pulse,
    thread: Option<JoinHandle<()>>,
}

/// What the ticker shares with those who run guests.
#[derive(Clone)]
pub(super) struct Pulse {
    shared: Arc<Shared>,
    /// Which of the counters of running guests is counted in.
    counter: usize,
}

/// Counters of running guests: guests on several threads would take a single one from each other at each delivery.
const COUNTERS: usize = 16;

/// A counter on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

#[derive(Default)]
struct Shared {
    ticks: AtomicU64,
    running: [Counter; COUNTERS],
    /// How many pulses were handed out.
    pulses: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
    thread: OnceLock<Thread>,
}

/// As long as this lives, the epoch advances.
pub(super) struct Running<'a>(&'a Pulse);

impl Ticker {
    pub(super) fn start(engine: &Engine) -> io::Result<Self> {
        let pulse = Pulse { shared: Arc::default(), counter: 0 };
        let (weak, shared) = (engine.weak(), Arc::clone(&pulse.shared));
        let handle =
            thread::Builder::new().name("tidegate-epoch".to_owned()).spawn(move || shared.tick(&weak))?;
        Ok(Self { pulse, thread: Some(handle) })
    }

    /// A pulse for an instance.
    pub(super) fn pulse(&self) -> Pulse {
        let shared = &self.pulse.shared;
        let counter = shared.pulses.fetch_add(1, Ordering::Relaxed) % COUNTERS;
        Pulse { shared: Arc::clone(shared), counter }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.pulse.shared.stopped.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        // The thread runs nothing that can panic; there is nobody to tell if it did.
        let _ = thread.join();
    }
}

impl Pulse {
    /// Says that a guest runs.
    pub(super) fn run(&self) -> Running<'_> {
        let shared = &self.shared;
        shared.running[self.counter].0.fetch_add(1, Ordering::SeqCst);
        if shared.parked.load(Ordering::SeqCst)
            && let Some(thread) = shared.thread.get()
        {
            thread.unpark();
        }
        Running(self)
    }

    /// Ticks since the ticker started; only while a guest runs do they pass.
    pub(super) fn ticks(&self) -> u64 {
        self.shared.ticks.load(Ordering::Relaxed)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running[self.0.counter].0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        self.running.iter().any(|counter| counter.0.load(Ordering::SeqCst) > 0)
    }

    fn tick(&self, engine: &EngineWeak) {
        // Set before `parked` ever is, and so always there for who finds `parked` set.
        let _ = self.thread.set(thread::current());
        let mut idle = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            idle = if self.is_running() { 0 } else { idle + 1 };
            if idle > IDLE_TICKS {
                self.park();
                idle = 0;
            }
            thread::park_timeout(EPOCH_TICK);
            let Some(engine) = engine.upgrade() else { return };
            self.ticks.fetch_add(1, Ordering::Relaxed);
            engine.increment_epoch();
        }
    }

    /// Sleeps until a guest runs. `parked` is set before `running` is read, and [`Pulse::run`] does it the other way
    /// round: so one of the two sees the other's write.
    fn park(&self) {
        self.parked.store(true, Ordering::SeqCst);
        if !self.is_running() && !self.stopped.load(Ordering::SeqCst) {
            thread::park();
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for another thread, without sleeping.
    fn until(done: impl Fn() -> bool) {
        while !done() {
            thread::yield_now();
        }
    }

    #[test]
    fn it_ticks_while_a_guest_runs_and_rests_when_none_does() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).unwrap();
        let pulses: Vec<_> = (0..=COUNTERS).map(|_| ticker.pulse()).collect();
        for pulse in &pulses {
            let running = pulse.run();
            let before = pulse.ticks();
            until(|| pulse.ticks() > before + 2 * u64::from(IDLE_TICKS));
            assert!(!pulse.shared.parked.load(Ordering::SeqCst));
            drop(running);
            until(|| pulse.shared.parked.load(Ordering::SeqCst));
        }
        let thread = Arc::downgrade(&ticker.pulse.shared);
        drop((ticker, pulses));
        assert!(thread.upgrade().is_none(), "the thread has ended with the ticker");
    }
}
