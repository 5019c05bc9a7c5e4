//! What tests look into: the bytes of records, batches and rows, which the bus itself shows to nobody.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::batch::{Batch, BatchBuilder, BatchKey};
use super::lane_rows::{DeadLetter, Held, LaneCounts, Marked, Progress, Target, Wait};
use super::new_events::NewEvents;
use super::schema::{self, ConsumerRow, TopicRow};
use super::window::{Place, Window};
use super::{Attempt, journal, keys, record, redo};
use crate::clock::Timestamp;
use crate::config::TopicConfig;
use crate::event::Event;
use crate::handler::{Failure, ProgramVersion};
use crate::ids::TopicId;
use crate::timer::TimerCounts;

/// The format that is written.
pub const FORMAT: u32 = schema::FORMAT;

/// Where the batches are that these functions write and read.
const BATCH_KEY: BatchKey = (1, 0, 5);

/// Reads a record.
pub fn record(bytes: &[u8]) -> Result<Event, String> {
    record::decode(bytes, &[]).map_err(|error| error.to_string())
}

/// An event as a record.
pub fn record_of(event: &Event, sequence: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    record::encode(event, sequence, &[], &mut out);
    out
}

/// Makes the checksums of a record right again, so that what lies behind them is reached.
pub fn seal_record(bytes: &mut [u8]) {
    record::seal(&[], bytes);
}

/// Reads a batch, and each of its events.
pub fn batch(row: &[u8]) -> Result<Vec<Result<Event, String>>, String> {
    let batch = Batch::parse(BATCH_KEY, row).map_err(|error| error.to_string())?;
    let events = (0..u64::from(batch.count)).map(|index| batch.event(index));
    Ok(events.map(|event| event.map_err(|error| error.to_string())).collect())
}

/// Events as a batch, as many of them as go into one row.
pub fn batch_of(events: &[Event]) -> Vec<u8> {
    let mut builder = BatchBuilder::default();
    for event in events {
        builder.push(NewEvents::alone(event).only(), None);
    }
    let mut bytes = Vec::new();
    if let Some(row) = builder.rows().next() {
        row.write(BATCH_KEY, 7, Timestamp(1_518_000_000_000_000), 0, &mut bytes);
    }
    bytes
}

/// Makes the checksum of a batch's header right again.
pub fn seal_batch(row: &mut [u8]) {
    super::batch::seal(BATCH_KEY, row);
}

/// Makes the checksum of a row right again.
pub fn seal_row(row: &mut [u8]) {
    schema::seal(0, row);
}

/// Where the records of each half of a journal of so many bytes are, in bytes: those of the checkpoint that the first one
/// names.
pub fn journal_records(image: &[u8], bytes: usize) -> [Vec<std::ops::Range<usize>>; 2] {
    journal::places(image, bytes)
}

/// Reads bytes as a row of each table in turn, and says of each what became of it. What is read has to come out the same
/// when it is written and read again: the second part tells of the first that doesn't.
pub fn rows(bytes: &[u8]) -> (String, Result<(), String>) {
    let read = [
        row::<TopicRow>(bytes),
        row::<ConsumerRow>(bytes),
        row::<Progress>(bytes),
        row::<Held>(bytes),
        row::<DeadLetter>(bytes),
    ];
    let mut window = Window::default();
    window.load(bytes);
    let changes = redo::changes(bytes).flatten().count().min(3);
    let mut outcome =
        format!("{} {} {changes} ", window.len().min(3), keys::numbered(1, bytes).count().min(3));
    for read in read {
        match read {
            Ok(said) => outcome += &said,
            Err(broken) => return (outcome, Err(broken)),
        }
    }
    (outcome, Ok(()))
}

fn row<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<String, String> {
    let Ok(first) = schema::decode::<T>(0, bytes, String::new) else { return Ok("-".to_owned()) };
    let written = schema::encode(0, &first);
    match schema::decode::<T>(0, &written, String::new) {
        Ok(second) if schema::encode(0, &second) == written => Ok("+".to_owned()),
        Ok(_) => Err(format!("a {} changes when it is written and read", std::any::type_name::<T>())),
        Err(error) => Err(format!("a {} can't be read back: {error}", std::any::type_name::<T>())),
    }
}

/// A row of each table.
pub fn sample_rows(event: &Event) -> Vec<Vec<u8>> {
    let at = Timestamp(1_518_000_000_000_000);
    let version =
        ProgramVersion { name: "billing".to_owned(), version: "1.2.3".to_owned(), hash: "ab".repeat(32) };
    let failure = Failure::transient("timeout", "no answer came");
    let attempt = Attempt { at, failure: failure.clone(), version: version.clone() };
    let event = Some(std::sync::Arc::new(event.clone()));
    let mut window = Window::default();
    for identity in [[7; 16], [9; 16]] {
        window.add(identity, Place { partition: 3, offset: 17 });
    }
    let mut identities = Vec::new();
    window.write_row(at, &mut identities);
    vec![
        schema::encode(0, &TopicRow { name: "orders".into(), config: TopicConfig::new(4), created: at }),
        schema::encode(
            0,
            &ConsumerRow {
                name: "billing".into(),
                topics: vec![TopicId(1), TopicId(2)],
                partitions: 4,
                registered: at,
                paused: true,
                detached: Some(at),
                program: version.clone(),
                state_version: Some(1),
                reloads: 2,
                generation: 0,
                allows_letters: false,
            },
        ),
        schema::encode(
            0,
            &Progress {
                next: [(TopicId(1), 18)].into(),
                held_next: 4,
                counts: LaneCounts { handled: 9, retries: 2, dead_letters: 1 },
                timers: TimerCounts { next: 5, set: 2 },
                version: version.clone(),
                marked: Some(Marked { target: Target::Fresh(TopicId(1), 18), at, crashes: 1 }),
            },
        ),
        schema::encode(
            0,
            &Held {
                key: 99,
                topic: TopicId(1),
                offset: 17,
                commit: 5,
                appended: at,
                event: event.clone(),
                wait: Wait::Until(at),
                attempts: vec![attempt.clone()],
                first_attempt: at,
                redriven: true,
            },
        ),
        schema::encode(
            0,
            &DeadLetter {
                id: 3,
                at,
                topic: "orders".to_owned(),
                topic_id: TopicId(1),
                partition: 3,
                offset: 17,
                offset_last: 17,
                commit: 5,
                appended: at,
                event,
                reason: failure,
                attempts: vec![attempt],
                first_attempt: at,
                version,
                redriven: false,
                key: 99,
                parked: Some(4),
            },
        ),
        identities,
    ]
}
