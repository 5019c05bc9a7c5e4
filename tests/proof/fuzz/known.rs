//! What was written to the files that are damaged, and whether what is read of them is that.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{BusConfig, CommitMode, ConsumerConfig, RetryPolicy, TopicConfig};
use tidegate::testing::{ManualClock, MemoryMedium, SeededRandom};
use tidegate::{
    Blocking, Bus, Clock, Event, Failure, Handler, Options, Outgoing, Position, ReadError, Record, Timestamp,
    handler_fn,
};

use super::record::full_event;
use super::watch;

/// The time at which the files were written.
const START: Timestamp = Timestamp(1_518_000_000_000_000);
/// Looks at a consumer before it is left alone.
const LOOKS_MAX: u32 = 200;
/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Events that are read of one topic at most: more than were ever written.
const EVENTS_MAX: usize = 10_000;

/// The topics.
const TOPICS: [&str; 4] = ["orders", "mails", "jobs", "out"];

/// Where an event is.
type Place = (String, u32, u64);

/// A file at a few moments, and what is in it at the last.
pub struct Base {
    mode: CommitMode,
    /// Oldest first; the last is damaged, with pages of the others.
    pub images: Vec<Vec<u8>>,
    /// The journal that belongs to the last.
    pub journal: Vec<u8>,
    events: HashMap<Place, Event>,
    state: Vec<(Vec<u8>, Vec<u8>)>,
    letters: HashMap<u64, String>,
}

/// What was read of a damaged file.
#[derive(Default)]
struct Found {
    words: Vec<String>,
    events: usize,
    errors: usize,
    /// What was read, and the topics of which something was told as damaged.
    read: HashSet<Place>,
    told: HashSet<String>,
}

impl Found {
    fn error(&mut self, what: &str, error: &impl ToString) {
        self.errors += 1;
        let error: String = error.to_string().chars().take(60).collect();
        self.words.push(format!("{what}: {error}"));
    }
}

impl Base {
    /// A file that was closed in good order, or as a crash leaves it.
    pub fn new(mode: CommitMode, is_closed: bool) -> Result<Self, String> {
        Self::write(mode, is_closed).map_err(|error| format!("the file can't be made: {error}"))
    }

    fn write(mode: CommitMode, is_closed: bool) -> Result<Self, Box<dyn std::error::Error>> {
        let folder = TempDir::new()?;
        let disk = MemoryMedium::new();
        let bus = open(&folder, &disk, mode, &Arc::new(ManualClock::new(START)))?;
        let mut images = Vec::new();
        bus.create_topic("orders", TopicConfig::new(2).sequence(true))?;
        // One consumer on one lane: what it commits, and when, is the same each time that the file is made.
        for topic in ["mails", "jobs", "out"] {
            bus.create_topic(topic, TopicConfig::new(1))?;
        }
        bus.subscribe("c", config(), handler(|_| {}))?;
        for round in 0..6 {
            images.push(disk.image());
            for topic in ["orders", "jobs"] {
                let events = (0..8).map(|index| (topic, event(round, index)));
                bus.publish_all(events.collect())?;
            }
            bus.publish("mails", full_event_of(&format!("mail-{round}")))?;
            settle(&bus, u32::MAX);
        }
        bus.unsubscribe("c")?;
        let mut events = HashMap::new();
        for topic in TOPICS {
            let mut reader = bus.bus().read(topic, None, Position::Earliest)?;
            while let Some(record) = reader.try_next()? {
                events.insert((topic.to_owned(), record.partition, record.offset), (*record.event).clone());
            }
        }
        let state = bus.bus().state("c", 0)?.scan(b"", None, 1000)?;
        let letters = bus.bus().dead_letters("c", 0, 1000)?;
        let letters = letters
            .iter()
            .map(|letter| (letter.id, letter.event.as_ref().map_or("", |event| event.id()).to_owned()));
        let letters = letters.collect();
        // The key of the flaky event waits behind it from the first round on.
        if events.len() != 6 * (8 + 8 + 1) + 6 + 5 * 5 {
            return Err(format!("{} events are there", events.len()).into());
        }
        if is_closed {
            bus.shutdown(PATIENCE);
        }
        images.push(disk.image());
        let journal = disk.journal_image();
        Ok(Self { mode, images, journal, events, state, letters })
    }

