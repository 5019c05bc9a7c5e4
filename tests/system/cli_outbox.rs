//! Outboxes through the binary: the configuration file, and `tidegate outbox`.

use rusqlite::Connection;
use serde_json::{Value, json};
use tidegate::config::OutboxDatabase;
use tidegate::outbox::create_tables;

use crate::cli_process::Directory;
use crate::postgres_server::{Session, server};

const SHOP: &str = r#"
    [topics.orders]
    partitions = 1
    [outboxes.shop]
    sqlite = "shop.db"
    source = "/shop"
    poll = "5ms"
"#;

fn place(directory: &Directory, id: &str, topic: &str) {
    let connection = Connection::open(directory.path().join("shop.db")).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    connection
        .execute(
            "INSERT INTO tidegate_outbox (id, topic, type) VALUES (?1, ?2, 'OrderPlaced.v1')",
            [id, topic],
        )
        .unwrap();
}

fn ids(directory: &Directory, topic: &str) -> Vec<String> {
    let records = directory.json(&["read", topic]);
    records.iter().map(|record| record["event"]["id"].as_str().unwrap().to_owned()).collect()
}

fn status(directory: &Directory) -> Value {
    directory.json(&["outbox", "status"]).remove(0)
}

#[test]
fn rows_are_published_by_run_and_measured_whether_it_runs_or_not() {
    let directory = Directory::new(SHOP);
    assert_eq!(directory.done(&["outbox", "init", "shop"]), "made the outbox\n");
    assert!(directory.done(&["outbox", "init", "--sqlite", "shop.db"]).contains("there already"));
    place(&directory, "a", "orders");
    let found = status(&directory);
    assert_eq!((&found["state"], &found["backlog"]["waiting"]), (&json!("stopped"), &json!(1)));

    let running = directory.serve();
    directory.until("the row", || ids(&directory, "orders") == ["a"]);
    place(&directory, "b", "orders");
    directory.until("the next row", || ids(&directory, "orders") == ["a", "b"]);
    directory.until("idleness", || status(&directory)["state"] == "idle");
    let found = status(&directory);
    assert_eq!((&found["position"], &found["counts"]["published"]), (&json!(2), &json!(2)));
    assert!(found["database"].as_str().unwrap().contains("shop.db"));
    let table = directory.done(&["outbox", "status"]);
    assert!(table.starts_with("OUTBOX") && table.contains("idle"), "{table}");
    assert_eq!(running.end().0, 0);
    place(&directory, "c", "orders");
    assert_eq!(status(&directory)["backlog"]["waiting"], 1);
}

#[test]
fn failed_rows_are_shown_and_put_back_to_work() {
    let directory = Directory::new(SHOP);
    directory.done(&["outbox", "init", "shop"]);
    place(&directory, "a", "refunds");
    let running = directory.serve();
    directory.until("the failure", || status(&directory)["backlog"]["failed"] == 1);
    let shown = directory.done(&["outbox", "status", "shop"]);
    assert!(shown.contains("POSITION") && shown.contains("there is no topic `refunds`"), "{shown}");
    let outcome = directory.run(&["outbox", "retry", "shop", "7"]);
    assert!(
        outcome.code == 1 && outcome.err.contains("1 of the positions have no row that failed"),
        "{outcome:?}"
    );
    directory.done(&["topics", "create", "refunds"]);
    assert_eq!(directory.done(&["outbox", "retry", "shop", "1"]), "1 row is back at work\n");
    directory.until("the row", || ids(&directory, "refunds") == ["a"]);
    assert!(directory.done(&["outbox", "status", "shop"]).contains("no failed rows"));
    place(&directory, "b", "nowhere");
    directory.until("the failure", || status(&directory)["backlog"]["failed"] == 1);
    assert_eq!(running.end().0, 0);
    // And while nobody runs it.
    assert!(directory.done(&["outbox", "status", "shop"]).contains("there is no topic `nowhere`"));
    assert_eq!(directory.done(&["outbox", "retry", "shop", "--all"]), "1 row is back at work\n");
    assert_eq!(status(&directory)["backlog"]["waiting"], 1);
}

