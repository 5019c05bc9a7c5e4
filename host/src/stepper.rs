//! A bus that works in steps on one thread: for tests that decide what happens when.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::clock::Random;
use crate::log::{Step, Steps};

/// What a bus runs on instead of its own threads: one runtime of the caller's with one thread. Its tasks go on when they are
/// [let](Self::go_on), and it commits when it is [told to](Self::commit).
#[derive(Clone)]
pub struct Stepper {
    handle: Handle,
    chance: Arc<dyn Random>,
    steps: Steps,
    tasks: Arc<Mutex<Tasks>>,
}

/// The tasks, by number: in whatever order they are woken, they come to the same turn.
#[derive(Default)]
struct Tasks {
    next: u64,
    /// Those that could go on.
    ready: BTreeMap<u64, Waker>,
    /// The one that may.
    turn: Option<u64>,
}

impl Stepper {
    /// On this runtime. Which task goes on is `chance`'s.
    pub fn new(handle: Handle, chance: Arc<dyn Random>) -> Self {
        Self { handle, chance, steps: Steps::default(), tasks: Arc::default() }
    }

    /// One commit of what waits, or one try to open a database anew that has failed.
    pub fn commit(&self) -> Step {
        self.steps.step()
    }

    /// Lets one of the tasks go on that can, up to its next await. Returns whether there was one. To be called when the
    /// runtime has nothing else to do.
    pub fn go_on(&self) -> bool {
        let mut tasks = self.tasks();
        let Some(last) = tasks.ready.len().checked_sub(1) else { return false };
        let at = usize::try_from(self.chance.next_u64() % (last as u64 + 1)).unwrap_or(last);
        let Some(task) = tasks.ready.keys().nth(at).copied() else { return false };
        tasks.turn = Some(task);
        if let Some(waker) = tasks.ready.remove(&task) {
            waker.wake();
        }
        true
    }

    /// Spawns a task that goes on when it is let.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let number = {
            let mut tasks = self.tasks();
            tasks.next += 1;
            tasks.next
        };
        self.handle.spawn(Stepped { number, task: Box::pin(task), tasks: Arc::clone(&self.tasks) })
    }

    pub(crate) fn steps(&self) -> &Steps {
        &self.steps
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepper").finish_non_exhaustive()
    }
}

/// See [`Stepper::spawn`].
struct Stepped<F> {
    number: u64,
    task: Pin<Box<F>>,
    tasks: Arc<Mutex<Tasks>>,
}

impl<F: Future> Future for Stepped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            if tasks.turn != Some(self.number) {
                tasks.ready.insert(self.number, cx.waker().clone());
                return Poll::Pending;
            }
            tasks.turn = None;
        }
        self.task.as_mut().poll(cx)
    }
}

impl<F> Drop for Stepped<F> {
    fn drop(&mut self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.ready.remove(&self.number);
        if tasks.turn == Some(self.number) {
            tasks.turn = None;
        }
    }
}
