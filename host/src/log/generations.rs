//! Generations of a consumer: its state is made anew under another number, beside the one that has its name, and takes the
//! name over in one commit.
//!
//! A generation is a consumer like any other, with rows of its own. Its place tells by its name, which no consumer can be given:
//! `NAME$rebuild` is being made, and `NAME$replaced-NUMBER` is to be removed, in steps. A build that knows no generations takes
//! either for a consumer that nobody runs. One that is replaced counts as detached since 1970, so that it holds nothing back.

use std::sync::Arc;

use redb::ReadableTable as _;

use super::admin::AdminResult;
use super::claims;
use super::error::{AdminError, StorageFault};
use super::lane_rows::{Held, Wait};
use super::registry::{self, Position};
use super::schema::{self, ConsumerRow};
use super::timers;
use super::topics::Topic;
use super::txn::Txn;
use crate::clock::Timestamp;
use crate::handler::ProgramVersion;
use crate::ids::{ConsumerId, LaneId};
use crate::limits::GENERATION_ROWS_MAX;

/// What the names of consumers can't hold.
const MARK: char = '$';
/// What follows it in the name of one that is to be removed, before its number.
const REPLACED: &str = "replaced-";

/// The generation that is to have a consumer's name.
pub(crate) fn rebuilt_name(consumer: &str) -> String {
    format!("{consumer}{MARK}rebuild")
}

fn replaced_name(consumer: &str, id: ConsumerId) -> String {
    format!("{consumer}{MARK}{REPLACED}{id}")
}

/// Whether a row's name is of a generation that doesn't have its consumer's name: nobody outside is to see it.
pub(crate) fn is_generation(name: &str) -> bool {
    name.contains(MARK)
}

/// Whether it is one of this consumer that is to be removed.
fn is_replaced(name: &str, consumer: &str) -> bool {
    is_to_be_removed(name) && name.strip_prefix(consumer).is_some_and(|rest| rest.starts_with(MARK))
}

/// Whether it is one that is to be removed: its lanes end.
pub(super) fn is_to_be_removed(name: &str) -> bool {
    name.split_once(MARK).is_some_and(|(_, rest)| rest.starts_with(REPLACED))
}

/// A generation that is to be made.
#[derive(Clone, Debug)]
pub(crate) struct Rebuilding {
    /// What makes it.
    pub program: ProgramVersion,
    /// The layout of its state.
    pub state_version: u32,
    /// Where it begins.
    pub start: Position,
    /// Whether it is made of what is left where retention has removed events.
    pub partial: bool,
    /// Whether it may have more dead letters than the one before.
    pub allows_letters: bool,
}

/// Begins a generation of a consumer. It is refused where one is being made, and where events are gone, unless it is to be
/// made of the others.
pub(super) fn begin(
    txn: &mut Txn<'_>,
    consumer: &str,
    topics: &[Arc<Topic>],
    rebuilding: Rebuilding,
) -> AdminResult<()> {
    let name = rebuilt_name(consumer);
    let Some((_, live)) = registry::known(txn, consumer)? else {
        return Ok(Err(AdminError::UnknownConsumer(consumer.to_owned())));
    };
    if registry::known(txn, &name)?.is_some() {
        return Ok(Err(AdminError::Rebuilding(consumer.to_owned())));
    }
    if !rebuilding.partial
        && let Some(refused) = truncated(txn, consumer, topics, rebuilding.start)
    {
        return Ok(Err(refused));
    }
    let (id, row) = match registry::register(txn, &name, topics, rebuilding.start)? {
        Ok(registered) => registered,
        Err(refused) => return Ok(Err(refused)),
    };
    let Rebuilding { program, state_version, allows_letters, .. } = rebuilding;
    let generation = live.generation + 1;
    let row = ConsumerRow { program, state_version: Some(state_version), generation, allows_letters, ..row };
    registry::put_consumer(txn, id, row)?;
    Ok(Ok(()))
}

/// The first place where a generation that begins there would miss events that retention has removed.
fn truncated(txn: &Txn<'_>, consumer: &str, topics: &[Arc<Topic>], start: Position) -> Option<AdminError> {
    for topic in topics {
        for (number, partition) in (0..).zip(&topic.partitions) {
            let first = partition.ends().low;
            let misses = first > 0
                && match start {
                    Position::Time(time) => {
                        let offset = super::read::offset_at(txn.shared, topic.id, number, time);
                        offset.is_ok_and(|offset| offset <= first)
                    }
                    _ => true,
                };
            if misses {
                let (consumer, topic) = (consumer.to_owned(), topic.name.to_string());
                return Some(AdminError::Truncated { consumer, topic, partition: number, first });
            }
        }
    }
    None
}

