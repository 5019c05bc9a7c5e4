//! What the tests of outboxes have in common, whichever database it is: an application with an outbox, and the guarantees
//! that hold for all.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::Blocking;
use tidegate::config::{AfterPublish, OutboxConfig, SchemaPolicy, TopicConfig};
use tidegate::outbox::{FailedRows, OutboxError, OutboxState, OutboxStatus, OutboxStep};

use crate::house::{House, SHUTDOWN, all, ids, topic};

/// An application with a database that has an outbox.
pub trait Shop {
    /// The outbox's table.
    const TABLE: &'static str;

    /// The default configuration of its outbox.
    fn config(&self) -> OutboxConfig;

    /// Runs statements in one transaction. The last connection that does so is kept.
    fn execute(&self, sql: &str);

    /// The one number that a query has.
    fn number(&self, sql: &str) -> i64;

    /// Writes rows of these ids for topic `orders` in one transaction.
    fn place(&self, ids: &[&str]) {
        let rows: Vec<String> =
            ids.iter().map(|id| format!("('{id}', 'orders', 'OrderPlaced.v1', '{{}}')")).collect();
        self.execute(&format!(
            "INSERT INTO {} (id, topic, type, data) VALUES {}",
            Self::TABLE,
            rows.join(", ")
        ));
    }

    fn rows(&self, what: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {} WHERE {what}", Self::TABLE))
    }
}

/// A bus with topic `orders`.
pub fn bus(house: &House) -> Blocking {
    let bus = house.open();
    topic(&bus, "orders");
    bus
}

pub fn status(bus: &Blocking) -> OutboxStatus {
    bus.outboxes().remove(0)
}

/// Waits until the relay has published all.
///
/// # Panics
///
/// It hasn't within a minute of real time.
pub fn caught_up(bus: &Blocking) -> Result<(), OutboxError> {
    let (reply, answer) = std::sync::mpsc::sync_channel(1);
    let waiting = bus.clone();
    std::thread::spawn(move || drop(reply.send(waiting.outbox_caught_up("shop"))));
    let caught_up = answer.recv_timeout(Duration::from_mins(1));
    caught_up.unwrap_or_else(|_| panic!("the relay doesn't catch up: {:?}", bus.outboxes()))
}

/// Starts the relay and waits until it has published all.
pub fn relay(bus: &Blocking, config: OutboxConfig) {
    bus.bus().start_outbox("shop", config).unwrap();
    caught_up(bus).unwrap();
}

pub fn rows_become_events_in_the_order_of_commits(shop: &impl Shop) {
    let house = House::new();
    let bus = bus(&house);
    bus.create_topic("payments", TopicConfig::new(4)).unwrap();
    shop.place(&["a", "b"]);
    relay(&bus, shop.config().topic("orders"));
    shop.place(&["c", "d", "e"]);
    shop.execute(&format!(
        "INSERT INTO {} (topic, type, source, subject, partitionkey, datacontenttype, extensions, data) VALUES \
         ('payments', 'Paid.v1', '/till', 'customer-4', 'k', 'text/plain', '{{\"priority\": 3}}', 'cash')",
        shop_table(shop)
    ));
    shop.execute(&format!("INSERT INTO {} (type) VALUES ('OrderClosed.v1')", shop_table(shop)));
    caught_up(&bus).unwrap();
    let orders = all(&bus, "orders");
    let kinds: Vec<_> = orders.iter().map(|record| record.event.kind()).collect();
    assert_eq!(kinds[5..], ["OrderClosed.v1"], "the row that names no topic goes to the default one");
    assert_eq!(ids(&bus, "orders")[..5], ["a", "b", "c", "d", "e"]);
    assert_eq!((orders[0].event.source(), orders[0].event.time().is_some()), ("/shop", true));
    let paid = &all(&bus, "payments")[0].event;
    assert_eq!((paid.source(), paid.subject(), paid.key()), ("/till", Some("customer-4"), "k"));
    assert_eq!(paid.data().unwrap().as_bytes(), b"cash");
    assert_eq!(paid.extension("priority").unwrap().to_string(), "3");
    let status = status(&bus);
    assert_eq!((status.counts.published, status.counts.set_aside, status.position), (7, 0, 7));
    assert_eq!(shop.rows("1 = 1"), 0, "published rows are deleted");
    bus.shutdown(SHUTDOWN);
}

