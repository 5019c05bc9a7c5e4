//! The examples as processes: what a newcomer copies keeps its promises.

mod device;
mod http;
mod ledger;
mod orders;

use std::process::Command;

use crate::cli_process::{Outcome, example};

#[test]
fn each_example_says_how_it_is_used() {
    for (name, words) in [
        ("orders", ["Takes orders over HTTP", "--listen", "--plugins"]),
        ("ledger", ["Keeps accounts", "transfer", "Exit codes:"]),
        ("device", ["Keeps readings", "--url", "100,000 newer"]),
        ("shop", ["Plays a story", "--orders", "The seed fixes"]),
    ] {
        let mut command = Command::new(example(name));
        command.arg("--help");
        let outcome = Outcome::of(command, "");
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{outcome:?}");
        for word in words {
            assert!(outcome.out.contains(word), "{word:?} is missing: {}", outcome.out);
        }
        let mut command = Command::new(example(name));
        command.arg("--no-such-option");
        assert_eq!(Outcome::of(command, "").code, 2, "{name}");
    }
}
