//! A consumer at one moment: which generation has its name, and of each of its lanes progress and state.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableTable};
use serde::Deserialize;

use super::error::ReadError;
use super::generations::is_generation;
use super::guard::reading;
use super::hash;
use super::lane_rows::Progress;
use super::read::StateSnapshot;
use super::schema::{self, CONSUMERS, ConsumerRow, DEAD_LETTERS, HELD, LANES};
use super::store::Log;
use crate::effects::StateRead;
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::QUESTION_LETTERS_MAX;

/// See the module. It keeps the moment's pages for as long as it lives.
pub(crate) struct ConsumerMoment {
    read: Arc<ReadTransaction>,
    pub id: ConsumerId,
    pub row: ConsumerRow,
}

/// How far a lane is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LaneMoment {
    /// Of each topic the offset that it comes to next.
    pub next: BTreeMap<TopicId, u64>,
    /// Events before those that wait for a retry, or behind one.
    pub held: u64,
    /// Events before those that it has given up on, since it began.
    pub dead_letters: u64,
}

/// Whether an event is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LetterOf {
    No,
    Letter(u64),
    /// There are too many to look through.
    Unknown,
}

/// What tells a held event's place.
#[derive(Deserialize)]
struct HeldPlace {
    topic: TopicId,
    offset: u64,
}

/// What tells a dead letter's place.
#[derive(Deserialize)]
struct LetterPlace {
    topic_id: TopicId,
    partition: u32,
    offset: u64,
    offset_last: u64,
}

impl Log {
    /// A consumer as it is durable now.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn moment(&self, consumer: &str) -> Result<Option<ConsumerMoment>, ReadError> {
        if is_generation(consumer) {
            return Ok(None);
        }
        self.shared.visibility.wait();
        reading(|| {
            let read = self.shared.begin_durable_read()?;
            let table = read.open_table(CONSUMERS)?;
            let named = |id: u32, row: &[u8]| -> Result<Option<ConsumerRow>, ReadError> {
                let row: ConsumerRow = schema::decode(id, row, || format!("the row of consumer {id}"))?;
                Ok(Some(row).filter(|row| &*row.name == consumer))
            };
            // Memory may be a moment behind the tables, which say who has the name. Mostly it isn't.
            if let Some((id, _)) = self.shared.consumer(consumer)
                && let Some(stored) = table.get(id.0)?
                && let Some(row) = named(id.0, stored.value())?
            {
                return Ok(Some(ConsumerMoment { read, id, row }));
            }
            for stored in table.iter()? {
                let (id, stored) = stored?;
                if let Some(row) = named(id.value(), stored.value())? {
                    let id = ConsumerId(id.value());
                    return Ok(Some(ConsumerMoment { read, id, row }));
                }
            }
            Ok(None)
        })
    }
}

impl ConsumerMoment {
    /// The partition whose lane has the events of a key.
    pub fn partition_of(&self, key: &str) -> u32 {
        hash::partition_of(hash::key_hash(key), self.row.partitions)
    }

    /// How far a lane is.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn lane(&self, partition: u32) -> Result<LaneMoment, ReadError> {
        reading(|| {
            let key = (self.id.0, partition);
            let lane = LaneId { consumer: self.id, partition };
            let progress: Progress = match self.read.open_table(LANES)?.get(key)? {
                Some(row) => schema::decode(key, row.value(), || schema::lane_row(lane))?,
                None => return Err(ReadError::UnknownConsumer(self.row.name.to_string())),
            };
            let held = self.read.open_table(HELD)?.range(self.held(partition))?.count();
            let (held, dead_letters) = (held as u64, progress.counts.dead_letters);
            Ok(LaneMoment { next: progress.next, held, dead_letters })
        })
    }

    /// A lane's state.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn state(&self, partition: u32) -> Result<Box<dyn StateRead>, ReadError> {
        let lane = LaneId { consumer: self.id, partition };
        reading(|| Ok(Box::new(StateSnapshot::of(&self.read, lane)?) as Box<dyn StateRead>))
    }

    /// Whether a lane holds an event that it has come past.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn holds(&self, partition: u32, topic: TopicId, offset: u64) -> Result<bool, ReadError> {
        reading(|| {
            for row in self.read.open_table(HELD)?.range(self.held(partition))? {
                let (key, row) = row?;
                let what = || format!("a held event of consumer `{}`", self.row.name);
                let held: HeldPlace = schema::decode(key.value(), row.value(), what)?;
                if (held.topic, held.offset) == (topic, offset) {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Whether an event is a dead letter. It is looked for among the newest.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn letter_of(&self, partition: u32, topic: TopicId, offset: u64) -> Result<LetterOf, ReadError> {
        reading(|| {
            let letters = self.read.open_table(DEAD_LETTERS)?;
            let newest = letters.range((self.id.0, 0)..=(self.id.0, u64::MAX))?.rev();
            for (seen, row) in newest.enumerate() {
                if seen == QUESTION_LETTERS_MAX {
                    return Ok(LetterOf::Unknown);
                }
                let (key, row) = row?;
                let what = || format!("dead letter {} of consumer `{}`", key.value().1, self.row.name);
                let letter: LetterPlace = schema::decode(key.value(), row.value(), what)?;
                if (letter.topic_id, letter.partition) == (topic, partition)
                    && (letter.offset..=letter.offset_last).contains(&offset)
                {
                    return Ok(LetterOf::Letter(key.value().1));
                }
            }
            Ok(LetterOf::No)
        })
    }

    fn held(&self, partition: u32) -> std::ops::RangeInclusive<(u32, u32, u64)> {
        (self.id.0, partition, 0)..=(self.id.0, partition, u64::MAX)
    }
}