fn shop_table<S: Shop>(_: &S) -> &'static str {
    S::TABLE
}

/// After each step once, and after each that a second batch has; with a power cut under the bus, and without.
pub fn a_crash_between_any_two_steps_publishes_each_row_once<S: Shop>(new_shop: impl Fn() -> S) {
    let steps = [
        (OutboxStep::Introduced, 1),
        (OutboxStep::Read, 1),
        (OutboxStep::Claimed, 1),
        (OutboxStep::Committed, 1),
        (OutboxStep::Settled, 1),
        (OutboxStep::Read, 2),
        (OutboxStep::Claimed, 2),
        (OutboxStep::Committed, 2),
        (OutboxStep::Settled, 2),
    ];
    for after in [AfterPublish::Delete, AfterPublish::Keep] {
        for (step, time) in steps {
            let (house, shop) = (House::new(), new_shop());
            let bus = bus(&house);
            // The window forgets at once, so nothing but the position keeps rows from coming twice.
            bus.create_topic(
                "orders",
                TopicConfig::new(1).dedup(tidegate::config::Dedup::new(Duration::ZERO, 0)),
            )
            .unwrap();
            shop.place(&["a", "b"]);
            let (seen, crashed) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
            let noted = Arc::clone(&crashed);
            let crash = move |done| {
                let crashes = done == step && seen.fetch_add(1, Ordering::SeqCst) + 1 == time;
                noted.fetch_or(crashes, Ordering::SeqCst);
                crashes
            };
            bus.bus().start_outbox_that_crashes("shop", shop.config().after(after), crash).unwrap();
            if time == 2 {
                caught_up(&bus).unwrap();
                shop.place(&["c", "bad", "d"]);
            }
            // It ends by its crash, wherever that is.
            assert!(caught_up(&bus).is_err(), "{step:?} {time}");
            assert!(crashed.load(Ordering::SeqCst));
            shop.place(&["e"]);
            let bus = house.cut_power(bus);
            if time == 2 {
                // Of an outbox whose two sides share their past, there is nothing to adopt.
                bus.adopt_outbox("shop", &shop.config()).unwrap();
            }
            relay(&bus, shop.config().after(after));
            let expected: &[&str] =
                if time == 2 { &["a", "b", "c", "bad", "d", "e"] } else { &["a", "b", "e"] };
            assert_eq!(ids(&bus, "orders"), expected, "{step:?} {time} {after}");
            assert_eq!(shop.rows("emitted IS NULL"), 0, "{step:?} {time} {after}: all are marked");
            let kept = if after == AfterPublish::Keep { expected.len() } else { 0 };
            assert_eq!(usize::try_from(shop.rows("1 = 1")), Ok(kept), "{step:?} {time} {after}");
            bus.shutdown(SHUTDOWN);
        }
    }
}

/// The same for rows that are set aside: the mark on them comes before the position that passes them.
pub fn a_bad_row_is_not_lost_by_a_crash<S: Shop>(new_shop: impl Fn() -> S) {
    for step in [OutboxStep::Read, OutboxStep::Claimed, OutboxStep::Committed] {
        let (house, shop) = (House::new(), new_shop());
        let bus = bus(&house);
        shop.place(&["a"]);
        shop.execute(&format!("INSERT INTO {} (id, topic, type) VALUES ('bad', 'nowhere', 'T')", S::TABLE));
        shop.place(&["b"]);
        bus.bus().start_outbox_that_crashes("shop", shop.config(), move |done| done == step).unwrap();
        assert!(caught_up(&bus).is_err());
        let bus = house.cut_power(bus);
        relay(&bus, shop.config());
        assert_eq!(ids(&bus, "orders"), ["a", "b"], "{step:?}");
        assert_eq!(shop.rows("failed IS NOT NULL AND id = 'bad'"), 1, "{step:?}");
        bus.shutdown(SHUTDOWN);
    }
}

