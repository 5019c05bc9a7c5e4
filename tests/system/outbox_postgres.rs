//! An outbox in a database of PostgreSQL.

use std::thread;

use tidegate::config::{AfterPublish, OutboxConfig};
use tidegate::outbox::{OutboxState, create_tables};

use crate::house::{House, SHUTDOWN, ids};
use crate::outbox_house::{self as cases, Shop, bus, caught_up, refused, relay, status};
use crate::postgres_server::{Server, Session, server};

/// An application with a database of its own.
struct Postgres {
    server: &'static Server,
    database: String,
}

impl Postgres {
    /// `None` where PostgreSQL isn't installed.
    fn new() -> Option<Self> {
        let server = server()?;
        let shop = Self { server, database: server.database("template0") };
        assert!(create_tables(&shop.config().database).unwrap());
        Some(shop)
    }

    fn url(&self) -> String {
        self.server.url(&self.database)
    }

    fn open(&self) -> Session {
        Session::open(&self.url())
    }

    /// Ends all connections to the database, and lets others in again or not.
    fn disconnect(&self, let_in: bool) {
        let (server, name) = (Session::open(&self.server.url("postgres")), &self.database);
        server.run(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {let_in}"));
        server
            .run(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    }
}

impl Shop for Postgres {
    const TABLE: &'static str = "tidegate.outbox";

    fn config(&self) -> OutboxConfig {
        OutboxConfig::postgres(self.url(), "/shop")
    }

    fn execute(&self, sql: &str) {
        self.open().run(sql);
    }

    fn number(&self, sql: &str) -> i64 {
        self.open().number(sql)
    }
}

const INSERT: &str = "INSERT INTO tidegate.outbox (id, topic, type) VALUES";

fn insert(ids: &[&str]) -> String {
    let rows: Vec<String> = ids.iter().map(|id| format!("('{id}', 'orders', 'OrderPlaced.v1')")).collect();
    format!("{INSERT} {}", rows.join(", "))
}

#[test]
fn rows_become_events_in_the_order_of_commits() {
    let Some(shop) = Postgres::new() else { return };
    cases::rows_become_events_in_the_order_of_commits(&shop);
}

#[test]
fn a_crash_between_any_two_steps_publishes_each_row_once() {
    if server().is_some() {
        cases::a_crash_between_any_two_steps_publishes_each_row_once(|| Postgres::new().unwrap());
    }
}

#[test]
fn a_bad_row_is_not_lost_by_a_crash() {
    if server().is_some() {
        cases::a_bad_row_is_not_lost_by_a_crash(|| Postgres::new().unwrap());
    }
}

#[test]
fn a_bad_row_is_set_aside_and_put_back_to_work() {
    let Some(shop) = Postgres::new() else { return };
    cases::a_bad_row_is_set_aside_and_put_back_to_work(&shop);
}

#[test]
fn kept_rows_are_marked_and_removed_by_their_age() {
    let Some(shop) = Postgres::new() else { return };
    cases::kept_rows_are_marked_and_removed_by_their_age(&shop);
}

#[test]
fn a_backlog_is_measured() {
    let Some(shop) = Postgres::new() else { return };
    cases::a_backlog_is_measured(&shop);
}

#[test]
fn another_database_under_the_name_is_refused_until_it_is_adopted() {
    let (Some(one), Some(other)) = (Postgres::new(), Postgres::new()) else { return };
    cases::another_database_under_the_name_is_refused_until_it_is_adopted(&one, &other);
}

#[test]
fn a_relay_that_another_one_has_overtaken_stops() {
    let Some(shop) = Postgres::new() else { return };
    cases::a_relay_that_another_one_has_overtaken_stops(&shop);
}

#[test]
fn many_rows_come_once_and_in_order() {
    let Some(shop) = Postgres::new() else { return };
    cases::many_rows_come_once_and_in_order(&shop);
}

#[test]
fn transactions_that_commit_in_another_order_than_they_wrote_are_published_by_their_commits() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    relay(&bus, shop.config());
    let (first, second) = (shop.open(), shop.open());
    first.run("BEGIN");
    first.run(&insert(&["a1"]));
    second.run("BEGIN");
    second.run(&insert(&["b1"]));
    first.run(&insert(&["a2"]));
    second.run(&insert(&["b2"]));
    second.run("COMMIT");
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["b1", "b2"]);
    // It wrote first and commits last: a relay that went by the order of writing would have passed it.
    first.run("COMMIT");
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["b1", "b2", "a1", "a2"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_row_whose_id_is_changed_before_its_commit_is_published_all_the_same() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    let session = shop.open();
    session.run("BEGIN");
    session.run(&insert(&["a", "b"]));
    session.run("UPDATE tidegate.outbox SET id = 'c' WHERE id = 'a'");
    session.run("COMMIT");
    assert_eq!(shop.rows("position IS NULL"), 0);
    relay(&bus, shop.config());
    let mut published = ids(&bus, "orders");
    published.sort();
    assert_eq!(published, ["b", "c"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn under_many_writers_none_is_skipped_and_each_transactions_rows_stay_together() {
    const WRITERS: usize = 8;
    const TRANSACTIONS: usize = 40;
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    bus.bus().start_outbox("shop", shop.config().after(AfterPublish::Keep)).unwrap();
    let url = shop.url();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let url = url.clone();
            thread::spawn(move || {
                let session = Session::open(&url);
                for transaction in 0..TRANSACTIONS {
                    session.run("BEGIN");
                    for row in 0..3 {
                        session.run(&insert(&[&format!("{writer}.{transaction}.{row}")]));
                    }
                    session.run(if transaction % 5 == 4 { "ROLLBACK" } else { "COMMIT" });
                }
            })
        })
        .collect();
    while writers.iter().any(|writer| !writer.is_finished()) {
        caught_up(&bus).unwrap();
    }
    for writer in writers {
        writer.join().unwrap();
    }
    caught_up(&bus).unwrap();
    let found = ids(&bus, "orders");
    assert_eq!(found.len(), WRITERS * TRANSACTIONS * 4 / 5 * 3);
    for rows in found.chunks(3) {
        let transaction = rows[0].rsplit_once('.').unwrap().0;
        let expected: Vec<_> = (0..3).map(|row| format!("{transaction}.{row}")).collect();
        assert_eq!(rows, expected, "the rows of a transaction stay together and in order");
    }
    let order = shop.open().text("SELECT string_agg(id, ' ' ORDER BY position) FROM tidegate.outbox");
    assert_eq!(found.join(" "), order);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_rolled_back_transaction_publishes_nothing_and_neither_does_a_rolled_back_savepoint() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    relay(&bus, shop.config());
    let session = shop.open();
    session.run("BEGIN");
    session.run(&insert(&["a"]));
    session.run("ROLLBACK");
    session.run("BEGIN");
    session.run(&insert(&["b"]));
    session.run("SAVEPOINT s");
    session.run(&insert(&["c"]));
    // This numbers the rows at once, and takes the lock.
    session.run("SET CONSTRAINTS ALL IMMEDIATE");
    session.run("ROLLBACK TO s");
    session.run(&insert(&["d"]));
    session.run("COMMIT");
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["b", "d"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_transaction_that_numbers_its_rows_early_keeps_others_behind_it() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    relay(&bus, shop.config());
    let early = shop.open();
    early.run("BEGIN");
    early.run(&insert(&["a1"]));
    early.run("SET CONSTRAINTS ALL IMMEDIATE");
    let url = shop.url();
    let other = thread::spawn(move || Session::open(&url).run(&insert(&["b"])));
    // Whether the other has begun to wait or not: it can't commit in between.
    caught_up(&bus).unwrap();
    early.run(&insert(&["a2"]));
    early.run("COMMIT");
    other.join().unwrap();
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["a1", "a2", "b"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn rows_that_are_copied_in_or_written_by_a_trigger_are_published_too() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    relay(&bus, shop.config());
    shop.server.psql(
        &shop.database,
        "COPY tidegate.outbox (id, topic, type) FROM STDIN",
        b"a\torders\tT\nb\torders\tT\n",
    );
    shop.execute(
        "CREATE TABLE orders (id text);
         CREATE FUNCTION announce() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             INSERT INTO tidegate.outbox (id, topic, type) VALUES (NEW.id, 'orders', 'T');
             RETURN NULL;
         END $$;
         CREATE TRIGGER announce AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION announce()",
    );
    shop.execute("INSERT INTO orders VALUES ('c')");
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["a", "b", "c"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn positions_are_the_databases_own() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    shop.place(&["a", "b", "c"]);
    relay(&bus, shop.config().after(AfterPublish::Keep));
    let session = shop.open();
    let written =
        session.refused("INSERT INTO tidegate.outbox (topic, type, position) VALUES ('orders', 'T', 9)");
    assert!(written.contains("position is given at the commit"), "{written}");
    let moved = session.refused("UPDATE tidegate.outbox SET position = 9 WHERE id = 'a'");
    assert!(moved.contains("position is given at the commit"), "{moved}");
    session.run("TRUNCATE tidegate.outbox RESTART IDENTITY");
    shop.place(&["d"]);
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["a", "b", "c", "d"]);
    session.run("ALTER SEQUENCE tidegate.outbox_position RESTART");
    let again = session.refused(&insert(&["e"]));
    assert!(again.contains("below what is published already"), "{again}");
    bus.stop_outbox("shop").unwrap();
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("positions begin anew"), "{why}");
    bus.adopt_outbox("shop", &shop.config()).unwrap();
    shop.place(&["e"]);
    house.until(|| ids(&bus, "orders") == ["a", "b", "c", "d", "e"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn what_a_relay_sees_outlives_a_crash_of_the_server_whatever_the_writers_setting() {
    let Some(shop) = Postgres::new() else { return };
    let session = shop.open();
    session.run("BEGIN");
    session.run("SET LOCAL synchronous_commit = off");
    session.run(&insert(&["a"]));
    session.run("SET CONSTRAINTS ALL IMMEDIATE");
    assert_eq!(session.text("SHOW synchronous_commit"), "local");
    session.run("COMMIT");
    assert_eq!(session.text("SHOW synchronous_commit"), "on");
}

#[test]
fn an_application_needs_no_more_than_the_right_to_insert() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    relay(&bus, shop.config());
    let session = shop.open();
    let role = format!("app_{}", shop.database);
    session.run(&format!(
        "CREATE ROLE {role}; GRANT USAGE ON SCHEMA tidegate TO {role}; GRANT INSERT ON tidegate.outbox TO {role}"
    ));
    session.run(&format!("SET ROLE {role}"));
    session.run("INSERT INTO tidegate.outbox (topic, type, data) VALUES ('orders', 'OrderPlaced.v1', '{}')");
    assert!(session.refused("SELECT * FROM tidegate.outbox").contains("permission denied"));
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders").len(), 1);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_server_that_is_away_is_waited_for() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    shop.place(&["a"]);
    relay(&bus, shop.config());
    shop.disconnect(false);
    let is_shut_out = |trouble: String| trouble.contains("not currently accepting connections");
    house.until(|| status(&bus).trouble.is_some_and(is_shut_out));
    let found = status(&bus);
    assert!(found.backlog.is_none() && found.state == OutboxState::Away);
    shop.disconnect(true);
    shop.place(&["b"]);
    house.until(|| ids(&bus, "orders") == ["a", "b"]);
    house.until(|| status(&bus).trouble.is_none());
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_backup_that_is_restored_is_refused_however_much_was_written_since() {
    let Some(shop) = Postgres::new() else { return };
    let house = House::new();
    let bus = bus(&house);
    shop.place(&["a"]);
    relay(&bus, shop.config());
    bus.stop_outbox("shop").unwrap();
    let backup = Postgres { server: shop.server, database: shop.server.database(&shop.database) };
    shop.place(&["b", "c"]);
    relay(&bus, shop.config());
    bus.stop_outbox("shop").unwrap();
    // Their positions are those of the rows that were published.
    backup.place(&["d", "e", "f"]);
    bus.bus().start_outbox("shop", backup.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("put back to an earlier state"), "{why}");
    bus.adopt_outbox("shop", &backup.config()).unwrap();
    house.until(|| status(&bus).state == OutboxState::Idle);
    assert_eq!(ids(&bus, "orders"), ["a", "b", "c", "d", "e", "f"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_database_without_an_outbox_is_refused_until_it_has_one() {
    let Some(server) = server() else { return };
    let shop = Postgres { server, database: server.database("template0") };
    let house = House::new();
    let bus = bus(&house);
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("`tidegate outbox init`"), "{why}");
    assert!(create_tables(&shop.config().database).unwrap());
    assert!(!create_tables(&shop.config().database).unwrap());
    house.until(|| status(&bus).state == OutboxState::Idle);
    bus.shutdown(SHUTDOWN);
}
