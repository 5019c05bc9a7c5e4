//! Guarantee 2, the outbox is the log: the application's own tables and its events become durable together, or not at all.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use tidegate::config::{ConsumerConfig, Dedup, TopicConfig};
use tidegate::redb::{MultimapTableDefinition, ReadableTable, TableDefinition};
use tidegate::{
    AdminError, Blocking, ConsumerError, Position, PublishError, ReadError, Transaction, TransactionError,
    handler_fn,
};

use crate::house::{House, SHUTDOWN, all, event, event_with, handled, ids, publish, topic};

const ORDERS: TableDefinition<&str, u64> = TableDefinition::new("orders");
/// A name that one of the bus's own tables has as well.
const TOPICS: TableDefinition<u32, &[u8]> = TableDefinition::new("topics");
/// Another one.
const KEYS: MultimapTableDefinition<&str, &str> = MultimapTableDefinition::new("keys");

/// One that no event has to do with.
const UNRELATED: TableDefinition<&str, u32> = TableDefinition::new("unrelated");

type Error = Box<dyn std::error::Error + Send + Sync>;

/// An order and its event.
fn place(transaction: &mut Transaction<'_>, id: &str) -> Result<(), Error> {
    transaction.open_table(ORDERS)?.insert(id, 1)?;
    transaction.publish("t", event(id, "k"))?;
    Ok(())
}

/// The orders in the application's table, as they are durable.
fn orders(bus: &Blocking) -> Vec<String> {
    let Some(table) = bus.bus().snapshot().unwrap().open_table(ORDERS).unwrap() else {
        return Vec::new();
    };
    table.iter().unwrap().map(|row| row.unwrap().0.value().to_owned()).collect()
}

/// That exactly these orders are there, in the table and in the log.
#[track_caller]
fn assert_both(bus: &Blocking, expected: &[&str]) {
    assert_eq!(orders(bus), expected);
    assert_eq!(ids(bus, "t"), expected);
}

#[test]
fn table_and_events_are_durable_together_with_one_sync() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    topic(&bus, "other");
    publish(&bus, "t", "a", "k");
    publish(&bus, "t", "b", "k");
    let table_alone = || {
        let before = house.disk.syncs();
        bus.transaction(|transaction| {
            transaction.open_table(UNRELATED)?.insert("row", 1)?;
            Ok::<_, Error>(())
        })
        .unwrap();
        house.disk.syncs() - before
    };
    // Behind the first one the journal is empty, so that no checkpoint comes in between.
    table_alone();
    let table_alone = table_alone();
    let before = house.disk.syncs();
    bus.transaction(|transaction| {
        place(transaction, "c")?;
        transaction.publish("other", event("d", "k"))?;
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(house.disk.syncs() - before, table_alone, "one commit for all of it");
    let bus = house.cut_power(bus);
    assert_eq!(ids(&bus, "t"), ["a", "b", "c"]);
    assert_eq!(ids(&bus, "other"), ["d"]);
    assert_eq!(orders(&bus), ["c"]);
}

#[test]
fn a_crash_in_the_commit_leaves_neither() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    bus.transaction(|transaction| place(transaction, "a")).unwrap();
    house.disk.fail_syncs(true);
    let failed = bus.transaction(|transaction| place(transaction, "b"));
    assert!(matches!(failed, Err(TransactionError::InDoubt(_))), "{failed:?}");
    house.disk.fail_syncs(false);
    let bus = house.cut_power(bus);
    assert_both(&bus, &["a"]);
    bus.transaction(|transaction| place(transaction, "b")).unwrap();
    assert_both(&bus, &["a", "b"]);
}

#[test]
fn an_error_leaves_nothing_and_the_bus_goes_on() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let refused = bus.transaction(|transaction| {
        place(transaction, "a").map_err(|error| error.to_string())?;
        Err::<(), _>("no".to_owned())
    });
    assert!(matches!(&refused, Err(TransactionError::Refused(why)) if why == "no"), "{refused:?}");
    assert_both(&bus, &[]);
    // The id is not taken for one that was published.
    bus.transaction(|transaction| place(transaction, "a")).unwrap();
    assert_both(&bus, &["a"]);
    assert_both(&house.cut_power(bus), &["a"]);
}