/// Gives a consumer's name to the generation that is being made, if that has come to where the one before is on each lane. The
/// one before, whose lanes can't commit any more, is to be removed.
pub(super) fn switch(txn: &mut Txn<'_>, consumer: &str) -> AdminResult<bool> {
    let live = registry::known(txn, consumer)?;
    let (Some((before, live)), Some((id, rebuilt))) = (live, registry::known(txn, &rebuilt_name(consumer))?)
    else {
        return Ok(Err(AdminError::UnknownConsumer(rebuilt_name(consumer))));
    };
    for partition in 0..live.partitions {
        let progress = |consumer| registry::stored_progress(txn, LaneId { consumer, partition });
        let (at, to) = match (progress(id)?, progress(before)?) {
            (Ok(at), Ok(to)) => (at.unwrap_or_default(), to.unwrap_or_default()),
            (Err(refused), _) | (_, Err(refused)) => return Ok(Err(refused)),
        };
        let is_behind = |(topic, to): (_, &u64)| at.next.get(topic).is_none_or(|at| at < to);
        if to.next.iter().any(is_behind) {
            txn.wrote_nothing();
            return Ok(Ok(false));
        }
    }
    // What it has come to since it was found fit counts too.
    let is_fit = rebuilt.allows_letters || letters(txn, id)? <= letters(txn, before)?;
    if !is_fit || waits(txn, id)? {
        txn.wrote_nothing();
        return Ok(Ok(false));
    }
    let partitions = live.partitions;
    let row = ConsumerRow {
        name: Arc::clone(&live.name),
        registered: live.registered,
        paused: live.paused,
        detached: None,
        reloads: live.reloads + u64::from(live.program != rebuilt.program),
        allows_letters: false,
        ..rebuilt
    };
    put(txn, [(before, replaced(before, consumer, live)), (id, row)])?;
    end_lanes(txn, before, partitions);
    Ok(Ok(true))
}

/// Has the lanes of a consumer read themselves back, after its row has changed: then they find that they are to end.
fn end_lanes(txn: &mut Txn<'_>, consumer: ConsumerId, partitions: u32) {
    for partition in 0..partitions {
        txn.change_lane(LaneId { consumer, partition });
    }
}

/// How many dead letters a consumer has.
fn letters(txn: &Txn<'_>, consumer: ConsumerId) -> Result<usize, StorageFault> {
    Ok(txn.tables.dead_letters.range((consumer.0, 0)..=(consumer.0, u64::MAX))?.count())
}

/// Whether a consumer holds what it will come to by itself, and doesn't reflect yet.
fn waits(txn: &Txn<'_>, consumer: ConsumerId) -> Result<bool, StorageFault> {
    for row in txn.tables.held.range((consumer.0, 0, 0)..=(consumer.0, u32::MAX, u64::MAX))? {
        let (key, row) = row?;
        let held: Result<Held, _> = schema::decode(key.value(), row.value(), String::new);
        if held.is_ok_and(|held| matches!(held.wait, Wait::Until(_))) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a generation up that is being made: it is to be removed.
pub(super) fn give_up(txn: &mut Txn<'_>, consumer: &str) -> AdminResult<()> {
    if let Some((id, row)) = registry::known(txn, &rebuilt_name(consumer))? {
        let partitions = row.partitions;
        put(txn, [(id, replaced(id, consumer, row))])?;
        end_lanes(txn, id, partitions);
    } else {
        txn.wrote_nothing();
    }
    Ok(Ok(()))
}

fn replaced(id: ConsumerId, consumer: &str, row: ConsumerRow) -> ConsumerRow {
    ConsumerRow { name: replaced_name(consumer, id).into(), detached: Some(Timestamp(0)), ..row }
}

/// Changes several rows at once, in memory too: who looks for a name finds it before and after.
fn put<const N: usize>(txn: &mut Txn<'_>, rows: [(ConsumerId, ConsumerRow); N]) -> Result<(), StorageFault> {
    for (id, row) in &rows {
        txn.tables.consumers.insert(id.0, schema::encode(id.0, row).as_slice())?;
    }
    txn.after(move |shared| shared.consumers_mut().extend(rows));
    Ok(())
}

/// Removes some of what a consumer's replaced generations have. Whether there is more.
pub(super) fn sweep(txn: &mut Txn<'_>, consumer: &str) -> AdminResult<bool> {
    let is_wanted = |(id, row): (&ConsumerId, &ConsumerRow)| {
        is_replaced(&row.name, consumer).then_some((*id, row.partitions))
    };
    let replaced = txn.shared.consumers().iter().find_map(is_wanted);
    let Some((id, partitions)) = replaced else {
        txn.wrote_nothing();
        return Ok(Ok(false));
    };
    let (first, after) = (schema::state_prefix(id, 0), schema::state_prefix(ConsumerId(id.0 + 1), 0));
    let (held, letters) = ((id.0, 0, 0)..=(id.0, u32::MAX, u64::MAX), (id.0, 0)..=(id.0, u64::MAX));
    let mut left = GENERATION_ROWS_MAX;
    left -= txn.tables.state.remove_some_in(first.as_slice()..after.as_slice(), left)?;
    left -= claims::release_consumer(txn, id, left)?;
    left -= txn.tables.held.remove_some_in(held, left)?;
    left -= txn.tables.dead_letters.remove_some_in(letters, left)?;
    // A generation sets none, but what it has replaced may have been another kind of consumer.
    left -= timers::forget_some(txn, id, left)?;
    if left > 0 {
        // Its progress last: without it, what is held would have no lane.
        txn.tables.lanes.remove_in((id.0, 0)..=(id.0, u32::MAX))?;
        txn.tables.consumers.remove(id.0)?;
        // A commit of its own that comes after this would write its lane anew.
        end_lanes(txn, id, partitions);
        txn.after(move |shared| drop(shared.consumers_mut().remove(&id)));
    }
    Ok(Ok(true))
}
