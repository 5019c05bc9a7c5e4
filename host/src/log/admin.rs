//! Changes by hand: to topics, consumers and dead letters.

use tokio::sync::oneshot;

use super::error::{AdminError, StorageFault};
use super::txn::{Change, Txn, Verdict};

/// A change that a closure makes.
///
/// The closure refuses (`Err`) before it has written anything, or not at all; a fault of the storage that it meets while
/// it reads or writes is told apart from that by its type, and fails the group.
pub(super) struct Admin<T, F> {
    run: Option<F>,
    bytes: usize,
    adds: bool,
    answer: Option<Result<T, AdminError>>,
    reply: oneshot::Sender<Result<T, AdminError>>,
}

/// What a closure of [`Admin`] answers: the storage's fault, or else what the caller gets.
pub(super) type AdminResult<T> = Result<Result<T, AdminError>, StorageFault>;

impl<T, F> Admin<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Txn<'_>) -> AdminResult<T> + Send + 'static,
{
    /// A change that weighs `bytes`.
    pub fn new(run: F, bytes: usize, adds: bool, reply: oneshot::Sender<Result<T, AdminError>>) -> Self {
        Self { run: Some(run), bytes, adds, answer: None, reply }
    }
}

impl<T, F> Change for Admin<T, F>
where
    T: Send + 'static,
    F: FnOnce(&mut Txn<'_>) -> AdminResult<T> + Send + 'static,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn adds(&self) -> bool {
        self.adds
    }

    fn apply(&mut self, txn: &mut Txn<'_>) -> Result<(), StorageFault> {
        if let Some(run) = self.run.take() {
            let answer = run(txn)?;
            if answer.is_err() {
                txn.wrote_nothing();
            }
            self.answer = Some(answer);
        }
        Ok(())
    }

    fn finish(self: Box<Self>, verdict: &Verdict) {
        let answer = match (verdict, self.answer) {
            (Verdict::Durable, Some(answer)) => answer,
            // What was refused was refused whatever became of its neighbours.
            (_, Some(Err(refused))) => Err(refused),
            (Verdict::InDoubt(fault), _) => Err(AdminError::InDoubt(fault.clone())),
            (Verdict::DiskFull { free, min }, _) => Err(AdminError::DiskFull { free: *free, min: *min }),
            (Verdict::Closed, _) => Err(AdminError::Closed),
            (Verdict::Reopening | Verdict::Durable, _) => Err(AdminError::Reopening),
        };
        // Who doesn't wait any more gets no answer; the change is made all the same.
        drop(self.reply.send(answer));
    }
}
