//! An outbox in a file of SQLite.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::task::{Context, Waker};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};
use tempfile::TempDir;
use tidegate::config::{BusConfig, OutboxConfig, OutboxDatabase, TopicConfig};
use tidegate::outbox::{OutboxError, OutboxState, OutboxStep, create_tables};
use tidegate::{Bus, Options};

use crate::house::{House, SHUTDOWN, ids};
use crate::outbox_house::{self as cases, Shop, bus, caught_up, refused, relay, status};

/// An application with a file of SQLite.
struct Sqlite {
    folder: TempDir,
}

impl Sqlite {
    fn new() -> Self {
        let shop = Self { folder: TempDir::new().unwrap() };
        assert!(create_tables(&shop.config().database).unwrap());
        shop
    }

    /// One whose writers don't exclude readers.
    fn with_wal() -> Self {
        let shop = Self::new();
        let mode: String = shop.open().query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        shop
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    fn open(&self) -> Connection {
        open(&self.path())
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(30)).unwrap();
    connection
}

impl Shop for Sqlite {
    const TABLE: &'static str = "tidegate_outbox";

    fn config(&self) -> OutboxConfig {
        OutboxConfig::sqlite(self.path(), "/shop")
    }

    fn execute(&self, sql: &str) {
        let mut connection = self.open();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        transaction.execute_batch(sql).unwrap();
        transaction.commit().unwrap();
    }

