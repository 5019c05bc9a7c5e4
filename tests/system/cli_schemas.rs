//! `tidegate schemas`, and topics that require them.

use std::fs;

use crate::cli_process::Directory;

const V1: &str = r#"{"type": "object", "required": ["price"], "properties": {"price": {"type": "integer"}}}"#;
const V2: &str = r#"{"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}}"#;
const BROKEN: &str =
    r#"{"type": "object", "required": ["total"], "properties": {"total": {"type": "number"}}}"#;

/// A directory with a topic that requires schemas, and files of schemas.
fn directory(files: &[(&str, &str)]) -> Directory {
    let directory = Directory::new("[topics.orders]\nschemas = \"required\"\n");
    fs::create_dir(directory.path().join("schemas")).unwrap();
    for (name, text) in files {
        directory.put(&format!("schemas/{name}"), text.as_bytes());
    }
    directory
}

fn event(id: &str, event_type: &str, data: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"{id}","source":"/t","type":"{event_type}","data":{data}}}"#)
}

#[test]
fn a_topic_that_requires_schemas_tells_the_line_and_the_path_of_what_is_wrong() {
    let directory = directory(&[("OrderPlaced.v1.json", V1)]);
    directory.done(&["schemas", "register", "schemas"]);
    let input = [
        event("right", "OrderPlaced.v1", r#"{"price": 3}"#),
        event("wrong", "OrderPlaced.v1", r#"{"price": "secret"}"#),
        event("unversioned", "OrderPlaced", r#"{"price": 3}"#),
        event("unregistered", "OrderPlaced.v2", r#"{"price": 3}"#),
    ];
    let outcome = directory.run_with(&["publish", "orders", "-"], &input.join("\n"));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.out, "1 published, 0 duplicates dropped, 3 refused\n");
    let told: Vec<&str> = outcome.err.lines().collect();
    for (line, words) in [
        ("-:2: ", "event `wrong` is no `OrderPlaced.v1`, at `/price`"),
        ("-:3: ", "names no version: publish it with one, as `OrderPlaced.v1`"),
        ("-:4: ", "there is none of type `OrderPlaced.v2` of event `unregistered`, only version 1"),
    ] {
        assert!(told.iter().any(|told| told.starts_with(line) && told.contains(words)), "{words}: {told:?}");
    }
    assert!(!outcome.err.contains("secret"), "{outcome:?}");
    assert_eq!(directory.json(&["read", "orders"]).len(), 1);
}

#[test]
fn what_is_registered_is_listed_and_shown() {
    let directory = directory(&[("OrderPlaced.v1.json", V1), ("OrderPlaced.v2.json", V2), ("README.md", "")]);
    assert!(directory.done(&["schemas"]).contains("no schemas: "));
    let told = directory.done(&["schemas", "register", "schemas", "--compatibility", "backward-transitive"]);
    assert!(told.starts_with("OrderPlaced.v1: registered ") && told.lines().count() == 2, "{told}");
    assert_eq!(directory.done(&["schemas", "register", "schemas"]), told, "again changes nothing");
    let listed = directory.json(&["schemas", "list"]);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["name"], &listed[0]["compatibility"]),
        (&"OrderPlaced".into(), &"backward-transitive".into())
    );
    assert_eq!(listed[0]["versions"].as_array().unwrap().len(), 2);
    let table = directory.done(&["schemas"]);
    assert!(table.contains("OrderPlaced") && table.contains("backward-transitive"), "{table}");
    assert!(directory.done(&["schemas", "show", "OrderPlaced.v2"]).ends_with(&format!("{V2}\n")));
    let both = directory.done(&["schemas", "show", "OrderPlaced"]);
    assert!(both.contains(V1) && both.contains(V2), "{both}");
    for (name, words) in [("Order", "no schema of `Order`"), ("OrderPlaced.v3", "the last version is 2")] {
        let outcome = directory.run(&["schemas", "show", name]);
        assert!(outcome.code == 1 && outcome.err.contains(words), "{outcome:?}");
    }
}

#[test]
fn a_version_that_breaks_the_mode_is_refused_with_the_rule_and_the_path_and_the_others_go_in() {
    let files =
        [("A.v1.json", V1), ("A.v2.json", BROKEN), ("B.v1.json", V1), ("C.v1.json", "{"), ("D.v2.json", V1)];
    let directory = directory(&files);
    let outcome = directory.run(&["schemas", "register", "schemas"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let told: Vec<&str> = outcome.out.lines().collect();
    assert_eq!(told.len(), files.len(), "{told:?}");
    assert!(told[1].contains("A.v2.json") && told[1].contains("required-added"), "{told:?}");
    assert!(told[1].contains("who knows version 2 can't read what version 1 writes"), "{told:?}");
    assert!(
        told[3].contains("no JSON") && told[4].contains("the next version of its subject is 1"),
        "{told:?}"
    );
    let listed = directory.json(&["schemas"]);
    let names: Vec<_> = listed.iter().map(|subject| subject["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["A", "B"]);
}

#[test]
fn files_are_checked_without_a_bus() {
    let directory = directory(&[("A.v1.json", V1), ("A.v2.json", V2), ("A.v10.json", V2)]);
    // There is no such data directory.
    let check = |options: &[&str]| {
        directory.run(&[&["schemas", "--dir", "nowhere", "check", "schemas"], options].concat())
    };
    let outcome = check(&[]);
    assert_eq!((outcome.code, outcome.out.as_str()), (0, "A.v1: ok\nA.v2: ok\nA.v10: ok\n"), "{outcome:?}");
    let outcome = check(&["--compatibility", "full"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.out.contains("who knows version 1 can't read what version 2 writes: "), "{outcome:?}");
    assert!(outcome.out.contains("/price"), "{outcome:?}");
    let json = check(&["--compatibility", "full", "--json"]);
    let lines: Vec<serde_json::Value> =
        json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ok: Vec<_> = lines.iter().map(|line| line["ok"].as_bool().unwrap()).collect();
    assert_eq!(ok, [true, false, true]);
    let outcome = check(&["--compatibility", "sideways"]);
    assert!(outcome.code == 2 && outcome.err.contains("backward-transitive"), "{outcome:?}");
    for (path, code, words) in [
        ("tidegate.toml", 2, "named by its event type"),
        ("schemas/A.v3.json", 1, "A.v3.json"),
        (".", 1, "has no schemas"),
    ] {
        let outcome = directory.run(&["schemas", "check", path]);
        assert!(
            outcome.code == code && (outcome.err.contains(words) || outcome.out.contains(words)),
            "{outcome:?}"
        );
    }
}
