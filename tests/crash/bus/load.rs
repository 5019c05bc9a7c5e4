//! The child: publishers and transactions as in the outbox's scenario, consumers that keep up with them, and an operator.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, Result, bail};
use tidegate::upcast::Lifted;
use tidegate::{Blocking, Bus, Context, Data, Delivery, Failure, Outgoing, ReloadOutcome, handler_fn};

use super::work::{
    COUNTER, Counted, LIFTED, MERGED, PICKY, READERS, REFUSED, VERSIONS, component_file, create_all_topics,
    is_refused,
};
use crate::outbox::load::{Load, or_end, publish_again};
use crate::outbox::work::{Trouble, spread};
use crate::place::{Place, READY, Told};
use crate::scenario::ON_PURPOSE;

/// After so many of its calls, each of those who publish waits until the consumers have caught up. This bounds what is
/// behind them, however many lives there are.
const CALLS_AHEAD: u64 = 8;

/// Dead letters that the operator puts back to work at a time.
const REDRIVEN_MAX: usize = 4;

/// Works until it is killed.
pub fn until_killed(place: &Place, round: u32, told: &Told) -> Result<()> {
    let bus = Bus::open(place.bus())?.blocking();
    create_all_topics(&bus)?;
    subscribe(&bus, place)?;
    told.tell(READY)?;
    publish_again(&bus, place, told)?;
    let pace = |calls: u64| {
        if calls % CALLS_AHEAD == CALLS_AHEAD - 1 {
            READERS.iter().try_for_each(|reader| bus.caught_up(reader.name))?;
        }
        Ok(())
    };
    let load = Load { bus: &bus, round, told, pace: &pace };
    thread::scope(|scope| {
        load.start(scope);
        scope.spawn(|| or_end(operate(&bus, place, told)));
    });
    bail!("the load came to an end");
}

/// Starts all consumers, and what lifts their events.
pub fn subscribe(bus: &Blocking, place: &Place) -> Result<()> {
    bus.add_upcaster("crash", Trouble::None.kind(), LIFTED, |event| {
        let datacontenttype = event.datacontenttype().map(str::to_owned);
        Ok(Lifted { datacontenttype, dataschema: None, data: event.data().cloned() })
    })?;
    for reader in [&COUNTER, &MERGED] {
        bus.subscribe_plugin(reader.name, reader.config(), reader.plugin(place))?;
    }
    bus.subscribe(PICKY.name, PICKY.config(), handler_fn(pick))?;
    Ok(())
}

/// A guest of the tests.
pub fn component(guest: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins/guests").join(guest).with_extension("wasm")
}

/// Makes a guest the plugins' component, in one step.
pub fn install(place: &Place, guest: &str) -> Result<()> {
    let file = component_file(place);
    let partial = file.with_extension("partial");
    fs::copy(component(guest), &partial).with_context(|| format!("can't copy {guest}"))?;
    fs::rename(&partial, &file).with_context(|| format!("can't replace {}", file.display()))
}

/// Replaces the plugins' versions, and puts dead letters back to work.
fn operate(bus: &Blocking, place: &Place, told: &Told) -> Result<()> {
    for guest in VERSIONS.iter().rev().cycle() {
        install(place, guest)?;
        for reader in [&COUNTER, &MERGED] {
            if let ReloadOutcome::Switched { .. } = bus.reload(reader.name)? {
                told.tell("reloaded")?;
            }
        }
        let letters = bus.bus().dead_letters(PICKY.name, 0, REDRIVEN_MAX)?;
        if !letters.is_empty() {
            bus.redrive(PICKY.name, letters.iter().map(|letter| letter.id).collect())?;
            told.tell(format_args!("redriven {}", letters.len()))?;
        }
    }
    Ok(())
}

/// The native consumer: what the plugins do, on other events.
fn pick(delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
    let id = delivery.event.id();
    if delivery.event.kind() == Trouble::None.kind() {
        return Err(Failure::permanent("not-lifted", id));
    }
    picked(delivery, context).map_err(|error| Failure::permanent("picked", format!("{error:#}")))?;
    match (spread(id) % 64, delivery.attempt) {
        _ if is_refused(id) && !delivery.redriven => Err(Failure::permanent(REFUSED, ON_PURPOSE)),
        (0, 1 | 2) => Err(Failure::transient("flaky", ON_PURPOSE)),
        (2, 1) => std::panic::panic_any(ON_PURPOSE),
        _ => Ok(()),
    }
}

fn picked(delivery: &Delivery, context: &mut Context) -> Result<()> {
    let event = &delivery.event;
    let key = event.key().to_owned();
    let version = if delivery.redriven { 2 } else { 1 };
    let count = increment(context, &format!("count/{key}"))?;
    increment(context, &format!("version/{version}"))?;
    let attempt = delivery.attempt;
    let counted = Counted { id: event.id().to_owned(), key: key.clone(), count, attempt, version };
    context.publish(
        PICKY.out,
        Outgoing {
            kind: "Count.v1".to_owned(),
            extensions: vec![("partitionkey".to_owned(), key.into())],
            data: Some(Data::Json(serde_json::to_string(&counted)?)),
            ..Outgoing::default()
        },
    )?;
    Ok(())
}

fn increment(context: &mut Context, key: &str) -> Result<u64> {
    let before: u64 = context.get(key.as_bytes())?.map_or(Ok(0), |bytes| serde_json::from_slice(&bytes))?;
    context.set(key.as_bytes(), (before + 1).to_string().as_bytes())?;
    Ok(before + 1)
}
