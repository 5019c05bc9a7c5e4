//! `tidegate run`, and the commands that reach it through its control socket.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::cli_process::Directory;

const COUNTER: &str = r#"
    [topics.in]
    partitions = 2
    [consumers.counter]
    plugin = "counter.wasm"
    topics = ["in"]
    grants = { state = true }
    retry = { attempts = 2, base = "1ms", max = "2ms" }
"#;

fn counter() -> Directory {
    let directory = Directory::new(COUNTER);
    directory.put_guest("counter", "counter.wasm");
    directory
}

/// How often the counter has counted a key.
fn count(directory: &Directory, key: &str) -> u64 {
    let prefix = format!("count/{key}");
    let entries = directory.json(&["consumers", "state", "counter", "--prefix", &prefix]);
    entries.iter().map(|entry| entry["value"].as_u64().unwrap()).sum()
}

#[test]
fn commands_work_alike_while_the_bus_runs_and_while_it_does_not() {
    let directory = counter();
    directory.publish("in", &[("a", "k")], "null");
    let running = directory.serve();
    directory.publish("in", &[("b", "k")], "null");
    directory.until_handled("counter", 2);
    assert_eq!(count(&directory, "k"), 2);
    let while_it_runs = directory.json(&["read", "in"]);
    assert_eq!(running.end().0, 0);
    assert_eq!(directory.json(&["read", "in"]), while_it_runs);
    assert_eq!(count(&directory, "k"), 2);
    assert_eq!(directory.consumer("counter")["kind"], "detached");
}

#[test]
fn the_control_socket_is_its_owners_alone_and_a_dead_ones_is_replaced() {
    let directory = counter();
    let running = directory.serve();
    let socket = directory.path().join("control.sock");
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    running.kill();
    assert!(socket.exists());
    directory.done(&["topics"]);
    let running = directory.serve();
    directory.done(&["topics"]);
    assert_eq!(running.end().0, 0);
    assert!(!socket.exists());
}

#[test]
fn a_data_directory_may_have_a_path_that_is_too_long_for_a_socket() {
    let directory = counter();
    let deep = directory.path().join("d".repeat(150));
    std::fs::create_dir(&deep).unwrap();
    std::fs::copy(directory.path().join("tidegate.toml"), deep.join("tidegate.toml")).unwrap();
    std::fs::copy(directory.path().join("counter.wasm"), deep.join("counter.wasm")).unwrap();
    let deep = deep.to_str().unwrap();
    let mut running = directory.start(&["--dir", deep, "run"]);
    assert!(running.line().starts_with("ready: "), "{}", directory.log());
    assert_eq!(directory.json(&["--dir", deep, "topics"]).len(), 1);
    assert_eq!(running.end().0, 0);
}

