//! What a client asks of the bus, and what follows from the answer.

#![allow(
    clippy::unnecessary_wraps,
    reason = "all that make a call have one type, and some have none to make"
)]

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use tidegate::testing::Stepper;
use tidegate::{
    AdminError, AggregateError, Bus, ConsumerError, Event, ExecuteError, Outcome, Position, PublishError,
    Published, ReadError, SagaError, TIMER_TOPIC, TransactionError,
};
use tokio::task::JoinHandle;

use super::aggregates;
use super::model::ROWS;
use super::sagas;
use super::script::PLANS;
use super::world::World;

/// A call to be made.
pub struct Call {
    pub what: String,
    /// The consumer whose program it changes. Of two such calls at once, either may be the last.
    pub changes: Option<&'static str>,
    work: Pin<Box<dyn Future<Output = Done> + Send>>,
}

/// A call that is under way.
pub struct Begun {
    pub what: String,
    pub changes: Option<&'static str>,
    task: JoinHandle<Done>,
}

/// The places of events by their ids; or why there are none, with the ids.
type Answer<E> = Result<Vec<(String, Published)>, (E, Vec<String>)>;

/// What became of one.
pub enum Done {
    Published(Answer<PublishError>),
    Transacted(Answer<TransactionError<PublishError>>),
    /// A transaction that was to be refused.
    Refused(Result<(), TransactionError<PublishError>>),
    /// What begins a saga was published. The log says what became of it.
    Begun(Result<(), PublishError>),
    /// A command was given, of this id.
    Executed(String, Box<Result<Outcome, ExecuteError>>),
    /// Commands were given, of these ids.
    Given(Vec<String>, Result<(), PublishError>),
    /// Something of this id was appended to the stream of an aggregate.
    Appended(String, Result<(), PublishError>),
    /// An operator's word to a saga.
    Told(Result<(), SagaError>),
    /// Something that changes no event.
    Administered(Result<(), ConsumerError>),
    /// The bus's own threads have ended.
    CutOff,
}

impl Call {
    fn new(what: String, work: impl Future<Output = Done> + Send + 'static) -> Self {
        Self { what, changes: None, work: Box::pin(work) }
    }

    /// Begins it.
    pub fn begin(self, stepper: &Stepper) -> Begun {
        Begun { what: self.what, changes: self.changes, task: stepper.spawn(self.work) }
    }
}

impl Begun {
    pub fn is_done(&self) -> bool {
        self.task.is_finished()
    }

    pub async fn answer(self) -> Done {
        self.task.await.unwrap_or(Done::CutOff)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Published(Ok(places)) | Self::Transacted(Ok(places)) => {
                for (id, place) in places {
                    write!(
                        f,
                        "{id} at {}/{}{} ",
                        place.partition,
                        place.offset,
                        if place.duplicate { " again" } else { "" }
                    )?;
                }
                Ok(())
            }
            Self::Published(Err((error, _)))
            | Self::Begun(Err(error))
            | Self::Given(_, Err(error))
            | Self::Appended(_, Err(error)) => write!(f, "{error}"),
            Self::Transacted(Err((error, _))) | Self::Refused(Err(error)) => write!(f, "{error}"),
            Self::Administered(Err(error)) => write!(f, "{error}"),
            Self::Told(Err(error)) => write!(f, "{error}"),
            Self::Executed(_, outcome) => match &**outcome {
                Ok(outcome) => write!(f, "{outcome:?}"),
                Err(error) => write!(f, "{error}"),
            },
            Self::Refused(Ok(()))
            | Self::Administered(Ok(()))
            | Self::Begun(Ok(()))
            | Self::Told(Ok(()))
            | Self::Given(_, Ok(()))
            | Self::Appended(_, Ok(())) => write!(f, "done"),
            Self::CutOff => write!(f, "cut off"),
        }
    }
}

