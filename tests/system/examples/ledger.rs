//! `ledger`: nothing is lost among those who change the same account, and nothing is taken that isn't there.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Stdio};
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
        Outcome::of(self.command(arguments), input)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(example("ledger"));
        command.arg("--dir").arg(self.folder.path()).args(arguments);
        command
    }

    fn done(&self, arguments: &[&str]) -> String {
        let outcome = self.run(arguments);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{arguments:?}: {outcome:?}");
        outcome.out.trim_end().to_owned()
    }

    #[track_caller]
    fn refused(&self, arguments: &[&str], words: &str) {
        self.refused_with(1, arguments, words);
    }

    #[track_caller]
    fn refused_with(&self, code: i32, arguments: &[&str], words: &str) {
        let outcome = self.run(arguments);
        assert_eq!(outcome.code, code, "{outcome:?}");
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

/// An id that carries another change already.
const REUSED: &str = "the id `x` belongs to another change";

#[test]
fn a_transfer_with_the_id_of_anothers_change_moves_nothing() {
    let ledger = Ledger::new();
    for name in ["alice", "bob", "carol"] {
        ledger.done(&["open", name]);
    }
    ledger.done(&["deposit", "alice", "20"]);
    ledger.done(&["deposit", "carol", "5", "--id", "x"]);
    ledger.refused_with(4, &["transfer", "alice", "bob", "7", "--id", "x"], REUSED);
    let balances = ["alice", "bob", "carol"].map(|name| ledger.done(&["balance", name]));
    assert_eq!(balances, ["20.00", "0.00", "5.00"]);
    // Nor where it is the other half whose id is taken.
    ledger.done(&["deposit", "carol", "1", "--id", "y/received"]);
    ledger.refused_with(4, &["transfer", "alice", "bob", "7", "--id", "y"], "the id `y` belongs to another");
    let balances = ["alice", "bob", "carol"].map(|name| ledger.done(&["balance", name]));
    assert_eq!(balances, ["20.00", "0.00", "6.00"]);
}

#[test]
fn a_change_with_the_id_of_anothers_change_is_refused() {
    let ledger = Ledger::new();
    ledger.done(&["open", "alice"]);
    ledger.done(&["open", "bob"]);
    ledger.done(&["deposit", "alice", "5", "--id", "x"]);
    ledger.refused_with(4, &["deposit", "bob", "5", "--id", "x"], REUSED);
    assert_eq!(ledger.done(&["balance", "bob"]), "0.00");
    assert_eq!(ledger.done(&["deposit", "alice", "5", "--id", "x"]), "alice holds 5.00 after 2 events");
}

#[test]
fn another_change_of_an_account_with_an_id_it_has_is_refused() {
    let ledger = Ledger::new();
    ledger.done(&["open", "alice"]);
    ledger.done(&["open", "bob"]);
    ledger.done(&["deposit", "alice", "5", "--id", "x"]);
    ledger.refused_with(4, &["withdraw", "alice", "3", "--id", "x"], REUSED);
    ledger.refused_with(4, &["deposit", "alice", "3", "--id", "x"], REUSED);
    ledger.refused_with(4, &["transfer", "alice", "bob", "5", "--id", "x"], REUSED);
    assert_eq!(ledger.done(&["balance", "alice"]), "5.00");
    let told = ledger.run_with(&["batch", "-"], "withdraw alice 3 --id x\nwithdraw alice 3\n");
    assert!(told.code == 1 && told.err.contains(REUSED), "{told:?}");
    assert_eq!(told.out, "1 done, 1 refused\n");
}

#[test]
fn of_many_who_make_one_change_at_once_all_are_told_of_it_and_it_is_made_once() {
    let ledger = Ledger::new();
    assert_eq!(ledger.run_with(&["batch", "-"], "open alice\nopen bob\ndeposit alice 50\n").code, 0);
    let mut lines = String::new();
    for number in 0..20 {
        lines += &format!("transfer alice bob 1.00 --id t-{number}\n").repeat(8);
        lines += &format!("deposit bob 2.00 --id d-{number}\n").repeat(8);
    }
    let outcome = ledger.run_with(&["batch", "-", "--threads", "8"], &lines);
    assert_eq!((outcome.out.as_str(), outcome.err.as_str()), ("320 done, 0 refused\n", ""));
    let balances = ["alice", "bob"].map(|name| ledger.done(&["balance", name]));
    assert_eq!(balances, ["30.00", "60.00"]);
}

#[test]
fn who_stops_reading_ends_it_quietly_and_loses_nothing() {
    let ledger = Ledger::new();
    ledger.done(&["open", "alice"]);
    let closed = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = ledger.command(arguments);
        let output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
    };
    closed(&["deposit", "alice", "2"]);
    closed(&["history", "alice"]);
    closed(&["balance", "alice"]);
    assert_eq!(ledger.done(&["balance", "alice"]), "2.00");

    // Nor does a batch end half-way when nobody reads what is refused.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    fs::write(ledger.folder.path().join("lines"), "withdraw alice 9\nwithdraw alice 1\n").unwrap();
    let lines = ledger.folder.path().join("lines");
    let mut batch = ledger.command(&["batch", lines.to_str().unwrap()]);
    let output = batch.stdin(Stdio::null()).stderr(writer).output().unwrap();
    let told = (output.status.code(), String::from_utf8(output.stdout).unwrap());
    assert_eq!(told, (Some(1), "1 done, 1 refused\n".to_owned()));
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
    let before = "open alice\nopen bob\nopen carol\ndeposit alice 50.00\ndeposit carol 21.00\n";
    assert_eq!(ledger.run_with(&["batch", "-"], before).out, "5 done, 0 refused\n");
    // Three times as much as there is, by eight threads at a time: as many as there is money for are done.
    let outcome = ledger.run_with(&["batch", "-", "--threads", "8"], &"withdraw carol 1.00\n".repeat(63));
    assert_eq!(outcome.out, "21 done, 42 refused\n", "{outcome:?}");
    // And so with two accounts at a time.
    let mut lines = String::new();
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
