//! The scenario of the sync points, and what has to hold wherever it is cut off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, RetryPolicy, TopicConfig};
use tidegate::redb::{ReadableTable, TableDefinition};
use tidegate::testing::{ManualClock, MemoryMedium, SeededRandom};
use tidegate::{
    AdminError, Blocking, Bus, Clock, Event, Failure, Handler, Options, Outgoing, Position, PublishError,
    Random, Timestamp, TransactionError, handler_fn,
};

use crate::sync_points::End;

const ROWS: TableDefinition<&str, u64> = TableDefinition::new("rows");
/// The time at which the clock starts.
const START: Timestamp = Timestamp(1_518_000_000_000_000);
/// How long anything is waited for, in real time: only a broken promise takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A step. What it publishes goes to topic `in`, as events of an id and a key.
enum Step {
    Topics,
    Subscribe,
    Publish(&'static [(&'static str, &'static str)]),
    /// Events of the application with a row for each in its table.
    Transaction(&'static [(&'static str, &'static str)]),
    /// The same, undone by its closure.
    Refused(&'static [(&'static str, &'static str)]),
    /// An event whose key has so many before it.
    Expecting(u64, (&'static str, &'static str)),
    /// Until the consumer has come to the end.
    Consume,
    /// In good order, and opened again.
    Restart,
}

use Step::{Consume, Expecting, Publish, Refused, Restart, Subscribe, Topics, Transaction};

/// `bad` is given up on, and `flaky` fails at its first attempt.
const STEPS: &[Step] = &[
    Topics,
    Publish(&[("1", "a"), ("2", "b")]),
    Subscribe,
    Transaction(&[("3", "a"), ("4", "c")]),
    Consume,
    Refused(&[("never", "a")]),
    Publish(&[("bad", "a"), ("flaky", "b"), ("5", "b"), ("6", "a")]),
    Consume,
    Expecting(4, ("7", "a")),
    Restart,
    Publish(&[("1", "a")]),
    Subscribe,
    Transaction(&[("8", "b")]),
    Publish(&[("9", "a"), ("9", "a"), ("10", "c")]),
    Consume,
    Refused(&[("10", "c"), ("never", "c")]),
    Transaction(&[("11", "a")]),
    Consume,
];

/// What the scenario knows when it ends.
#[derive(Debug, Default)]
pub struct Known {
    /// What was acknowledged.
    acknowledged: Facts,
    /// What the step that was cut off would have made of it, if it was in doubt.
    in_doubt: Option<Facts>,
}

/// What is to be there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Facts {
    has_topics: bool,
    events: Vec<(String, String)>,
    rows: Vec<String>,
}

/// What a cut-off scenario came to.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Whether a step was in doubt.
    pub in_doubt: bool,
    /// Whether that step turned out to be durable.
    pub was_durable: bool,
}

/// How a step ended that didn't succeed.
enum Cut {
    /// It may be durable.
    InDoubt,
    /// It is not, for this reason.
    NotDone(String),
    /// It went wrong in a way that a failing disk doesn't explain.
    Broken(String),
}

/// A disk, a clock and the numbers of chance.
pub struct Stage {
    folder: TempDir,
    disk: MemoryMedium,
    clock: Arc<ManualClock>,
    seed: u64,
    journal_bytes: usize,
}

impl Stage {
    pub fn new(seed: u64, journal_bytes: usize) -> Self {
        let folder = TempDir::new().expect("a temporary directory can be made");
        let clock = Arc::new(ManualClock::new(START));
        Self { folder, disk: MemoryMedium::new(), clock, seed, journal_bytes }
    }

    pub fn freeze_at(&self, operation: u64) {
        self.disk.freeze_at(operation);
    }

    pub fn is_frozen(&self) -> bool {
        self.disk.is_frozen()
    }

    /// The whole scenario, and the check of its end.
    pub fn play(&self) -> Result<(), String> {
        let known = self.play_until_frozen()?;
        if known.in_doubt.is_some() || known.acknowledged.rows.len() != 4 {
            return Err(format!("the scenario doesn't come to its end: {known:?}"));
        }
        self.check(&known).map(drop)
    }

