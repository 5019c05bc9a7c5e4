//! `tidegate execute` and `tidegate aggregates`.

use serde_json::json;

use crate::cli_process::Directory;

const ACCOUNTS: &str = r#"
[topics.account-commands]
partitions = 2

[topics.accounts]
partitions = 2
sequence = true

[consumers.accounts]
plugin = "accounts.wasm"
topics = ["account-commands"]
aggregate = { stream = "accounts", snapshot_every = 2 }
"#;

fn directory() -> Directory {
    let directory = Directory::new(ACCOUNTS);
    directory.put("accounts.wasm", &std::fs::read(crate::aggregates::plugin_file("accounts")).unwrap());
    directory
}

fn execute<'a>(kind: &'a str, data: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["execute", "accounts", "account-9", "--type", kind, "--data", data], more].concat()
}

#[test]
fn a_command_is_given_from_the_command_line_and_its_outcome_is_the_exit_code() {
    let directory = directory();
    let running = directory.serve();
    let open = execute("OpenAccount.v1", r#"{"owner": "ann"}"#, &["--command-id", "open-1"]);
    for _ in 0..2 {
        assert_eq!(directory.done(&open), "accepted: version 1, 1 new\n", "a second time changes nothing");
    }
    let outcome = directory.json(&execute("Deposit.v1", r#"{"cents": 5}"#, &[]));
    assert_eq!(outcome, [json!({"accepted": {"version": 2, "events": 1}})]);
    let rejected = directory.run(&execute("Withdraw.v1", r#"{"cents": 6}"#, &[]));
    assert_eq!(rejected.code, 6, "{rejected:?}");
    assert!(rejected.out.starts_with("rejected: overdrawn: account `account-9` has 5 cents"), "{rejected:?}");
    let nothing = directory.done(&execute("Deposit.v1", r#"{"cents": 0}"#, &[]));
    assert_eq!(nothing, "accepted: nothing changes, version 2\n");

    directory.done(&["consumers", "pause", "accounts"]);
    let late = directory.run(&execute("Deposit.v1", r#"{"cents": 1}"#, &["--wait", "10ms"]));
    assert_eq!(late.code, 1, "{late:?}");
    assert!(late.err.contains("ask again with the same id"), "{late:?}");
    let unknown = directory.run(&["execute", "nothing", "a", "--type", "T"]);
    assert!(unknown.code == 1 && unknown.err.contains("`nothing` isn't running"), "{unknown:?}");
    drop(running);
    let nobody = directory.run(&execute("Deposit.v1", r#"{"cents": 1}"#, &[]));
    assert!(nobody.code == 1 && nobody.err.contains("isn't running"), "{nobody:?}");
}

fn show<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&["aggregates", "show", "accounts", "account-9"], more].concat()
}

#[test]
fn an_aggregate_is_shown_as_it_is_and_as_it_was() {
    let directory = directory();
    let _running = directory.serve();
    directory.done(&execute("OpenAccount.v1", r#"{"owner": "ann"}"#, &[]));
    directory.done(&execute("Deposit.v1", r#"{"cents": 5}"#, &[]));
    directory.done(&execute("Withdraw.v1", r#"{"cents": 1}"#, &[]));
    let now = directory.json(&show(&[])).remove(0);
    assert_eq!((&now["version"], &now["state"]), (&json!(3), &json!({"owner": "ann", "cents": 4})));
    let then = directory.json(&show(&["--version", "2"])).remove(0);
    assert_eq!((&then["version"], &then["state"]["cents"]), (&json!(2), &json!(5)));
    let since = then["since"].as_str().unwrap();
    assert_eq!(directory.json(&show(&["--time", since])).remove(0), then);
    assert_eq!(
        directory.done(&show(&["--time", "2018-01-01T00:00:00Z"])),
        "aggregate `account-9`: no events\n"
    );
    assert_eq!(directory.done(&["aggregates", "show", "accounts", "x"]), "aggregate `x`: no events\n");
    let beyond = directory.run(&show(&["--version", "4"]));
    assert!(beyond.code == 1 && beyond.err.contains("its last one is 3"), "{beyond:?}");

    let history = directory.done(&show(&["--history", "--version", "2"]));
    let kinds: Vec<_> = history.lines().map(|line| line.split("  ").last().unwrap()).collect();
    assert_eq!(kinds, ["AccountOpened.v1", "Deposited.v1"]);
    let listed = directory.json(&["aggregates"]).remove(0);
    assert_eq!(
        (&listed["name"], &listed["stream"], &listed["snapshots"]),
        (&json!("accounts"), &json!("accounts"), &json!(1))
    );
    let unknown = directory.run(&["aggregates", "show", "nothing", "x"]);
    assert!(unknown.code == 1 && unknown.err.contains("`nothing` isn't running"), "{unknown:?}");
}

#[test]
fn a_wrong_setting_of_an_aggregate_is_told_with_its_place() {
    for (wrong, words) in [
        ("snapshot_every = 2", "snapshot_every = 0", "`consumers.accounts.aggregate.snapshot_every` is 0"),
        ("stream = \"accounts\", ", "", "`consumers.accounts.aggregate.stream` is missing"),
        ("snapshot_every", "snapshots", "snapshots"),
    ]
    .map(|(from, to, words)| (ACCOUNTS.replace(from, to), words))
    {
        let directory = Directory::new(&wrong);
        let outcome = directory.run(&["run"]);
        assert!(outcome.code == 1 && outcome.err.contains(words), "{words}: {outcome:?}");
    }
}