#[test]
fn a_panic_leaves_nothing_and_the_bus_goes_on() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let panicked = bus.transaction(|transaction| -> Result<(), Error> {
        let mut table = transaction.open_table(ORDERS)?;
        table.insert("a", 1)?;
        transaction.publish("t", event("a", "k"))?;
        panic!("the table is still open");
    });
    assert!(
        matches!(&panicked, Err(TransactionError::Panicked(why)) if why == "the table is still open"),
        "{panicked:?}"
    );
    bus.transaction(|transaction| place(transaction, "b")).unwrap();
    publish(&bus, "t", "c", "k");
    assert_eq!(orders(&bus), ["b"]);
    assert_eq!(ids(&house.cut_power(bus), "t"), ["b", "c"]);
}

/// Keeps the committer busy with a transaction that waits, so that what comes meanwhile waits together.
struct Busy {
    go: mpsc::SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Busy {
    fn new(bus: &Blocking) -> Self {
        let (inside, is_inside) = mpsc::sync_channel(1);
        let (go, on) = mpsc::sync_channel::<()>(1);
        let bus = bus.clone();
        let thread = thread::spawn(move || {
            let wait = move |_: &mut Transaction<'_>| {
                inside.send(()).unwrap();
                on.recv().unwrap();
                Ok::<_, Error>(())
            };
            bus.transaction(wait).unwrap();
        });
        is_inside.recv().unwrap();
        Self { go, thread }
    }

    fn end(self) {
        self.go.send(()).unwrap();
        self.thread.join().unwrap();
    }
}

/// Hands something to the committer, without waiting for the answer.
fn begun<'a, T>(future: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    let mut future = Box::pin(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    future
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The commit of each event of topic `t`.
fn commits(bus: &Blocking) -> HashMap<String, u64> {
    let records = all(bus, "t").into_iter();
    records.map(|record| (record.event.id().to_owned(), record.commit)).collect()
}

#[test]
fn what_fails_takes_nobody_else_down() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    // All of these wait for the same commit.
    let busy = Busy::new(&bus);
    let failing = begun(bus.bus().transaction(|transaction| {
        place(transaction, "a")?;
        Err::<(), Error>("no".into())
    }));
    let plain = ["b", "c"].map(|id| begun(bus.bus().publish("t", event(id, "k"))));
    let next = begun(bus.bus().transaction(|transaction| place(transaction, "d")));
    busy.end();
    assert!(matches!(wait(failing), Err(TransactionError::Refused(_))));
    for published in plain {
        assert!(!wait(published).unwrap().duplicate);
    }
    wait(next).unwrap();
    assert_eq!(orders(&bus), ["d"]);
    assert_eq!(ids(&bus, "t"), ["b", "c", "d"]);
    let commits = commits(&bus);
    assert_eq!(commits["b"], commits["c"]);
}

#[test]
fn reads_within_see_its_own_writes() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("t", TopicConfig::new(1).sequence(true)).unwrap();
    bus.transaction(|transaction| {
        let mut table = transaction.open_table(ORDERS)?;
        table.insert("a", 7)?;
        assert_eq!(table.get("a")?.map(|row| row.value()), Some(7));
        drop(table);
        assert_eq!(transaction.open_table(ORDERS)?.len_of(), 1);
        let first = transaction.publish("t", event("a", "k"))?;
        let second = transaction.publish("t", event("b", "k"))?;
        assert_eq!((first.offset, second.offset), (0, 1));
        assert!(transaction.publish("t", event("a", "k"))?.duplicate);
        assert_eq!(transaction.version("t", "k")?, 2);
        assert_eq!(transaction.tables()?, ["orders"]);
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(ids(&bus, "t"), ["a", "b"]);
}

/// The number of a table's rows.
trait LenOf {
    fn len_of(&self) -> usize;
}

impl<T: ReadableTable<&'static str, u64>> LenOf for T {
    fn len_of(&self) -> usize {
        self.iter().unwrap().count()
    }
}

#[test]
fn a_place_that_is_told_within_is_the_place_it_gets() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("t", TopicConfig::new(4)).unwrap();
    publish(&bus, "t", "before", "k");
    let told = bus.transaction(|transaction| transaction.publish("t", event("a", "k"))).unwrap();
    let mut reader = bus.bus().read("t", Some(told.partition), Position::Offset(told.offset)).unwrap();
    assert_eq!(reader.try_next().unwrap().unwrap().event.id(), "a");
}

