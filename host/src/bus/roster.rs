//! The consumers that run in this process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use crate::config::{ConsumerConfig, ProgramConfig};
use crate::delivery::Consumer;
use crate::ids::ConsumerId;
use crate::limits::QUESTIONS_AT_ONCE;

/// See the module.
#[derive(Default)]
pub(super) struct Roster {
    running: Mutex<BTreeMap<String, Running>>,
    /// Set with the running ones locked: from then on none is added.
    has_ended: AtomicBool,
    /// Held by whoever starts, changes or ends a consumer: one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// A consumer that runs.
pub(super) struct Running {
    pub consumer: Consumer,
    pub config: ConsumerConfig,
    /// What runs it, as a configuration says it; `None` for a native handler.
    pub program: Option<ProgramConfig>,
    /// Why the last candidate was refused, until one is accepted.
    pub refused: Option<String>,
    /// Places for the questions that it works on.
    pub questions: Arc<Semaphore>,
}

impl Running {
    pub fn new(consumer: Consumer, config: ConsumerConfig, program: Option<ProgramConfig>) -> Self {
        let questions = Arc::new(Semaphore::new(QUESTIONS_AT_ONCE));
        Self { consumer, config, program, refused: None, questions }
    }
}

impl Roster {
    /// Waits for its turn to change the roster.
    pub async fn change(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Looks at a consumer, or tells it something; `None` where it isn't running.
    pub fn with<T>(&self, name: &str, look: impl FnOnce(&mut Running) -> T) -> Option<T> {
        self.running().get_mut(name).map(look)
    }

    /// Tells all consumers something.
    pub fn each(&self, tell: impl FnMut(&mut Running)) {
        self.running().values_mut().for_each(tell);
    }

    /// Looks at the consumer of this number.
    pub fn with_id<T>(&self, id: ConsumerId, look: impl FnOnce(&mut Running) -> T) -> Option<T> {
        self.running().values_mut().find(|running| running.consumer.id() == id).map(look)
    }

    /// Has what runs under one name run under another, in place of what ran there. Whoever looks finds one of the two.
    pub fn rename(&self, from: &str, to: &str) -> Option<Consumer> {
        let mut all = self.running();
        if !all.contains_key(to) {
            return None;
        }
        let Running { consumer, .. } = all.remove(from)?;
        all.get_mut(to).map(|running| std::mem::replace(&mut running.consumer, consumer))
    }

    /// Adds a consumer; gives it back where the roster has ended.
    pub fn insert(&self, name: &str, running: Running) -> Result<(), Box<Running>> {
        let mut all = self.running();
        if self.has_ended.load(Ordering::Acquire) {
            return Err(Box::new(running));
        }
        all.insert(name.to_owned(), running);
        Ok(())
    }

    pub fn take(&self, name: &str) -> Option<Running> {
        self.running().remove(name)
    }

    /// The configurations of those that have one.
    #[cfg(feature = "server")]
    pub fn configs(&self) -> BTreeMap<String, (ConsumerConfig, ProgramConfig)> {
        let running = self.running();
        let configs = running.iter().filter_map(|(name, running)| {
            Some((name.clone(), (running.config.clone(), running.program.clone()?)))
        });
        configs.collect()
    }

    /// Takes out all of them, and lets no others in.
    pub fn end(&self) -> BTreeMap<String, Running> {
        let mut all = self.running();
        self.has_ended.store(true, Ordering::Release);
        std::mem::take(&mut *all)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