impl Done {
    /// Tells the model.
    ///
    /// # Errors
    ///
    /// The answer is one that must not be.
    pub fn settle(self, world: &mut World) -> Result<(), String> {
        let refused = match self {
            Self::Published(Ok(places)) | Self::Transacted(Ok(places)) => {
                for (id, place) in places {
                    world.counts.add("acknowledged", 1);
                    world.model.acknowledge(&id, &place)?;
                }
                return Ok(());
            }
            Self::Published(Err((PublishError::InDoubt(_), _)))
            | Self::Transacted(Err((TransactionError::InDoubt(_), _))) => {
                world.counts.add("in doubt", 1);
                return Ok(());
            }
            Self::Published(Err((error, ids))) => match error {
                PublishError::Reopening
                | PublishError::DiskFull { .. }
                | PublishError::Closed
                | PublishError::Blob { .. }
                | PublishError::VersionConflict { .. } => ids,
                other => return Err(other.to_string()),
            },
            Self::Transacted(Err((error, ids))) => match error {
                TransactionError::Reopening
                | TransactionError::DiskFull { .. }
                | TransactionError::Closed
                | TransactionError::Refused(
                    PublishError::Storage(_)
                    | PublishError::DiskFull { .. }
                    | PublishError::Closed
                    | PublishError::Blob { .. },
                ) => ids,
                other => return Err(other.to_string()),
            },
            Self::Refused(outcome) => {
                world.counts.add("undone transactions", 1);
                return outcome
                    .err()
                    .map(drop)
                    .ok_or_else(|| "a transaction that failed was kept".to_owned());
            }
            Self::Administered(outcome) => return administered(outcome),
            Self::Begun(outcome) => return begun(outcome),
            Self::Executed(id, outcome) => return executed(world, &id, *outcome),
            Self::Given(ids, outcome) => {
                if outcome.is_ok() {
                    for id in &ids {
                        world.model.aggregates.accept(id);
                    }
                }
                return begun(outcome);
            }
            Self::Appended(id, outcome) => {
                if outcome.is_ok() {
                    world.model.aggregates.append(&id);
                }
                return begun(outcome);
            }
            Self::Told(outcome) => return told(outcome),
            Self::CutOff => return Ok(()),
        };
        world.counts.add("refused calls", 1);
        for id in refused {
            world.model.refuse(&id);
        }
        Ok(())
    }
}

fn administered(outcome: Result<(), ConsumerError>) -> Result<(), String> {
    let Err(error) = outcome else { return Ok(()) };
    match &error {
        ConsumerError::Admin(
            AdminError::InDoubt(_)
            | AdminError::Reopening
            | AdminError::Closed
            | AdminError::DiskFull { .. }
            | AdminError::RedrivenWait { .. }
            | AdminError::UnknownDeadLetter { .. }
            | AdminError::NothingToRedrive { .. }
            | AdminError::Read(_),
        )
        | ConsumerError::Running(_)
        | ConsumerError::NotRunning(_) => Ok(()),
        other => Err(other.to_string()),
    }
}

fn begun(outcome: Result<(), PublishError>) -> Result<(), String> {
    match outcome {
        Ok(())
        | Err(
            PublishError::InDoubt(_)
            | PublishError::Reopening
            | PublishError::DiskFull { .. }
            | PublishError::Closed,
        ) => Ok(()),
        Err(other) => Err(other.to_string()),
    }
}

fn executed(world: &mut World, id: &str, outcome: Result<Outcome, ExecuteError>) -> Result<(), String> {
    match outcome {
        Ok(outcome) => {
            let what =
                if let Outcome::Rejected(_) = outcome { "commands rejected" } else { "commands accepted" };
            world.counts.add(what, 1);
            world.model.aggregates.answer(id, &outcome)
        }
        Err(ExecuteError::Expired { .. } | ExecuteError::Stopped(_)) => {
            world.model.aggregates.accept(id);
            Ok(())
        }
        Err(ExecuteError::GivenUp { .. }) => {
            world.counts.add("commands given up on", 1);
            world.model.aggregates.accept(id);
            Ok(())
        }
        Err(
            ExecuteError::Aggregate(AggregateError::NotRunning(_))
            | ExecuteError::Read {
                source: ReadError::Reopening | ReadError::Closed | ReadError::UnknownConsumer(_),
                ..
            },
        ) => Ok(()),
        Err(ExecuteError::Publish(error)) => begun(Err(error)),
        Err(other) => Err(other.to_string()),
    }
}

fn told(outcome: Result<(), SagaError>) -> Result<(), String> {
    match outcome {
        Ok(())
        | Err(SagaError::Unknown { .. } | SagaError::Ended { .. } | SagaError::CompensatedAlready { .. }) => {
            Ok(())
        }
        Err(SagaError::Read(error)) => administered(Err(AdminError::from(error).into())),
        Err(SagaError::Admin(error)) => administered(Err(error.into())),
        Err(other) => Err(other.to_string()),
    }
}

