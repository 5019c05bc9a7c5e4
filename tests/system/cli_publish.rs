//! `tidegate publish` and `tidegate read`.

use crate::cli_process::{Directory, line};

const TOPIC: &str = "[topics.in]\npartitions = 2\n";

#[test]
fn a_wrong_line_is_refused_with_its_number_and_the_others_go_in() {
    let directory = Directory::new(TOPIC);
    let wrong = r#"{"specversion":"1.0","id":"x","source":"/t"}"#;
    let input = [&line("a", "k", "1"), wrong, "", "{oops", &line("b", "k", "2")].join("\n");
    let outcome = directory.run_with(&["publish", "in", "-"], &input);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.out, "2 published, 0 duplicates dropped, 2 refused\n");
    let told: Vec<&str> = outcome.err.lines().collect();
    assert!(told[0].starts_with("-:2: `type` is missing"), "{told:?}");
    assert!(told[1].starts_with("-:4: the event is not a JSON object"), "{told:?}");
    assert_eq!(directory.json(&["read", "in"]).len(), 2);
}

#[test]
fn with_atomic_a_wrong_line_keeps_all_out() {
    let directory = Directory::new(TOPIC);
    let input = [&line("a", "k", "1"), "{oops", &line("b", "k", "2")].join("\n");
    let outcome = directory.run_with(&["publish", "in", "-", "--atomic"], &input);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.err.contains("-:2: ") && outcome.err.contains("nothing is published"), "{outcome:?}");
    assert!(directory.json(&["read", "in"]).is_empty());
    let right = [line("a", "k", "1"), line("b", "k", "2")].join("\n");
    assert_eq!(directory.run_with(&["publish", "in", "-", "--atomic"], &right).code, 0);
    let records = directory.json(&["read", "in"]);
    assert_eq!(records[0]["commit"], records[1]["commit"], "one commit");
}

#[test]
fn what_is_published_again_is_counted_as_dropped() {
    let directory = Directory::new(TOPIC);
    directory.put("events", [line("a", "k", "1"), line("b", "k", "2")].join("\n").as_bytes());
    assert_eq!(
        directory.done(&["publish", "in", "events"]),
        "2 published, 0 duplicates dropped, 0 refused\n"
    );
    assert_eq!(
        directory.done(&["publish", "in", "events"]),
        "0 published, 2 duplicates dropped, 0 refused\n"
    );
}

#[test]
fn a_single_event_comes_from_options() {
    let directory = Directory::new(TOPIC);
    let arguments =
        ["publish", "in", "--type", "Test.v1", "--id", "a", "--subject", "s", "--data", r#"{"n": 1.50}"#];
    directory.done(&arguments);
    let event = &directory.json(&["read", "in"])[0]["event"];
    assert_eq!(
        (&event["id"], &event["subject"], &event["data"]["n"]),
        (&"a".into(), &"s".into(), &1.5.into())
    );
    let outcome = directory.run(&["publish", "in", "--type", "Test.v1", "--source", "not a URI"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("`source` is \"not a URI\""), "{outcome:?}");
}

#[test]
fn reading_begins_and_ends_where_it_is_told() {
    let directory = Directory::new(TOPIC);
    directory.publish("in", &[("a", "k"), ("b", "k"), ("c", "k")], "null");
    let ids = |arguments: &[&str]| -> Vec<String> {
        let records = directory.json(&[&["read", "in"], arguments].concat());
        records.iter().map(|record| record["event"]["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids(&["--from", "1"]), ["b", "c"]);
    assert_eq!(ids(&["--limit", "1"]), ["a"]);
    assert_eq!(ids(&["--from", "2999-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(ids(&["--partition", "0"]).len() + ids(&["--partition", "1"]).len(), 3);
    let outcome = directory.run(&["read", "in", "--partition", "2"]);
    assert_eq!(outcome.code, 1);
    assert!(outcome.err.contains("topic `in` has 2 partitions, so there is no partition 2"), "{outcome:?}");
}
