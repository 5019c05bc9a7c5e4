//! The command line.

use crate::work::BENCHES;

/// What is asked for.
#[derive(Debug, Default)]
pub struct Arguments {
    /// As little work as shows that everything runs.
    pub smoke: bool,
    /// One benchmark alone.
    pub only: Option<String>,
    /// Rounds of each benchmark, unless the scale says.
    pub rounds: Option<usize>,
}

/// Most rounds of a run: more than that is a mistake.
const ROUNDS_MAX: usize = 100;

/// What the command line comes to.
pub enum Asked {
    Run(Arguments),
    Help,
}

impl Arguments {
    /// Reads the words of the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with them, in one line.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let mut arguments = Self::default();
        let mut words = words;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(Asked::Help),
                "--smoke" => arguments.smoke = true,
                "--only" => {
                    let id = words.next().ok_or("--only wants the name of a benchmark")?;
                    if !BENCHES.iter().any(|bench| bench.id == id) {
                        let ids: Vec<_> = BENCHES.iter().map(|bench| bench.id).collect();
                        return Err(format!("there is no benchmark `{id}`: there are {}", ids.join(", ")));
                    }
                    arguments.only = Some(id);
                }
                "--rounds" => {
                    let rounds = words.next().and_then(|word| word.parse().ok());
                    let rounds = rounds.filter(|rounds| (1..=ROUNDS_MAX).contains(rounds));
                    arguments.rounds =
                        Some(rounds.ok_or(format!("--rounds wants a number up to {ROUNDS_MAX}"))?);
                }
                _ => return Err(format!("`{word}` is not known: see --help")),
            }
        }
        Ok(Asked::Run(arguments))
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let benches = BENCHES.iter().map(|bench| format!("  {:<28}{}\n", bench.id, bench.about));
    format!(
        "\
cargo xtask bench [--only NAME] [--rounds N] [--smoke]

Measures the benchmarks below, each beside a limit or a peer in the same run, prints a table of ratios and writes
target/bench.json.

  --only NAME   one benchmark alone
  --rounds N    rounds of each, 5 unless said otherwise
  --smoke       as little work as shows that all of them run, without optimizations; the figures mean nothing

{}",
        benches.collect::<String>()
    )
}
