//! What the binary says when something is wrong: one clear error that names the thing and the remedy, and nothing lost.

use std::fs;

use redb::{Database, ReadableTable, TableDefinition};

use crate::cli_process::{Directory, Outcome, line};

const TOPIC: &str = "[topics.in]\npartitions = 2\n";

/// The error is one line and says all of this.
fn assert_says(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, code, "{outcome:?}");
    assert_eq!(outcome.err.lines().count(), 1, "{outcome:?}");
    for word in words {
        assert!(outcome.err.contains(word), "{word:?} is missing: {outcome:?}");
    }
}

#[test]
fn a_command_without_a_data_directory_says_how_to_make_one() {
    let directory = Directory::new(TOPIC);
    let outcome = directory.run(&["--dir", "nowhere", "topics"]);
    assert_says(&outcome, 3, &["there is no data directory nowhere", "tidegate init nowhere"]);
    assert!(!directory.path().join("nowhere").exists());
}

#[test]
fn init_makes_a_directory_and_never_overwrites() {
    let directory = Directory::new(TOPIC);
    let out = directory.done(&["init", "new"]);
    assert!(out.contains("tidegate --dir new run"), "{out}");
    fs::write(directory.path().join("new/tidegate.toml"), "mine").unwrap();
    assert!(directory.done(&["init", "new"]).contains("stays as it is"));
    assert_eq!(fs::read_to_string(directory.path().join("new/tidegate.toml")).unwrap(), "mine");
}

#[test]
fn an_unknown_setting_is_named_with_its_line() {
    let directory = Directory::new("[topics.in]\npartitons = 2\n");
    let outcome = directory.run(&["run"]);
    assert_says(
        &outcome,
        1,
        &["tidegate.toml:2: there is no setting `topics.in.partitons`", "did you mean `partitions`?"],
    );
    assert!(!directory.path().join("tidegate.redb").exists(), "nothing was begun");
}

#[test]
fn a_truncated_database_is_refused_and_left_as_it_is() {
    let directory = Directory::new(TOPIC);
    directory.publish("in", &[("a", "k")], "null");
    let file = directory.path().join("tidegate.redb");
    let content = fs::read(&file).unwrap();
    fs::write(&file, &content[..content.len() / 3]).unwrap();
    for command in [&["topics"][..], &["run"], &["read", "in"]] {
        let outcome = directory.run(command);
        assert_says(&outcome, 4, &["tidegate.redb can't be opened", "Restore it from a backup"]);
    }
    assert_eq!(fs::read(&file).unwrap(), &content[..content.len() / 3]);
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let directory = Directory::new(TOPIC);
    directory.put(
        "tidegate.redb",
        b"dear diary, today I was a database. Or so they said, and I believed them at first.",
    );
    assert_says(&directory.run(&["topics"]), 4, &["tidegate.redb can't be opened"]);
    assert!(fs::read(directory.path().join("tidegate.redb")).unwrap().starts_with(b"dear diary"));
}