#[test]
fn own_tables_cannot_collide_with_those_of_the_bus() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    bus.transaction(|transaction| {
        transaction.open_table(TOPICS)?.insert(1, b"mine".as_slice())?;
        transaction.open_multimap_table(KEYS)?.insert("a", "b")?;
        Ok::<_, Error>(())
    })
    .unwrap();
    let bus = house.cut_power(bus);
    publish(&bus, "t", "a", "k");
    assert_eq!(ids(&bus, "t"), ["a"]);
    let snapshot = bus.bus().snapshot().unwrap();
    assert_eq!(snapshot.tables().unwrap(), ["keys", "topics"]);
    let topics = snapshot.open_table(TOPICS).unwrap().unwrap();
    assert_eq!(topics.get(1).unwrap().unwrap().value(), b"mine");
    let keys = snapshot.open_multimap_table(KEYS).unwrap().unwrap();
    assert_eq!(keys.get("a").unwrap().count(), 1);
    drop((topics, keys, snapshot));
    bus.transaction(|transaction| {
        assert!(transaction.delete_table("topics")? && !transaction.delete_table("topics")?);
        assert!(transaction.delete_multimap_table("keys")?);
        Ok::<_, Error>(())
    })
    .unwrap();
    assert!(bus.bus().snapshot().unwrap().tables().unwrap().is_empty());
    assert_eq!(bus.bus().topics().len(), 1);
}

#[test]
fn events_are_ordered_as_they_were_committed() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    topic(&bus, "u");
    // Each takes the next number from a table, from many threads: the log has them in the order of the numbers.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    bus.transaction(|transaction| {
                        let mut table = transaction.open_table(ORDERS)?;
                        let number = table.get("next")?.map_or(0, |row| row.value());
                        table.insert("next", number + 1)?;
                        let topic = if number % 2 == 0 { "t" } else { "u" };
                        transaction.publish(topic, event(&format!("{number}"), "k"))?;
                        Ok::<_, Error>(())
                    })
                    .unwrap();
                }
            });
        }
    });
    let mut records = all(&bus, "t");
    records.extend(all(&bus, "u"));
    records.sort_by_key(|record| record.commit);
    let numbers: Vec<usize> = records.iter().map(|record| record.event.id().parse().unwrap()).collect();
    assert_eq!(numbers, (0..160).collect::<Vec<_>>());
}

#[test]
fn calling_the_bus_from_within_is_an_error_and_not_a_deadlock() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    bus.subscribe("c", ConsumerConfig::new(["t"]), handler_fn(|_, _| Ok(()))).unwrap();
    let outer = bus.clone();
    let calling = move |transaction: &mut Transaction<'_>| {
        let refused = outer.publish("t", event("x", "k"));
        assert!(matches!(refused, Err(PublishError::InTransaction)), "{refused:?}");
        let refused = outer.transaction(|_| Ok::<_, Error>(()));
        assert!(matches!(refused, Err(TransactionError::InTransaction)), "{refused:?}");
        let refused = outer.create_topic("u", TopicConfig::new(1));
        assert!(matches!(refused, Err(AdminError::InTransaction)), "{refused:?}");
        let refused = outer.pause("c");
        assert!(matches!(refused, Err(ConsumerError::Admin(AdminError::InTransaction))), "{refused:?}");
        let refused = outer.unsubscribe("c");
        assert!(matches!(refused, Err(ConsumerError::Admin(AdminError::InTransaction))), "{refused:?}");
        let refused = outer.caught_up("c");
        assert!(matches!(refused, Err(ConsumerError::Admin(AdminError::InTransaction))), "{refused:?}");
        let mut reader = outer.bus().read("t", None, Position::Earliest)?;
        assert!(matches!(wait(reader.next()), Err(ReadError::InTransaction)));
        // Reading waits for nobody.
        assert!(outer.bus().read("t", None, Position::Earliest)?.try_next()?.is_none());
        place(transaction, "a")
    };
    let caller = bus.clone();
    let thread = thread::spawn(move || caller.transaction(calling).unwrap());
    house.settles(|| thread.is_finished());
    thread.join().unwrap();
    assert_both(&bus, &["a"]);
    // Another bus is another matter.
    let second = House::new();
    let other = second.open();
    topic(&other, "t");
    let inner = other.clone();
    bus.transaction(move |_| inner.publish("t", event("y", "k"))).unwrap();
    assert_eq!(ids(&other, "t"), ["y"]);
}

