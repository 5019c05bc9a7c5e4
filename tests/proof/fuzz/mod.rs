//! Fuzzing: bytes that nobody has written on purpose, in every place where the bus reads some. What it reads them as is
//! free; that it panics, hangs, takes memory without end or takes them for something that was never written is not.

mod child;
mod config;
mod corpus;
mod event_json;
mod file;
mod known;
mod mutate;
mod plugin;
mod protobuf;
mod record;
mod socket;
mod watch;

use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mutate::Chance;
use watch::Watch;
pub use watch::memory_kib;

pub const HELP: &str = "\
cargo xtask fuzz --seconds N [--target NAME] [--seed N]
cargo xtask fuzz --target NAME --input FILE

Reads changed bytes in every place where the bus reads some, and keeps what leads somewhere new as the beginning of the next
ones. A panic, a hang, more memory than is reasonable, or an event that nobody has written ends it with an error; the input
is then in a file whose name is told, with the command that repeats it.

  --seconds N    how long to fuzz each target (60); 0 runs the kept inputs of tests/proof/corpus alone
  --target NAME  one of record, event-json, config, protobuf, socket, plugin, file; without it, all of them in turn
  --seed N       the numbers of chance (1)
  --input FILE   run this input alone
";

/// The targets, by name.
const TARGETS: [&str; 7] = ["record", "event-json", "config", "protobuf", "socket", "plugin", "file"];

/// Inputs that led somewhere new and are changed further, beside the seeds. More would make each of them rare.
const POOL_MAX: usize = 512;

/// Bytes of a line of an outcome that tell it from others.
const LINE_BYTES: usize = 160;

/// A place where the bus reads bytes.
trait Target {
    /// Valid inputs to begin with.
    fn seeds(&self) -> Vec<Vec<u8>>;

    /// Words of the format.
    fn words(&self) -> &'static [&'static [u8]] {
        &[]
    }

    /// The largest input.
    fn bytes_max(&self) -> usize {
        16 << 10
    }

    /// Makes another input of one.
    fn change(&self, chance: &Chance, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        chance.change(input, self.words(), pool, self.bytes_max());
    }

    /// An input that means the same in every process, where this one may not.
    fn lasting(&self, input: &[u8]) -> Vec<u8> {
        input.to_vec()
    }

    /// Reads an input. Says what came of it, a line for each thing: an input leads somewhere new if one of its lines does.
    ///
    /// # Errors
    ///
    /// The promise that it breaks.
    fn run(&mut self, input: &[u8]) -> Result<String, String>;
}

struct Options {
    seconds: u64,
    seed: u64,
    target: Option<&'static str>,
    input: Option<PathBuf>,
    /// Whether this is the process that may be ended.
    is_alone: bool,
}

/// Fuzzes, as the command line says.
///
/// # Errors
///
/// What is wrong with the command line, or the first promise that is broken, with the command that repeats it.
pub fn run(words: &[&str]) -> Result<String, String> {
    let options = options(words).map_err(|wrong| format!("fuzz: {wrong}\n\n{HELP}"))?;
    let mut counts = String::new();
    let mut total = (0, 0);
    for name in TARGETS.into_iter().filter(|name| options.target.is_none_or(|target| target == *name)) {
        if name == "file" && options.input.is_none() && !options.is_alone {
            let ended = child::fuzz(name, Duration::from_secs(options.seconds), options.seed)?;
            write!(counts, "{name} as said above and {ended} ends by the database, ")
                .map_err(|error| error.to_string())?;
            continue;
        }
        let mut fuzzing = Fuzzing::begin(name, options.seed)?;
        let (runs, kept) = match &options.input {
            Some(path) => {
                let input = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                let outcome = fuzzing.run(&input)?;
                println!("{outcome}\n{}", watch::panics());
                (1, 0)
            }
            None => fuzzing.fuzz(Duration::from_secs(options.seconds))?,
        };
        total = (total.0 + runs, total.1 + kept);
        write!(counts, "{name} {runs}, ").map_err(|error| error.to_string())?;
    }
    Ok(format!("fuzz: {counts}{} inputs in all, {} led somewhere new; 0 promises broken", total.0, total.1))
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options { seconds: 60, seed: 1, target: None, input: None, is_alone: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("`{word}` needs a value"));
        match *word {
            "--seconds" => options.seconds = number(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--alone" => options.is_alone = *value()? == "yes",
            "--input" => options.input = Some(PathBuf::from(value()?)),
            "--target" => {
                let name = value()?;
                let known = TARGETS.into_iter().find(|target| target == name);
                options.target = Some(known.ok_or_else(|| format!("there is no target `{name}`"))?);
            }
            other => return Err(format!("there is no option `{other}`")),
        }
    }
    if options.input.is_some() && options.target.is_none() {
        return Err("an input is one of a `--target`".to_owned());
    }
    Ok(options)
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("`{word}` is no number"))
}

