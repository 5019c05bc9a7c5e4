//! The end of a bus: consumers come to their end, then the log is closed, and neither waits for ever.
//!
//! It runs on threads of its own: the bus's may be kept by handlers that block them, and who called may be of any
//! runtime, or none.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::drained::{Drained, StorageEnd, Unfinished};
use super::handle::Inner;
use crate::clock::{Clock, Timestamp};
use crate::delivery::Undone;
use crate::limits::{SHUTDOWN_DISK_WAIT, SHUTDOWN_LETTERS_MAX};
use crate::log::Closing;

/// How far the end of a bus has come.
#[derive(Debug)]
pub(super) struct Ending {
    /// When the consumers are cut off: the earliest that a call has asked for.
    cut_off: watch::Sender<Option<Timestamp>>,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// It runs, or its consumers are coming to their end.
    Running,
    /// The disk is waited for.
    Closing(Drained),
    /// The directory is free.
    Ended(Drained),
}

impl Ending {
    pub(super) fn new() -> Self {
        Self { cut_off: watch::Sender::new(None), stage: watch::Sender::new(Stage::Running) }
    }

    /// Has the consumers cut off at `end`, unless they are to be earlier. Returns whether this is the first call.
    fn bring_forward(&self, end: Timestamp) -> bool {
        let mut before = None;
        self.cut_off.send_modify(|cut_off| {
            before = *cut_off;
            *cut_off = Some(before.map_or(end, |before: Timestamp| before.min(end)));
        });
        before.is_none()
    }
}

impl Stage {
    /// What can be said of the end as yet.
    fn so_far(&self) -> Drained {
        match self {
            Self::Running => Drained::pending(Vec::new()),
            Self::Closing(drained) | Self::Ended(drained) => drained.clone(),
        }
    }
}

/// Ends the bus, or waits for the end that another call has begun.
pub(super) async fn shut_down(inner: &Arc<Inner>, deadline: Duration) -> Drained {
    let end = inner.log.clock().now().after(deadline);
    let is_first = inner.ending.bring_forward(end);
    let (answer, answered) = oneshot::channel();
    let waiter = Arc::clone(inner);
    let wait = async move {
        if is_first {
            let undone = drain(&waiter).await;
            close(&waiter, undone);
        }
        // Nobody may listen any more.
        let _ = answer.send(ended(&waiter, end).await);
    };
    // Whatever becomes of the call, the end goes on.
    if let Some(stepper) = &inner.stepper {
        stepper.spawn(wait);
    } else {
        let waiter = Arc::clone(inner);
        let wait = move || match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime.block_on(wait),
            Err(error) if is_first => let_go(&waiter, &error),
            Err(_) => {}
        };
        match thread("tidegate-end", wait) {
            Err(error) if is_first => let_go(inner, &error),
            _ => {}
        }
    }
    match answered.await {
        Ok(drained) => drained,
        // Its thread could not be had.
        Err(_) => inner.ending.stage.borrow().so_far(),
    }
}

/// Has all consumers come to the end of their current delivery.
async fn drain(inner: &Arc<Inner>) -> Vec<(String, Undone)> {
    let mut draining = tokio::task::JoinSet::new();
    for (name, running) in inner.roster.end() {
        let cut_off = inner.ending.cut_off.subscribe();
        let clock = Arc::clone(inner.log.clock());
        draining.spawn(async move { (name, running.consumer.drain(over(cut_off, &*clock)).await) });
    }
    #[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
    stop_outboxes(inner).await;
    let mut undone = draining.join_all().await;
    undone.sort_by(|(a, _), (b, _)| a.cmp(b));
    let left = undone.iter().map(|(name, undone)| left(inner, name, undone, None));
    let left = left.filter(Unfinished::is_something).collect();
    inner.ending.stage.send_replace(Stage::Closing(Drained::pending(left)));
    undone
}