#[test]
fn a_database_of_a_newer_format_is_refused_and_left_as_it_is() {
    const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
    let directory = Directory::new(TOPIC);
    directory.publish("in", &[("a", "k")], "null");
    {
        let database = Database::open(directory.path().join("tidegate.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut meta = transaction.open_table(META).unwrap();
            assert!(meta.get("format").unwrap().is_some(), "the format stands elsewhere");
            meta.insert("format", 99_u32.to_le_bytes().as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }
    let outcome = directory.run(&["topics"]);
    assert_says(&outcome, 4, &["has format 99", "use the tidegate that wrote it or a newer one"]);
}

#[test]
fn a_second_process_is_refused_and_says_who_has_the_directory() {
    let directory = Directory::new(TOPIC);
    let running = directory.serve();
    let outcome = directory.run(&["run"]);
    assert_says(&outcome, 3, &["is in use: process", "stop that one first"]);
    assert_eq!(running.end().0, 0);
}

#[test]
fn a_directory_whose_owner_serves_no_socket_is_named() {
    let directory = Directory::new(TOPIC);
    let bus = tidegate::Bus::open(directory.path()).unwrap();
    let outcome = directory.run(&["topics"]);
    assert_says(&outcome, 3, &["is in use by another process", "control socket", "serve_control"]);
    bus.blocking().shutdown(crate::house::SHUTDOWN);
    directory.done(&["topics"]);
}

#[test]
fn a_refused_consumer_is_named_and_the_others_run() {
    let directory = Directory::new(
        r#"
        [topics.in]
        partitions = 2
        [topics.wide]
        partitions = 3
        [consumers.good]
        plugin = "good.wasm"
        topics = ["in"]
        [consumers.core]
        plugin = "core.wasm"
        topics = ["in"]
        [consumers.missing]
        plugin = "missing.wasm"
        topics = ["in"]
        [consumers.stranger]
        plugin = "stranger.wasm"
        topics = ["in"]
        [consumers.greedy]
        plugin = "greedy.wasm"
        topics = ["in"]
        "#,
    );
    directory.put_guest("idle", "good.wasm");
    directory.put("core.wasm", tidegate_guests::NOT_A_COMPONENT);
    directory.put_guest("other_world", "stranger.wasm");
    directory.put_guest("bad_describe", "greedy.wasm");
    let running = directory.serve();
    let log = directory.log();
    for words in [
        ["consumer `core`", "core.wasm", "component"],
        ["consumer `missing`", "missing.wasm", "No such file"],
        ["consumer `stranger`", "stranger.wasm", "does not export"],
        ["consumer `greedy`", "greedy.wasm", "forbidden"],
    ] {
        let line = log.lines().find(|line| line.contains("ERROR") && line.contains(words[0]));
        let line = line.unwrap_or_else(|| panic!("{words:?} is not in {log}"));
        assert!(words.iter().all(|word| line.contains(word)), "{words:?}: {line}");
    }
    directory.publish("in", &[("a", "k")], "null");
    directory.until_handled("good", 1);
    assert_eq!(directory.json(&["plugins"]).len(), 1);
    // What was missing comes, and is taken without a restart.
    directory.put_guest("idle", "missing.wasm");
    directory.until("the missing one", || directory.json(&["plugins"]).len() == 2);
    assert_eq!(running.end().0, 0);
}

#[test]
fn topics_of_unequal_partition_counts_are_refused_together() {
    let both = "[topics.in]\npartitions = 2\n[topics.wide]\npartitions = 3\n\
        [consumers.both]\nplugin = 'idle.wasm'\ntopics = ['in', 'wide']\n";
    let directory = Directory::new(both);
    let outcome = directory.run(&["run"]);
    assert_says(
        &outcome,
        1,
        &["tidegate.toml:", "consumer `both`", "`in` with 2", "`wide` with 3", "numbers have to be equal"],
    );
}

#[test]
fn a_full_disk_refuses_events_and_still_reads_and_says_so() {
    let directory = Directory::new(TOPIC);
    directory.publish("in", &[("a", "k")], "null");
    directory.configure(&format!("[bus]\nfree_bytes_min = '8000TB'\n{TOPIC}"));
    let outcome = directory.run_with(&["publish", "in", "-"], &line("b", "k", "null"));
    assert_says(&outcome, 1, &["the disk has", "bytes free", "shorten the retention"]);
    assert_eq!(directory.json(&["read", "in"]).len(), 1);
}

#[test]
fn what_is_for_good_wants_to_be_confirmed() {
    let directory = Directory::new(TOPIC);
    assert_says(&directory.run(&["consumers", "forget", "a"]), 2, &["consumer `a`", "--yes"]);
    assert_says(&directory.run(&["dlq", "discard", "a", "--all"]), 2, &["consumer `a`", "--yes"]);
}