    /// The scenario up to where the disk is frozen.
    pub fn play_until_frozen(&self) -> Result<Known, String> {
        let mut known = Known::default();
        let Ok(mut bus) = self.open() else {
            return self.cut(known, Cut::NotDone("it doesn't open".to_owned()));
        };
        for step in STEPS {
            let mut after = known.acknowledged.clone();
            after.apply(step);
            let done = match step {
                Restart => {
                    bus.shutdown(PATIENCE);
                    match self.open() {
                        Ok(opened) => {
                            bus = opened;
                            Ok(())
                        }
                        Err(error) => Err(Cut::NotDone(error)),
                    }
                }
                step => self.perform(&bus, step),
            };
            match done {
                Ok(()) => known.acknowledged = after,
                Err(cut) => {
                    if matches!(cut, Cut::InDoubt) {
                        known.in_doubt = Some(after);
                    }
                    bus.shutdown(Duration::ZERO);
                    return self.cut(known, cut);
                }
            }
        }
        bus.shutdown(PATIENCE);
        Ok(known)
    }

    fn cut(&self, known: Known, cut: Cut) -> Result<Known, String> {
        match cut {
            Cut::Broken(how) => Err(how),
            Cut::InDoubt | Cut::NotDone(_) if self.disk.is_frozen() => Ok(known),
            Cut::InDoubt => Err("a step was in doubt before the disk was frozen".to_owned()),
            Cut::NotDone(why) => Err(format!("a step failed before the disk was frozen: {why}")),
        }
    }

    fn perform(&self, bus: &Blocking, step: &Step) -> Result<(), Cut> {
        match step {
            Topics => {
                bus.create_topic("in", TopicConfig::new(1).sequence(true))?;
                bus.create_topic("out", TopicConfig::new(1))?;
            }
            Subscribe => {
                bus.subscribe("c", config(), handler()).map_err(|error| Cut::NotDone(error.to_string()))?;
            }
            Publish(events) => {
                let events = events.iter().map(|(id, key)| ("in", event(id, key)));
                bus.publish_all(events.collect())?;
            }
            Transaction(events) => bus.transaction(|transaction| write(transaction, events))?,
            Refused(events) => {
                let refused = bus.transaction(|transaction| {
                    write(transaction, events)?;
                    Err::<(), _>(PublishError::Closed)
                });
                match refused {
                    Err(TransactionError::Refused(PublishError::Closed)) => {}
                    Err(other) => return Err(other.into()),
                    Ok(()) => return Err(Cut::Broken("a refused transaction was kept".to_owned())),
                }
            }
            Expecting(expected, (id, key)) => {
                bus.publish_expecting("in", *expected, vec![event(id, key)])?;
            }
            Consume => {
                self.until(|| self.disk.is_frozen() || is_through(bus)).map_err(Cut::Broken)?;
                if !is_through(bus) {
                    return Err(Cut::NotDone(format!("{:?}", bus.bus().consumers())));
                }
            }
            Restart => {}
        }
        Ok(())
    }

    fn open(&self) -> Result<Blocking, String> {
        let mut options = Options::new(self.folder.path())
            .clock(Arc::clone(&self.clock) as Arc<dyn Clock>)
            .random(Arc::new(SeededRandom::new(self.seed)))
            .medium(self.disk.clone());
        options.config.journal_bytes = self.journal_bytes;
        Ok(Bus::open_with(options).map_err(|error| error.to_string())?.blocking())
    }

    /// Ends the power, or the process. The disk works again afterwards.
    pub fn end(&self, end: End) {
        let chance = SeededRandom::new(self.seed);
        self.disk.cut_power_keeping(|| match end {
            End::Lost => false,
            End::Kept => true,
            End::Torn => chance.next_u64() & 1 == 1,
        });
    }

