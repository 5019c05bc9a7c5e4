//! Proofs of the guarantees that take longer than a test. Each exits with an error at the first broken promise, and ends
//! with one line of counts.

#![allow(clippy::expect_used, reason = "what can't happen on a working machine")]

#[path = "../fixtures/contents.rs"]
mod contents;
mod fuzz;
mod letters;
mod scenario;
mod sim;
mod sync_points;
#[path = "../fixtures/write.rs"]
mod write;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask sim [--seeds N] [--from S] [--verbose 1]

Runs the whole bus on a simulated clock, disk and scheduler, all of which follow from a seed: publishing, transactions,
scripted consumers that fail, trap and stall, reloads, retention, redriving, pauses, restarts; a disk that fails, fills up,
tears writes and loses what was not synced; kills and power cuts at any moment. A model says what has to be there.

  --seeds N    how many seeds (1000)
  --from S     the first one (0); it is played twice, and has to go the same way
  --verbose 1  tell all that happens

cargo xtask sync-points [--from N] [--stride N] [--seed N]

Plays a fixed scenario (publishing, transactions, a consumer with retries and a dead letter, a restart) on a disk in
memory, and freezes the disk at each write, change of length and sync in turn. Each time it opens the bus again, after all
of what was not synced is lost, after none of it is, and after some of it is, and compares all that is there with what was
acknowledged.

  --from N     the first operation to freeze at (0)
  --stride N   freeze at every Nth one (1: all of them)
  --seed N     the numbers of chance (1)
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    let outcome = match &words[..] {
        ["sim" | "sync-points", "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["sim", options @ ..] => {
            match numbers(options, [("--from", 0), ("--seeds", 1000), ("--verbose", 0), ("--alone", 0)]) {
                Ok([from, seeds, verbose, alone]) => sim::run(from, seeds, verbose > 0, alone > 0),
                Err(wrong) => {
                    eprint!("sim: {wrong}\n\n{HELP}");
                    return ExitCode::from(2);
                }
            }
        }
        ["sync-points", options @ ..] => {
            match numbers(options, [("--from", 0), ("--stride", 1), ("--seed", 1)]) {
                Ok([from, stride, seed]) => {
                    sync_points::run(from, stride.max(1), seed).map(|counts| counts.to_string())
                }
                Err(wrong) => {
                    eprint!("sync-points: {wrong}\n\n{HELP}");
                    return ExitCode::from(2);
                }
            }
        }
        ["fuzz", "--help" | "-h"] => {
            print!("{}", fuzz::HELP);
            return ExitCode::SUCCESS;
        }
        ["letters", options @ ..] => {
            return end(numbers(options, [("--count", 1_000_000)]).and_then(|[count]| letters::run(count)));
        }
        ["fixture", folder] => {
            let written = write::write(std::path::Path::new(folder));
            return end(written.map(|()| format!("fixture: {folder}")).map_err(|error| error.to_string()));
        }
        ["fuzz", options @ ..] => return end(fuzz::run(options)),
        _ => {
            eprint!("{HELP}\n{}", fuzz::HELP);
            return ExitCode::from(2);
        }
    };
    end(outcome)
}

/// One line of counts, or the promise that is broken.
fn end<T: std::fmt::Display>(outcome: Result<T, String>) -> ExitCode {
    match outcome {
        Ok(counts) => {
            println!("{counts}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            eprintln!("{broken}");
            ExitCode::FAILURE
        }
    }
}

/// The values of these options, each with its default.
fn numbers<const N: usize>(words: &[&str], options: [(&str, u64); N]) -> Result<[u64; N], String> {
    let mut values = options.map(|(_, default)| default);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let at = options.iter().position(|(name, _)| name == word);
        let at = at.ok_or_else(|| format!("there is no option `{word}`"))?;
        let value = words.next().ok_or_else(|| format!("`{word}` needs a number"))?;
        values[at] = value.parse().map_err(|_| format!("`{word}` needs a number, not `{value}`"))?;
    }
    Ok(values)
}
