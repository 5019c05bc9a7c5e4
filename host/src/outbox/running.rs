//! A relay that runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::desk::measure;
use super::ledger::Ledger;
use super::relay::Relay;
use super::step::Crash;
use super::view::View;
use super::{OutboxError, OutboxStatus, store};
use crate::clock::Clock;
use crate::config::OutboxConfig;
use crate::log::Log;

/// What a relay is started with.
pub(crate) struct Setup {
    pub name: String,
    pub config: OutboxConfig,
    pub log: Arc<Log>,
    pub event_bytes_max: usize,
    pub runtime: Handle,
    pub crash: Option<Crash>,
}

/// A relay that runs, or has ended.
pub(crate) struct Running {
    name: String,
    config: OutboxConfig,
    clock: Arc<dyn Clock>,
    view: Arc<View>,
    task: Mutex<Option<JoinHandle<()>>>,
    is_stopping: AtomicBool,
}

impl Running {
    /// Starts a relay. That the database can't be reached is no error: it is tried again and again.
    pub fn start(setup: Setup) -> Result<Self, OutboxError> {
        let Setup { name, config, log, event_bytes_max, runtime, crash } = setup;
        let store = store::open(&config.database)?;
        let clock = Arc::clone(log.clock());
        let view = Arc::new(View::new());
        let ledger = Ledger::new(log, name.clone());
        let relay = Relay {
            name: name.clone(),
            config: config.clone(),
            event_bytes_max,
            store,
            ledger,
            clock: Arc::clone(&clock),
            view: Arc::clone(&view),
            crash,
        };
        let task = runtime.spawn(relay.run());
        Ok(Self {
            name,
            config,
            clock,
            view,
            task: Mutex::new(Some(task)),
            is_stopping: AtomicBool::new(false),
        })
    }

    /// Whether the caller is the first who wants to end it.
    pub fn claim_stop(&self) -> bool {
        !self.is_stopping.swap(true, Ordering::AcqRel)
    }

    pub fn config(&self) -> &OutboxConfig {
        &self.config
    }

    pub fn wake(&self) {
        self.view.woken.notify_one();
    }

    /// See [`Bus::outbox_caught_up`](crate::Bus::outbox_caught_up).
    pub async fn caught_up(&self) -> bool {
        self.view.caught_up().await
    }

    pub async fn status(&self) -> OutboxStatus {
        let seen = self.view.seen();
        let (database, backlog) = measure(&self.config.database, seen.position, &*self.clock).await;
        OutboxStatus {
            name: self.name.clone(),
            database,
            state: seen.state,
            trouble: seen.trouble,
            position: seen.position,
            backlog: backlog.ok(),
            counts: seen.counts,
            last_published: seen.last_published,
        }
    }

    /// Ends the relay after its step; within it, if this is over before. Nothing is lost either way.
    pub async fn stop(&self, over: impl Future<Output = ()>) {
        self.view.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut task) = task {
            tokio::select! {
                biased;
                // It ended by itself, or with the bus: either way it is over.
                _ = &mut task => {}
                () = over => {
                    task.abort();
                    drop(task.await);
                }
            }
        }
        self.view.ended();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}
