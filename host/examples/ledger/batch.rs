//! Commands from a file, carried out by several threads.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Parser;

use crate::ledger::{Ledger, LedgerError};
use crate::operation::Operation;
use crate::output::complain;

/// A line.
#[derive(Parser)]
#[command(name = "", no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    operation: Operation,
}

/// What has become of the lines.
pub struct Told {
    pub done: u64,
    pub refused: u64,
}

/// Carries out the commands on the lines of a file. A line that is refused is told, and the others are carried out.
pub fn carry_out(ledger: &Ledger, path: &Path, threads: usize) -> Result<Told, LedgerError> {
    let failed = |source| LedgerError::File { path: path.to_owned(), source };
    let input: Box<dyn BufRead + Send> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    // Each thread takes the next line when it is done with one: at most one line a thread is in memory.
    let lines = Mutex::new((1_u64..).zip(input.lines()));
    let (done, refused) = (AtomicU64::new(0), AtomicU64::new(0));
    let unreadable = Mutex::new(None);
    // A function of its own, so that the lock is let go of before the line is worked at.
    let next = || lines.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some((number, line)) = next() {
            let outcome = match line {
                Ok(line) if line.trim().is_empty() => continue,
                Ok(line) => one(ledger, &line),
                Err(error) => {
                    *unreadable.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            };
            match outcome {
                Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                Err(reason) => {
                    complain(&format!("{}:{number}: {reason}", path.display()));
                    refused.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    match unreadable.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(failed(error)),
        None => Ok(Told { done: done.into_inner(), refused: refused.into_inner() }),
    }
}

fn one(ledger: &Ledger, line: &str) -> Result<(), String> {
    let Line { operation } = Line::try_parse_from(line.split_whitespace()).map_err(|error| {
        let text = error.to_string();
        // What is wrong stands before the first empty line; the rest is the usage.
        let wrong: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        wrong.join(" ").trim_start_matches("error: ").to_owned()
    })?;
    operation.carry_out(ledger).map(drop).map_err(|error| error.to_string())
}
