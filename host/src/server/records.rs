//! Reading a topic for a request: to what is durable when it is asked, or for ever.

use super::execute::{Ended, Failed, Outlet};
use super::{Answer, Refusal};
use crate::bus::{Bus, Reader, Record};
use crate::log::{BlobError, Position, ReadError};

/// What [`Request::Read`](super::Request::Read) asks.
pub(super) struct Read {
    pub topic: String,
    pub partition: Option<u32>,
    pub from: Position,
    pub limit: Option<u64>,
    pub follow: bool,
    pub lift: bool,
    pub data: bool,
}

/// Answers with the events one by one.
pub(super) async fn read(bus: &Bus, asked: Read, outlet: &Outlet) -> Result<(), Ended> {
    let ends = Ends::of(bus, &asked.topic);
    let mut reader = bus.read(&asked.topic, asked.partition, asked.from).map_err(Failed)?;
    let mut left = asked.limit.unwrap_or(u64::MAX);
    while left > 0 {
        let record = if asked.follow { next(&mut reader).await } else { reader.try_next() };
        match record {
            Ok(Some(record)) if asked.follow || ends.covers(&record) => {
                let lift = asked.lift.then_some(&*asked.topic);
                outlet.answer(answer(bus, lift, asked.data, record).await).await?;
                left -= 1;
            }
            Ok(_) => break,
            Err(error @ ReadError::Damaged { .. }) => {
                outlet.answer(Answer::Damaged { reason: error.to_string() }).await?;
            }
            Err(error) => return Err(Refusal::of(&error).into()),
        }
    }
    Ok(())
}

/// What [`Request::ReadKey`](super::Request::ReadKey) asks.
pub(super) struct ReadKey {
    pub topic: String,
    pub key: String,
    pub after: u64,
    pub limit: Option<u64>,
    pub lift: bool,
    pub data: bool,
}

/// Answers with the events of one key one by one, up to the last that was there when it was asked.
pub(super) async fn read_key(bus: &Bus, asked: ReadKey, outlet: &Outlet) -> Result<(), Ended> {
    let refused = |error: ReadError| Refusal::of(&error);
    let last = bus.version(&asked.topic, &asked.key).map_err(refused)?;
    let mut reader = bus.read_key(&asked.topic, &asked.key, asked.after).map_err(refused)?;
    let mut left = asked.limit.unwrap_or(u64::MAX);
    while left > 0 {
        match reader.try_next() {
            Ok(Some(record)) if record.event.sequence().is_none_or(|number| number <= last) => {
                let lift = asked.lift.then_some(&*asked.topic);
                outlet.answer(answer(bus, lift, asked.data, record).await).await?;
                left -= 1;
            }
            Ok(_) => break,
            Err(error @ ReadError::Damaged { .. }) => {
                outlet.answer(Answer::Damaged { reason: error.to_string() }).await?;
            }
            Err(error) => return Err(refused(error).into()),
        }
    }
    Ok(())
}

/// An event as the log has it, with its data or, of this topic, as consumers see it.
async fn answer(bus: &Bus, lift: Option<&str>, data: bool, mut record: Record) -> Answer {
    let event = match lift {
        Some(topic) => bus.lift(topic, &record.event).await,
        None if data => match bus.with_data(&record.event) {
            Ok(event) => Ok(event),
            Err(error) => return Answer::Damaged { reason: without_data(&record, &error) },
        },
        None => return Answer::Record(record.into()),
    };
    match event {
        Ok(event) => {
            record.event = event;
            Answer::Record(record.into())
        }
        Err(failure) => Answer::NotLifted { record: Box::new(record.into()), failure },
    }
}

/// What is said of an event whose data can't be had.
fn without_data(record: &Record, error: &BlobError) -> String {
    let Record { partition, offset, event, .. } = record;
    format!("the data of event `{}` at {partition}/{offset}: {error}", event.id())
}

async fn next(reader: &mut Reader) -> Result<Option<Record>, ReadError> {
    reader.next().await.map(Some)
}

/// How far each partition goes when reading begins. Without it, reading a topic that others publish to might never end.
///
/// Events come in the order of their commits, so behind the first that was not there, none was.
struct Ends(Vec<u64>);

impl Ends {
    fn of(bus: &Bus, topic: &str) -> Self {
        let topic = bus.topics().into_iter().find(|status| status.name == topic);
        let partitions = topic.map(|topic| topic.partitions).unwrap_or_default();
        Self(partitions.iter().map(|partition| partition.next_offset).collect())
    }

    /// Whether the event was there.
    fn covers(&self, record: &Record) -> bool {
        self.0.get(record.partition as usize).is_some_and(|end| record.offset < *end)
    }
}
