//! The child: transactions, publishers and a consumer, until it is killed.

use std::thread;

use anyhow::{Context as _, Result, bail};
use tidegate::redb::ReadableTable as _;
use tidegate::testing::SeededRandom;
use tidegate::{
    Blocking, Bus, Context, Data, Delivery, Failure, Outgoing, Random as _, Transaction, TransactionError,
    handler_fn,
};

use super::work::{
    AUDIT, AUDITED, Audited, BATCH_EVENTS, COUNT, COUNTER, Fate, LAST, ORDERS, Part, Placed, ROWS, Row,
    audit_config, create_topics, part, part_topic, plain, plain_topic, spread,
};
use crate::place::{Place, READY, Told};
use crate::scenario::ON_PURPOSE;

/// Threads that do one transaction after the other.
const TRANSACTORS: u64 = 3;
/// Threads that publish one event after the other.
const PUBLISHERS: u64 = 4;
/// Threads that publish a batch of events at a time.
const BATCHERS: u64 = 1;
/// A transaction has up to so many events.
const EVENTS_MAX: u64 = 6;

/// Works until it is killed.
pub fn until_killed(place: &Place, round: u32, told: &Told) -> Result<()> {
    let bus = Bus::open(place.bus())?.blocking();
    create_topics(&bus)?;
    bus.subscribe(AUDIT, audit_config(), handler_fn(audit))?;
    told.tell(READY)?;
    publish_again(&bus, place, told)?;
    let load = Load { bus: &bus, round, told, pace: &|_| Ok(()) };
    thread::scope(|scope| load.start(scope));
    bail!("the load came to an end");
}

/// What a client does that got no answer: it publishes again.
pub fn publish_again(bus: &Blocking, place: &Place, told: &Told) -> Result<()> {
    place.again()?.iter().try_for_each(|id| publish(bus, id, told))
}

/// What one of those who publish does, by its number.
type Work<'l> = fn(Load<'l>, u64) -> Result<()>;

/// All who publish.
#[derive(Clone, Copy)]
pub struct Load<'l> {
    pub bus: &'l Blocking,
    pub round: u32,
    pub told: &'l Told,
    /// What each of them does after each of its calls, of which it is told how many came before.
    pub pace: &'l (dyn Fn(u64) -> Result<()> + Sync),
}

impl<'l> Load<'l> {
    /// Starts a thread for each. They never end.
    pub fn start<'scope>(self, scope: &'scope thread::Scope<'scope, '_>)
    where
        'l: 'scope,
    {
        let works = [
            (TRANSACTORS, Self::transact as Work<'l>),
            (PUBLISHERS, Self::flood),
            (BATCHERS, Self::flood_batches),
        ];
        for (workers, work) in works {
            for worker in 0..workers {
                scope.spawn(move || or_end(work(self, worker)));
            }
        }
    }

    fn transact(self, worker: u64) -> Result<()> {
        let Self { bus, round, told, pace } = self;
        let random = SeededRandom::new(spread(&format!("{round}/{worker}")));
        for n in 0_u64.. {
            let fate = match random.next_u64() % 16 {
                0 | 1 => Fate::Refuse,
                2 => Fate::Panic,
                _ => Fate::Keep,
            };
            let name = format!("r{round}-t{worker}-{n}-{}", fate.word());
            let events = usize::try_from(1 + random.next_u64() % EVENTS_MAX)?;
            let own = name.clone();
            let outcome = bus.transaction(move |transaction| place_order(transaction, &own, events, fate));
            match (fate, outcome) {
                (Fate::Keep, Ok(number)) => told.tell(format_args!("kept {number} {name}"))?,
                (Fate::Refuse, Err(TransactionError::Refused(why))) if why.to_string() == ON_PURPOSE => {
                    told.tell("refused")?;
                }
                (Fate::Panic, Err(TransactionError::Panicked(why))) if why == ON_PURPOSE => {
                    told.tell("panicked")?;
                }
                (_, outcome) => bail!("transaction {name} came to {outcome:?}"),
            }
            pace(n)?;
        }
        Ok(())
    }

    fn flood(self, worker: u64) -> Result<()> {
        let Self { bus, round, told, pace } = self;
        for n in 0_u64.. {
            publish(bus, &format!("r{round}-p{worker}-{n}"), told)?;
            pace(n)?;
        }
        Ok(())
    }

    fn flood_batches(self, worker: u64) -> Result<()> {
        let Self { bus, round, told, pace } = self;
        for n in 0_u64.. {
            let name = format!("r{round}-b{worker}-{n}");
            let mut events = Vec::new();
            for index in 0..BATCH_EVENTS {
                let id = format!("{name}/{index}");
                events.push((plain_topic(&id), plain(&id)?));
            }
            bus.publish_all(events)?;
            told.tell(format_args!("batch {name}"))?;
            pace(n)?;
        }
        Ok(())
    }
}