/// What a program may hold on to: it publishes when it goes, and then panics.
struct Parting(Blocking);

impl Drop for Parting {
    fn drop(&mut self) {
        let refused = self.0.publish("t", event("parting", "k"));
        assert!(refused.is_ok(), "on purpose: {refused:?}");
    }
}

#[test]
fn what_a_transaction_leaves_to_be_dropped_neither_hangs_nor_ends_the_bus() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    // Nobody takes the value, so it is dropped where the answer was to be handed over.
    let busy = Busy::new(&bus);
    let parting = Parting(bus.clone());
    drop(begun(bus.bus().transaction(move |transaction| {
        place(transaction, "a")?;
        Ok::<_, Error>(parting)
    })));
    busy.end();
    let next = bus.clone();
    let thread = thread::spawn(move || publish(&next, "t", "b", "k"));
    house.settles(|| thread.is_finished());
    thread.join().unwrap();
    assert_eq!(ids(&bus, "t"), ["a", "b"]);
}

#[test]
fn of_two_creations_of_a_topic_in_one_commit_the_second_changes_the_first() {
    let house = House::new();
    let bus = house.open();
    let busy = Busy::new(&bus);
    let dedup = Dedup::new(Duration::from_secs(7), 7);
    let first = begun(bus.bus().create_topic("t", TopicConfig::new(1)));
    let second = begun(bus.bus().create_topic("t", TopicConfig::new(1).dedup(dedup)));
    let third = begun(bus.bus().create_topic("t", TopicConfig::new(2)));
    busy.end();
    wait(first).unwrap();
    wait(second).unwrap();
    assert!(matches!(wait(third), Err(AdminError::PartitionsFixed { .. })));
    assert_eq!(bus.bus().topics()[0].config.dedup, dedup);
    assert_eq!(house.cut_power(bus).bus().topics()[0].config.dedup, dedup);
}

#[test]
fn a_closure_that_takes_too_long_is_undone() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let clock = Arc::clone(&house.clock);
    let slow = bus.transaction(move |transaction| {
        place(transaction, "a")?;
        clock.advance(Duration::from_secs(6));
        Ok::<_, Error>(())
    });
    assert!(matches!(slow, Err(TransactionError::TooSlow { .. })), "{slow:?}");
    assert_both(&bus, &[]);
}

#[test]
fn what_an_event_is_refused_for_is_told_within() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    bus.transaction(|transaction| {
        let unknown = transaction.publish("nowhere", event("a", "k"));
        assert!(matches!(unknown, Err(PublishError::UnknownTopic(_))), "{unknown:?}");
        let large = event_with("b", "k", &format!("\"{}\"", "x".repeat(2 << 20)));
        let large = transaction.publish("t", large);
        assert!(matches!(large, Err(PublishError::EventSize { .. })), "{large:?}");
        let unnumbered = transaction.version("t", "k");
        assert!(matches!(unnumbered, Err(PublishError::NotSequenced(_))), "{unnumbered:?}");
        // The closure decides that the rest is to stay.
        place(transaction, "c")
    })
    .unwrap();
    assert_both(&bus, &["c"]);
}

#[test]
fn a_transaction_is_bounded_in_events_and_bytes() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("t", TopicConfig::new(1).dedup(Dedup::new(Duration::ZERO, 0))).unwrap();
    let data = format!("\"{}\"", "x".repeat(900 << 10));
    let taken = bus
        .transaction(move |transaction| {
            let mut taken = 0;
            loop {
                let large = event_with(&format!("{taken}"), "k", &data);
                match transaction.publish("t", large) {
                    Ok(_) => taken += 1,
                    Err(PublishError::TooMany { .. }) => return Ok::<_, Error>(taken),
                    Err(error) => return Err(error.into()),
                }
            }
        })
        .unwrap();
    assert_eq!(taken, 9, "8 MiB of them");
    assert_eq!(ids(&bus, "t").len(), 9);
}

