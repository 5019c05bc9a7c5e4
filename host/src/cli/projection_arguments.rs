//! What the command line understands of projections.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate::EventPlace;

use super::arguments::duration;

/// `tidegate query`.
#[derive(Debug, Args)]
#[command(after_help = "\
The process that runs the projection answers, from what is durable of its state at one moment. With --json, the answer comes with
the position that it reflects: of each partition the next offset of each topic.

With --at-least, as often as needed, the answer reflects the event at that place, which `tidegate read --json` shows; the command
waits for that, and fails where it doesn't come to be.")]
pub struct Query {
    /// The projection
    pub projection: String,
    /// The question
    pub question: String,
    /// What goes with the question, as JSON
    #[arg(long, value_name = "JSON")]
    pub parameters: Option<String>,
    /// Ask the lane of this key alone; otherwise all are asked
    #[arg(long)]
    pub key: Option<String>,
    /// Answer from a state that reflects the event at this place
    #[arg(long, value_name = "TOPIC/PARTITION/OFFSET")]
    pub at_least: Vec<EventPlace>,
    /// How long to wait for that
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    pub wait: Duration,
}

/// `tidegate projections`.
#[derive(Debug, Args)]
pub struct Projections {
    /// What to do; by default `list`.
    #[command(subcommand)]
    pub command: Option<ProjectionsCommand>,
}

/// What to do with projections.
#[derive(Debug, Subcommand)]
pub enum ProjectionsCommand {
    /// List the projections that run, with their generation, lag, and rebuild
    List,
    /// Make a projection's state anew from its first event on, with what the plugin's file holds now
    #[command(after_help = "\
The state that is there goes on and answers, until the new one is where it is; from then on the new one answers. It isn't
replaced by one that has more dead letters, unless that is allowed.")]
    Rebuild {
        /// The projection
        name: String,
        /// Wait until the new state answers
        #[arg(long)]
        wait: bool,
        /// Even if retention has removed events: of those that are left
        #[arg(long)]
        partial: bool,
        /// Even if the new state has more dead letters than the one before
        #[arg(long)]
        allow_dead_letters: bool,
    },
    /// Call a rebuild off
    Cancel {
        /// The projection
        name: String,
    },
}
