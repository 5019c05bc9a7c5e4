//! The held events of a lane, and which of them may run.

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::config::Order;
use crate::log::{Held, REDRIVEN, Wait};

/// The held events, in queues: what shares a queue runs one after the other by its id, which is the order in which the
/// log had the events. Redriven events have the highest ids, so they come last in their queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holds {
    order: Order,
    rows: BTreeMap<u64, Held>,
    queues: BTreeMap<u64, BTreeSet<u64>>,
    /// The first of each queue by the time from which it may run, unless it waits for an operator.
    ready: BTreeSet<(Timestamp, u64)>,
    parked: usize,
}

impl Holds {
    pub(super) fn new(order: Order, rows: BTreeMap<u64, Held>) -> Self {
        let mut holds =
            Self { order, rows: BTreeMap::new(), queues: BTreeMap::new(), ready: BTreeSet::new(), parked: 0 };
        for (id, held) in rows {
            holds.put(id, held);
        }
        holds
    }

    pub(super) fn get(&self, id: u64) -> Option<&Held> {
        self.rows.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a held event, or changes what it waits for. Its key stays the same.
    pub(super) fn put(&mut self, id: u64, held: Held) {
        let queue = self.queue_of(id, held.key);
        self.withdraw(queue);
        self.parked += usize::from(held.wait == Wait::Operator);
        let before = self.rows.insert(id, held);
        self.parked -= usize::from(before.is_some_and(|held| held.wait == Wait::Operator));
        self.queues.entry(queue).or_default().insert(id);
        self.enter(queue);
    }

    /// Removes a held event; the next of its queue may run.
    pub(super) fn remove(&mut self, id: u64) -> Option<Held> {
        let queue = self.queue_of(id, self.rows.get(&id)?.key);
        self.withdraw(queue);
        let held = self.rows.remove(&id)?;
        self.parked -= usize::from(held.wait == Wait::Operator);
        if let Some(ids) = self.queues.get_mut(&queue) {
            ids.remove(&id);
            if ids.is_empty() {
                self.queues.remove(&queue);
            }
        }
        self.enter(queue);
        Some(held)
    }

    /// The held event that has waited longest of those that may run now.
    pub(super) fn ready(&self, now: Timestamp) -> Option<u64> {
        self.ready.first().filter(|(from, _)| *from <= now).map(|(_, id)| *id)
    }

    /// When the next one may run.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.ready.first().map(|(from, _)| *from)
    }

    /// The same as [`ready`](Self::ready), but for what nobody has tried and the log accepted after this moment.
    pub(super) fn ready_before(&self, now: Timestamp, moment: Timestamp) -> Option<u64> {
        let has_place = |held: &Held| held.wait != Wait::Behind || held.appended <= moment;
        let mut may_run = self.ready.range(..=(now, u64::MAX)).map(|(_, id)| *id);
        may_run.find(|id| self.rows.get(id).is_some_and(has_place))
    }

    /// When the next one may run of those that may not yet.
    pub(super) fn due_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.ready.range((now, u64::MAX)..).map(|(from, _)| *from).find(|from| *from > now)
    }

    /// Whether a new event of this key has to wait for a held one.
    ///
    /// It doesn't wait for a redriven one. That was passed by others of its key long ago, is out of order by its nature,
    /// and could otherwise stop a healthy key with its retries.
    pub(super) fn is_ahead_of(&self, key: u64) -> bool {
        match self.order {
            Order::None => false,
            Order::Key | Order::Partition => {
                self.front(self.queue_of(REDRIVEN, key)).is_some_and(|id| id < REDRIVEN)
            }
        }
    }

    /// When the log accepted what a new event of this key would wait for, where nobody has tried to deliver that yet.
    pub(super) fn untried(&self, key: u64) -> Option<Timestamp> {
        let id = self.front(self.queue_of(REDRIVEN, key))?;
        self.rows.get(&id).filter(|held| held.wait == Wait::Behind).map(|held| held.appended)
    }

    /// Those that wait behind others of this key and that the log accepted after this moment, in their order.
    pub(super) fn untried_after(&self, key: u64, moment: Timestamp) -> Vec<u64> {
        let Some(ids) = self.queues.get(&self.queue_of(REDRIVEN, key)) else { return Vec::new() };
        let is_later = |held: &Held| held.wait == Wait::Behind && held.appended > moment;
        ids.iter().copied().filter(|id| self.rows.get(id).is_some_and(is_later)).collect()
    }

    /// Those that wait for an operator.
    pub(super) fn parked(&self) -> usize {
        self.parked
    }

    fn queue_of(&self, id: u64, key: u64) -> u64 {
        match self.order {
            Order::Key => key,
            Order::Partition => 0,
            Order::None => id,
        }
    }

    fn front(&self, queue: u64) -> Option<u64> {
        self.queues.get(&queue)?.first().copied()
    }

    fn ready_entry(&self, queue: u64) -> Option<(Timestamp, u64)> {
        let id = self.front(queue)?;
        let held = self.rows.get(&id)?;
        match held.wait {
            Wait::Until(due) => Some((due, id)),
            // It may run at once; among those that may it goes by its age.
            Wait::Behind => Some((held.appended, id)),
            Wait::Operator => None,
        }
    }

    fn withdraw(&mut self, queue: u64) {
        if let Some(entry) = self.ready_entry(queue) {
            self.ready.remove(&entry);
        }
    }

    fn enter(&mut self, queue: u64) {
        if let Some(entry) = self.ready_entry(queue) {
            self.ready.insert(entry);
        }
    }
}
