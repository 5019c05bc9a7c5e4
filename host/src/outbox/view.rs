//! What a relay shows of itself while it runs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::{OutboxCounts, OutboxState};
use crate::clock::Timestamp;

/// What a relay shows of itself, and how others reach it.
pub(super) struct View {
    seen: Mutex<Seen>,
    looks: watch::Sender<Looks>,
    /// Whether it is to look at once.
    pub woken: Notify,
    /// Whether it is to end after its step.
    pub stop: watch::Sender<bool>,
}

/// What there is to see.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub state: OutboxState,
    pub trouble: Option<String>,
    pub position: u64,
    pub counts: OutboxCounts,
    pub last_published: Option<Timestamp>,
}

/// How often it has looked into the table.
#[derive(Clone, Copy, Debug, Default)]
struct Looks {
    begun: u64,
    /// The last look that found nothing.
    empty: u64,
    ended: bool,
}

impl View {
    pub fn new() -> Self {
        Self {
            seen: Mutex::new(Seen {
                state: OutboxState::Starting,
                trouble: None,
                position: 0,
                counts: OutboxCounts::default(),
                last_published: None,
            }),
            looks: watch::Sender::new(Looks::default()),
            woken: Notify::new(),
            stop: watch::Sender::new(false),
        }
    }

    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    pub fn update(&self, update: impl FnOnce(&mut Seen)) {
        update(&mut self.lock());
    }

    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// It begins to look into the table.
    pub fn look_begins(&self) {
        self.looks.send_modify(|looks| looks.begun += 1);
    }

    /// The look has found nothing.
    pub fn look_was_empty(&self) {
        self.looks.send_modify(|looks| looks.empty = looks.begun);
    }

    pub fn ended(&self) {
        self.update(|seen| seen.state = OutboxState::Stopped);
        self.looks.send_modify(|looks| looks.ended = true);
    }

    /// Ends when a look that begins from now on has found nothing; whether one has, before the relay's end.
    pub async fn caught_up(&self) -> bool {
        let mut looks = self.looks.subscribe();
        let begun = looks.borrow().begun;
        self.woken.notify_one();
        let found = looks.wait_for(|looks| looks.ended || looks.empty > begun).await;
        found.is_ok_and(|looks| looks.empty > begun)
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