/// A thread that fails ends the process: the parent takes that for a broken promise.
pub fn or_end(result: Result<()>) {
    if let Err(error) = result {
        eprintln!("crash: {error:#}");
        std::process::exit(1);
    }
}

/// The closure: a row with the next number, and its events.
fn place_order(transaction: &mut Transaction<'_>, name: &str, events: usize, fate: Fate) -> Result<u64> {
    let mut counter = transaction.open_table(COUNTER)?;
    let number = counter.get(LAST)?.map_or(0, |row| row.value()) + 1;
    counter.insert(LAST, number)?;
    drop(counter);
    let mut placed = Vec::new();
    for index in 0..events {
        let topic = part_topic(index);
        let event = part(name, index, &Part { number, of: events })?;
        // Nobody is faster within a transaction.
        let published = if topic == ORDERS && index == 1 {
            let version = transaction.version(topic, event.key())?;
            transaction.publish_expecting(topic, version, event)?
        } else {
            transaction.publish(topic, event)?
        };
        let (partition, offset, sequence) = (published.partition, published.offset, published.sequence);
        placed.push(Placed { topic: topic.to_owned(), partition, offset, sequence });
    }
    let row = serde_json::to_string(&Row { name: name.to_owned(), events: placed })?;
    transaction.open_table(ROWS)?.insert(number, row.as_str())?;
    match fate {
        Fate::Keep => Ok(number),
        Fate::Refuse => bail!(ON_PURPOSE),
        Fate::Panic => std::panic::panic_any(ON_PURPOSE),
    }
}

fn publish(bus: &Blocking, id: &str, told: &Told) -> Result<()> {
    let topic = plain_topic(id);
    let at = bus.publish(topic, plain(id)?)?;
    told.tell(format_args!("plain {topic} {} {} {} {id}", at.partition, at.offset, u8::from(at.duplicate)))
}

/// The consumer: counts in state and publishes, and sometimes fails after that.
pub fn audit(delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
    audited(delivery, context).map_err(|error| Failure::permanent("audit", format!("{error:#}")))?;
    match (spread(delivery.event.id()) % 64, delivery.attempt) {
        (0, 1 | 2) => Err(Failure::transient("flaky", ON_PURPOSE)),
        (1, 1) => std::panic::panic_any(ON_PURPOSE),
        _ => Ok(()),
    }
}

fn audited(delivery: &Delivery, context: &mut Context) -> Result<()> {
    let event = &delivery.event;
    let before = context.get(COUNT)?.map_or(Ok([0; 8]), TryInto::try_into);
    let count = before.ok().context("the count isn't one")?;
    let count = u64::from_le_bytes(count) + 1;
    context.set(COUNT, &count.to_le_bytes())?;
    let audited = Audited {
        id: event.id().to_owned(),
        key: event.key().to_owned(),
        sequence: event.sequence().context("an order isn't numbered")?,
        count,
    };
    context.publish(
        AUDITED,
        Outgoing {
            kind: "Audited.v1".to_owned(),
            extensions: vec![("partitionkey".to_owned(), event.key().into())],
            data: Some(Data::Json(serde_json::to_string(&audited)?)),
            ..Outgoing::default()
        },
    )?;
    Ok(())
}
