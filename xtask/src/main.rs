//! The project's tasks: `cargo xtask TASK`. Needs nothing but cargo, and gets the rest by itself.

mod checks;
mod debian;
mod demo;
mod plugins;
mod process;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const HELP: &str = "\
cargo xtask TASK

  demo [ARGS]   build what it takes, then run `tidegate demo` on a real week of earthquakes
  test [ARGS]   build the plugins, the binary and the examples, then run all tests; ARGS go to `cargo test`
  lint          formatting, clippy, documentation: warnings are errors
  plugins       build the plugins and the test guests into target/plugins
  help          this text

Plugins need the target wasm32-unknown-unknown. xtask uses it if it is installed, else adds it with rustup, else
installs Debian's compiler and standard-library source and builds the target's standard library once.
TIDEGATE_WASM_TOOLCHAIN chooses instead: `rustup` never goes the last way, `debian` goes it at once.
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let task = args.next();
    let rest: Vec<String> = args.collect();
    let workspace = Workspace::of_this_crate();
    let outcome = match (task.as_deref(), rest.as_slice()) {
        (Some("demo"), rest) => demo::run_with(&workspace, rest),
        (Some("test"), rest) => checks::test(&workspace, rest),
        (Some("lint"), []) => checks::lint(&workspace),
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
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
