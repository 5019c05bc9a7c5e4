//! Why the story can't go on.

use std::io;
use std::path::PathBuf;

use tidegate::{
    AdminError, AggregateError, BusError, ConsumerError, DataError, EventError, PublishError, QueryError,
    ReadError, SagaError, UpcasterError,
};

use crate::client::NoAnswer;

#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    #[error("{} is not there: `cargo xtask plugins` builds it, and --plugins names its folder", .0.display())]
    NoPlugin(PathBuf),
    #[error(transparent)]
    Open(#[from] BusError),
    #[error(transparent)]
    Admin(#[from] AdminError),
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
    #[error(transparent)]
    Upcaster(#[from] UpcasterError),
    #[error(transparent)]
    Event(#[from] EventError),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Saga(#[from] SagaError),
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the naive shop's database: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("what is stored can't be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error("the shop answered {path} with {status}: {body}")]
    Refused { path: &'static str, status: u16, body: String },
    #[error("the shop doesn't start: {0}")]
    NotReady(String),
    #[error("{0} doesn't come within two minutes")]
    TooLong(&'static str),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("a task of the story has failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}
