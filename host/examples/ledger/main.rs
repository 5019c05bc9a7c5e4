//! A command-line tool without async: a ledger of accounts, each of which is the sequence of its events.
//!
//! ```text
//! cargo run --example ledger -- open alice
//! cargo run --example ledger -- deposit alice 20.00
//! cargo run --example ledger -- open bob
//! cargo run --example ledger -- transfer alice bob 7.50
//! cargo run --example ledger -- history alice
//! ```
//!
//! - The topic numbers the events of each key, and the key is the account. An account is what its events come to:
//!   `account.rs`.
//! - A change is decided by what was read, and published on condition that nobody was faster: `ledger.rs`. A transfer
//!   concerns two accounts, so it is a transaction.
//! - Several threads work on one bus: `batch.rs`. Several processes can't have one data directory open at a time; each
//!   waits its turn with `--wait`.

mod account;
mod amount;
mod batch;
mod ledger;
mod operation;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tidegate::config::parse_duration;

use amount::Amount;
use ledger::{Ledger, LedgerError};
use operation::Operation;
use output::{complain, print};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  something was refused or failed, and what was refused has changed nothing
  2  the command line is wrong
  3  another process has the data directory open
  4  the id was given before, to another change; nothing is changed";

/// Keeps accounts: each change is an event, and nothing is ever overwritten.
#[derive(Parser)]
#[command(name = "ledger", after_help = EXIT_CODES, arg_required_else_help = true)]
struct Arguments {
    /// The data directory; it is made where there is none
    #[arg(long, global = true, value_name = "DIR", default_value = "./ledger-data")]
    dir: PathBuf,
    /// How long to wait while another process has the directory open
    #[arg(long, global = true, value_name = "DURATION", default_value = "0s", value_parser = wait)]
    wait: Duration,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Operation(Operation),
    /// Print what an account holds
    Balance {
        /// The account
        account: String,
    },
    /// Print the events of an account, in their order
    History {
        /// The account
        account: String,
        /// Begin behind the event of this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
    },
    /// Carry out commands from a file, one a line, such as `deposit alice 5.00`
    Batch {
        /// The file, or `-` for standard input
        file: PathBuf,
        /// How many threads work at them; with several, their order is open
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
        threads: u16,
    },
}

fn wait(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Ledger::open(&arguments.dir, arguments.wait).and_then(|ledger| {
        let outcome = run(&ledger, arguments.command);
        // What was said to be done is on the disk already; this frees the directory for the next process.
        ledger.close();
        outcome
    });
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("error: {error}"));
            match error {
                LedgerError::InUse { .. } => ExitCode::from(3),
                LedgerError::IdReused { .. } => ExitCode::from(4),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(ledger: &Ledger, command: Command) -> Result<ExitCode, LedgerError> {
    let (line, code) = match command {
        Command::Operation(operation) => (operation.carry_out(ledger)?, ExitCode::SUCCESS),
        Command::Balance { account } => (Amount(ledger.balance(&account)?).to_string(), ExitCode::SUCCESS),
        Command::History { account, after } => {
            ledger.history(&account, after, |line| print(&line))?;
            return Ok(ExitCode::SUCCESS);
        }
        Command::Batch { file, threads } => {
            let told = batch::carry_out(ledger, &file, usize::from(threads))?;
            let code = if told.refused > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            (format!("{} done, {} refused", told.done, told.refused), code)
        }
    };
    // Whether somebody reads it makes no difference to what was done.
    print(&line).map_err(LedgerError::Output)?;
    Ok(code)
}