#[test]
fn a_full_disk_refuses_events_and_lets_rows_be_deleted() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    bus.transaction(|transaction| place(transaction, "a")).unwrap();
    // Publishing leaves 32 MiB alone, and transactions half of that.
    house.disk.set_free_bytes(Some(20 << 20));
    let refused = bus.transaction(|transaction| place(transaction, "b"));
    let Err(TransactionError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(matches!(why.downcast_ref(), Some(PublishError::DiskFull { .. })), "{why}");
    bus.transaction(|transaction| {
        transaction.open_table(ORDERS)?.remove("a")?;
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(orders(&bus), [""; 0]);
    house.disk.set_free_bytes(Some(15 << 20));
    let refused = bus.transaction(|_| -> Result<(), Error> { panic!("it runs") });
    assert!(matches!(refused, Err(TransactionError::DiskFull { .. })), "{refused:?}");
    house.disk.set_free_bytes(None);
    bus.transaction(|transaction| place(transaction, "c")).unwrap();
}

#[test]
fn a_transaction_that_writes_nothing_costs_no_sync() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    publish(&bus, "t", "a", "k");
    // It waits for all that was to be written before.
    bus.transaction(|transaction| place(transaction, "b")).unwrap();
    let syncs = house.disk.syncs();
    let known = bus.transaction(|transaction| transaction.publish("t", event("a", "k"))).unwrap();
    assert!(known.duplicate);
    bus.transaction(|_| Err::<(), _>("no")).unwrap_err();
    assert_eq!(house.disk.syncs(), syncs);
}

#[test]
fn consumers_get_what_a_transaction_published() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let handler = handler_fn(move |delivery, _| {
        sees.lock().unwrap().push(delivery.event.id().to_owned());
        Ok(())
    });
    bus.subscribe("c", ConsumerConfig::new(["t"]), handler).unwrap();
    bus.transaction(|transaction| place(transaction, "a")).unwrap();
    bus.transaction(|transaction| {
        place(transaction, "b")?;
        Err::<(), Error>("no".into())
    })
    .unwrap_err();
    bus.transaction(|transaction| place(transaction, "c")).unwrap();
    house.until(|| handled(&bus, "c") == 2);
    assert_eq!(*seen.lock().unwrap(), ["a", "c"]);
}

#[test]
fn a_flood_of_events_starves_no_transaction() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let busy = Busy::new(&bus);
    // Several times what one commit takes, 8 MiB, comes first.
    let data = format!("\"{}\"", "x".repeat(950 << 10));
    let flood: Vec<_> = (0..30)
        .map(|number| begun(bus.bus().publish("t", event_with(&format!("{number}"), "k", &data))))
        .collect();
    let transaction = begun(bus.bus().transaction(|transaction| place(transaction, "last")));
    busy.end();
    wait(transaction).unwrap();
    for published in flood {
        wait(published).unwrap();
    }
    let commits = commits(&bus);
    assert_eq!(commits["last"], commits["0"], "it goes with the next commit");
    assert!(commits["29"] > commits["0"] + 1);
}

#[test]
fn a_flood_of_transactions_starves_no_publisher() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let busy = Busy::new(&bus);
    let flood: Vec<_> = (0..30)
        .map(|number| {
            begun(bus.bus().transaction(move |transaction| place(transaction, &format!("{number}"))))
        })
        .collect();
    let plain = begun(bus.bus().publish("t", event("last", "k")));
    busy.end();
    wait(plain).unwrap();
    for transaction in flood {
        wait(transaction).unwrap();
    }
    let commits = commits(&bus);
    assert_eq!(commits["last"], commits["0"], "it goes with the next commit");
    assert_eq!(commits["29"], commits["0"] + 29);
}

#[test]
fn whoever_stops_waiting_leaves_a_transaction_whole() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let busy = Busy::new(&bus);
    drop(begun(bus.bus().transaction(|transaction| place(transaction, "a"))));
    busy.end();
    publish(&bus, "t", "b", "k");
    assert_eq!((orders(&bus), ids(&bus, "t")), (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()]));
}

