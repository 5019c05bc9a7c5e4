//! Work of plugins that is no delivery, on the bus's own threads.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinError, JoinHandle};

use super::Bus;

/// A task that ends with whoever waits for it.
pub(super) struct Task(pub JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Bus {
    /// Has something of a plugin's done once there is a place for it, see [`run_paced`](Self::run_paced). Where the bus has no threads
    /// of its own, whoever waits does it.
    ///
    /// # Errors
    ///
    /// It panicked, or the bus was shut down.
    pub(super) async fn run_in_place<T: Send + 'static>(
        &self,
        places: Arc<Semaphore>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        if self.inner.stepper.is_some() {
            return Ok(work.await);
        }
        let place = places.acquire_owned().await;
        let work = async move {
            let outcome = work.await;
            drop(place);
            outcome
        };
        self.run_paced(work).await
    }

    /// Has something of a plugin's done for who waits here, and for no longer than that. It takes no more of the threads than a
    /// lane may.
    ///
    /// # Errors
    ///
    /// It panicked, or the bus was shut down.
    pub(super) async fn run_paced<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, JoinError> {
        let (reply, answered) = oneshot::channel();
        let work = async move { drop(reply.send(work.await)) };
        let mut task = Task(self.inner.lanes.spawn_paced(work));
        match answered.await {
            Ok(outcome) => Ok(outcome),
            Err(_) => match (&mut task.0).await {
                Err(ended) => Err(ended),
                Ok(()) => unreachable!("work that comes to its end says so"),
            },
        }
    }
}