#[test]
fn a_changed_configuration_starts_changes_and_ends_outboxes() {
    let topic = "[topics.orders]\npartitions = 1\n";
    let directory = Directory::new(topic);
    create_tables(&OutboxDatabase::Sqlite(directory.path().join("shop.db"))).unwrap();
    place(&directory, "a", "orders");
    let running = directory.serve();
    assert_eq!(directory.done(&["outbox", "status"]), "no outboxes: the configuration names none\n");
    directory.configure(SHOP);
    directory.until("the row", || ids(&directory, "orders") == ["a"]);
    directory.configure(&SHOP.replace("5ms", "6ms\"\nafter = \"keep"));
    directory.until("the change", || directory.log().contains("outbox `shop` changed"));
    place(&directory, "b", "orders");
    directory.until("the row", || ids(&directory, "orders") == ["a", "b"]);
    directory.configure(topic);
    directory.until("the end", || directory.log().contains("outbox `shop` ended"));
    assert!(directory.json(&["outbox", "status"]).is_empty());
    let outcome = directory.run(&["outbox", "status", "shop"]);
    assert!(outcome.code == 1 && outcome.err.contains("there is no outbox `shop`"), "{outcome:?}");
    assert_eq!(running.end().0, 0);
}

#[test]
fn an_exchanged_database_is_refused_and_adopted() {
    let directory = Directory::new(SHOP);
    directory.done(&["outbox", "init", "shop"]);
    place(&directory, "a", "orders");
    let running = directory.serve();
    directory.until("the row", || ids(&directory, "orders") == ["a"]);
    std::fs::remove_file(directory.path().join("shop.db")).unwrap();
    directory.done(&["outbox", "init", "shop"]);
    place(&directory, "b", "orders");
    directory.until("the refusal", || status(&directory)["state"] == "refused");
    assert!(directory.done(&["outbox", "status"]).contains("`tidegate outbox adopt shop`"));
    let outcome = directory.run(&["outbox", "adopt", "shop"]);
    assert!(outcome.code == 2 && outcome.err.contains("--yes"), "{outcome:?}");
    directory.done(&["outbox", "adopt", "shop", "--yes"]);
    directory.until("the row", || ids(&directory, "orders") == ["a", "b"]);
    assert_eq!(running.end().0, 0);
}

#[test]
fn the_sql_is_printed_for_migrations() {
    let directory = Directory::new("");
    let printed = directory.done(&["outbox", "init", "--sqlite", "none.db", "--print"]);
    assert!(printed.contains("CREATE TABLE tidegate_outbox ("), "{printed}");
    assert!(!directory.path().join("none.db").exists());
    Connection::open_in_memory().unwrap().execute_batch(&printed).unwrap();
    let printed = directory.done(&["outbox", "init", "--postgres", "postgres://db/shop", "--print"]);
    assert!(printed.contains("CREATE CONSTRAINT TRIGGER outbox_number"), "{printed}");
    let outcome = directory.run(&["outbox", "init"]);
    assert_eq!(outcome.code, 2, "{outcome:?}");
    let outcome = directory.run(&["outbox", "init", "shop"]);
    assert!(outcome.code == 1 && outcome.err.contains("the configuration has no outbox"), "{outcome:?}");
}

#[test]
fn a_database_of_postgresql_is_reached_by_a_url_from_a_file() {
    let Some(server) = server() else { return };
    let url = server.url(&server.database("template0"));
    let directory = Directory::new(
        &SHOP.replace("sqlite = \"shop.db\"", "postgres = { file = \"url\" }\ntopic = \"orders\""),
    );
    let running = directory.serve();
    directory.until("the missing file", || status(&directory)["state"] == "away");
    directory.put("url", format!("{url}\n").as_bytes());
    directory.until("the missing table", || status(&directory)["state"] == "refused");
    directory.done(&["outbox", "init", "shop"]);
    Session::open(&url).run("INSERT INTO tidegate.outbox (id, type) VALUES ('a', 'OrderPlaced.v1')");
    directory.until("the row", || ids(&directory, "orders") == ["a"]);
    assert_eq!(running.end().0, 0);
}
