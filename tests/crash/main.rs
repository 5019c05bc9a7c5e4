//! A process under load is killed at random moments, again and again over one data directory, and what it leaves is
//! checked after each kill.
//!
//! Parent and child are this one program. The child tells of each thing once it was acknowledged, so the parent knows
//! what may not be missing. `cargo xtask crash` runs it; [`scenario`] has what is under load and what is promised of it.

mod arguments;
mod outbox;
mod place;
#[path = "../system/postgres_server.rs"]
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the tests' own, which fail by panicking"
)]
mod postgres_server;
mod process;
mod relay;
mod run;
mod scenario;
mod stopwatch;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use arguments::{Arguments, Role};
use place::{Place, Told};
use scenario::{SCENARIOS, Scenario};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.role() {
        Role::Child { scenario, directory, round } => load(scenario, &Place::new(directory), round),
        Role::Parent => run::all(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crash: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The child: works until it is killed.
fn load(scenario: &dyn Scenario, place: &Place, round: u32) -> Result<()> {
    let default = std::panic::take_hook();
    // A panic that isn't on purpose ends the process, so that the parent hears of it, whichever thread it is in.
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(scenario::ON_PURPOSE) {
            default(panic);
            std::process::abort();
        }
    }));
    scenario.load(place, round, &Told::new())
}

/// The scenario of this name.
fn named(name: &str) -> Option<&'static dyn Scenario> {
    SCENARIOS.iter().copied().find(|scenario| scenario.name() == name)
}