#[test]
fn following_shows_what_is_published_later() {
    let directory = counter();
    let running = directory.serve();
    directory.publish("in", &[("a", "k")], "null");
    let mut follower = directory.start(&["read", "in", "--follow", "--json"]);
    assert!(follower.line().contains(r#""id":"a""#));
    directory.publish("in", &[("b", "k")], "null");
    assert!(follower.line().contains(r#""id":"b""#));
    drop(follower);
    assert_eq!(running.end().0, 0);
}

#[test]
fn following_is_refused_where_nothing_can_come_and_keeps_nobody_out() {
    let directory = counter();
    directory.publish("in", &[("a", "k")], "null");
    for options in [&[][..], &["--lift"]] {
        // It would end by itself at the event that is there, if it were to begin.
        let outcome = directory.run(&[&["read", "in", "--follow", "--limit", "1"], options].concat());
        assert!(outcome.code == 1 && outcome.out.is_empty(), "{outcome:?}");
        assert!(outcome.err.contains("start `tidegate run`, then follow"), "{outcome:?}");
    }
    assert_eq!(directory.json(&["read", "in"]).len(), 1);
    let running = directory.serve();
    let mut follower = directory.start(&["read", "in", "--follow"]);
    assert!(follower.line().contains("Test.v1"));
    drop(follower);
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_paused_consumer_stands_still_over_a_restart_and_goes_on_when_told() {
    let directory = counter();
    let running = directory.serve();
    directory.done(&["consumers", "pause", "counter"]);
    assert_eq!(running.end().0, 0);
    let running = directory.serve();
    directory.publish("in", &[("a", "k"), ("b", "k")], "null");
    let status = directory.consumer("counter");
    assert_eq!((&status["paused"], &status["lag_events"]), (&json!(true), &json!(2)));
    directory.done(&["consumers", "resume", "counter"]);
    directory.until_handled("counter", 2);
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_consumer_that_was_moved_back_is_delivered_to_again() {
    let directory = counter();
    let running = directory.serve();
    directory.publish("in", &[("a", "k"), ("b", "k")], "null");
    directory.until_handled("counter", 2);
    directory.done(&["consumers", "seek", "counter", "--to", "earliest"]);
    directory.until_handled("counter", 4);
    assert_eq!(count(&directory, "k"), 4);
    let outcome = directory.run(&["consumers", "seek", "nobody", "--to", "latest"]);
    assert!(outcome.code == 1 && outcome.err.contains("there is no consumer `nobody`"), "{outcome:?}");
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_dead_letter_is_listed_shown_redriven_and_discarded() {
    let directory = counter();
    let running = directory.serve();
    assert_eq!(directory.done(&["dlq", "list", "counter"]), "no dead letters\n");
    directory.publish("in", &[("a", "k"), ("b", "l")], r#"{"fail":"permanent"}"#);
    directory.until("the letters", || directory.json(&["dlq", "list", "counter"]).len() == 2);
    let letters =
        directory.json(&["dlq", "list", "counter", "--filter", "key=k", "--filter", "code=told-to"]);
    assert_eq!(letters.len(), 1);
    let id = letters[0]["id"].to_string();
    let shown = directory.done(&["dlq", "show", "counter", &id]);
    assert!(shown.contains("permanent (told-to)") && shown.contains(r#""id":"a""#), "{shown}");

    assert!(directory.done(&["dlq", "redrive", "counter", &id, "--dry-run"]).contains("to redrive"));
    assert_eq!(directory.json(&["dlq", "list", "counter"]).len(), 2);
    directory.done(&["dlq", "redrive", "counter", &id]);
    // It fails again, and is another letter that says so.
    directory.until("the letter's return", || {
        directory.json(&["dlq", "list", "counter"]).iter().any(|letter| letter["redriven"] == true)
    });
    directory.done(&["dlq", "discard", "counter", "--all", "--yes"]);
    assert_eq!(directory.done(&["dlq", "list", "counter"]), "no dead letters\n");
    let outcome = directory.run(&["dlq", "show", "counter", &id]);
    assert!(outcome.code == 1 && outcome.err.contains("has no dead letter"), "{outcome:?}");
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_changed_plugin_file_takes_over_and_a_bad_one_is_refused() {
    let directory = counter();
    let running = directory.serve();
    directory.put("counter.wasm", b"not a component");
    directory.until("the refusal", || !directory.consumer("counter")["refused"].is_null());
    directory.publish("in", &[("a", "k")], "null");
    directory.until_handled("counter", 1);
    assert_eq!(directory.consumer("counter")["version"]["version"], "0.1.0");
    directory.put_guest("counter_v2", "counter.wasm");
    directory.until("the new version", || directory.consumer("counter")["version"]["version"] == "0.2.0");
    assert!(directory.consumer("counter")["refused"].is_null());
    directory.publish("in", &[("b", "k")], "null");
    directory.until_handled("counter", 2);
    assert_eq!(count(&directory, "k"), 2);
    assert!(directory.done(&["plugins", "reload", "counter"]).contains("already"));
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_changed_configuration_adds_and_removes_consumers_and_a_bad_one_changes_nothing() {
    let directory = counter();
    let running = directory.serve();
    directory.configure("[topics.in]\npartitions = 2\ncolour = 'red'\n");
    directory.until("the refusal", || directory.log().contains("there is no setting `topics.in.colour`"));
    assert_eq!(directory.consumer("counter")["kind"], "plugin");

    let second = COUNTER.replace("consumers.counter", "consumers.second");
    directory.configure(&second);
    let names = || -> Vec<String> {
        let plugins = directory.json(&["plugins"]);
        plugins.iter().map(|plugin| plugin["consumer"].as_str().unwrap().to_owned()).collect()
    };
    directory.until("the change", || names() == ["second"]);
    assert_eq!(directory.consumer("counter")["kind"], "detached");
    let outcome = directory.run(&["consumers", "forget", "second", "--yes"]);
    assert!(outcome.code == 1 && outcome.err.contains("is running"), "{outcome:?}");
    directory.done(&["consumers", "forget", "counter", "--yes"]);
    assert_eq!(directory.json(&["consumers"]).len(), 1);
    assert_eq!(running.end().0, 0);
}

#[test]
fn what_is_left_is_told_at_the_end() {
    let directory = counter();
    let running = directory.serve();
    directory.publish("in", &[("a", "k")], "null");
    directory.until_handled("counter", 1);
    let (code, told) = running.end();
    assert_eq!((code, &*told), (0, "ended: closed in good order\n"));

    let running = directory.serve();
    directory.done(&["consumers", "pause", "counter"]);
    directory.publish("in", &[("b", "k"), ("c", "k")], "null");
    let (code, told) = running.end();
    assert_eq!((code, &*told), (0, "left: counter: 2 events to come\nended: closed in good order\n"));
}
