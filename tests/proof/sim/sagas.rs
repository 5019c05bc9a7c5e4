//! Sagas of the simulation: the SDK's state machine as a native consumer, and a participant whose script follows from the id of
//! the saga and the step.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate::config::{ConsumerConfig, RetryPolicy};
use tidegate::{
    Attribute, Bus, ConsumerError, Context, Delivery, Event, Failure, Handler, Outgoing, TIMER_NAME,
    TIMER_TOPIC,
};
use tidegate_plugin as sdk;
use tidegate_plugin::{Command, Consumer as _, Saga, SagaConsumer, Step};

use super::native::Native;
use super::script::hash;

/// The topics of sagas, each of two partitions.
pub const TOPICS: [&str; 4] = [ORDERS, COMMANDS, OUTCOMES, INBOX];
pub const PARTITIONS: u32 = 2;
/// Where what begins a saga is published.
pub const ORDERS: &str = "saga-orders";
pub const COMMANDS: &str = "saga-commands";
const OUTCOMES: &str = "saga-outcomes";
const INBOX: &str = "saga-inbox";
/// The consumer that runs the sagas, and what it reads.
pub const SAGA: (&str, &[&str]) = ("saga", &[ORDERS, OUTCOMES, INBOX]);
/// The consumer that does what they ask for.
pub const PARTICIPANT: (&str, &[&str]) = ("participant", &[COMMANDS]);
/// The steps of a saga.
pub const STEPS: [&str; 3] = ["one", "two", "three"];
/// What a step waits for.
const TIMEOUT: Duration = Duration::from_mins(1);
/// When a participant answers that is late.
const LATE: Duration = Duration::from_secs(75);
/// How often a compensation is asked for.
pub const ATTEMPTS: u32 = 3;

/// How a saga's consumers are set up. What a crash cuts off is an attempt, and none is to be the last one: the steps have their own
/// ends.
fn config(topics: &[&str]) -> ConsumerConfig {
    let backoff = (Duration::from_millis(100), Duration::from_secs(5));
    let retry = RetryPolicy::default().attempts(100).backoff(backoff.0, backoff.1);
    ConsumerConfig::new(topics.iter().copied()).retry(retry)
}

/// Starts one of their consumers.
///
/// # Errors
///
/// It doesn't start.
pub async fn subscribe(bus: &Bus, name: &str) -> Result<(), ConsumerError> {
    if name == SAGA.0 {
        bus.subscribe(name, config(SAGA.1), SagaHandler).await
    } else {
        bus.subscribe(name, config(PARTICIPANT.1), ParticipantHandler).await
    }
}

/// What begins the saga of this id, and what may begin it again.
pub fn order(id: &str, event_id: String) -> Event {
    let event = Event::new(event_id, "/sim", "Begin").subject(id).build();
    event.unwrap_or_else(|error| unreachable!("the event is valid: {error}"))
}

/// What a participant makes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    Does,
    Refuses,
    /// It does it, and never says so.
    Silent,
    /// It does it, and says so when the time is up.
    Late,
    /// It fails twice first.
    Flaky,
}

/// What it makes of the compensation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undoing {
    Undoes,
    /// It ignores so many first.
    Ignores(u32),
    Never,
}

/// The script of a step.
pub fn fate(id: &str, step: &str) -> (Deed, Undoing) {
    let chance = hash(step, id);
    let deed = match chance % 16 {
        0 => Deed::Refuses,
        1 => Deed::Silent,
        2 => Deed::Late,
        3 | 4 => Deed::Flaky,
        _ => Deed::Does,
    };
    let undoing = match chance / 16 % 8 {
        0 => Undoing::Never,
        1 => Undoing::Ignores(1),
        2 => Undoing::Ignores(ATTEMPTS),
        _ => Undoing::Undoes,
    };
    (deed, undoing)
}

/// Where a participant keeps whether a step of a saga is done.
pub fn effect_key(id: &str, step: &str) -> Vec<u8> {
    format!("effect/{id}/{step}").into_bytes()
}

/// Whose key a step's commands have: that of the first one is another than the saga's, so its outcomes go by the inbox.
fn key_of(id: &str, step: &str) -> String {
    if step == STEPS[0] { format!("product {}", hash("product", id) % 3) } else { id.to_owned() }
}

fn command(id: &str, kind: &str, step: &str) -> Command {
    Command::to(COMMANDS, sdk::Outgoing::new(format!("{kind}/{step}")).subject(key_of(id, step)))
}

/// What the sagas know: how many steps they have heard to be done.
#[derive(Deserialize, Serialize)]
struct Heard {
    done: usize,
}

struct Sagas;