/// One target at work.
struct Fuzzing {
    name: &'static str,
    target: Box<dyn Target>,
    chance: Chance,
    watch: Watch,
    seed: u64,
}

impl Fuzzing {
    fn begin(name: &'static str, seed: u64) -> Result<Self, String> {
        let target: Box<dyn Target> = match name {
            "record" => Box::new(record::Records),
            "event-json" => Box::new(event_json::Events),
            "config" => Box::new(config::Configs),
            "protobuf" => Box::new(protobuf::Protos),
            "socket" => Box::new(socket::Sockets::new()?),
            "plugin" => Box::new(plugin::Plugins::new()?),
            _ => Box::new(file::Files::new()?),
        };
        let watch = Watch::begin(name).map_err(|error| format!("the inputs can't be noted: {error}"))?;
        Ok(Self { name, target, chance: Chance::new(seed), watch, seed })
    }

    /// How many inputs were read, and how many of them led somewhere new.
    #[expect(clippy::disallowed_methods, reason = "how long to fuzz is real time")]
    fn fuzz(&mut self, time: Duration) -> Result<(u64, u64), String> {
        let begun = Instant::now();
        let mut pool = self.target.seeds();
        pool.extend(corpus::kept(self.name)?);
        let mut seen = HashSet::new();
        let (mut runs, mut kept) = (0, 0);
        for input in &pool {
            is_new(&self.run(input)?, &mut seen);
            runs += 1;
        }
        let seeds = pool.len();
        while begun.elapsed() < time {
            let mut input = self.chance.of(&pool).cloned().unwrap_or_default();
            self.target.change(&self.chance, &mut input, &pool);
            let outcome = self.run(&input)?;
            runs += 1;
            if is_new(&outcome, &mut seen) {
                kept += 1;
                if pool.len() < seeds + POOL_MAX {
                    pool.push(input);
                } else {
                    let at = seeds + self.chance.index(POOL_MAX);
                    pool[at] = input;
                }
            }
        }
        let seconds = begun.elapsed().as_secs();
        println!("{}: {runs} inputs in {seconds} s, {kept} led somewhere new, seed {}", self.name, self.seed);
        Ok((runs, kept))
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        let lasting = self.target.lasting(input);
        self.watch.note(&lasting).map_err(|error| format!("the input can't be noted: {error}"))?;
        let outcome = catch_unwind(AssertUnwindSafe(|| self.target.run(input)));
        let outcome = outcome.unwrap_or_else(|_| Err(format!("a panic: {}", watch::panics())));
        self.watch.done();
        outcome.map_err(|broken| self.watch.broken(&lasting, &broken))
    }
}

/// Whether a line of the outcome was never seen; it is now.
fn is_new(outcome: &str, seen: &mut HashSet<u64>) -> bool {
    // Each line is looked at: several may be new.
    outcome.lines().filter(|line| seen.insert(class(line))).count() > 0
}

/// What a line is known by: its words outside of what it quotes, without those that have digits. What is quoted comes from
/// the input, with quotes of its own, so all from the first quote to the last one is left out.
fn class(line: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let quotes = ['"', '`'];
    let (before, after) = match (line.find(quotes), line.rfind(quotes)) {
        (Some(first), Some(last)) => (&line[..first], &line[last..]),
        _ => (line, ""),
    };
    for part in [before, after] {
        for word in part[..part.floor_char_boundary(LINE_BYTES)].split(|c: char| !c.is_ascii_alphanumeric()) {
            if !word.is_empty() && !word.bytes().any(|byte| byte.is_ascii_digit()) {
                word.hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}
