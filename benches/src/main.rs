//! Measured work, each beside a limit or a peer in the same run. `cargo xtask bench` builds and runs it.
//!
//! A benchmark makes rounds that alternate between ours and what stands beside it, so that a machine that is slow for a
//! while is slow for both. What counts is the ratio: its median over the rounds, with the smallest and the largest.

mod arguments;
mod machine;
mod memory;
mod peers;
mod report;
mod row;
mod scale;
mod tasks;
mod time;
mod work;

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use arguments::{Arguments, Asked};
use report::Report;
use scale::Scale;
use work::BENCHES;

fn main() -> ExitCode {
    let outcome = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Asked::Help) => {
            print!("{}", arguments::help());
            Ok(())
        }
        Ok(Asked::Run(arguments)) => run(&arguments),
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut scale = if arguments.smoke { Scale::smoke() } else { Scale::full() };
    scale.rounds = arguments.rounds.unwrap_or(scale.rounds);
    let mut report = Report::new();
    let wanted = arguments.only.as_deref();
    for bench in BENCHES.iter().filter(|bench| wanted.is_none_or(|id| id == bench.id)) {
        eprintln!("bench: {}: {}", bench.id, bench.about);
        report.rows.extend((bench.run)(&scale).with_context(|| bench.id)?);
    }
    report.print();
    if arguments.smoke {
        println!(
            "\nA smoke run: it shows that all of it runs. Its figures mean nothing and are not written."
        );
        return Ok(());
    }
    let file = report.write()?;
    println!("\nwritten: {}", file.display());
    Ok(())
}
