//! Kill, open, check, and again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tidegate::testing::SeededRandom;
use tidegate::{Blocking, Bus, Random, SystemRandom};

use crate::arguments::Arguments;
use crate::place::Place;
use crate::process::Process;
use crate::scenario::{SCENARIOS, Scenario, Surroundings};
use crate::stopwatch::Stopwatch;

/// Longest time that a child works before it is killed. Shorter times are as likely as longer ones.
const WORK_MAX: Duration = Duration::from_millis(600);

/// One of so many children is not waited for: it may be killed while it opens.
const EARLY_EVERY: u64 = 6;

/// One of so many others is let come to its first acknowledgement, however long that takes.
const MOVES_EVERY: u64 = 2;

/// Within which time such a child is killed.
const EARLY_MAX: Duration = Duration::from_millis(120);

/// Time that the consumers of a bus get to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// From so many kills on, there is some of everything that is counted.
const COUNTED_FROM: u32 = 50;

/// A line is printed after so many kills.
const REPORT_EVERY: u32 = 25;

/// Runs the scenarios that were asked for.
pub fn all(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| SystemRandom.next_u64() % 1_000_000);
    let wanted = arguments.scenario.as_deref();
    for scenario in SCENARIOS.iter().filter(|scenario| wanted.is_none_or(|name| name == scenario.name())) {
        let name = scenario.name();
        let directory = tempfile::Builder::new().prefix("tidegate-crash-").tempdir()?;
        let place = Place::new(directory.path().to_owned());
        println!("{name}: seed {seed}, {} kills, in {}", arguments.kills, place.directory().display());
        let outcome =
            Run { scenario: *scenario, place: &place, random: SeededRandom::new(seed), opened: Vec::new() }
                .kill_and_check(arguments.kills);
        match outcome {
            Ok(()) => {}
            Err(error) => return Err(kept(error, directory, name, arguments.kills, seed)),
        }
    }
    Ok(())
}

/// Keeps the directory of a run that failed, and says how to repeat it.
fn kept(error: anyhow::Error, directory: TempDir, name: &str, kills: u32, seed: u64) -> anyhow::Error {
    let path = directory.keep();
    error.context(format!(
        "{name}: a promise is broken (the directory is kept: {})\n  \
         again: cargo xtask crash --scenario {name} --kills {kills} --seed {seed}\n ",
        path.display()
    ))
}

struct Run<'r> {
    scenario: &'static dyn Scenario,
    place: &'r Place,
    random: SeededRandom,
    /// How long each opening after a kill took.
    opened: Vec<Duration>,
}

impl Run<'_> {
    fn kill_and_check(mut self, kills: u32) -> Result<()> {
        let name = self.scenario.name();
        let _surroundings = match self.scenario.surroundings(self.place)? {
            Surroundings::Ready(surroundings) => surroundings,
            Surroundings::Missing(why) => {
                println!("{name}: skipped: {why}");
                return Ok(());
            }
        };
        let mut account = self.scenario.account();
        for round in 1..=kills {
            self.place.set_again(&account.again())?;
            let told = self.killed(round).with_context(|| format!("before kill {round}"))?;
            let after = || format!("after kill {round}");
            for line in &told {
                account.take(line).with_context(after)?;
            }
            let bus = self.open().with_context(after)?;
            account.check(&bus).with_context(after)?;
            bus.shutdown(SHUTDOWN_MAX);
            if round % REPORT_EVERY == 0 && round < kills {
                println!("{name}: {round} kills, {}", counted(&account.counts()));
            }
        }
        let (median, max) = self.opening_times();
        let bus = Bus::open(self.place.bus())?.blocking();
        account.settle(&bus).context("at the end")?;
        bus.shutdown(SHUTDOWN_MAX);
        for (what, count) in account.counts() {
            ensure!(count > 0 || kills < COUNTED_FROM, "no {what} in {kills} kills: the load does nothing");
        }
        println!(
            "{name}: {kills} kills, {}, 0 disagreements; opening after a kill: median {} ms, longest {} ms",
            counted(&account.counts()),
            median.as_millis(),
            max.as_millis(),
        );
        Ok(())
    }

    /// Starts a child and kills it. Returns what it told.
    fn killed(&self, round: u32) -> Result<Vec<String>> {
        let mut process = Process::start(self.scenario, self.place, round)?;
        // The first one makes the data directory, which is to be there for the checks.
        let is_early = round > 1 && self.random.next_u64().is_multiple_of(EARLY_EVERY);
        if !is_early {
            process.ready()?;
            if self.random.next_u64().is_multiple_of(MOVES_EVERY) {
                process.moves()?;
            }
        }
        let bound = if is_early { EARLY_MAX } else { WORK_MAX };
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        process.work(Duration::from_micros(self.random.next_u64() % micros))?;
        process.kill()
    }

    fn open(&mut self) -> Result<Blocking> {
        let stopwatch = Stopwatch::start();
        let bus = Bus::open(self.place.bus())?;
        self.opened.push(stopwatch.elapsed());
        Ok(bus.blocking())
    }

    fn opening_times(&mut self) -> (Duration, Duration) {
        self.opened.sort_unstable();
        let median = self.opened.get(self.opened.len() / 2).copied().unwrap_or_default();
        (median, self.opened.last().copied().unwrap_or_default())
    }
}

fn counted(counts: &[(&'static str, u64)]) -> String {
    counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