#[test]
fn a_snapshot_sees_a_transaction_whole_or_not_at_all() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..200 {
                bus.transaction(move |transaction| place(transaction, &format!("{number:03}"))).unwrap();
            }
            is_over.store(true, Ordering::Release);
        });
        while !is_over.load(Ordering::Acquire) {
            let snapshot = bus.bus().snapshot().unwrap();
            let rows = snapshot.open_table(ORDERS).unwrap().map_or(0, |table| table.len_of());
            let mut reader = snapshot.read("t", None, Position::Earliest).unwrap();
            let events = std::iter::from_fn(|| reader.try_next().unwrap()).count();
            assert_eq!(rows, events);
            assert_eq!(snapshot.next_offset("t", 0).unwrap(), events as u64);
        }
    });
}

#[test]
fn a_snapshot_stays_at_its_moment_and_ends_with_its_age() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("t", TopicConfig::new(2).sequence(true)).unwrap();
    let empty = bus.bus().snapshot().unwrap();
    bus.transaction(|transaction| place(transaction, "a")).unwrap();
    let one = bus.bus().snapshot().unwrap();
    bus.transaction(|transaction| place(transaction, "b")).unwrap();
    assert!(empty.open_table(ORDERS).unwrap().is_none());
    assert!(empty.read("t", None, Position::Earliest).unwrap().try_next().unwrap().is_none());
    assert_eq!((empty.version("t", "k").unwrap(), one.version("t", "k").unwrap()), (0, 1));
    let mut reader = one.read_key("t", "k", 0).unwrap();
    assert_eq!(reader.try_next().unwrap().unwrap().event.id(), "a");
    assert!(reader.try_next().unwrap().is_none());
    assert_eq!(bus.bus().version("t", "k").unwrap(), 2);
    let refused = one.read("t", Some(2), Position::Earliest);
    assert!(matches!(refused, Err(ReadError::UnknownPartition { .. })));
    assert!(matches!(one.read("nowhere", None, Position::Earliest), Err(ReadError::UnknownTopic(_))));
    house.clock.advance(Duration::from_mins(11));
    assert!(matches!(one.open_table(ORDERS), Err(ReadError::SnapshotExpired { .. })));
    assert!(matches!(one.version("t", "k"), Err(ReadError::SnapshotExpired { .. })));
}

#[test]
fn a_snapshot_that_lives_on_keeps_the_storage_from_nobody() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    bus.transaction(|transaction| place(transaction, "a")).unwrap();
    let before_failure = bus.bus().snapshot().unwrap();
    house.disk.fail_syncs(true);
    bus.publish("t", event("b", "k")).unwrap_err();
    house.disk.fail_syncs(false);
    house.until(|| bus.publish("t", event("b", "k")).is_ok());
    let before_shutdown = bus.bus().snapshot().unwrap();
    bus.shutdown(SHUTDOWN);
    let again = house.open();
    assert_eq!(
        (orders(&again), ids(&again, "t")),
        (vec!["a".to_owned()], vec!["a".to_owned(), "b".to_owned()])
    );
    for snapshot in [before_failure, before_shutdown] {
        let rows = snapshot.open_table(ORDERS);
        assert!(matches!(rows, Err(ReadError::SnapshotEnded)), "{rows:?}");
    }
}

#[test]
fn a_transaction_in_doubt_can_be_settled_by_its_event() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "t");
    house.disk.fail_syncs(true);
    assert!(matches!(
        bus.transaction(|transaction| place(transaction, "a")),
        Err(TransactionError::InDoubt(_))
    ));
    house.disk.fail_syncs(false);
    // Written so, a transaction can be tried again whatever became of it.
    let again = || {
        bus.transaction(|transaction| {
            if !transaction.publish("t", event("a", "k"))?.duplicate {
                transaction.open_table(ORDERS)?.insert("a", 1)?;
            }
            Ok::<_, Error>(())
        })
    };
    house.until(|| again().is_ok());
    again().unwrap();
    assert_both(&bus, &["a"]);
}

#[test]
fn after_the_shutdown_a_transaction_is_refused_and_not_run() {
    let house = House::new();
    let bus = house.open();
    bus.shutdown(SHUTDOWN);
    let refused = bus.transaction(|_| -> Result<(), Error> { panic!("it runs") });
    assert!(matches!(refused, Err(TransactionError::Closed)), "{refused:?}");
    assert!(matches!(bus.bus().snapshot(), Err(ReadError::Closed)));
}
