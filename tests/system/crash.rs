//! The short form of `cargo xtask crash`: a process under load that is killed again and again.

use std::process::{Command, Output};

fn crash(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_crash")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Kills the process of a scenario a few times.
#[track_caller]
fn assert_survives(scenario: &str) {
    let output = crash(&["--scenario", scenario, "--kills", "8"]);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    let last = out.lines().last().unwrap_or_default();
    assert!(last.contains("8 kills") && last.contains("0 disagreements"), "{out}{err}");
}

#[test]
fn kills_lose_nothing_repeat_no_effect_and_keep_the_order_of_plugins_that_are_replaced() {
    assert_survives("bus");
}

#[test]
fn kills_leave_each_command_with_one_effect_and_one_answer() {
    assert_survives("aggregate");
}

#[test]
fn kills_leave_the_applications_table_and_the_log_in_agreement() {
    assert_survives("outbox");
}

#[test]
fn kills_leave_an_applications_sqlite_database_and_the_log_in_agreement() {
    assert_survives("sqlite");
}

#[test]
fn kills_leave_an_applications_postgresql_database_and_the_log_in_agreement() {
    if crate::postgres_server::is_installed() {
        assert_survives("postgres");
    }
}

#[test]
fn what_the_harness_does_not_know_is_refused_with_one_error() {
    for arguments in [["--scenario", "nothing"], ["--kills", "0"], ["--kills", "many"]] {
        let output = crash(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let err = text(&output.stderr);
        assert_eq!(err.matches("error:").count(), 1, "{err}");
        assert!(err.contains(arguments[1]), "{err}");
    }
}