pub fn a_bad_row_is_set_aside_and_put_back_to_work(shop: &impl Shop) {
    let table = shop_table(shop);
    let house = House::new();
    let bus = bus(&house);
    shop.execute(&format!("INSERT INTO {table} (id, topic, type) VALUES ('unknown', 'refunds', 'T')"));
    shop.execute(&format!(
        "INSERT INTO {table} (id, topic, type, data) VALUES ('json', 'orders', 'T', '{{')"
    ));
    shop.place(&["a"]);
    shop.execute(&format!("INSERT INTO {table} (id, type) VALUES ('topic', 'T')"));
    shop.execute(&format!(
        "INSERT INTO {table} (id, topic, type, data) VALUES ('large', 'orders', 'T', '\"{}\"')",
        "x".repeat(3 << 20)
    ));
    bus.create_topic("strict", TopicConfig::new(1).schemas(SchemaPolicy::Required)).unwrap();
    shop.execute(&format!("INSERT INTO {table} (id, topic, type) VALUES ('schema', 'strict', 'T')"));
    shop.place(&["b"]);
    relay(&bus, shop.config());
    assert_eq!(ids(&bus, "orders"), ["a", "b"], "those behind go on");
    let found = status(&bus);
    assert_eq!((found.counts.set_aside, found.counts.published), (5, 2));
    let backlog = found.backlog.unwrap();
    assert_eq!((backlog.waiting, backlog.failed), (0, 5));
    let failed = bus.outbox_failed_rows("shop", 10).unwrap();
    let reasons: Vec<_> = failed.iter().map(|row| (row.id.as_str(), row.failed.as_str())).collect();
    for ((id, reason), (expected, words)) in reasons.iter().zip([
        ("unknown", "there is no topic `refunds`"),
        ("json", "`data` is not JSON"),
        ("topic", "names no topic"),
        ("large", "bytes, more than the 1048576"),
        ("schema", "names no version"),
    ]) {
        assert!(*id == expected && reason.contains(words), "{reasons:?}");
    }

    bus.create_topic("refunds", TopicConfig::new(1)).unwrap();
    assert_eq!(bus.retry_outbox("shop", FailedRows::At(vec![failed[0].position])).unwrap(), 1);
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "refunds"), ["unknown"]);
    shop.execute(&format!("UPDATE {table} SET data = '{{}}' WHERE id = 'json'"));
    assert_eq!(bus.retry_outbox("shop", FailedRows::At(vec![1, 999])).unwrap(), 0, "none failed there");
    assert_eq!(bus.retry_outbox("shop", FailedRows::All).unwrap(), 4);
    shop.place(&["c"]);
    caught_up(&bus).unwrap();
    assert_eq!(ids(&bus, "orders"), ["a", "b", "json", "c"]);
    assert_eq!(shop.rows("failed IS NOT NULL"), 3, "the others fail again");
    bus.shutdown(SHUTDOWN);
}

pub fn kept_rows_are_marked_and_removed_by_their_age(shop: &impl Shop) {
    let house = House::new();
    let bus = bus(&house);
    let hour = Duration::from_hours(1);
    shop.place(&["a", "b"]);
    relay(&bus, shop.config().after(AfterPublish::Keep).keep_for(hour));
    assert_eq!((shop.rows("emitted IS NOT NULL"), shop.rows("1 = 1")), (2, 2));
    house.clock.advance(Duration::from_mins(59));
    shop.place(&["c"]);
    caught_up(&bus).unwrap();
    assert_eq!(shop.rows("1 = 1"), 3);
    house.clock.advance(Duration::from_secs(61));
    caught_up(&bus).unwrap();
    house.settles(|| shop.rows("1 = 1") == 1);
    assert_eq!(shop.rows("id = 'c'"), 1);
    assert_eq!(status(&bus).counts.purged, 2);
    bus.shutdown(SHUTDOWN);
}

