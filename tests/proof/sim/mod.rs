//! The simulation: the whole bus on a simulated clock, disk and scheduler, all of which follow from a seed, beside a model
//! of what it promises.

mod aggregates;
mod call;
mod lifts;
mod model;
mod native;
mod sagas;
mod script;
mod world;

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tempfile::TempDir;

use world::{Counts, World, rots};

/// After so many seeds a line says how far it is, with the counts up to there.
const TOLD_EVERY: u64 = 1000;

/// Runs so many seeds, on all cores.
///
/// # Errors
///
/// The first promise that is broken, with the command that repeats it.
pub fn run(from: u64, seeds: u64, verbose: bool, alone: bool) -> Result<String, String> {
    silence_panics_on_purpose();
    let next = AtomicU64::new(from);
    let held = Mutex::new((0, Counts::default()));
    let broken: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores.min(usize::try_from(seeds).unwrap_or(usize::MAX)) {
            scope.spawn(|| {
                let folder = TempDir::new().expect("a temporary directory can be made");
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + seeds || broken.lock().is_ok_and(|broken| broken.is_some()) {
                        return;
                    }
                    let outcome = if rots(seed) && !alone {
                        in_a_process(seed, verbose)
                    } else {
                        twice_where_asked(seed, from, folder.path(), verbose)
                    };
                    match outcome {
                        Ok(of_seed) => {
                            let mut held = held.lock().expect("nobody panics with it");
                            held.0 += 1;
                            held.1.merge(&of_seed);
                            if held.0 % TOLD_EVERY == 0 && held.0 < seeds {
                                eprintln!("sim: {} of {seeds} seeds from {from} held: {}", held.0, held.1);
                            }
                        }
                        Err(why) => {
                            let mut broken = broken.lock().expect("nobody panics with it");
                            if broken.as_ref().is_none_or(|(other, _)| *other > seed) {
                                *broken = Some((seed, why));
                            }
                        }
                    }
                }
            });
        }
    });
    let (held, counts) = held.into_inner().expect("nobody panicked with it");
    if let Some((seed, why)) = broken.into_inner().expect("nobody panicked with it") {
        return Err(format!(
            "seed {seed}: {why}\nrepeat it: cargo xtask sim --seeds 1 --from {seed} --verbose 1\n\
             {held} other seeds held: {counts}"
        ));
    }
    Ok(format!("{}{counts}{KEPT}", begins(seeds, from)))
}

/// How the line of counts begins and ends.
fn begins(seeds: u64, from: u64) -> String {
    format!("sim: {seeds} seeds from {from}: ")
}

const KEPT: &str = "; 0 promises broken";

/// Plays a seed in a process of its own. Where a bit of its bookkeeping is flipped, the database may panic while it unwinds
/// from a panic, and nobody can keep that from ending the process.
fn in_a_process(seed: u64, verbose: bool) -> Result<Counts, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (from, verbose) = (seed.to_string(), u64::from(verbose).to_string());
    let arguments = ["sim", "--seeds", "1", "--from", &from, "--alone", "1", "--verbose", &verbose];
    let output = Command::new(program).args(arguments).output().map_err(|error| error.to_string())?;
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if verbose != "0" {
        eprint!("{errors}");
    }
    match output.status.code() {
        Some(0) => {
            let counts = told.trim().strip_prefix(&begins(1, seed)).and_then(|told| told.strip_suffix(KEPT));
            counts.ok_or_else(|| format!("its process said {told}"))?.parse()
        }
        None if errors.contains(ABORTED) && !errors.contains(" panicked at ") => {
            let mut counts = Counts::default();
            counts.add("processes ended by the database", 1);
            Ok(counts)
        }
        _ => Err(errors.trim().to_owned()),
    }
}

/// What Rust says before it ends a process for a panic within a panic. Where those are the database's, nothing else is said.
const ABORTED: &str = "thread caused non-unwinding panic. aborting.";

/// Plays a seed. The first one is played twice: a failure is worth little if its seed doesn't repeat it.
fn twice_where_asked(seed: u64, first: u64, folder: &Path, verbose: bool) -> Result<Counts, String> {
    let (counts, trace) = play(seed, folder, verbose)?;
    if seed == first {
        let (_, again) = play(seed, folder, false)?;
        if trace != again {
            return Err("it went another way when it was played again".to_owned());
        }
    }
    Ok(counts)
}

fn play(seed: u64, folder: &Path, verbose: bool) -> Result<(Counts, u64), String> {
    let mut world = World::new(seed, folder, verbose);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play()));
    let trace = outcome.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().cloned();
        let message = message.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        Err(format!("it panicked: {}", message.unwrap_or_default()))
    })?;
    Ok((world.counts, trace))
}

/// Panics that are part of a script are no news, nor are those of the database on a damaged file. Sources of the workspace have
/// relative paths.
fn silence_panics_on_purpose() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_ours = panic.location().is_none_or(|location| Path::new(location.file()).is_relative());
        if is_ours && panic.payload_as_str() != Some(script::ON_PURPOSE) {
            default(panic);
        }
    }));
}
