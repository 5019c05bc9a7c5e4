//! Carrying out a request on a bus.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::aggregates;
use super::queries;
use super::records::{self, Read, ReadKey};
use super::{Answer, Refusal, Request, StateLine};
use crate::bus::{Bus, TraceOptions};
use crate::event::{Data, Event};
use crate::limits::{BLOBS_LISTED_MAX, LETTERS_MAX, STATE_SCAN_MAX};
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::outbox::FailedRows;

/// Carries out a request on a bus. Its answers go into `answers`, which bounds how far it runs ahead of who takes them;
/// where nobody takes them any more, it ends.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let bus = tidegate::Bus::open(directory.path())?;
/// use tidegate::server::{Answer, Request, execute};
///
/// let (answers, mut taken) = tokio::sync::mpsc::channel(16);
/// execute(&bus, Request::Topics, answers).await?;
/// assert!(matches!(taken.recv().await, Some(Answer::Topics(topics)) if topics.is_empty()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The bus refused; answers may have come before.
pub async fn execute(bus: &Bus, request: Request, answers: mpsc::Sender<Answer>) -> Result<(), Refusal> {
    match carry_out(bus, request, &Outlet(answers)).await {
        Ok(()) | Err(Ended::HungUp) => Ok(()),
        Err(Ended::Refused(refusal)) => Err(refusal),
    }
}

/// Where answers go.
pub(super) struct Outlet(mpsc::Sender<Answer>);

impl Outlet {
    pub async fn answer(&self, answer: Answer) -> Result<(), Ended> {
        self.0.send(answer).await.map_err(|_| Ended::HungUp)
    }
}

/// Why a request came to its end early.
pub(super) enum Ended {
    Refused(Refusal),
    HungUp,
}

