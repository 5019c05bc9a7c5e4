//! What the command line understands of aggregates.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate::Timestamp;

use super::arguments::{duration, name};

/// `tidegate execute`.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 if the command was accepted, 6 if the aggregate has rejected it, and 1 if nobody knows: then it is
durable, and asking again with the same --command-id gives it no second time.")]
pub struct Execute {
    /// The aggregate's consumer
    #[arg(value_parser = name)]
    pub aggregate: String,
    /// The id of the aggregate that the command is to
    pub id: String,
    /// The command's type
    #[arg(long = "type", value_name = "TYPE")]
    pub kind: String,
    /// Its data, as JSON
    #[arg(long, value_name = "JSON")]
    pub data: Option<String>,
    /// Its id [default: a new UUID]
    #[arg(long, value_name = "ID")]
    pub command_id: Option<String>,
    /// Its source, a URI-reference
    #[arg(long, default_value = "/tidegate/cli")]
    pub source: String,
    /// How long to wait for what becomes of it
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    pub wait: Duration,
}

/// `tidegate aggregates`.
#[derive(Debug, Args)]
pub struct Aggregates {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<AggregatesCommand>,
}

/// What to do with aggregates.
#[derive(Debug, Subcommand)]
pub enum AggregatesCommand {
    /// List the aggregates that run
    List,
    /// Show what an aggregate is now, or was at a version or a time
    Show {
        /// The aggregate's consumer
        name: String,
        /// The aggregate's id
        id: String,
        /// After the event of this number
        #[arg(long, value_name = "NUMBER", conflicts_with = "time")]
        version: Option<u64>,
        /// At this moment, such as 2018-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        time: Option<Timestamp>,
        /// List its events up to there instead
        #[arg(long)]
        history: bool,
    },
}
