//! Serving a bus to other processes of the same machine and owner: the control socket, and following a configuration file.
//!
//! A program that embeds the bus serves the socket with [`serve_control`]; the `tidegate` commands then work on its data
//! directory while it runs. What they ask is a [`Request`], which [`execute()`] carries out, on the same bus or behind the
//! socket alike.

mod aggregates;
mod apply;
mod client;
mod control;
mod error;
mod execute;
mod frame;
mod outboxes;
pub(crate) mod probe;
mod protocol;
mod queries;
mod records;
mod schemas;
mod socket_path;
mod upcasters;
mod watch;

pub use crate::bus::config_findings;
pub use aggregates::AggregateLine;
pub use apply::{Applied, Change, Refused, apply};
pub use client::{Answers, Client};
pub use control::{ControlServer, serve_control};
pub use error::{ClientError, ControlError};
pub use execute::execute;
pub use protocol::{
    Answer, EventJson, Hello, Letter, PROTOCOL, RecordLine, Refusal, Request, StateLine, Welcome,
};
pub use queries::{AnswerLine, DataJson, QueryLine};
pub use schemas::apply_schemas;
pub use watch::{Watcher, watch};