    /// Opens a file and reads all of it, lets its consumer go on, publishes, and closes it. What comes is an error, or what
    /// was written. Unless pages of an older moment stand in it, which are whole, what is gone has to be told.
    pub fn check(&self, image: Vec<u8>, journal: Vec<u8>, is_all_told: bool) -> Result<String, String> {
        let folder = TempDir::new().map_err(|error| error.to_string())?;
        let disk = MemoryMedium::new();
        disk.set_image(image);
        disk.set_journal_image(journal);
        let clock = Arc::new(ManualClock::new(START));
        watch::commits(true);
        let opened = open(&folder, &disk, self.mode, &clock);
        watch::commits(false);
        let bus = match opened {
            Ok(bus) => bus,
            Err(error) => return Ok(format!("not opened: {error}")),
        };
        let mut found = Found::default();
        self.read(&bus, &mut found)?;
        if is_all_told {
            self.all_told(&bus, &found)?;
        }
        watch::commits(true);
        self.consume(&bus, &clock, &mut found)?;
        if let Err(error) = bus.publish("mails", full_event_of("new")) {
            found.error("publish", &error);
        }
        let ended = bus.shutdown(PATIENCE);
        watch::commits(false);
        found.words.push(format!("{:?}", ended.storage).chars().take(40).collect());
        Ok(format!("{} events, {}", "+".repeat(found.events.min(3)), found.words.join("; ")))
    }

    /// Reads to the end, over what is damaged. Returns how many events there were.
    fn read_all(
        &self,
        topic: &str,
        found: &mut Found,
        mut next: impl FnMut() -> Result<Option<Record>, ReadError>,
    ) -> Result<usize, String> {
        let mut events = 0;
        for _ in 0..EVENTS_MAX {
            match next() {
                Ok(Some(record)) => {
                    events += 1;
                    found.read.insert((topic.to_owned(), record.partition, record.offset));
                    self.same(topic, record.partition, record.offset, &record.event)?;
                }
                Ok(None) => break,
                Err(error @ ReadError::Damaged { .. }) => {
                    found.told.insert(topic.to_owned());
                    found.error("damaged", &error);
                }
                Err(error) => {
                    found.told.insert(topic.to_owned());
                    found.error("read", &error);
                    break;
                }
            }
        }
        Ok(events)
    }

    /// Whether each topic is there, and each event was read or its topic said to be damaged.
    fn all_told(&self, bus: &Blocking, found: &Found) -> Result<(), String> {
        let topics = bus.bus().topics();
        if let Some(gone) = TOPICS.iter().find(|name| !topics.iter().any(|topic| topic.name == **name)) {
            return Err(format!("topic {gone} is gone, and nothing was told"));
        }
        match self.events.keys().find(|place| !found.read.contains(place) && !found.told.contains(&place.0)) {
            Some(place) => Err(format!("{place:?} is gone, and nothing was told")),
            None => Ok(()),
        }
    }

    fn read(&self, bus: &Blocking, found: &mut Found) -> Result<(), String> {
        for topic in bus.bus().topics() {
            let mut reader = match bus.bus().read(&topic.name, None, Position::Earliest) {
                Ok(reader) => reader,
                Err(error) => {
                    found.told.insert(topic.name.clone());
                    found.error("reader", &error);
                    continue;
                }
            };
            found.events += self.read_all(&topic.name, found, || reader.try_next())?;
            for key in ["k0", "k1"] {
                let Ok(mut reader) = bus.bus().read_key(&topic.name, key, 0) else { continue };
                self.read_all(&topic.name, found, || reader.try_next())?;
            }
        }
        match bus.bus().state("c", 0).and_then(|state| state.scan(b"", None, 1000)) {
            Ok(state) => {
                found.words.push(format!("state {}", state.iter().all(|entry| self.state.contains(entry))));
            }
            Err(error) => found.error("state", &error),
        }
        match bus.bus().dead_letters("c", 0, 1000) {
            Ok(letters) => {
                for letter in letters {
                    let (Some(event), Some(known)) = (&letter.event, self.letters.get(&letter.id)) else {
                        continue;
                    };
                    if event.id() != known {
                        return Err(format!(
                            "letter {} has event `{}`, and it was `{known}`",
                            letter.id,
                            event.id()
                        ));
                    }
                }
            }
            Err(error) => found.error("letters", &error),
        }
        if let Err(error) = bus.bus().consumers() {
            found.error("consumers", &error);
        }
        Ok(())
    }

