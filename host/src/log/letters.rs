//! Dead letters: listing, redriving, discarding.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::admin::AdminResult;
use super::claims::{self, Holder};
use super::error::{AdminError, ReadError, StorageFault};
use super::guard::misplaced;
use super::lane_rows::{Attempt, DeadLetter, Held, REDRIVEN, Wait};
use super::registry;
use super::schema::{self, DEAD_LETTERS};
use super::shared::Shared;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::handler::{Failure, FailureKind, ProgramVersion};
use crate::ids::{ConsumerId, LaneId, TopicId};
use crate::limits::{COMMIT_BYTES_MAX, REDRIVEN_BYTES_MAX, REDRIVEN_MAX};

/// At most `limit` letters of a consumer with ids above `after`, in ascending order, and about as many bytes as one commit
/// takes; empty only where there are none.
pub(super) fn list(
    shared: &Shared,
    consumer: ConsumerId,
    after: u64,
    limit: usize,
) -> Result<Vec<DeadLetter>, ReadError> {
    let table = shared.begin_read()?.open_table(DEAD_LETTERS)?;
    let mut letters: Vec<DeadLetter> = Vec::new();
    let mut bytes = 0;
    for row in table.range((consumer.0, after.saturating_add(1))..=(consumer.0, u64::MAX))?.take(limit) {
        let (key, row) = row?;
        if key.value().0 != consumer.0 {
            return Err(misplaced("dead_letters").into());
        }
        bytes += row.value().len();
        if bytes > COMMIT_BYTES_MAX && !letters.is_empty() {
            break;
        }
        letters.push(read(key.value(), row.value()));
    }
    Ok(letters)
}

/// One letter of a consumer.
pub(super) fn get(
    shared: &Shared,
    consumer: ConsumerId,
    letter: u64,
) -> Result<Option<DeadLetter>, ReadError> {
    let table = shared.begin_read()?.open_table(DEAD_LETTERS)?;
    let Some(row) = table.get((consumer.0, letter))? else {
        return Ok(None);
    };
    Ok(Some(read((consumer.0, letter), row.value())))
}

/// The newest letter of a consumer that is of the event at this place. Looks at the newest ones first: mostly somebody waits for
/// what was just given up on.
pub(super) fn of_event(
    shared: &Shared,
    consumer: ConsumerId,
    (topic, partition, offset): (TopicId, u32, u64),
) -> Result<Option<DeadLetter>, ReadError> {
    let table = shared.begin_read()?.open_table(DEAD_LETTERS)?;
    for row in table.range((consumer.0, 0)..=(consumer.0, u64::MAX))?.rev() {
        let (key, row) = row?;
        if key.value().0 != consumer.0 {
            return Err(misplaced("dead_letters").into());
        }
        // One that is damaged doesn't say of what it is.
        let letter: Result<DeadLetter, _> = schema::decode(key.value(), row.value(), || what(key.value().1));
        if let Ok(letter) = letter
            && (letter.topic_id, letter.partition) == (topic, partition)
            && (letter.offset..=letter.offset_last).contains(&offset)
        {
            return Ok(Some(letter));
        }
    }
    Ok(None)
}

/// The letter of this row. Damage costs the letter alone: it stands in the list as one that has no event, and can be
/// discarded.
fn read(key: (u32, u64), row: &[u8]) -> DeadLetter {
    schema::decode(key, row, || what(key.1)).unwrap_or_else(|error| DeadLetter {
        id: key.1,
        at: Timestamp(0),
        topic: String::new(),
        topic_id: TopicId(0),
        partition: 0,
        offset: 0,
        offset_last: 0,
        commit: 0,
        appended: Timestamp(0),
        event: None,
        reason: Failure::new(FailureKind::Damaged, "damaged", error.to_string()),
        attempts: Vec::new(),
        first_attempt: Timestamp(0),
        version: ProgramVersion::default(),
        redriven: false,
        key: 0,
        parked: None,
    })
}

/// How many letters a consumer has.
pub(super) fn count(shared: &Shared, consumer: ConsumerId, max: u64) -> Result<u64, ReadError> {
    let table = shared.begin_read()?.open_table(DEAD_LETTERS)?;
    let mut count = 0;
    for row in table.range((consumer.0, 0)..=(consumer.0, u64::MAX))? {
        row?;
        count += 1;
        if count >= max {
            break;
        }
    }
    Ok(count)
}

/// What becomes of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Back to the consumer's held events, due at once.
    Redrive,
    /// Gone.
    Discard,
}

