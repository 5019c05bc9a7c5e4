//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::named;
use crate::scenario::{SCENARIOS, Scenario};

/// Most kills of a run: the ledger of what was acknowledged is in memory.
const KILLS_MAX: u32 = 10_000;

/// Kills a process under load with SIGKILL at random moments, always on the same data directory, and checks after each
/// kill that what it leaves agrees with itself and with what was acknowledged.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask crash", after_help = scenarios())]
pub struct Arguments {
    /// What is under load; all scenarios unless one is named.
    #[arg(long, value_name = "NAME", value_parser = known)]
    pub scenario: Option<String>,
    /// How often the process of each scenario is killed.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(KILLS_MAX)))]
    pub kills: u32,
    /// Where the moments of the kills come from; drawn and printed unless given. What the threads do at such a moment is
    /// theirs, so a seed makes a failure likely again, and not certain.
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
    /// The round of a child, which works until it is killed.
    #[arg(long, hide = true, requires = "directory", requires = "scenario")]
    round: Option<u32>,
    /// The directory of a child.
    #[arg(long, hide = true)]
    directory: Option<PathBuf>,
}

/// Which side of the kill this process is on.
pub enum Role {
    /// It kills and checks.
    Parent,
    /// It works until it is killed.
    Child {
        /// What it works on.
        scenario: &'static dyn Scenario,
        /// Where.
        directory: PathBuf,
        /// Its number, from 1.
        round: u32,
    },
}

impl Arguments {
    pub fn role(&self) -> Role {
        let scenario = self.scenario.as_deref().and_then(named);
        match (scenario, self.directory.clone(), self.round) {
            (Some(scenario), Some(directory), Some(round)) => Role::Child { scenario, directory, round },
            _ => Role::Parent,
        }
    }
}

fn known(name: &str) -> Result<String, String> {
    let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name()).collect();
    match named(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err(format!("the scenarios are {}", names.join(", "))),
    }
}

fn scenarios() -> String {
    let lines =
        SCENARIOS.iter().map(|scenario| format!("\n  {:<10} {}", scenario.name(), scenario.promise()));
    format!(
        "Scenarios:{}\n\nThe exit code is 0 if every promise was kept, and 1 at the first that was not.",
        lines.collect::<String>()
    )
}