    fn consume(&self, bus: &Blocking, clock: &Arc<ManualClock>, found: &mut Found) -> Result<(), String> {
        let known = self.events.clone();
        let wrong = Arc::new(Mutex::new(None));
        let told = Arc::clone(&wrong);
        let seen = handler(move |delivery| {
            let at = (delivery.topic.to_string(), delivery.partition, delivery.offset);
            if known.get(&at).is_none_or(|event| *event != *delivery.event) {
                let said = format!(
                    "delivered as {at:?}: {:?}, and written was {:?}",
                    delivery.event,
                    known.get(&at)
                );
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
            }
        });
        match bus.subscribe("c", config(), seen) {
            Ok(()) => {
                clock.advance(Duration::from_mins(1));
                settle(bus, LOOKS_MAX);
            }
            Err(error) => found.error("subscribe", &error),
        }
        wrong.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn same(&self, topic: &str, partition: u32, offset: u64, event: &Event) -> Result<(), String> {
        let at = (topic.to_owned(), partition, offset);
        match self.events.get(&at) {
            Some(known) if known == event => Ok(()),
            Some(known) => Err(format!("read as {at:?}: {event:?}, and written was {known:?}")),
            // Damage may give a topic another name; its events are those of that topic all the same.
            None if !TOPICS.contains(&topic) => Ok(()),
            None => Err(format!("read as {at:?}: {event:?}, which nobody wrote there")),
        }
    }
}

fn open(
    folder: &TempDir,
    disk: &MemoryMedium,
    mode: CommitMode,
    clock: &Arc<ManualClock>,
) -> Result<Blocking, tidegate::BusError> {
    let mut bus = BusConfig::default();
    bus.commit = mode;
    // So that there are pages of older checkpoints.
    bus.journal_bytes = 32 << 10;
    let options = Options::new(folder.path())
        .config(bus)
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .random(Arc::new(SeededRandom::new(1)))
        .medium(disk.clone());
    Ok(Bus::open_with(options)?.blocking())
}

fn config() -> ConsumerConfig {
    let retry = RetryPolicy::default().attempts(3).backoff(Duration::from_secs(10), Duration::from_secs(10));
    ConsumerConfig::new(["jobs"]).retry(retry)
}

/// Events in the order of rounds: some fail for ever, some once, and one in each round is larger than a page.
fn event(round: u64, index: u64) -> Event {
    let kind = match index {
        2 => "Bad.v1",
        5 => "Flaky.v1",
        _ => "Good.v1",
    };
    let data = "x".repeat(if index == 7 { 9000 } else { 20 });
    Event::new(format!("{round}-{index}"), "/source", kind)
        .subject(format!("k{}", index % 4))
        .json_text(format!("{{\"data\": \"{data}\"}}"))
        .build()
        .expect("it follows the rules")
}

fn full_event_of(id: &str) -> Event {
    let text = full_event().to_json().replace("\"id-1\"", &format!("{id:?}"));
    Event::from_json(text, 1 << 20).expect("it follows the rules")
}

fn handler(seen: impl Fn(&tidegate::Delivery) + Send + Sync + 'static) -> impl Handler {
    handler_fn(move |delivery, context| {
        seen(delivery);
        context.set(delivery.event.id().as_bytes(), &delivery.offset.to_le_bytes())?;
        context.publish("out", Outgoing { kind: "Seen.v1".into(), ..Outgoing::default() })?;
        match (delivery.event.kind(), delivery.attempt) {
            ("Bad.v1", _) => Err(Failure::permanent("bad", "always")),
            ("Flaky.v1", 1) => Err(Failure::transient("flaky", "once")),
            _ => Ok(()),
        }
    })
}

/// Waits until the consumer has nothing more to do at this time of its clock, or for a while.
fn settle(bus: &Blocking, looks_max: u32) {
    for _ in 0..looks_max {
        let Ok(consumers) = bus.bus().consumers() else { return };
        if consumers.iter().all(|consumer| consumer.lag_events == 0) {
            return;
        }
        std::thread::yield_now();
    }
}