    /// Opens it again, and checks all that was promised.
    pub fn check(&self, known: &Known) -> Result<Outcome, String> {
        let bus = self.open().map_err(|error| format!("it can't be opened again: {error}"))?;
        let found = found(&bus)?;
        let was_durable = known.in_doubt.as_ref() == Some(&found);
        // Topics are made one by one, so a step of theirs may be done in half.
        let is_half = !known.acknowledged.has_topics && found.events.is_empty() && found.rows.is_empty();
        if found != known.acknowledged && !was_durable && !is_half {
            return Err(format!("found is {found:?}, and known was {known:?}"));
        }
        self.check_effects(&bus, &found)?;
        bus.shutdown(PATIENCE);
        let again = self.open().map_err(|error| format!("it can't be opened a second time: {error}"))?;
        self.check_effects(&again, &found)?;
        again.shutdown(PATIENCE);
        Ok(Outcome { in_doubt: known.in_doubt.is_some(), was_durable })
    }

    /// Lets the consumer come to the end: each event has had its effects once, and the bus works on.
    fn check_effects(&self, bus: &Blocking, found: &Facts) -> Result<(), String> {
        if !found.has_topics {
            return bus
                .create_topic("in", TopicConfig::new(1).sequence(true))
                .map_err(|error| error.to_string());
        }
        bus.create_topic("out", TopicConfig::new(1)).map_err(|error| error.to_string())?;
        bus.subscribe("c", config(), handler()).map_err(|error| error.to_string())?;
        self.until(|| is_through(bus))?;
        let good: Vec<_> = found.events.iter().filter(|(id, _)| id != "bad").collect();
        let mut handled =
            read(bus, "out")?.into_iter().map(|event| event.subject().unwrap_or_default().to_owned());
        let mut expected: Vec<_> = good.iter().map(|(id, _)| id.clone()).collect();
        let mut published: Vec<_> = handled.by_ref().collect();
        published.sort();
        expected.sort();
        if published != expected {
            return Err(format!("the consumer published for {published:?}, and the events are {expected:?}"));
        }
        let state = bus.bus().state("c", 0).map_err(|error| error.to_string())?;
        for key in ["a", "b", "c"] {
            let counted = state.get(key.as_bytes()).map_err(|error| error.to_string())?;
            let counted = counted.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
            let expected = good.iter().filter(|(_, of)| of == key).count() as u64;
            if counted != expected {
                return Err(format!("key {key} was counted {counted} times, and has {expected} events"));
            }
        }
        let letters = bus.bus().dead_letters("c", 0, 10).map_err(|error| error.to_string())?;
        if letters.len() != found.events.len() - good.len() {
            return Err(format!(
                "{} dead letters for {} bad events",
                letters.len(),
                found.events.len() - good.len()
            ));
        }
        Ok(())
    }

    /// Lets the clock run until it is so.
    #[expect(
        clippy::disallowed_methods,
        reason = "what keeps the bus's clock from being moved is bounded by another one"
    )]
    fn until(&self, is_so: impl Fn() -> bool) -> Result<(), String> {
        let begun = Instant::now();
        while !is_so() {
            if begun.elapsed() > PATIENCE {
                return Err("the consumer doesn't come to its end".to_owned());
            }
            self.clock.advance(Duration::from_millis(1));
            std::thread::yield_now();
        }
        Ok(())
    }
}

impl Facts {
    fn apply(&mut self, step: &Step) {
        match step {
            Topics => self.has_topics = true,
            Publish(events) => self.publish(events),
            Transaction(events) => {
                self.publish(events);
                self.rows.extend(events.iter().map(|(id, _)| (*id).to_owned()));
                self.rows.sort();
            }
            Expecting(_, event) => self.publish(&[*event]),
            Subscribe | Refused(_) | Consume | Restart => {}
        }
    }

    fn publish(&mut self, events: &[(&str, &str)]) {
        for (id, key) in events {
            let event = ((*id).to_owned(), (*key).to_owned());
            if !self.events.contains(&event) {
                self.events.push(event);
            }
        }
    }
}

