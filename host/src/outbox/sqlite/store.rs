//! The store, which makes its calls on the worker's thread.

use std::path::PathBuf;

use super::calls::Session;
use super::worker::Worker;
use crate::clock::{BoxFuture, Timestamp};
use crate::outbox::history::History;
use crate::outbox::row::Row;
use crate::outbox::store::{Claim, ReadBounds, Settle, Store, StoreError};
use crate::outbox::{Backlog, FailedRow, FailedRows};

/// An outbox in a file.
pub(in crate::outbox) struct Sqlite {
    path: PathBuf,
    worker: Option<Worker>,
}

impl Sqlite {
    pub fn new(path: PathBuf) -> Self {
        Self { path, worker: None }
    }

    fn call<T: Send + 'static>(
        &mut self,
        call: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(async move {
            let worker = match self.worker.take() {
                Some(worker) => worker,
                None => Worker::start(self.path.clone())?,
            };
            let outcome = worker.call(call).await;
            self.worker = Some(worker);
            outcome
        })
    }
}

impl Store for Sqlite {
    fn describe(&self) -> String {
        format!("sqlite {}", self.path.display())
    }

    fn connect(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.worker = None;
        self.call(|session| session.connect(false))
    }

    fn create(&mut self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.worker = None;
        self.call(|session| {
            session.connect(true)?;
            session.create()
        })
    }

    fn history(&mut self) -> BoxFuture<'_, Result<History, StoreError>> {
        self.call(Session::history)
    }

    fn introduce(&mut self, token: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |session| session.introduce(&token))
    }

    fn has_changed(&mut self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.call(Session::has_changed)
    }

    fn read(&mut self, after: u64, bounds: ReadBounds) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        self.call(move |session| session.read(after, bounds))
    }

    fn claim(&mut self, claim: Claim) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |session| session.claim(&claim))
    }

    fn settle(&mut self, settle: Settle) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |session| session.settle(&settle))
    }

    fn purge(&mut self, before: Timestamp, rows_max: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.call(move |session| session.purge(before, rows_max))
    }

    fn backlog(&mut self, after: u64) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        self.call(move |session| session.backlog(after))
    }

    fn failed(&mut self, rows_max: u32) -> BoxFuture<'_, Result<Vec<FailedRow>, StoreError>> {
        self.call(move |session| session.failed(rows_max))
    }

    fn retry(&mut self, which: FailedRows) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.call(move |session| session.retry(&which))
    }

    fn adopt(&mut self, token: String) -> BoxFuture<'_, Result<(), StoreError>> {
        self.call(move |session| session.adopt(&token))
    }
}
