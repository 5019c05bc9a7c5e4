//! The project's tasks: `cargo xtask TASK`. Needs nothing but cargo, and gets the rest by itself.

mod api;
mod bench;
mod checks;
mod crash;
mod debian;
mod demo;
mod features;
mod footprint;
mod hostile;
mod mutants;
mod nats;
mod plugins;
mod process;
mod proof;
mod shop;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const HELP: &str = "\
cargo xtask TASK

  demo [ARGS]   build what it takes, then run `tidegate demo` on a real week of earthquakes
  shop [ARGS]   play a story of orders in which all goes wrong, on a naive consumer and on tidegate, and print what comes of
                it: a quarter of a minute once all is built; --orders N, --seed N, --json
  test [ARGS]   build the plugins, the binary and the examples, get a NATS server, then run all tests and a short form of
                the proofs; ARGS go to `cargo test`, which then is all that runs
  lint          formatting, clippy in each set of features, documentation: warnings are errors; and `api`
  api           compare the public API with docs/api; --bless writes it
  sim           run the whole bus on a simulated clock, disk and scheduler, by seeds, beside a model; --help has the options
  sync-points   freeze the disk at each write and sync of a scenario, and check what is there; --help has the options
  fixture DIR   write a database of this format, to be kept: see tests/fixtures/README.md
  fuzz [ARGS]   read changed bytes wherever the bus reads some; --help has the options
  letters       fill a dead-letter queue (--count N, a million) and measure the memory of working on it
  mutants       break a copy of the code in one place at a time, and see that a proof finds it; --help lists them
  crash [ARGS]  kill a process under load at random moments and check what it leaves; see `crash --help`
  hostile       run the tests of hostile plugins, then measure whether their neighbours keep their pace; --rounds N and
                --smoke go to the measurement
  bench [ARGS]  measure beside limits and peers, into target/bench.json; see `bench --help`
  footprint     build library and binary from nothing, with optimizations: crates, seconds and bytes
  plugins       build the plugins and the test guests into target/plugins
  help          this text

Plugins need the target wasm32-unknown-unknown. xtask uses it if it is installed, else adds it with rustup, else
installs Debian's compiler and standard-library source and builds the target's standard library once.
TIDEGATE_WASM_TOOLCHAIN chooses instead: `rustup` never goes the last way, `debian` goes it at once.
";

fn main() -> ExitCode {
    if api::is_rustdoc() {
        return exit(api::rustdoc(std::env::args_os().skip(1)));
    }
    let mut args = std::env::args().skip(1);
    let task = args.next();
    let rest: Vec<String> = args.collect();
    let workspace = Workspace::of_this_crate();
    let outcome = match (task.as_deref(), rest.as_slice()) {
        (Some("demo"), rest) => demo::run_with(&workspace, rest),
        (Some("test"), rest) => checks::test(&workspace, rest),
        (Some("lint"), []) => checks::lint(&workspace),
        (Some("api"), rest) => api::api(&workspace, rest),
        (Some("shop"), rest) => shop::run_with(&workspace, rest),
        (Some("crash"), rest) => crash::run_with(&workspace, rest),
        (Some("hostile"), rest) => hostile::run_with(&workspace, rest),
        (Some("bench"), rest) => bench::run_with(&workspace, rest),
        (Some("mutants"), rest) => mutants::run_with(&workspace, rest),
        (Some(proof @ ("fixture" | "fuzz" | "letters" | "sim" | "sync-points")), rest) => {
            proof::run_with(&workspace, proof, rest)
        }
        (Some("footprint"), []) => footprint::measure(&workspace),
        (Some("plugins"), []) => plugins::build(&workspace),
        (Some("help" | "--help" | "-h"), []) => {
            print!("{HELP}");
            Ok(())
        }
        (None, _) => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
        (Some(task), rest) => {
            let unknown = [&[task.to_owned()], rest].concat().join(" ");
            eprint!("xtask: there is no task `{unknown}`\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    exit(outcome)
}

fn exit(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
