//! Schemas in files: `.proto` beside `.json`, and the folder that the configuration names.

use std::fs;

use crate::cli_process::Directory;

const V1: &str = "syntax = 'proto3';\nmessage OrderPlaced {\n  string order = 1;\n  int32 price = 2;\n}\n";
const JSON: &str = r#"{"type": "object", "properties": {"price": {"type": "integer"}}}"#;

fn v2() -> String {
    V1.replace("int32", "int64")
}

/// A directory whose configuration names a folder with these files.
fn directory(settings: &str, files: &[(&str, &str)]) -> Directory {
    let topic = "[topics.orders]\nschemas = \"required\"\n";
    let directory = Directory::new(&format!("[schemas]\nfolder = \"schemas\"\n{settings}\n{topic}"));
    fs::create_dir(directory.path().join("schemas")).unwrap();
    for (name, text) in files {
        put(&directory, name, text);
    }
    directory
}

fn put(directory: &Directory, name: &str, text: &str) {
    directory.put(&format!("schemas/{name}"), text.as_bytes());
}

/// The subjects that are registered, with their modes and how many versions they have.
fn registered(directory: &Directory) -> Vec<(String, String, usize)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let subjects = directory.json(&["schemas", "list"]);
    let subject = |subject: &serde_json::Value| {
        let versions = subject["versions"].as_array().unwrap().len();
        (text(&subject["name"]), text(&subject["compatibility"]), versions)
    };
    subjects.iter().map(subject).collect()
}

fn subject(name: &str, mode: &str, versions: usize) -> (String, String, usize) {
    (name.to_owned(), mode.to_owned(), versions)
}