/// What is there, with the numbers of the keys checked on the way.
fn found(bus: &Blocking) -> Result<Facts, String> {
    let mut found = Facts { has_topics: false, ..Facts::default() };
    let names: Vec<_> = bus.bus().topics().into_iter().map(|topic| topic.name).collect();
    if names.iter().any(|name| name == "in") {
        found.has_topics = names.len() == 2;
        let events = read(bus, "in")?;
        for key in ["a", "b", "c"] {
            let numbers =
                events.iter().filter(|event| event.key() == key).map(|event| event.sequence().unwrap_or(0));
            let of_key = numbers.collect::<Vec<_>>();
            let dense: Vec<_> = (1..=of_key.len() as u64).collect();
            let version = bus.bus().version("in", key).map_err(|error| error.to_string())?;
            if of_key != dense || version != of_key.len() as u64 {
                return Err(format!("key {key} has the numbers {of_key:?} and the version {version}"));
            }
        }
        found.events = events.iter().map(|event| (event.id().to_owned(), event.key().to_owned())).collect();
    }
    let snapshot = bus.bus().snapshot().map_err(|error| error.to_string())?;
    if let Some(rows) = snapshot.open_table(ROWS).map_err(|error| error.to_string())? {
        for row in rows.iter().map_err(|error| error.to_string())? {
            found.rows.push(row.map_err(|error| error.to_string())?.0.value().to_owned());
        }
    }
    Ok(found)
}

fn read(bus: &Blocking, topic: &str) -> Result<Vec<Arc<Event>>, String> {
    let mut reader = bus.bus().read(topic, None, Position::Earliest).map_err(|error| error.to_string())?;
    let mut events = Vec::new();
    while let Some(record) = reader.try_next().map_err(|error| error.to_string())? {
        events.push(record.event);
    }
    Ok(events)
}

fn write(
    transaction: &mut tidegate::Transaction<'_>,
    events: &[(&'static str, &'static str)],
) -> Result<(), PublishError> {
    for (id, key) in events {
        // What fails here fails the commit too.
        if let Ok(mut rows) = transaction.open_table(ROWS) {
            drop(rows.insert(*id, 1));
        }
        transaction.publish("in", event(id, key))?;
    }
    Ok(())
}

fn event(id: &str, key: &str) -> Event {
    Event::new(id, "/proof", "Step.v1").subject(key).build().expect("the event is valid")
}

fn config() -> ConsumerConfig {
    let at_once = RetryPolicy::default().backoff(Duration::from_millis(1), Duration::from_millis(1));
    ConsumerConfig::new(["in"]).retry(at_once)
}

/// Counts the events of each key, and publishes one for each.
fn handler() -> impl Handler {
    handler_fn(|delivery, context| {
        let key = delivery.event.key().as_bytes();
        let count = context.get(key)?.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        context.set(key, &(count + 1).to_le_bytes())?;
        let subject = Some(delivery.event.id().to_owned());
        context.publish("out", Outgoing { kind: "Counted.v1".into(), subject, ..Outgoing::default() })?;
        match (delivery.event.id(), delivery.attempt) {
            ("bad", _) => Err(Failure::permanent("bad", "always")),
            ("flaky", 1) => Err(Failure::transient("flaky", "once")),
            _ => Ok(()),
        }
    })
}

fn is_through(bus: &Blocking) -> bool {
    let Ok(consumers) = bus.bus().consumers() else { return false };
    consumers.iter().all(|consumer| consumer.lag_events == 0 && consumer.held == 0)
}

impl From<PublishError> for Cut {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::InDoubt(_) => Self::InDoubt,
            PublishError::Reopening | PublishError::Storage(_) => Self::NotDone(error.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<TransactionError<PublishError>> for Cut {
    fn from(error: TransactionError<PublishError>) -> Self {
        match error {
            TransactionError::InDoubt(_) => Self::InDoubt,
            TransactionError::Reopening | TransactionError::Refused(PublishError::Storage(_)) => {
                Self::NotDone(error.to_string())
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

impl From<AdminError> for Cut {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::InDoubt(_) => Self::InDoubt,
            AdminError::Reopening | AdminError::Read(_) => Self::NotDone(error.to_string()),
            other => Self::Broken(other.to_string()),
        }
    }
}
