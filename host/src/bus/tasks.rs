//! Work of plugins that is no delivery, on the bus's own threads.

use tokio::sync::oneshot;
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
