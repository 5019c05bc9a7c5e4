//! A process under load is killed at random moments, again and again over one data directory, and what it leaves is
//! checked after each kill.
//!
//! Parent and child are this one program. The child tells of each thing once it was acknowledged, so the parent knows
//! what may not be missing. `cargo xtask crash` runs it; [`scenario`] has what is under load and what is promised of it.

mod aggregate;
mod arguments;
mod bus;
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

use clap::Parser as _;

use arguments::{Arguments, Role};
use place::{Place, Told};
use scenario::{SCENARIOS, Scenario};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    end_with_panics();
    let outcome = match arguments.role() {
        // Works until it is killed.
        Role::Child { scenario, directory, round } => {
            scenario.load(&Place::new(directory), round, &Told::new())
        }
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

/// Panics that belong to the load are silent. Any other ends the process, whichever thread it is in: a child's parent hears
/// of it, and a parent takes it for a broken promise.
fn end_with_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str() != Some(scenario::ON_PURPOSE) {
            default(panic);
            std::process::abort();
        }
    }));
}

/// The scenario of this name.
fn named(name: &str) -> Option<&'static dyn Scenario> {
    SCENARIOS.iter().copied().find(|scenario| scenario.name() == name)
}
