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
fn an_input_that_one_commit_cannot_take_is_refused_before_it_is_read_to_its_end() {
    let directory = Directory::new(NUMBERED);
    let many: Vec<String> = (0..=65_536).map(|number| line(&number.to_string(), "k", "1")).collect();
    directory.put("most", many[..65_536].join("\n").as_bytes());
    let large = format!("\"{}\"", "x".repeat(1_000_000));
    let large: Vec<String> = (0..9).map(|number| line(&number.to_string(), "k", &large)).collect();
    for (lines, words, max) in [(many, "65537 events", "65536"), (large, " bytes at once", "8388608")] {
        // Who reads on tells of the wrong line behind.
        directory.put("events", format!("{}\n{{oops\n", lines.join("\n")).as_bytes());
        for option in [&["--atomic"][..], &["--expect", "0"]] {
            let outcome = directory.run(&[&["publish", "in", "events"], option].concat());
            assert_eq!((outcome.code, outcome.out.as_str()), (1, ""), "{outcome:?}");
            assert!(outcome.err.contains(words) && outcome.err.lines().count() == 1, "{outcome:?}");
            let told = format!("at once are more than the {max} that one commit takes");
            assert!(outcome.err.contains(&told), "{outcome:?}");
        }
    }
    assert!(directory.json(&["read", "in"]).is_empty());
    let most = directory.done(&["publish", "in", "most", "--expect", "0"]);
    assert!(most.starts_with("65536 published, "), "{most}");
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

#[test]
fn data_with_line_breaks_is_printed_on_one_line() {
    in_both_ways("[topics.in]\npartitions = 1\n", |directory| {
        let event = line("a", "k", "[1,\r2]");
        let published = directory.run_with(&["publish", "in", "-"], &event);
        assert_eq!(published.code, 0, "{published:?}");
        let out = directory.done(&["read", "in", "--json"]);
        assert!(out.ends_with('\n') && !out.trim_end().contains(['\n', '\r']), "{out:?}");
        assert!(out.contains("[1, 2]"), "{out:?}");
    });
}

const NUMBERED: &str = "[topics.in]\npartitions = 2\nsequence = true\n[topics.plain]\npartitions = 1\n";

/// What holds on a running bus, through its socket, and on one that isn't.
fn in_both_ways(configuration: &str, holds: impl Fn(&Directory)) {
    holds(&Directory::new(configuration));
    let directory = Directory::new(configuration);
    let running = directory.serve();
    holds(&directory);
    assert_eq!(running.end().0, 0);
}

#[test]
fn one_key_is_read_by_its_numbers() {
    in_both_ways(NUMBERED, |directory| {
        directory.publish("in", &[("a", "k"), ("b", "other"), ("c", "k"), ("d", "k")], "7");
        let numbers = |arguments: &[&str]| -> Vec<(String, String)> {
            let out = directory.done(&[&["read", "in", "--key", "k"], arguments].concat());
            let word = |line: &str, at: usize| line.split("  ").nth(at).unwrap().to_owned();
            out.lines().map(|line| (word(line, 0), word(line, 4))).collect()
        };
        let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(number, id)| ((*number).to_owned(), (*id).to_owned())).collect()
        };
        assert_eq!(numbers(&[]), of(&[("1", "a"), ("2", "c"), ("3", "d")]));
        assert_eq!(numbers(&["--after", "1"]), of(&[("2", "c"), ("3", "d")]));
        assert_eq!(numbers(&["--after", "1", "--limit", "1"]), of(&[("2", "c")]));
        assert_eq!(numbers(&["--after", "3"]), of(&[]));
        let records = directory.json(&["read", "in", "--key", "other"]);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["event"]["sequence"], "00000000000000000001");
        assert!(directory.json(&["read", "in", "--key", "nobody"]).is_empty());

        let plain = directory.run_with(&["publish", "plain", "-"], &line("a", "k", "1"));
        assert_eq!(plain.code, 0, "{plain:?}");
        let refused = directory.run(&["read", "plain", "--key", "k"]);
        assert_eq!(refused.code, 1);
        assert!(refused.err.contains("topic `plain` doesn't number the events"), "{refused:?}");
        let unknown = directory.run(&["read", "nowhere", "--key", "k"]);
        assert!(unknown.code == 1 && unknown.err.contains("no topic `nowhere`"), "{unknown:?}");
        assert_eq!(directory.run(&["read", "in", "--after", "1"]).code, 2, "numbers are those of a key");
    });
}

#[test]
fn who_expects_another_number_is_told_the_actual_one_by_exit_code_5() {
    in_both_ways(NUMBERED, |directory| {
        let publish = |expect: &str, events: &[(&str, &str)]| {
            let lines: Vec<String> = events.iter().map(|(id, key)| line(id, key, "1")).collect();
            directory.run_with(&["publish", "in", "-", "--expect", expect], &lines.join("\n"))
        };
        let first = publish("0", &[("a", "k"), ("b", "k")]);
        assert_eq!((first.code, first.err.as_str()), (0, ""), "{first:?}");
        assert_eq!(first.out, "2 published, 0 duplicates dropped, 0 refused; the last has number 2\n");
        for wrong in ["0", "1", "3"] {
            let conflict = publish(wrong, &[("c", "k")]);
            assert_eq!(conflict.code, 5, "{conflict:?}");
            let told = format!("`in` has number 2, and {wrong} was expected");
            assert!(conflict.err.contains(&told) && conflict.err.lines().count() == 1, "{conflict:?}");
        }
        let again = publish("0", &[("a", "k"), ("b", "k")]);
        assert_eq!(again.out, "0 published, 2 duplicates dropped, 0 refused; the last has number 2\n");
        let mixed = publish("2", &[("c", "k"), ("d", "other")]);
        assert!(mixed.code == 1 && mixed.err.contains("of one key"), "{mixed:?}");
        let lines = [line("c", "k", "1"), "{oops".to_owned()].join("\n");
        let wrong = directory.run_with(&["publish", "in", "-", "--expect", "2"], &lines);
        assert!(wrong.code == 1 && wrong.err.contains("nothing is published, as --expect"), "{wrong:?}");
        assert_eq!(directory.json(&["read", "in"]).len(), 2);
        let single =
            ["publish", "in", "--type", "Test.v1", "--id", "c", "--subject", "k", "--expect", "2", "--json"];
        assert_eq!(
            directory.done(&single).trim(),
            r#"{"published":1,"duplicates":0,"refused":0,"number":3}"#
        );
    });
}

#[test]
fn the_list_of_topics_says_which_number_their_events() {
    let directory = Directory::new(NUMBERED);
    directory.publish("in", &[("a", "k")], "1");
    directory.publish("plain", &[("a", "k")], "1");
    let made = directory.done(&["topics", "create", "more", "--sequence"]);
    assert_eq!(made, "topic `more` has 8 partitions, numbers the events of each key and keeps all\n");
    let out = directory.done(&["topics"]);
    let says = |topic: &str| out.lines().find(|line| line.starts_with(topic)).unwrap().contains("numbered");
    assert!(out.lines().next().unwrap().contains("KEYS"), "{out}");
    assert!(says("in") && says("more") && !says("plain"), "{out}");
    let refused = directory.run(&["topics", "create", "more"]);
    assert!(refused.code == 1 && refused.err.contains("`more`"), "{refused:?}");
}
