//! Kill, open, check, and again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tidegate::testing::SeededRandom;
use tidegate::{Blocking, Bus, Random, SystemRandom};

use crate::arguments::Arguments;
use crate::place::Place;
use crate::process::Process;
use crate::scenario::{Account, SCENARIOS, Scenario, Surroundings};
use crate::stopwatch::Stopwatch;

/// Longest time that a child works before it is killed. Shorter times are as likely as longer ones.
const WORK_MAX: Duration = Duration::from_millis(600);

/// One of so many children is not waited for: it may be killed while it opens.
const EARLY_EVERY: u64 = 6;

/// One of so many others is let come to its first acknowledgement, however long that takes.
const MOVES_EVERY: u64 = 2;

/// After one of so many kills the next child is killed as well before anybody looks, where the scenario says so.
const AGAIN_EVERY: u64 = 4;

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
        let outcome = Run::new(*scenario, &place, SeededRandom::new(seed)).kill_and_check(arguments.kills);
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
    /// Children so far: the number of the next one is one more.
    children: u32,
    /// Kills that nobody looked after.
    unseen: u32,
    /// How long each opening after a kill took.
    opened: Vec<Duration>,
}

impl<'r> Run<'r> {
    fn new(scenario: &'static dyn Scenario, place: &'r Place, random: SeededRandom) -> Self {
        Self { scenario, place, random, children: 0, unseen: 0, opened: Vec::new() }
    }

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
            let after = || format!("after kill {round}");
            self.kill(account.as_mut(), round)?;
            for _ in 1..self.scenario.kills_in_a_row() {
                if !self.random.next_u64().is_multiple_of(AGAIN_EVERY) {
                    break;
                }
                self.kill(account.as_mut(), round)?;
                self.unseen += 1;
            }
            let bus = self.open().with_context(after)?;
            account.check(&bus).with_context(after)?;
            bus.shutdown(SHUTDOWN_MAX);
            if round % REPORT_EVERY == 0 && round < kills {
                println!("{name}: {round} kills, {}", counted(&account.counts()));
            }
        }
        let bus = Bus::open(self.place.bus())?.blocking();
        account.settle(&bus).context("at the end")?;
        bus.shutdown(SHUTDOWN_MAX);
        for (what, count) in account.counts() {
            ensure!(count > 0 || kills < COUNTED_FROM, "no {what} in {kills} kills: the load does nothing");
        }
        let opened = self.opening_times();
        println!(
            "{name}: {kills} kills, {} more between two looks, {}, 0 disagreements; opening after a kill: {opened}",
            self.unseen,
            counted(&account.counts()),
        );
        Ok(())
    }

    /// Lets a child work and kills it, and takes in what it told.
    fn kill(&mut self, account: &mut dyn Account, round: u32) -> Result<()> {
        self.place.set_again(&account.again())?;
        let told = self.killed().with_context(|| format!("before kill {round}"))?;
        told.iter().try_for_each(|line| account.take(line)).with_context(|| format!("after kill {round}"))
    }

    /// Starts a child and kills it. Returns what it told.
    fn killed(&mut self) -> Result<Vec<String>> {
        self.children += 1;
        let mut process = Process::start(self.scenario, self.place, self.children)?;
        // The first one makes the data directory, which is to be there for the checks.
        let is_early = self.children > 1 && self.random.next_u64().is_multiple_of(EARLY_EVERY);
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

    /// How long opening took: the median, what 99 of 100 stayed within, and the longest.
    fn opening_times(&mut self) -> String {
        self.opened.sort_unstable();
        let within = |percent: usize| {
            let rank = (self.opened.len() * percent).div_ceil(100).max(1);
            self.opened.get(rank - 1).map_or(0, Duration::as_millis)
        };
        format!("median {} ms, p99 {} ms, longest {} ms", within(50), within(99), within(100))
    }
}

fn counted(counts: &[(&'static str, u64)]) -> String {
    counts.iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
