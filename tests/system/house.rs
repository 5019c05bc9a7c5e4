//! What the tests share: a bus in a folder of its own, events, and the components that were built for the tests.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{BusConfig, ConsumerConfig, Grants, PluginConfig, RetryPolicy, TopicConfig};
use tidegate::testing::{ManualClock, MemoryMedium, SeededRandom};
use tidegate::{
    Blocking, Bus, BusError, Clock, ConsumerStatus, DeadLetter, Event, Options, Position, Record, Timestamp,
};

use patience::Patience;

/// The time at which the clocks of the tests start.
pub const START: Timestamp = Timestamp(1_518_000_000_000_000);

/// A component's file, whose content changes.
pub struct PluginFile(TempDir);

impl PluginFile {
    /// One without content.
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn of(guest: &str) -> Self {
        let file = Self::new();
        file.becomes(guest);
        file
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("plugin.wasm")
    }

    pub fn becomes(&self, guest: &str) {
        std::fs::copy(guest_file(guest), self.path()).unwrap();
    }
}

/// Time that a bus gets to end, in real time: only a test that fails comes near it.
pub const SHUTDOWN: Duration = Duration::from_secs(30);

/// A disk and a clock, on which a bus can be opened again and again.
pub struct House {
    pub folder: TempDir,
    pub disk: MemoryMedium,
    pub clock: Arc<ManualClock>,
}

impl House {
    pub fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            disk: MemoryMedium::new(),
            clock: Arc::new(ManualClock::new(START)),
        }
    }

    pub fn open(&self) -> Blocking {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<Blocking, BusError> {
        self.open_with(BusConfig::default())
    }

    pub fn open_with(&self, config: BusConfig) -> Result<Blocking, BusError> {
        let options = Options::new(self.folder.path())
            .config(config)
            .clock(Arc::clone(&self.clock) as Arc<_>)
            .random(Arc::new(SeededRandom::new(7)))
            .medium(self.disk.clone());
        Ok(Bus::open_with(options)?.blocking())
    }

    /// Lets the clock run, a millisecond at each look, until this is so.
    ///
    /// # Panics
    ///
    /// It is not so within a day of the clock, or a minute of real time.
    pub fn until(&self, is_so: impl Fn() -> bool) {
        let end = self.clock.now().after(Duration::from_hours(24));
        let patience = Patience::new();
        while !is_so() {
            assert!(self.clock.now() < end && patience.lasts(), "what is waited for doesn't come");
            self.clock.advance(Duration::from_millis(1));
            std::thread::yield_now();
        }
    }

    /// Does this while the clock runs, as [`until`](Self::until) has it run: what comes behind a failed attempt or a trap may wait
    /// for it.
    ///
    /// # Panics
    ///
    /// It is not done within a day of the clock, or a minute of real time.
    pub fn meanwhile<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let work = scope.spawn(work);
            self.until(|| work.is_finished());
            work.join().unwrap()
        })
    }

    /// Waits with the clock standing still until this is so.
    ///
    /// # Panics
    ///
    /// It is not so within a minute of real time.
    #[expect(clippy::unused_self, reason = "called like `until`, which needs the clock")]
    pub fn settles(&self, is_so: impl Fn() -> bool) {
        let patience = Patience::new();
        while !is_so() {
            assert!(patience.lasts(), "what is waited for doesn't come while the clock stands still");
            std::thread::yield_now();
        }
    }

    /// Flips a bit of each place on the disk that has these bytes, while nobody has it open.
    ///
    /// # Panics
    ///
    /// There is none.
    pub fn damage(&self, marker: &[u8]) {
        let mut image = self.disk.image();
        let places: Vec<_> = (0..image.len()).filter(|at| image[*at..].starts_with(marker)).collect();
        assert!(!places.is_empty(), "what is to be damaged isn't there");
        for at in places {
            image[at] ^= 1;
        }
        self.disk.set_image(image);
    }

    /// Cuts the power under a bus, and opens it again on what had reached the disk.
    pub fn cut_power(&self, bus: Blocking) -> Blocking {
        self.disk.cut_power();
        drop(bus);
        self.open()
    }
}

/// How long a test waits in real time: only one that fails comes to its end.
#[expect(
    clippy::disallowed_methods,
    reason = "what keeps the bus's clock from being moved is bounded by another one"
)]
mod patience {
    use std::time::{Duration, Instant};

    pub struct Patience(Instant);

    impl Patience {
        pub fn new() -> Self {
            Self(Instant::now())
        }

        pub fn lasts(&self) -> bool {
            self.0.elapsed() < Duration::from_mins(1)
        }
    }
}

/// A bus with a real file and the machine's clock.
pub fn open(folder: &Path) -> Blocking {
    Bus::open(folder).unwrap().blocking()
}

pub fn event(id: &str, key: &str) -> Event {
    event_with(id, key, "null")
}

pub fn event_with(id: &str, key: &str, json: &str) -> Event {
    Event::new(id, "/tests", "Test.v1").extension("partitionkey", key).json_text(json).build().unwrap()
}

/// A topic of one partition.
pub fn topic(bus: &Blocking, name: &str) {
    bus.create_topic(name, TopicConfig::new(1)).unwrap();
}

pub fn publish(bus: &Blocking, topic: &str, id: &str, key: &str) {
    bus.publish(topic, event(id, key)).unwrap();
}

/// A consumer of topic `in` that retries without waiting.
pub fn at_once() -> ConsumerConfig {
    let retry = RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(1));
    ConsumerConfig::new(["in"]).retry(retry)
}

/// A guest's file.
pub fn guest_file(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/plugins/guests")
        .join(name)
        .with_extension("wasm");
    assert!(path.exists(), "{} is not there: `cargo xtask plugins` builds it", path.display());
    path
}

/// A guest with grants for state and topic `out`.
pub fn guest(name: &str) -> PluginConfig {
    PluginConfig::new(guest_file(name)).grants(Grants::nothing().publish("out").state())
}

/// All events of a topic.
pub fn all(bus: &Blocking, topic: &str) -> Vec<Record> {
    let mut reader = bus.bus().read(topic, None, Position::Earliest).unwrap();
    std::iter::from_fn(|| reader.try_next().unwrap()).collect()
}

/// The ids of all events of a topic.
pub fn ids(bus: &Blocking, topic: &str) -> Vec<String> {
    all(bus, topic).iter().map(|record| record.event.id().to_owned()).collect()
}

/// What there is to see of a consumer.
pub fn consumer(bus: &Blocking, name: &str) -> ConsumerStatus {
    let consumers = bus.bus().consumers().unwrap();
    consumers.into_iter().find(|consumer| consumer.name == name).unwrap()
}

/// Waits until a consumer is done with all that is there.
///
/// # Panics
///
/// It isn't within a minute of real time.
pub fn caught_up(bus: &Blocking, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let caught_up = async { tokio::time::timeout(Duration::from_mins(1), bus.bus().caught_up(name)).await };
    runtime.block_on(caught_up).expect("it doesn't come to its end within a minute").unwrap();
}

/// How many events a consumer has handled.
pub fn handled(bus: &Blocking, name: &str) -> u64 {
    consumer(bus, name).counts.handled
}

/// The dead letters of a consumer.
pub fn letters(bus: &Blocking, name: &str) -> Vec<DeadLetter> {
    bus.bus().dead_letters(name, 0, 1000).unwrap()
}