impl Saga for Sagas {
    const NAME: &'static str = SAGA.0;
    const PUBLISHES: &'static [&'static str] = &[COMMANDS, INBOX];
    const BEGINS: &'static [&'static str] = &["Begin"];
    const INBOX: Option<&'static str> = Some(INBOX);
    // Longer than any seed takes.
    const KEPT: Duration = Duration::from_hours(24 * 365);
    type Data = Heard;

    fn begin(_: &sdk::Event) -> Result<Option<Heard>, sdk::Failure> {
        Ok(Some(Heard { done: 0 }))
    }

    fn steps() -> Vec<Step<Heard>> {
        let step = |name: &'static str| {
            Self::step(name)
                .command(move |_, saga| Ok(command(saga.id(), "Do", name)))
                .succeeds_on_with(format!("Done/{name}"), |heard, _| {
                    heard.done += 1;
                    Ok(())
                })
                .fails_on(format!("Refused/{name}"))
                .times_out_after(TIMEOUT)
                .compensate(move |_, saga| Ok(command(saga.id(), "Undo", name)))
                .compensated_on(format!("Undone/{name}"))
                .compensation_times_out_after(Duration::from_secs(20))
                .compensation_attempts(ATTEMPTS)
        };
        STEPS.map(step).into()
    }
}

/// Runs the sagas.
pub struct SagaHandler;

impl Handler for SagaHandler {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let mut consumer = SagaConsumer::<Sagas>::default();
        let name = delivery.event.extension(TIMER_NAME).and_then(Attribute::as_text);
        let of_timer = name.filter(|_| delivery.topic.as_ref() == TIMER_TOPIC);
        let handed = super::native::delivery(delivery);
        let mut host = Native(context);
        let outcome = match of_timer {
            Some(name) => consumer.timer(name, &handed, &mut host),
            None => consumer.handle(&handed, &mut host),
        };
        outcome.map_err(super::native::failure)
    }
}

/// Does what the sagas ask for, as its script has it.
pub struct ParticipantHandler;

impl Handler for ParticipantHandler {
    async fn handle(&self, delivery: &Delivery, context: &mut Context) -> Result<(), Failure> {
        let event = &delivery.event;
        let text = |name| event.extension(name).and_then(Attribute::as_text).unwrap_or_default();
        let id = text("correlationid");
        if delivery.topic.as_ref() == TIMER_TOPIC {
            // What was late, of the saga and the step that the timer is called after.
            let Some((id, step)) = text(TIMER_NAME).split_once('/') else { return Ok(()) };
            return answer(context, event, id, &format!("Done/{step}"));
        }
        let Some((kind, step)) = event.kind().split_once('/') else { return Ok(()) };
        let (deed, undoing) = fate(id, step);
        if kind == "Undo" {
            return undo(context, event, (id, step), undoing);
        }
        if deed == Deed::Refuses {
            return answer(context, event, id, &format!("Refused/{step}"));
        }
        // What comes twice is done once; and not after it was undone.
        if context.get(&effect_key(id, step))?.is_none() {
            context.set(&effect_key(id, step), b"done")?;
        }
        match deed {
            Deed::Flaky if delivery.attempt <= 2 => Err(Failure::transient("flaky", "not yet")),
            Deed::Silent => Ok(()),
            Deed::Late => Ok(context.set_timer(&format!("{id}/{step}"), context.now().after(LATE), None)?),
            _ => answer(context, event, id, &format!("Done/{step}")),
        }
    }
}

fn undo(
    context: &mut Context,
    event: &Event,
    (id, step): (&str, &str),
    undoing: Undoing,
) -> Result<(), Failure> {
    let counter = format!("ignored/{id}/{step}").into_bytes();
    let ignored = context.get(&counter)?.map_or(0, |count| count.len());
    let ignores = match undoing {
        Undoing::Undoes => false,
        Undoing::Ignores(times) => ignored < usize::try_from(times).unwrap_or(usize::MAX),
        Undoing::Never => true,
    };
    if ignores {
        return Ok(context.set(&counter, &vec![b'x'; ignored + 1])?);
    }
    context.set(&effect_key(id, step), b"undone")?;
    answer(context, event, id, &format!("Undone/{step}"))
}

/// Publishes an outcome under the key of the command.
fn answer(context: &mut Context, event: &Event, id: &str, kind: &str) -> Result<(), Failure> {
    let outcome = Outgoing {
        kind: kind.to_owned(),
        subject: Some(event.key().to_owned()),
        extensions: vec![("correlationid".to_owned(), Attribute::Text(id.to_owned()))],
        ..Outgoing::default()
    };
    Ok(context.publish(OUTCOMES, outcome)?)
}
