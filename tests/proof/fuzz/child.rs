//! Database files are read in a process of its own. Where a page of its bookkeeping is damaged, redb 4.6 may panic while it
//! unwinds from a panic, and so ends the process, or try for ever to save what it knows of the file's pages when it commits;
//! nothing in the process can keep it from that. Such an end is counted, and its input kept; any other end is a promise
//! broken.

use std::process::Command;
use std::time::{Duration, Instant};

use super::watch;

/// Where cargo keeps the sources of dependencies: no panic of the bus's own happens there.
const DEPENDENCIES: &str = "/registry/src/";

/// Fuzzes the target until its time is over. Says how often the database ended or held up the process.
///
/// # Errors
///
/// The process has ended otherwise.
#[expect(clippy::disallowed_methods, reason = "how long to fuzz is real time")]
pub fn fuzz(name: &str, time: Duration, seed: u64) -> Result<u64, String> {
    let begun = Instant::now();
    let mut ended = 0;
    loop {
        let left = time.saturating_sub(begun.elapsed());
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let seed = seed.wrapping_add(ended);
        let mut command = Command::new(program);
        command.args(["fuzz", "--alone", "yes", "--target", name, "--seed", &seed.to_string()]);
        command.args(["--seconds", &left.as_secs().to_string()]);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let process = child.id();
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() {
            return Ok(ended);
        }
        let (panics, input) = watch::left_by(name, process);
        let is_abort = status.code().is_none() && panics.lines().any(|line| line.contains(DEPENDENCIES));
        let by_database = is_abort || status.code() == Some(watch::HELD_UP);
        if !by_database {
            return Err(format!(
                "{name}: the process ended: {status}\n{panics}\nrepeat it: {}",
                watch::repeat(name, &input)
            ));
        }
        println!("{name}: the database ended or held up the process, with the input {}", input.display());
        ended += 1;
    }
}
