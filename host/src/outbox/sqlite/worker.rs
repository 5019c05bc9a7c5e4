//! The thread that a connection lives on: `SQLite` blocks, which no async runtime should.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::oneshot;

use super::calls::Session;
use crate::outbox::store::StoreError;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// A thread with a connection. It ends when this is dropped, after the call that it makes.
pub(super) struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    /// Starts the thread. The file is opened by the first call.
    pub fn start(path: PathBuf) -> Result<Self, StoreError> {
        // A call waits for its answer, so a second one only comes when the first was given up.
        let (jobs, queue) = crossbeam_channel::bounded::<Job>(1);
        std::thread::Builder::new()
            .name("tidegate-outbox".to_owned())
            .spawn(move || {
                let mut session = Session::new(path);
                for job in queue {
                    // Who asked learns of a panic by the answer that doesn't come.
                    if catch_unwind(AssertUnwindSafe(|| job(&mut session))).is_err() {
                        return;
                    }
                }
            })
            .map_err(StoreError::away)?;
        Ok(Self { jobs })
    }

    /// Makes a call on the thread.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            // Nobody may wait any more.
            drop(reply.send(call(session)));
        });
        match self.jobs.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(StoreError::away_because(
                    "a call on the database that was given up is still being made",
                ));
            }
            Err(TrySendError::Disconnected(_)) => return Err(ended()),
        }
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> StoreError {
    StoreError::away_because("the thread of the database's connection has ended by a panic")
}
