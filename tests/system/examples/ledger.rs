//! `ledger`: nothing is lost among those who change the same account, and nothing is taken that isn't there.

use std::fmt::Write as _;
use std::process::Command;
use std::thread;

use tempfile::TempDir;

use crate::cli_process::{Outcome, example};
use crate::house::{SHUTDOWN, open};

struct Ledger {
    folder: TempDir,
}

impl Ledger {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Outcome {
        let mut command = Command::new(example("ledger"));
        command.arg("--dir").arg(self.folder.path()).args(arguments);
        Outcome::of(command, input)
    }

    fn done(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{arguments:?}: {outcome:?}");
        outcome.out.trim_end().to_owned()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], words: &str) {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.err.starts_with("error: ") && outcome.err.contains(words), "{words:?}: {outcome:?}");
        assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
    }
}

#[test]
fn a_session_leaves_what_was_done_and_nothing_of_what_was_refused() {
    let ledger = Ledger::new();
    assert_eq!(ledger.done(&["open", "alice"]), "alice holds 0.00 after 1 events");
    ledger.done(&["open", "bob"]);
    assert_eq!(ledger.done(&["deposit", "alice", "20"]), "alice holds 20.00 after 2 events");
    ledger.refused(&["open", "alice"], "account `alice` is open already");
    ledger.refused(&["withdraw", "alice", "20.01"], "account `alice` holds 20.00, and 20.01 is more");
    ledger.refused(&["transfer", "alice", "bob", "21"], "account `alice` holds 20.00");
    ledger
        .refused(&["transfer", "alice", "carol", "1"], "there is no account `carol`: `open carol` opens it");
    ledger.refused(&["transfer", "alice", "alice", "1"], "both are `alice`");
    ledger.refused(&["deposit", "carol", "1"], "there is no account `carol`");
    ledger.refused(&["balance", "carol"], "there is no account `carol`");
    ledger.refused(&["history", "carol"], "there is no account `carol`");
    for wrong in ["0", "-1", "1.5", "1.505", "x", "99999999999.00", ""] {
        let outcome = ledger.run(&["deposit", "alice", wrong]);
        assert_eq!(outcome.code, 2, "{wrong:?}: {outcome:?}");
    }
    assert_eq!(
        ledger.done(&["transfer", "alice", "bob", "7.50", "--id", "t-1"]),
        "alice holds 12.50 after 3 events"
    );
    // The same again takes effect once, though there would not be enough for it any more.
    ledger.done(&["withdraw", "alice", "12.00"]);
    assert_eq!(
        ledger.done(&["transfer", "alice", "bob", "7.50", "--id", "t-1"]),
        "alice holds 0.50 after 4 events"
    );
    assert_eq!(ledger.done(&["balance", "bob"]), "7.50");
    let history = ledger.done(&["history", "alice"]);
    let told: Vec<(&str, &str, &str)> = history
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split("  ").collect();
            (words[0], words[2], words[3])
        })
        .collect();
    assert_eq!(
        told,
        [
            ("1", "opened", "holds 0.00"),
            ("2", "deposited 20.00", "holds 20.00"),
            ("3", "sent 7.50 to bob", "holds 12.50"),
            ("4", "withdrawn 12.00", "holds 0.50"),
        ]
    );
    assert_eq!(ledger.done(&["history", "alice", "--after", "3"]), history.lines().last().unwrap());
}

#[test]
fn a_process_that_finds_the_directory_in_use_says_so_or_waits() {
    let ledger = Ledger::new();
    ledger.done(&["open", "alice"]);
    let bus = open(ledger.folder.path());
    let outcome = ledger.run(&["deposit", "alice", "1"]);
    assert_eq!(outcome.code, 3, "{outcome:?}");
    for words in ["is open in another process", "--wait 10s"] {
        assert!(outcome.err.contains(words), "{outcome:?}");
    }
    bus.shutdown(SHUTDOWN);
    // Each gets its turn.
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| ledger.done(&["deposit", "alice", "1.00", "--wait", "60s"]));
        }
    });
    assert_eq!(ledger.done(&["balance", "alice"]), "6.00");
}

#[test]
fn of_many_who_change_the_same_account_none_is_lost_and_none_overdraws() {
    let ledger = Ledger::new();
    let mut lines = String::from("open alice\nopen bob\ndeposit alice 50.00\n");
    assert_eq!(ledger.run_with(&["batch", "-"], &lines).out, "3 done, 0 refused\n");
    lines.clear();
    // Three times as much as there is, by eight threads at a time: as many as there is money for are done.
    for number in 0..75 {
        writeln!(lines, "withdraw alice 1.00\ntransfer alice bob 1.00 --id t-{number}").unwrap();
    }
    let outcome = ledger.run_with(&["batch", "-", "--threads", "8"], &lines);
    assert_eq!(outcome.out, "50 done, 100 refused\n", "{outcome:?}");
    assert_eq!(outcome.code, 1);
    assert!(
        outcome.err.lines().all(|line| line.starts_with("-:") && line.contains("holds 0.00")),
        "{outcome:?}"
    );
    assert_eq!(ledger.done(&["balance", "alice"]), "0.00");
    let history = ledger.done(&["history", "alice"]);
    let sent = history.lines().filter(|line| line.contains("sent 1.00 to bob")).count();
    assert_eq!(history.lines().count(), 52, "opened, deposited, and 50 changes");
    assert_eq!(ledger.done(&["balance", "bob"]), format!("{sent}.00"), "what was sent has arrived");
    let numbers = history.lines().map(|line| line.split("  ").next().unwrap().parse::<u64>().unwrap());
    assert!(numbers.eq(1..=52), "{history}");

    let wrong = ledger.run_with(&["batch", "-"], "deposit alice 1.00\nsteal alice 1.00\n\ndeposit alice\n");
    assert_eq!((wrong.code, wrong.out.as_str()), (1, "1 done, 2 refused\n"), "{wrong:?}");
    assert!(wrong.err.contains("-:2: ") && wrong.err.contains("-:4: "), "{wrong:?}");
    let missing = ledger.run(&["batch", "nowhere"]);
    assert!(missing.code == 1 && missing.err.contains("nowhere: "), "{missing:?}");
}