impl From<Refusal> for Ended {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: std::error::Error> From<Failed<E>> for Ended {
    fn from(Failed(error): Failed<E>) -> Self {
        Self::Refused(Refusal::of(&error))
    }
}

/// An error of the bus, on its way to become a refusal.
pub(super) struct Failed<E>(pub(super) E);

async fn carry_out(bus: &Bus, request: Request, outlet: &Outlet) -> Result<(), Ended> {
    match request {
        Request::Topics => outlet.answer(Answer::Topics(bus.topics())).await,
        Request::CreateTopic { name, config } => Ok(bus.create_topic(&name, config).await.map_err(Failed)?),
        Request::Blobs { verify } => blobs(bus, verify, outlet).await,
        Request::Schemas => outlet.answer(Answer::Schemas(bus.schemas())).await,
        Request::RegisterSchema { event_type, schema, compatibility } => {
            let registered = bus.register_schema(&event_type, schema, compatibility).await.map_err(Failed)?;
            outlet.answer(Answer::Schema(registered)).await
        }
        Request::Publish { topic, events, expected } => {
            let events = events.into_iter().map(|event| owned(event.0)).collect();
            publish(bus, &topic, events, expected, outlet).await
        }
        Request::Read { topic, partition, from, limit, follow, lift, data } => {
            records::read(bus, Read { topic, partition, from, limit, follow, lift, data }, outlet).await
        }
        Request::ReadKey { topic, key, after, limit, lift, data } => {
            records::read_key(bus, ReadKey { topic, key, after, limit, lift, data }, outlet).await
        }
        Request::Consumers => outlet.answer(Answer::Consumers(bus.consumers().map_err(Failed)?)).await,
        Request::Pause { consumer } => Ok(bus.pause(&consumer).await.map_err(Failed)?),
        Request::Resume { consumer } => Ok(bus.resume(&consumer).await.map_err(Failed)?),
        Request::Seek { consumer, topic, partition, to } => {
            Ok(bus.seek(&consumer, topic.as_deref(), partition, to).await.map_err(Failed)?)
        }
        Request::Forget { consumer } => Ok(bus.forget(&consumer).await.map_err(Failed)?),
        Request::State { consumer, partition, prefix } => {
            state(bus, &consumer, partition, prefix.as_bytes(), outlet).await
        }
        Request::Timers { consumer, partition, key, limit } => {
            timers(bus, consumer, partition, key, limit, outlet).await
        }
        Request::SetTimer { consumer, key, name, due, wait, data } => {
            let due = due.unwrap_or_else(|| bus.clock().now().after(wait));
            let set = bus.set_timer(&consumer, &key, &name, due, data.map(Data::Json));
            Ok(set.await.map_err(Failed)?)
        }
        Request::CancelTimer { consumer, key, name } => {
            Ok(bus.cancel_timer(&consumer, &key, &name).await.map_err(Failed)?)
        }
        Request::Upcasters => outlet.answer(Answer::Upcasters(bus.upcasters())).await,
        Request::ReloadUpcaster { upcaster } => {
            outlet.answer(Answer::Reloaded(bus.reload_upcaster(&upcaster).await.map_err(Failed)?)).await
        }
        Request::Aggregates => outlet.answer(Answer::Aggregates(bus.aggregates())).await,
        Request::Execute { aggregate, command, wait } => {
            aggregates::execute(bus, &aggregate, owned(command.0), wait, outlet).await
        }
        Request::Aggregate { name, id, at } => aggregates::show(bus, &name, &id, at, outlet).await,
        Request::Trace { id, options } => trace(bus, &id, options, outlet).await,
        Request::Doctor { options } => {
            outlet.answer(Answer::Findings(bus.doctor(options).await.map_err(Failed)?)).await
        }
        Request::Sagas(query) => outlet.answer(Answer::Sagas(bus.sagas(query).await.map_err(Failed)?)).await,
        Request::Saga { consumer, id } => saga(bus, &consumer, &id, outlet).await,
        Request::RetrySaga { consumer, id } => Ok(bus.retry_saga(&consumer, &id).await.map_err(Failed)?),
        Request::CompensateSaga { consumer, id } => {
            Ok(bus.compensate_saga(&consumer, &id).await.map_err(Failed)?)
        }
        Request::ResolveSaga { consumer, id } => {
            Ok(bus.resolve_saga(&consumer, &id).await.map_err(Failed)?)
        }
        Request::Plugins => outlet.answer(Answer::Plugins(bus.plugins())).await,
        Request::Reload { consumer } => {
            outlet.answer(Answer::Reloaded(bus.reload(&consumer).await.map_err(Failed)?)).await
        }
        Request::Query { projection, query } => queries::query(bus, &projection, query, outlet).await,
        Request::Projections => queries::projections(bus, outlet).await,
        Request::Rebuild { projection, partial, allow_dead_letters, wait } => {
            let asked = queries::Asked { partial, allow_dead_letters, wait };
            queries::rebuild(bus, &projection, asked, outlet).await
        }
        Request::CancelRebuild { projection } => Ok(bus.cancel_rebuild(&projection).await.map_err(Failed)?),
        Request::DeadLetters { consumer, after, limit } => {
            letters(bus, &consumer, after, limit, outlet).await
        }
        Request::DeadLetter { consumer, letter: number, data } => {
            letter(bus, &consumer, number, data, outlet).await
        }
        Request::Redrive { consumer, letters } => {
            Ok(bus.redrive(&consumer, letters).await.map_err(|error| Refusal::of_settling(&error))?)
        }
        Request::Discard { consumer, letters } => {
            Ok(bus.discard(&consumer, letters).await.map_err(Failed)?)
        }
        #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
        Request::Outboxes => outlet.answer(Answer::Outboxes(bus.outboxes().await)).await,
        #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
        Request::FailedRows { outbox, limit } => failed_rows(bus, &outbox, limit, outlet).await,
        #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
        Request::RetryOutbox { outbox, rows } => retry_outbox(bus, &outbox, rows, outlet).await,
        #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
        Request::AdoptOutbox { outbox } => Ok(bus.adopt_running_outbox(&outbox).await.map_err(Failed)?),
    }
}

#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
async fn failed_rows(bus: &Bus, outbox: &str, limit: u32, outlet: &Outlet) -> Result<(), Ended> {
    let rows = bus.outbox_failed_rows(outbox, limit).await.map_err(Failed)?;
    outlet.answer(Answer::FailedRows(rows)).await
}

#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
async fn retry_outbox(bus: &Bus, outbox: &str, rows: FailedRows, outlet: &Outlet) -> Result<(), Ended> {
    let retried = bus.retry_outbox(outbox, rows).await.map_err(Failed)?;
    outlet.answer(Answer::Retried(retried)).await
}

/// The event itself; a copy where someone else has it too.
fn owned(event: Arc<Event>) -> Event {
    Arc::unwrap_or_clone(event)
}

async fn publish(
    bus: &Bus,
    topic: &str,
    events: Vec<Event>,
    expected: Option<u64>,
    outlet: &Outlet,
) -> Result<(), Ended> {
    let published = match expected {
        None => bus.publish_all(events.into_iter().map(|event| (topic, event)).collect()).await,
        Some(expected) => bus.publish_expecting(topic, expected, events).await,
    };
    let published = published.map_err(|error| Refusal::of_publish(&error))?;
    outlet.answer(Answer::Published(published)).await
}

async fn timers(
    bus: &Bus,
    consumer: String,
    partition: Option<u32>,
    key: Option<String>,
    limit: usize,
    outlet: &Outlet,
) -> Result<(), Ended> {
    let bus = bus.clone();
    let found = move || bus.timers(&consumer, partition, key.as_deref(), limit);
    // For one key, it may pass over a million others.
    let found = tokio::task::spawn_blocking(found)
        .await
        .map_err(|_| Refusal::new("the bus is shut down".to_owned()))?;
    outlet.answer(Answer::Timers(found.map_err(Failed)?)).await
}

async fn trace(bus: &Bus, id: &str, options: TraceOptions, outlet: &Outlet) -> Result<(), Ended> {
    let trace = bus.trace(id, options).await.map_err(Failed)?;
    for node in trace.nodes {
        outlet.answer(Answer::TraceNode(Box::new(node))).await?;
    }
    outlet.answer(Answer::TraceSummary(trace.summary)).await
}

async fn saga(bus: &Bus, consumer: &str, id: &str, outlet: &Outlet) -> Result<(), Ended> {
    let saga = bus.saga(consumer, id).map_err(Failed)?;
    outlet.answer(Answer::Saga(Box::new(saga))).await
}

async fn letter(bus: &Bus, consumer: &str, letter: u64, data: bool, outlet: &Outlet) -> Result<(), Ended> {
    let found = bus.dead_letter(consumer, letter).map_err(Failed)?;
    let mut found = found.ok_or_else(|| {
        Refusal::new(format!(
            "consumer `{consumer}` has no dead letter {letter}: `tidegate dlq list {consumer}` lists them"
        ))
    })?;
    if let Some(event) = found.event.as_mut().filter(|_| data) {
        *event = bus.with_data(event).map_err(Failed)?;
    }
    outlet.answer(Answer::Letter(Box::new(found.into()))).await
}

async fn letters(
    bus: &Bus,
    consumer: &str,
    mut after: u64,
    limit: usize,
    outlet: &Outlet,
) -> Result<(), Ended> {
    /// Letters in memory at once, each of which may hold an event of the largest size.
    const STRIDE: usize = 16;
    const { assert!(STRIDE <= LETTERS_MAX, "a call lists so many") };
    let mut left = limit;
    while left > 0 {
        let some = bus.dead_letters(consumer, after, STRIDE.min(left)).map_err(Failed)?;
        let Some(last) = some.last() else { break };
        after = last.id;
        left -= some.len();
        for letter in some {
            outlet.answer(Answer::Letter(Box::new(letter.into()))).await?;
        }
    }
    Ok(())
}

async fn blobs(bus: &Bus, verify: bool, outlet: &Outlet) -> Result<(), Ended> {
    outlet.answer(Answer::BlobUsage(bus.blob_usage())).await?;
    let mut after: Option<String> = None;
    loop {
        // Each is read between two answers, so that who hangs up ends it.
        let some = if verify {
            bus.verify_blobs(after.as_deref(), 1)
        } else {
            bus.blobs(after.as_deref(), BLOBS_LISTED_MAX)
        };
        let some = some.map_err(Failed)?;
        let Some(last) = some.last() else { return Ok(()) };
        after = Some(last.digest.clone());
        for blob in some {
            outlet.answer(Answer::Blob(blob)).await?;
        }
    }
}

async fn state(
    bus: &Bus,
    consumer: &str,
    partition: Option<u32>,
    prefix: &[u8],
    outlet: &Outlet,
) -> Result<(), Ended> {
    let partitions = match partition {
        Some(partition) => partition..partition + 1,
        None => 0..lanes(bus, consumer)?,
    };
    for partition in partitions {
        let view = bus.state(consumer, partition).map_err(Failed)?;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let entries = view.scan(prefix, after.as_deref(), STATE_SCAN_MAX).map_err(Failed)?;
            let Some((last, _)) = entries.last() else { break };
            after = Some(last.clone());
            for (key, value) in entries {
                outlet.answer(Answer::State(StateLine { partition, key, value })).await?;
            }
        }
    }
    Ok(())
}

fn lanes(bus: &Bus, consumer: &str) -> Result<u32, Ended> {
    let consumers = bus.consumers().map_err(Failed)?;
    let found = consumers.iter().find(|status| status.name == consumer);
    let unknown = || Refusal::of(&crate::log::ReadError::UnknownConsumer(consumer.to_owned()));
    Ok(u32::try_from(found.ok_or_else(unknown)?.lanes.len()).unwrap_or(u32::MAX))
}