/// Has all relays of outboxes come to the end of their step. What they leave half done they find when they begin again.
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
async fn stop_outboxes(inner: &Arc<Inner>) {
    let mut stopping = tokio::task::JoinSet::new();
    for running in inner.outboxes.take_all().into_values() {
        let cut_off = inner.ending.cut_off.subscribe();
        let clock = Arc::clone(inner.log.clock());
        stopping.spawn(async move { running.stop(over(cut_off, &*clock)).await });
    }
    stopping.join_all().await;
}

/// Ends when the consumers are to be cut off, which may be brought forward meanwhile.
async fn over(mut cut_off: watch::Receiver<Option<Timestamp>>, clock: &dyn Clock) {
    loop {
        let Some(end) = *cut_off.borrow_and_update() else { return };
        tokio::select! {
            () = clock.sleep_until(end) => return,
            changed = cut_off.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Begins to close the log. Closing waits for the disk, for as long as that takes.
fn close(inner: &Arc<Inner>, mut undone: Vec<(String, Undone)>) {
    let closer = Arc::clone(inner);
    let mut close = move || {
        let log = &closer.log;
        let mut letters = Vec::new();
        for (_, undone) in &mut undone {
            // What can't be looked up is told as far as it is known.
            let looked_up = undone.look_up(log);
            let count = log.dead_letter_count_up_to(undone.consumer, SHUTDOWN_LETTERS_MAX);
            letters.push(looked_up.and(count).ok());
        }
        let all_left = || -> Vec<_> {
            let left = undone
                .iter()
                .zip(&letters)
                .map(|((name, undone), letters)| left(&closer, name, undone, *letters));
            left.filter(Unfinished::is_something).collect()
        };
        closer.ending.stage.send_replace(Stage::Closing(Drained::pending(all_left())));
        let (closing, refused) = log.close().unwrap_or((Closing::Failing, 0));
        closer.end_threads();
        // With the events that were written meanwhile.
        let consumers = all_left();
        let storage = match closing {
            Closing::Marked => StorageEnd::Closed,
            Closing::Unmarked(fault) => StorageEnd::Failed { reason: fault.to_string() },
            Closing::Failing => {
                StorageEnd::Failed { reason: "the storage had failed and was being opened anew".to_owned() }
            }
        };
        closer.ending.stage.send_replace(Stage::Ended(Drained { consumers, refused, storage }));
    };
    if inner.stepper.is_some() {
        return close();
    }
    if let Err(error) = thread("tidegate-close", close) {
        let_go(inner, &error);
    }
}

/// Waits for the end: until `end`, and for the disk a little longer where that is soon.
async fn ended(inner: &Arc<Inner>, end: Timestamp) -> Drained {
    let clock = inner.log.clock();
    let mut stage = inner.ending.stage.subscribe();
    // Consumers are cut off in time, and the sender is the bus's, which outlives this.
    drop(stage.wait_for(|stage| !matches!(stage, Stage::Running)).await);
    let end = end.max(clock.now().after(SHUTDOWN_DISK_WAIT));
    tokio::select! {
        biased;
        _ = stage.wait_for(|stage| matches!(stage, Stage::Ended(_))) => {}
        () = clock.sleep_until(end) => {}
    }
    inner.ending.stage.borrow().so_far()
}

/// Without a thread that could wait, the log ends by itself, as if the last handle had been dropped.
fn let_go(inner: &Inner, error: &io::Error) {
    inner.log.let_go();
    inner.end_threads();
    let reason = format!("no thread could be started to wait for the disk: {error}");
    let drained = Drained { storage: StorageEnd::Failed { reason }, ..inner.ending.stage.borrow().so_far() };
    inner.ending.stage.send_replace(Stage::Ended(drained));
}

fn left(inner: &Inner, name: &str, undone: &Undone, dead_letters: Option<u64>) -> Unfinished {
    let (lag_events, held) = undone.lag_and_held(&inner.log);
    Unfinished {
        consumer: name.to_owned(),
        lanes_cut_off: u32::try_from(undone.lanes_cut_off).unwrap_or(u32::MAX),
        lag_events,
        held,
        dead_letters,
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}