fn ids(events: &[(&'static str, Event)]) -> Vec<String> {
    events.iter().map(|(_, event)| event.id().to_owned()).collect()
}

/// Up to four events, new ones and such as were published before.
pub fn publish(world: &mut World, bus: &Bus) -> Option<Call> {
    let mut events: Vec<(&'static str, Event)> = Vec::new();
    for _ in 0..=world.draw(4) {
        let chance = world.draw(u64::MAX);
        let again = if world.draw(4) == 0 { world.model.any_spec(chance) } else { None };
        let (topic, event) = if let Some((topic, event)) = again {
            (topic, event.clone())
        } else {
            let topic = ["a", "b", "f"][usize::try_from(world.draw(5)).unwrap_or(0).min(2)];
            (topic, world.new_event(topic))
        };
        if !events.iter().any(|(_, other)| other.id() == event.id()) {
            events.push((topic, event));
        }
    }
    for (topic, event) in &events {
        world.model.submit(topic, event, false);
    }
    let ids = ids(&events);
    let bus = bus.clone();
    Some(Call::new(format!("publish {ids:?}"), async move {
        Done::Published(match bus.publish_all(events).await {
            Ok(places) => Ok(ids.into_iter().zip(places).collect()),
            Err(error) => Err((error, ids)),
        })
    }))
}

/// Rows of the application and their events.
pub fn transaction(world: &mut World, bus: &Bus) -> Option<Call> {
    let mut events = Vec::new();
    for _ in 0..=world.draw(2) {
        let topic = if world.draw(2) == 0 { "a" } else { "b" };
        events.push((topic, world.new_event(topic)));
    }
    let refused = world.draw(3) == 0;
    let panics = world.draw(6) == 0;
    if !refused {
        for (topic, event) in &events {
            world.model.submit(topic, event, true);
        }
    }
    let ids = ids(&events);
    let what = format!("transaction {ids:?}{}", if refused { ", to be refused" } else { "" });
    let bus = bus.clone();
    Some(Call::new(what, async move {
        let done = bus.transaction(move |transaction| {
            let mut places = Vec::new();
            for (topic, event) in events {
                let id = event.id().to_owned();
                let place = transaction.publish(topic, event)?;
                let rows = transaction.open_table(ROWS);
                // What fails here fails the commit too.
                if let Ok(mut rows) = rows {
                    drop(rows.insert(id.as_str(), 1));
                }
                places.push((id, place));
            }
            if refused && panics {
                std::panic::panic_any(super::script::ON_PURPOSE);
            }
            if refused { Err(PublishError::Closed) } else { Ok(places) }
        });
        match done.await {
            Ok(_) if refused => Done::Refused(Ok(())),
            Err(error) if refused => Done::Refused(Err(error)),
            Ok(places) => Done::Transacted(Ok(places)),
            Err(error) => Done::Transacted(Err((error, ids))),
        }
    }))
}

/// An event on condition that nobody was faster.
pub fn expecting(world: &mut World, bus: &Bus) -> Option<Call> {
    let event = world.new_event("a");
    let version = bus.version("a", event.key()).ok()?;
    let expected = version + u64::from(world.draw(4) == 0);
    world.model.submit("a", &event, false);
    let (id, bus) = (event.id().to_owned(), bus.clone());
    Some(Call::new(format!("publish {id} expecting {expected}"), async move {
        Done::Published(match bus.publish_expecting("a", expected, vec![event]).await {
            Ok(places) => Ok(places.into_iter().map(|place| (id.clone(), place)).collect()),
            Err(error) => Err((error, vec![id])),
        })
    }))
}

fn any_plan(world: &World) -> &'static super::script::Plan {
    &PLANS[usize::try_from(world.draw(PLANS.len() as u64)).unwrap_or(0)]
}

fn administer(what: String, work: impl Future<Output = Result<(), ConsumerError>> + Send + 'static) -> Call {
    Call::new(what, async move { Done::Administered(work.await) })
}

fn some_letters(world: &World, bus: &Bus, consumer: &str) -> Option<Vec<tidegate::DeadLetter>> {
    let mut letters = bus.dead_letters(consumer, 0, 100).ok()?;
    // A timer that is discarded is one that never comes.
    letters.retain(|letter| letter.event.is_some() && letter.topic != TIMER_TOPIC && world.draw(2) == 0);
    if letters.is_empty() { None } else { Some(letters) }
}

/// Dead letters, put back to work.
pub fn redrive(world: &mut World, bus: &Bus) -> Option<Call> {
    let plan = any_plan(world);
    let letters = some_letters(world, bus, plan.name)?;
    world.model.redrive(plan.name, &letters);
    world.counts.add("redriven letters", letters.len() as u64);
    let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    let bus = bus.clone();
    Some(administer(format!("redrive {ids:?} of {}", plan.name), async move {
        Ok(bus.redrive(plan.name, ids).await?)
    }))
}

/// A dead letter, thrown away.
pub fn discard(world: &mut World, bus: &Bus) -> Option<Call> {
    let plan = any_plan(world);
    let mut letters = some_letters(world, bus, plan.name)?;
    letters.truncate(1);
    world.model.discard(plan.name, &letters);
    let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    let bus = bus.clone();
    Some(administer(format!("discard {ids:?} of {}", plan.name), async move {
        Ok(bus.discard(plan.name, ids).await?)
    }))
}

/// A new version of a consumer's program.
pub fn reload(world: &mut World, bus: &Bus) -> Option<Call> {
    let plan = any_plan(world);
    world.version += 1;
    world.counts.add("reloads", 1);
    let (script, bus) = (world.script(plan), bus.clone());
    let call = administer(format!("reload {} with {}", plan.name, world.version), async move {
        bus.switch_handler(plan.name, script).await
    });
    Some(Call { changes: Some(plan.name), ..call })
}

/// A pause, or its end.
pub fn pause(world: &mut World, bus: &Bus) -> Option<Call> {
    let (plan, bus) = (any_plan(world), bus.clone());
    let pauses = world.draw(2) == 0;
    Some(administer(format!("pause {}: {pauses}", plan.name), async move {
        if pauses { bus.pause(plan.name).await } else { bus.resume(plan.name).await }
    }))
}

/// The end of a consumer in this process, and another beginning.
pub fn resubscribe(world: &mut World, bus: &Bus) -> Option<Call> {
    let (plan, bus) = (any_plan(world), bus.clone());
    let (config, script) = (world.consumer_config(plan), world.script(plan));
    let call = administer(format!("unsubscribe {} and subscribe it again", plan.name), async move {
        bus.unsubscribe(plan.name).await?;
        bus.subscribe(plan.name, config, script).await
    });
    Some(Call { changes: Some(plan.name), ..call })
}

/// Any saga, also one that hasn't begun: the twentieth at most.
fn any_saga(world: &World) -> String {
    format!("saga {}", world.draw(20))
}

/// What begins a saga, or would begin it again.
pub fn begin_saga(world: &mut World, bus: &Bus) -> Option<Call> {
    let id = any_saga(world);
    let event = sagas::order(&id, format!("{id}/{}", world.draw(2)));
    let bus = bus.clone();
    Some(Call::new(format!("begin {id}"), async move {
        Done::Begun(bus.publish(sagas::ORDERS, event).await.map(drop))
    }))
}

/// What an operator says to a saga.
pub fn tell_saga(world: &mut World, bus: &Bus) -> Option<Call> {
    let (id, retries, bus) = (any_saga(world), world.draw(2) == 0, bus.clone());
    world.counts.add("words to sagas", 1);
    let what = if retries { "retry" } else { "compensate" };
    if retries {
        world.model.words.retry(&id);
    }
    Some(Call::new(format!("{what} {id}"), async move {
        let saga = sagas::SAGA.0;
        Done::Told(if retries {
            bus.retry_saga(saga, &id).await
        } else {
            bus.compensate_saga(saga, &id).await
        })
    }))
}

/// A pause of one of the sagas' consumers or its end, a new program of it, its end and beginning, or its dead letters put back to
/// work.
pub fn disturb_saga(world: &mut World, bus: &Bus) -> Option<Call> {
    let (name, bus) = ([sagas::SAGA.0, sagas::PARTICIPANT.0][usize::from(world.draw(2) == 0)], bus.clone());
    world.counts.add("disturbed consumers of sagas", 1);
    let changes = Some(name);
    match world.draw(4) {
        0 => {
            let ids: Vec<_> = some_letters(world, &bus, name)?.iter().map(|letter| letter.id).collect();
            Some(administer(format!("redrive {ids:?} of {name}"), async move {
                Ok(bus.redrive(name, ids).await?)
            }))
        }
        1 => {
            let call = administer(format!("reload {name}"), async move {
                if name == sagas::SAGA.0 {
                    bus.switch_handler(name, sagas::SagaHandler).await
                } else {
                    bus.switch_handler(name, sagas::ParticipantHandler).await
                }
            });
            Some(Call { changes, ..call })
        }
        2 => {
            let call = administer(format!("unsubscribe {name} and subscribe it again"), async move {
                bus.unsubscribe(name).await?;
                sagas::subscribe(&bus, name).await
            });
            Some(Call { changes, ..call })
        }
        _ => {
            let pauses = world.draw(2) == 0;
            Some(administer(format!("pause {name}: {pauses}"), async move {
                if pauses { bus.pause(name).await } else { bus.resume(name).await }
            }))
        }
    }
}

/// The id of a command to an aggregate: of a new one, or of one that was given before.
fn any_command(world: &mut World) -> String {
    let number = match world.commands {
        some @ 1.. if world.draw(4) == 0 => world.draw(some),
        all => {
            world.commands += 1;
            all
        }
    };
    format!("{}-{number}", world.seed)
}

/// A command to an aggregate, by somebody who waits for what becomes of it.
pub fn execute(world: &mut World, bus: &Bus) -> Option<Call> {
    let (id, wait, bus) = (any_command(world), Duration::from_secs(world.draw(8)), bus.clone());
    Some(Call::new(format!("execute {id}"), async move {
        let outcome = bus.execute(aggregates::NAME, aggregates::command(&id), wait).await;
        Done::Executed(id, Box::new(outcome))
    }))
}

/// Some commands to aggregates at once, by somebody who doesn't wait.
pub fn give(world: &mut World, bus: &Bus) -> Option<Call> {
    let ids: Vec<_> = (0..=world.draw(8)).map(|_| any_command(world)).collect();
    let commands = ids.iter().map(|id| (aggregates::COMMANDS, aggregates::command(id))).collect();
    let bus = bus.clone();
    Some(Call::new(format!("give {ids:?}"), async move {
        Done::Given(ids, bus.publish_all(commands).await.map(drop))
    }))
}

/// An event that somebody else appends to the stream of an aggregate.
pub fn append(world: &mut World, bus: &Bus) -> Option<Call> {
    world.next_id += 1;
    let (id, bus) = (format!("g{}", world.next_id), bus.clone());
    Some(Call::new(format!("append {id}"), async move {
        let appended = bus.publish(aggregates::STREAM, aggregates::gift(&id)).await;
        Done::Appended(id, appended.map(drop))
    }))
}

/// Commands that were given up on, put back to work.
pub fn redrive_commands(world: &mut World, bus: &Bus) -> Option<Call> {
    let letters = some_letters(world, bus, aggregates::NAME)?;
    world.counts.add("redriven commands", letters.len() as u64);
    world.model.aggregates.redrive(letters.iter().filter_map(|letter| letter.event.as_ref()));
    let ids: Vec<_> = letters.iter().map(|letter| letter.id).collect();
    let bus = bus.clone();
    Some(administer(format!("redrive {ids:?} of {}", aggregates::NAME), async move {
        Ok(bus.redrive(aggregates::NAME, ids).await?)
    }))
}

/// All commands are delivered again.
pub fn rewind_commands(world: &mut World, bus: &Bus) -> Option<Call> {
    world.model.aggregates.move_back();
    world.counts.add("moves of aggregates", 1);
    let bus = bus.clone();
    Some(administer("seek to the first command".to_owned(), async move {
        bus.seek(aggregates::NAME, None, None, Position::Earliest).await
    }))
}

/// The end of an aggregate in this process, and its beginning with another version of its program.
pub fn replace_aggregate(world: &mut World, bus: &Bus) -> Option<Call> {
    world.version += 1;
    world.counts.add("other versions of aggregates", 1);
    let (setup, version, bus) = (world.aggregate, world.version, bus.clone());
    let call = administer(format!("subscribe {} with {version}", aggregates::NAME), async move {
        bus.unsubscribe(aggregates::NAME).await?;
        aggregates::subscribe(&bus, setup, version).await
    });
    Some(Call { changes: Some(aggregates::NAME), ..call })
}

/// Retention.
pub fn trim(world: &mut World, bus: &Bus) -> Option<Call> {
    let bus = bus.clone();
    world.counts.add("runs of retention", 1);
    Some(administer("trim".to_owned(), async move {
        bus.trim().await?;
        Ok(())
    }))
}