    fn number(&self, sql: &str) -> i64 {
        self.open().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn rows_become_events_in_the_order_of_commits() {
    cases::rows_become_events_in_the_order_of_commits(&Sqlite::new());
}

#[test]
fn a_crash_between_any_two_steps_publishes_each_row_once_with_a_rollback_journal_too() {
    cases::a_crash_between_any_two_steps_publishes_each_row_once(Sqlite::new);
}

#[test]
fn rows_that_are_too_large_for_one_commit_go_into_several() {
    let (house, shop) = (House::new(), Sqlite::with_wal());
    let mut config = BusConfig::default();
    config.event_bytes_max = 16 << 20;
    let options = Options::new(house.folder.path()).config(config).medium(house.disk.clone());
    let bus = Bus::open_with(options).unwrap().blocking();
    bus.create_topic("orders", TopicConfig::new(1)).unwrap();
    let large = "x".repeat(9 << 20);
    let row = |id: &str, data: &str| format!("('{id}', 'orders', 'OrderPlaced.v1', '\"{data}\"')");
    shop.execute(&format!(
        "INSERT INTO tidegate_outbox (id, topic, type, data) VALUES {}, {}, {}",
        row("a", "small"),
        row("b", &large),
        row("c", "small")
    ));
    relay(&bus, shop.config());
    assert_eq!(ids(&bus, "orders"), ["a", "b", "c"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_crash_between_any_two_steps_publishes_each_row_once() {
    cases::a_crash_between_any_two_steps_publishes_each_row_once(Sqlite::with_wal);
}

#[test]
fn a_bad_row_is_not_lost_by_a_crash() {
    cases::a_bad_row_is_not_lost_by_a_crash(Sqlite::new);
}

#[test]
fn a_bad_row_is_set_aside_and_put_back_to_work() {
    cases::a_bad_row_is_set_aside_and_put_back_to_work(&Sqlite::new());
}

#[test]
fn kept_rows_are_marked_and_removed_by_their_age() {
    cases::kept_rows_are_marked_and_removed_by_their_age(&Sqlite::new());
}

#[test]
fn a_backlog_is_measured() {
    cases::a_backlog_is_measured(&Sqlite::with_wal());
}

#[test]
fn another_database_under_the_name_is_refused_until_it_is_adopted() {
    cases::another_database_under_the_name_is_refused_until_it_is_adopted(&Sqlite::new(), &Sqlite::new());
}

#[test]
fn a_relay_that_another_one_has_overtaken_stops() {
    cases::a_relay_that_another_one_has_overtaken_stops(&Sqlite::new());
}

#[test]
fn many_rows_come_once_and_in_order() {
    cases::many_rows_come_once_and_in_order(&Sqlite::with_wal());
}

#[test]
fn a_rolled_back_transaction_publishes_nothing() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    relay(&bus, shop.config());
    let mut connection = shop.open();
    let transaction = connection.transaction().unwrap();
    transaction
        .execute("INSERT INTO tidegate_outbox (id, topic, type) VALUES ('a', 'orders', 'T')", [])
        .unwrap();
    transaction.rollback().unwrap();
    shop.place(&["b"]);
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["b"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_backup_that_is_restored_is_refused_however_much_was_written_since() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    shop.place(&["a"]);
    relay(&bus, shop.config());
    let backup = shop.folder.path().join("backup.db");
    fs::copy(shop.path(), &backup).unwrap();
    shop.place(&["b", "c"]);
    caught_up(&bus).unwrap();
    bus.stop_outbox("shop").unwrap();
    fs::rename(&backup, shop.path()).unwrap();
    // Their positions are those of the rows that were published.
    shop.place(&["d", "e", "f", "g"]);
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("put back to an earlier state"), "{why}");
    let trouble = bus.inspect_outbox("shop", &shop.config()).unwrap().trouble.unwrap();
    assert!(why.starts_with(&trouble), "{trouble}");
    bus.adopt_outbox("shop", &shop.config()).unwrap();
    house.until(|| status(&bus).state == OutboxState::Idle);
    assert_eq!(ids(&bus, "orders"), ["a", "b", "c", "d", "e", "f", "g"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_bus_that_is_restored_is_refused() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    shop.place(&["a"]);
    relay(&bus, shop.config());
    bus.shutdown(SHUTDOWN);
    // All that the bus had is lost.
    let house = House::new();
    let bus = self::bus(&house);
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("another bus, or were by one that is lost"), "{why}");
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_database_that_is_away_is_waited_for() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    let elsewhere = shop.folder.path().join("elsewhere.db");
    fs::rename(shop.path(), &elsewhere).unwrap();
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    house.until(|| status(&bus).state == OutboxState::Away);
    let found = status(&bus);
    assert!(found.backlog.is_none() && found.trouble.unwrap().contains("unable to open"));
    fs::rename(&elsewhere, shop.path()).unwrap();
    shop.place(&["a"]);
    house.until(|| ids(&bus, "orders") == ["a"]);
    // And while it runs: the file is gone, and comes back as another one.
    fs::rename(shop.path(), &elsewhere).unwrap();
    house.until(|| status(&bus).state == OutboxState::Away);
    // Written to before it is there: journals go by the name of the file, so nobody may write while it is exchanged.
    let copy = shop.folder.path().join("copy.db");
    fs::copy(&elsewhere, &copy).unwrap();
    open(&copy)
        .execute(
            "INSERT INTO tidegate_outbox (id, topic, type, data) VALUES ('b', 'orders', 'T.v1', '{}')",
            [],
        )
        .unwrap();
    fs::rename(&copy, shop.path()).unwrap();
    house.until(|| ids(&bus, "orders") == ["a", "b"]);
    house.until(|| status(&bus).trouble.is_none());
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_database_without_an_outbox_is_refused_until_it_has_one() {
    let (house, folder) = (House::new(), TempDir::new().unwrap());
    let bus = bus(&house);
    let path = folder.path().join("shop.db");
    open(&path).execute_batch("CREATE TABLE orders (id TEXT)").unwrap();
    bus.bus().start_outbox("shop", OutboxConfig::sqlite(&path, "/shop")).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("`tidegate outbox init`"), "{why}");
    create_tables(&OutboxDatabase::Sqlite(path)).unwrap();
    house.until(|| status(&bus).state == OutboxState::Idle);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_newer_outbox_is_refused() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    shop.execute("UPDATE tidegate_outbox_relay SET format = 2");
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("format 2") && why.contains("newer tidegate"), "{why}");
    bus.shutdown(SHUTDOWN);
}

#[test]
fn an_idle_relay_holds_no_transaction_open() {
    let (house, shop) = (House::new(), Sqlite::with_wal());
    let bus = bus(&house);
    shop.place(&["a"]);
    relay(&bus, shop.config());
    house.settles(|| status(&bus).state == OutboxState::Idle);
    // A reader would keep the log of writes from being emptied.
    let connection = shop.open();
    let blocked: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0)).unwrap();
    assert_eq!(blocked, 0);
    assert_eq!(fs::metadata(shop.folder.path().join("shop.db-wal")).unwrap().len(), 0);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_writer_that_holds_the_lock_is_waited_for() {
    let (house, shop) = (House::new(), Sqlite::with_wal());
    let bus = bus(&house);
    shop.place(&["a"]);
    let mut writer = shop.open();
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    transaction
        .execute("INSERT INTO tidegate_outbox (id, topic, type) VALUES ('b', 'orders', 'T')", [])
        .unwrap();
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    assert!(ids(&bus, "orders").is_empty());
    transaction.commit().unwrap();
    house.until(|| ids(&bus, "orders") == ["a", "b"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn what_the_database_does_not_hold_to_its_type_is_set_aside() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    shop.execute("INSERT INTO tidegate_outbox (topic, type) VALUES (x'00', 'T')");
    shop.execute("INSERT INTO tidegate_outbox (topic, type) VALUES ('orders', CAST(x'FF' AS TEXT))");
    shop.execute("INSERT INTO tidegate_outbox (topic, type, data_binary) VALUES ('orders', 'T', 7)");
    shop.execute(
        "INSERT INTO tidegate_outbox (id, topic, type, data) VALUES ('bytes', 'orders', 'T', x'00FF')",
    );
    shop.execute("INSERT INTO tidegate_outbox (id, topic, type, data) VALUES ('number', 'orders', 'T', 7)");
    relay(&bus, shop.config());
    assert_eq!(ids(&bus, "orders"), ["bytes", "number"]);
    assert_eq!(shop.rows("failed IS NOT NULL"), 3);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn positions_are_the_databases_own() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    shop.place(&["a", "b"]);
    relay(&bus, shop.config());
    let connection = shop.open();
    let refused = |sql: &str| connection.execute_batch(sql).unwrap_err().to_string();
    let low = refused("INSERT INTO tidegate_outbox (position, topic, type) VALUES (1, 'orders', 'T')");
    assert!(low.contains("position is given by the database"), "{low}");
    shop.place(&["c"]);
    let moved = refused("UPDATE tidegate_outbox SET position = 9 WHERE id = 'c'");
    assert!(moved.contains("leave it alone"), "{moved}");
    caught_up(&bus).unwrap();
    // Rows are deleted, so positions would begin anew, below what is published.
    connection.execute_batch("DELETE FROM sqlite_sequence").unwrap();
    let again = refused("INSERT INTO tidegate_outbox (topic, type) VALUES ('orders', 'T')");
    assert!(again.contains("must rise"), "{again}");
    bus.stop_outbox("shop").unwrap();
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    let why = cases::refused(&house, &bus);
    assert!(why.contains("positions begin anew"), "{why}");
    bus.adopt_outbox("shop", &shop.config()).unwrap();
    shop.place(&["d"]);
    house.until(|| ids(&bus, "orders") == ["a", "b", "c", "d"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn an_outbox_keeps_its_name_until_its_last_step_is_done() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    shop.place(&["a"]);
    let (inside, is_inside) = mpsc::sync_channel(1);
    let (go, on) = mpsc::sync_channel::<()>(1);
    let (on, first) = (Mutex::new(on), AtomicBool::new(true));
    let waits = move |step| {
        if step == OutboxStep::Claimed && first.swap(false, Ordering::SeqCst) {
            inside.send(()).unwrap();
            on.lock().unwrap().recv().unwrap();
        }
        false
    };
    bus.bus().start_outbox_that_crashes("shop", shop.config(), waits).unwrap();
    is_inside.recv().unwrap();
    let mut stop = Box::pin(bus.bus().stop_outbox("shop"));
    assert!(stop.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(matches!(bus.stop_outbox("shop"), Err(OutboxError::NotRunning(_))));
    let refused = bus.bus().start_outbox("shop", shop.config());
    assert!(matches!(refused, Err(OutboxError::Running(_))), "{refused:?}");
    go.send(()).unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(stop).unwrap();
    relay(&bus, shop.config());
    assert_eq!(ids(&bus, "orders"), ["a"]);
    bus.shutdown(SHUTDOWN);
}

#[test]
fn an_outbox_runs_once_under_a_name() {
    let (house, shop) = (House::new(), Sqlite::new());
    let bus = bus(&house);
    bus.bus().start_outbox("shop", shop.config()).unwrap();
    assert!(
        matches!(bus.bus().start_outbox("shop", shop.config()), Err(OutboxError::Running(name)) if name == "shop")
    );
    assert!(matches!(bus.bus().start_outbox("$", shop.config()), Err(OutboxError::Name(_))));
    caught_up(&bus).unwrap();
    bus.bus().start_outbox("twin", shop.config()).unwrap();
    house.until(|| bus.outboxes()[1].state == OutboxState::Refused);
    bus.stop_outbox("shop").unwrap();
    assert!(matches!(bus.stop_outbox("shop"), Err(OutboxError::NotRunning(_))));
    bus.shutdown(SHUTDOWN);
    assert!(bus.outbox_caught_up("twin").is_err(), "it ended with the bus");
}