pub fn a_backlog_is_measured(shop: &impl Shop) {
    let table = shop_table(shop);
    let house = House::new();
    let bus = bus(&house);
    shop.place(&["a"]);
    relay(&bus, shop.config());
    bus.stop_outbox("shop").unwrap();
    assert!(bus.outboxes().is_empty());
    shop.place(&["b", "c"]);
    let found = bus.inspect_outbox("shop", &shop.config()).unwrap();
    let backlog = found.backlog.unwrap();
    assert_eq!((found.state, found.position, found.trouble), (OutboxState::Stopped, 1, None));
    assert_eq!((backlog.waiting, backlog.failed), (2, 0));
    assert!(backlog.oldest < Duration::from_mins(10), "{backlog:?}");
    let hours_ago = if table.contains('.') { "now() - interval '2 hours'" } else { "created - 7200000" };
    shop.execute(&format!("UPDATE {table} SET created = {hours_ago} WHERE id = 'b'"));
    let backlog = bus.inspect_outbox("shop", &shop.config()).unwrap().backlog.unwrap();
    assert!(backlog.oldest > Duration::from_secs(7000), "{backlog:?}");
    relay(&bus, shop.config());
    let found = status(&bus);
    assert_eq!((found.backlog.unwrap().waiting, found.position), (0, 3));
    house.settles(|| status(&bus).state == OutboxState::Idle);
    bus.shutdown(SHUTDOWN);
}

/// Waits until the relay refuses, and returns why.
pub fn refused(house: &House, bus: &Blocking) -> String {
    house.until(|| status(bus).state == OutboxState::Refused);
    status(bus).trouble.unwrap()
}

pub fn another_database_under_the_name_is_refused_until_it_is_adopted(one: &impl Shop, other: &impl Shop) {
    let house = House::new();
    let bus = bus(&house);
    one.place(&["a"]);
    relay(&bus, one.config());
    bus.stop_outbox("shop").unwrap();
    other.place(&["x"]);
    bus.bus().start_outbox("shop", other.config()).unwrap();
    let why = refused(&house, &bus);
    assert!(why.contains("another database") && why.contains("tidegate outbox adopt shop"), "{why}");
    assert_eq!(ids(&bus, "orders"), ["a"]);
    assert_eq!(other.rows("1 = 1"), 1);

    bus.adopt_outbox("shop", &other.config()).unwrap();
    house.until(|| status(&bus).state == OutboxState::Idle);
    assert_eq!(ids(&bus, "orders"), ["a", "x"]);
    // The other way round it is refused as well: a bus that isn't the outbox's.
    let house = House::new();
    let second = self::bus(&house);
    second.bus().start_outbox("shop", other.config()).unwrap();
    let why = refused(&house, &second);
    assert!(why.contains("published by another bus"), "{why}");
    second.shutdown(SHUTDOWN);
    bus.shutdown(SHUTDOWN);
}

/// Two buses at once: the one that the outbox was taken from publishes nothing more.
pub fn a_relay_that_another_one_has_overtaken_stops(shop: &impl Shop) {
    let (house, other_house) = (House::new(), House::new());
    let (bus, other) = (bus(&house), bus(&other_house));
    shop.place(&["a"]);
    relay(&bus, shop.config());
    other.adopt_outbox("shop", &shop.config()).unwrap();
    shop.place(&["b"]);
    let why = refused(&house, &bus);
    assert!(why.contains("another bus has taken the outbox over"), "{why}");
    relay(&other, shop.config());
    assert_eq!((ids(&bus, "orders"), ids(&other, "orders")), (vec!["a".to_owned()], vec!["b".to_owned()]));
    other.shutdown(SHUTDOWN);
    bus.shutdown(SHUTDOWN);
}

/// Many batches, under a relay that is ended and started again and again.
pub fn many_rows_come_once_and_in_order(shop: &(impl Shop + Sync)) {
    const ROWS: usize = 1200;
    let house = House::new();
    let bus = bus(&house);
    let placed = Mutex::new(BTreeSet::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for first in (0..ROWS).step_by(100) {
                let ids: Vec<String> = (first..first + 100).map(|id| format!("{id:05}")).collect();
                shop.place(&ids.iter().map(String::as_str).collect::<Vec<_>>());
                placed.lock().unwrap().extend(ids);
            }
        });
        while placed.lock().unwrap().len() < ROWS {
            relay(&bus, shop.config());
            bus.stop_outbox("shop").unwrap();
        }
    });
    relay(&bus, shop.config());
    let found = ids(&bus, "orders");
    assert!(found.is_sorted(), "in the order of their commits");
    assert_eq!(found, placed.lock().unwrap().iter().cloned().collect::<Vec<_>>());
    bus.shutdown(SHUTDOWN);
}
