//! The store, with the connection that it has at the moment.

use super::session::Session;
use super::url;
use crate::clock::{BoxFuture, Timestamp};
use crate::config::Secret;
use crate::outbox::history::History;
use crate::outbox::row::Row;
use crate::outbox::store::{Claim, ReadBounds, Settle, Store, StoreError};
use crate::outbox::{Backlog, FailedRow, FailedRows};

/// An outbox in a database.
pub(in crate::outbox) struct Postgres {
    url: Secret,
    session: Option<Session>,
}

impl Postgres {
    pub fn new(url: Secret) -> Self {
        Self { url, session: None }
    }

    fn session(&mut self) -> Result<&mut Session, StoreError> {
        self.session
            .as_mut()
            .ok_or_else(|| StoreError::away_because("there is no connection to the database"))
    }
}

impl Store for Postgres {
    fn describe(&self) -> String {
        match url::read(&self.url) {
            Ok(config) => url::describe(&config),
            Err(_) => "postgres".to_owned(),
        }
    }

    fn connect(&mut self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.session = None;
            self.session = Some(Session::connect(&url::read(&self.url)?).await?);
            Ok(())
        })
    }

    fn create(&mut self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.connect().await?;
            self.session()?.create().await
        })
    }

    fn history(&mut self) -> BoxFuture<'_, Result<History, StoreError>> {
        Box::pin(async move { self.session()?.history().await })
    }

    fn introduce(&mut self, token: String) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.session()?.introduce(&token).await })
    }

    /// A query on an index is as cheap as any question whether one is needed.
    fn has_changed(&mut self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(true) })
    }

    fn read(&mut self, after: u64, bounds: ReadBounds) -> BoxFuture<'_, Result<Vec<Row>, StoreError>> {
        Box::pin(async move { self.session()?.read(after, bounds).await })
    }

    fn claim(&mut self, claim: Claim) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.session()?.claim(&claim).await })
    }

    fn settle(&mut self, settle: Settle) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.session()?.settle(&settle).await })
    }

    fn purge(&mut self, before: Timestamp, rows_max: u32) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.session()?.purge(before, rows_max).await })
    }

    fn backlog(&mut self, after: u64) -> BoxFuture<'_, Result<Backlog, StoreError>> {
        Box::pin(async move { self.session()?.backlog(after).await })
    }

    fn failed(&mut self, rows_max: u32) -> BoxFuture<'_, Result<Vec<FailedRow>, StoreError>> {
        Box::pin(async move { self.session()?.failed(rows_max).await })
    }

    fn retry(&mut self, which: FailedRows) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move { self.session()?.retry(&which).await })
    }

    fn adopt(&mut self, token: String) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { self.session()?.adopt(&token).await })
    }
}