/// Redrives or discards letters of a consumer: all of them, or none where one isn't there or can't be redriven.
pub(super) fn settle(txn: &mut Txn<'_>, consumer: &str, letters: &[u64], fate: Fate) -> AdminResult<()> {
    let Some((id, _)) = registry::known(txn, consumer)? else {
        return Ok(Err(AdminError::UnknownConsumer(consumer.to_owned())));
    };
    let mut found = Vec::with_capacity(letters.len());
    let mut bytes = 0;
    for letter in letters {
        match find(txn, id, *letter)? {
            Some(letter) => {
                bytes += letter.event.as_ref().map_or(0, |event| event.size());
                if bytes > COMMIT_BYTES_MAX && !found.is_empty() {
                    return Ok(Err(AdminError::TooMany {
                        what: format!("dead letters of {bytes} bytes"),
                        max: COMMIT_BYTES_MAX,
                    }));
                }
                found.push(letter);
            }
            None => {
                return Ok(Err(AdminError::UnknownDeadLetter {
                    consumer: consumer.to_owned(),
                    letter: *letter,
                }));
            }
        }
    }
    if fate == Fate::Redrive
        && let Some(letter) = found.iter().find(|letter| letter.event.is_none())
    {
        return Ok(Err(AdminError::NothingToRedrive {
            consumer: consumer.to_owned(),
            letter: letter.id,
            kind: letter.reason.kind,
        }));
    }
    if fate == Fate::Redrive
        && let Some((partition, waiting)) = without_room(txn, id, &found)?
    {
        return Ok(Err(AdminError::RedrivenWait { consumer: consumer.to_owned(), partition, waiting }));
    }
    for letter in found {
        settle_one(txn, id, &letter, fate)?;
    }
    Ok(Ok(()))
}

/// The first lane that has no room for its letters among these, with the number of redriven events that it has.
fn without_room(
    txn: &Txn<'_>,
    consumer: ConsumerId,
    letters: &[DeadLetter],
) -> Result<Option<(u32, usize)>, StorageFault> {
    let mut more: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for letter in letters {
        let (count, bytes) = more.entry(letter.partition).or_default();
        *count += 1;
        *bytes += letter.event.as_ref().map_or(0, |event| event.size());
    }
    for (partition, (count, bytes)) in more {
        let (mut waiting, mut held_bytes) = (0, 0);
        for row in txn.tables.held.range((consumer.0, partition, 0)..=(consumer.0, partition, u64::MAX))? {
            let (key, row) = row?;
            waiting += usize::from(key.value().2 >= REDRIVEN);
            held_bytes += row.value().len();
        }
        let is_full = waiting + count > REDRIVEN_MAX || held_bytes + bytes > REDRIVEN_BYTES_MAX;
        if is_full && waiting > 0 {
            return Ok(Some((partition, waiting)));
        }
    }
    Ok(None)
}

fn find(txn: &Txn<'_>, consumer: ConsumerId, letter: u64) -> Result<Option<DeadLetter>, StorageFault> {
    let key = (consumer.0, letter);
    Ok(txn.tables.dead_letters.get(key)?.map(|row| read(key, row.value())))
}

fn settle_one(
    txn: &mut Txn<'_>,
    consumer: ConsumerId,
    letter: &DeadLetter,
    fate: Fate,
) -> Result<(), StorageFault> {
    let lane = LaneId { consumer, partition: letter.partition };
    let row = |held_id: u64| (consumer.0, letter.partition, held_id);
    txn.tables.dead_letters.remove((consumer.0, letter.id))?;
    claims::release(txn, Holder::Letter(consumer, letter.id))?;
    match fate {
        Fate::Redrive => {
            // Where the letter parks its key it takes its old place at the front; otherwise it queues behind what is
            // held for its key.
            let held_id = letter.parked.unwrap_or(REDRIVEN + letter.id);
            let held = redriven(letter, txn.now);
            txn.tables.held.insert(row(held_id), schema::encode(row(held_id), &held).as_slice())?;
            claims::add_of(&mut txn.tables, Holder::Held(lane, held_id), held.event.as_deref())?;
        }
        Fate::Discard => {
            if let Some(held_id) = letter.parked {
                txn.tables.held.remove(row(held_id))?;
                // One that was redriven before had its event with it there.
                claims::release(txn, Holder::Held(lane, held_id))?;
            }
        }
    }
    txn.change_lane(lane);
    Ok(())
}

/// A letter back to work: its attempts begin anew.
fn redriven(letter: &DeadLetter, now: Timestamp) -> Held {
    Held {
        key: letter.key,
        topic: letter.topic_id,
        offset: letter.offset,
        commit: letter.commit,
        appended: letter.appended,
        event: letter.event.clone(),
        wait: Wait::Until(now),
        attempts: Vec::<Attempt>::new(),
        first_attempt: now,
        redriven: true,
    }
}

fn what(letter: u64) -> String {
    format!("dead letter {letter}")
}