#[test]
fn files_of_protobuf_are_checked_registered_and_shown_beside_those_of_json() {
    let files = [("OrderPlaced.v1.proto", V1), ("OrderPlaced.v2.proto", &v2()), ("Order.v1.json", JSON)];
    let directory = directory("", &files);
    let told = directory.done(&["schemas", "check", "schemas"]);
    assert_eq!(told, "Order.v1: ok\nOrderPlaced.v1: ok\nOrderPlaced.v2: ok\n");
    let outcome = directory.run(&["schemas", "check", "schemas", "--compatibility", "forward"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let words = "who knows version 1 can't read what version 2 writes: field-type-changed at `/price`";
    assert!(outcome.out.contains("OrderPlaced.v2.proto") && outcome.out.contains(words), "{outcome:?}");
    directory.done(&["schemas", "register", "schemas"]);
    assert_eq!(
        registered(&directory),
        [subject("Order", "backward", 1), subject("OrderPlaced", "backward", 2)]
    );
    let table = directory.done(&["schemas"]);
    assert!(table.contains("Protobuf") && table.contains("JSON Schema"), "{table}");
    let shown = directory.done(&["schemas", "show", "OrderPlaced.v1"]);
    assert!(shown.contains("Protobuf") && shown.ends_with(&format!("{V1}\n")), "{shown}");
    put(&directory, "Bad.v1.proto", "message Bad {\n  int32 a = 1;\n}");
    let outcome = directory.run(&["schemas", "register", "schemas/Bad.v1.proto"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.out.contains("Bad.v1.proto") && outcome.out.contains("line 2, column 3"), "{outcome:?}");
}

#[test]
fn messages_are_published_as_base64_and_refused_with_their_path() {
    let directory = directory("", &[("OrderPlaced.v1.proto", V1)]);
    directory.done(&["schemas", "register", "schemas"]);
    let line = |id: &str, data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/t","type":"OrderPlaced.v1","datacontenttype":"application/protobuf","data_base64":"{data}"}}"#
        )
    };
    // `order: "17", price: 450`, and one whose price is a string.
    let lines = [line("right", "CgIxNxDCAw=="), line("wrong", "CgIxOBIBNQ==")];
    let outcome = directory.run_with(&["publish", "orders", "-"], &lines.join("\n"));
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert_eq!(outcome.out, "1 published, 0 duplicates dropped, 1 refused\n");
    let words = "event `wrong` is no `OrderPlaced.v1`, at `/price`";
    assert!(outcome.err.starts_with("-:2: ") && outcome.err.contains(words), "{outcome:?}");
    let read = directory.json(&["read", "orders"]);
    assert_eq!(read.len(), 1);
    assert!(read[0].to_string().contains(r#""data_base64":"CgIxNxDCAw==""#), "{read:?}");
}

#[test]
fn a_service_brings_its_schemas_along() {
    let settings = "compatibility = \"full\"\nsubjects = { OrderPlaced = \"backward\" }";
    let files = [("OrderPlaced.v1.proto", V1), ("OrderPlaced.v2.proto", &v2()), ("Order.v1.json", JSON)];
    let directory = directory(settings, &files);
    assert_eq!(
        directory.done(&["schemas", "check"]),
        "Order.v1: ok\nOrderPlaced.v1: ok\nOrderPlaced.v2: ok\n"
    );
    let full = directory.run(&["schemas", "check", "--compatibility", "full"]);
    assert!(full.code == 1 && full.out.contains("is not full"), "{full:?}");
    let expected = [subject("Order", "full", 1), subject("OrderPlaced", "backward", 2)];
    for _ in 0..2 {
        let running = directory.serve();
        assert_eq!(registered(&directory), expected);
        assert_eq!(running.end().0, 0);
    }
    assert_eq!(
        directory.log().matches("schema `OrderPlaced.v2` registered").count(),
        1,
        "{}",
        directory.log()
    );
}

#[test]
fn a_service_doesnt_start_with_a_schema_that_differs() {
    let directory = directory("", &[("OrderPlaced.v1.proto", V1)]);
    assert_eq!(directory.serve().end().0, 0);
    put(&directory, "Another.v1.proto", V1);
    for (name, text, words) in [
        ("OrderPlaced.v1.proto", &*v2(), "says something else than version 1 that is registered"),
        ("OrderPlaced.v2.proto", "message OrderPlaced {", "line 1, column 22"),
        ("OrderPlaced.v2.proto", &v2().replace("int64", "string"), "field-type-changed at `/price`"),
        ("OrderPlaced.v3.proto", V1, "the next one of its event type is 2"),
        ("OrderPlaced.v1.json", JSON, "are of the same event type"),
    ] {
        put(&directory, name, text);
        let outcome = directory.run(&["run"]);
        assert_eq!(outcome.code, 1, "{outcome:?}");
        assert!(outcome.err.contains(name) && outcome.err.contains(words), "{words}: {outcome:?}");
        assert_eq!(registered(&directory), [subject("OrderPlaced", "backward", 1)], "of the others none is");
        fs::remove_file(directory.path().join("schemas").join(name)).unwrap();
        put(&directory, "OrderPlaced.v1.proto", V1);
    }
    assert_eq!(directory.serve().end().0, 0);
    fs::remove_dir_all(directory.path().join("schemas")).unwrap();
    let outcome = directory.run(&["run"]);
    assert!(outcome.code == 1 && outcome.err.contains("schemas"), "{outcome:?}");
}

#[test]
fn a_folder_that_changes_while_the_bus_runs_is_followed_and_a_bad_one_changes_nothing() {
    let directory = directory("", &[("OrderPlaced.v1.proto", V1)]);
    let running = directory.serve();
    put(&directory, "OrderPlaced.v2.proto", &v2());
    let is_registered = |versions| registered(&directory) == [subject("OrderPlaced", "backward", versions)];
    directory.until("version 2", || is_registered(2));
    put(&directory, "OrderPlaced.v2.proto", V1);
    let words = "OrderPlaced.v2.proto says something else than version 2";
    directory.until("the refusal", || directory.log().contains(words));
    put(&directory, "OrderPlaced.v3.proto", &v2());
    put(&directory, "OrderPlaced.v2.proto", &v2());
    directory.until("version 3", || is_registered(3));
    assert_eq!(running.end().0, 0);
}

#[test]
fn checking_without_a_folder_says_what_is_missing() {
    let directory = Directory::new("");
    let outcome = directory.run(&["schemas", "check"]);
    assert!(outcome.code == 2 && outcome.err.contains("set `folder` in `[schemas]`"), "{outcome:?}");
}
