//! What an embedder does with the library.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, Start, TopicConfig};
use tidegate::{
    AdminError, Bus, BusError, Clock, ConsumerError, ConsumerKind, Event, Handler, LaneState, OpenError,
    Position, PublishError, ReadError, handler_fn,
};

use crate::house::{House, SHUTDOWN, at_once, consumer, event, guest, handled, ids, open, publish, topic};

/// The ids that were handled, in their order.
type Handled = Arc<Mutex<Vec<String>>>;

fn noting(handled: &Handled) -> impl Handler + use<> {
    let handled = Arc::clone(handled);
    handler_fn(move |delivery, context| {
        handled.lock().unwrap().push(delivery.event.id().to_owned());
        context.set(b"last", delivery.event.id().as_bytes())?;
        Ok(())
    })
}

fn taken(handled: &Handled) -> Vec<String> {
    std::mem::take(&mut *handled.lock().unwrap())
}

#[test]
fn a_paused_consumer_stands_still_over_a_restart_too_until_it_is_resumed() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handled = Handled::default();
    bus.subscribe("c", at_once(), noting(&handled)).unwrap();
    bus.pause("c").unwrap();
    house.settles(|| consumer(&bus, "c").lanes[0].state == LaneState::Paused);
    publish(&bus, "in", "a", "k");
    let bus = house.cut_power(bus);
    bus.subscribe("c", at_once(), noting(&handled)).unwrap();
    house.settles(|| consumer(&bus, "c").lanes[0].state == LaneState::Paused);
    let status = consumer(&bus, "c");
    assert!(status.paused && handled.lock().unwrap().is_empty());
    assert_eq!(status.lag_events, 1);
    bus.resume("c").unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(taken(&handled), ["a"]);
    assert!(!consumer(&bus, "c").paused);
}

#[test]
fn a_consumer_is_moved_to_an_offset_or_a_time_while_it_runs_and_while_it_does_not() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let mut times = Vec::new();
    for id in ["a", "b", "c"] {
        times.push(house.clock.now());
        publish(&bus, "in", id, "k");
        house.clock.advance(Duration::from_secs(1));
    }
    let handled = Handled::default();
    bus.subscribe("c", at_once(), noting(&handled)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(taken(&handled), ["a", "b", "c"]);
    bus.seek("c", Some("in"), Some(0), Position::Offset(1)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(taken(&handled), ["b", "c"]);
    bus.unsubscribe("c").unwrap();
    bus.seek("c", None, None, Position::Time(times[2])).unwrap();
    let bus = house.cut_power(bus);
    bus.subscribe("c", at_once(), noting(&handled)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(taken(&handled), ["c"]);
    let wrong = bus.seek("c", Some("in"), Some(7), Position::Earliest).unwrap_err().to_string();
    assert!(wrong.contains("`c`") && wrong.contains("partition 7"), "{wrong}");
}

#[test]
fn a_new_consumer_starts_where_it_says_and_that_is_fixed_when_it_is_registered() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    house.clock.advance(Duration::from_secs(1));
    let time = house.clock.now();
    publish(&bus, "in", "b", "k");
    let starts = [("latest", Start::Latest), ("time", Start::Time(time)), ("earliest", Start::Earliest)];
    for (name, start) in starts {
        let config = ConsumerConfig::new(["in"]).start(start).paused(true);
        bus.subscribe(name, config, handler_fn(|_, _| Ok(()))).unwrap();
    }
    publish(&bus, "in", "c", "k");
    let bus = house.cut_power(bus);
    for (name, start, expected) in [
        ("latest", Start::Latest, vec!["c"]),
        ("time", Start::Time(time), vec!["b", "c"]),
        ("earliest", Start::Earliest, vec!["a", "b", "c"]),
    ] {
        let handled = Handled::default();
        bus.subscribe(name, ConsumerConfig::new(["in"]).start(start), noting(&handled)).unwrap();
        bus.resume(name).unwrap();
        bus.caught_up(name).unwrap();
        assert_eq!(taken(&handled), expected, "{name}");
    }
}

#[test]
fn an_unsubscribed_consumer_is_detached_and_keeps_all_until_it_is_forgotten() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    let handled = Handled::default();
    bus.subscribe("c", at_once(), noting(&handled)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(consumer(&bus, "c").kind, ConsumerKind::Native);
    assert!(matches!(bus.forget("c"), Err(ConsumerError::StillRunning(name)) if name == "c"));
    assert!(matches!(bus.subscribe("c", at_once(), noting(&handled)), Err(ConsumerError::Running(_))));
    bus.unsubscribe("c").unwrap();
    let status = consumer(&bus, "c");
    assert_eq!((status.kind, status.counts.handled, status.lag_events), (ConsumerKind::Detached, 1, 0));
    bus.unsubscribe("c").unwrap();
    let unknown = bus.unsubscribe("nobody");
    assert!(
        matches!(unknown, Err(ConsumerError::Admin(AdminError::UnknownConsumer(name))) if name == "nobody")
    );
    publish(&bus, "in", "b", "k");
    assert_eq!(consumer(&bus, "c").lag_events, 1);
    bus.subscribe("c", at_once(), noting(&handled)).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(taken(&handled), ["a", "b"], "it goes on where it stood");
    bus.unsubscribe("c").unwrap();

    bus.forget("c").unwrap();
    assert!(bus.bus().consumers().unwrap().is_empty());
    assert!(
        matches!(bus.bus().dead_letters("c", 0, 1), Err(ReadError::UnknownConsumer(name)) if name == "c")
    );
    let bus = house.cut_power(bus);
    let fresh = Handled::default();
    let notes = Arc::clone(&fresh);
    let handler = handler_fn(move |delivery, context| {
        assert!(delivery.event.id() != "a" || context.get(b"last")?.is_none(), "its state is gone");
        notes.lock().unwrap().push(delivery.event.id().to_owned());
        Ok(())
    });
    bus.subscribe("c", at_once(), handler).unwrap();
    bus.caught_up("c").unwrap();
    assert_eq!(taken(&fresh), ["a", "b"], "a consumer of the same name starts anew");
}

#[test]
fn topics_of_unequal_partitions_are_refused_with_both_names_and_the_remedy() {
    let house = House::new();
    let bus = house.open();
    bus.create_topic("wide", TopicConfig::new(8)).unwrap();
    bus.create_topic("narrow", TopicConfig::new(2)).unwrap();
    let config = ConsumerConfig::new(["wide", "narrow"]);
    let native = bus.subscribe("c", config.clone(), handler_fn(|_, _| Ok(()))).unwrap_err();
    let plugin = bus.subscribe_plugin("c", config, guest("idle")).unwrap_err();
    for refused in [native, plugin] {
        let message = refused.to_string();
        for word in ["`c`", "`wide`", "8", "`narrow`", "2", "use two consumers"] {
            assert!(message.contains(word), "{word:?} is missing: {message}");
        }
    }
    assert!(bus.bus().consumers().unwrap().is_empty());
    let unknown = bus.subscribe("c", ConsumerConfig::new(["nowhere"]), handler_fn(|_, _| Ok(())));
    assert!(unknown.unwrap_err().to_string().contains("`nowhere`"));
}

#[test]
fn shutting_down_drains_and_frees_the_directory() {
    let folder = TempDir::new().unwrap();
    let bus = open(folder.path());
    topic(&bus, "in");
    for n in 0..200 {
        publish(&bus, "in", &n.to_string(), "k");
    }
    let first = Handled::default();
    bus.subscribe("c", at_once(), noting(&first)).unwrap();
    let drained = bus.shutdown(SHUTDOWN);
    assert_eq!(drained.cut_off().count(), 0);
    // While the old handle is still there.
    let again = open(folder.path());
    assert_eq!(handled(&again, "c"), first.lock().unwrap().len() as u64, "what was handled counts");
    again.subscribe("c", at_once(), noting(&first)).unwrap();
    again.caught_up("c").unwrap();
    let mut seen: Vec<u32> = taken(&first).iter().map(|id| id.parse().unwrap()).collect();
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen.len(), 200, "each once");
    again.shutdown(SHUTDOWN);
}

/// Says that it has begun, and never ends.
struct Endless(tokio::sync::mpsc::Sender<()>);
impl Handler for Endless {
    async fn handle(
        &self,
        _: &tidegate::Delivery,
        _: &mut tidegate::Context,
    ) -> Result<(), tidegate::Failure> {
        self.0.send(()).await.unwrap();
        std::future::pending().await
    }
}

#[test]
fn a_consumer_that_does_not_end_in_time_is_cut_off_and_named() {
    let folder = TempDir::new().unwrap();
    let bus = open(folder.path());
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    bus.subscribe("endless", at_once(), Endless(began)).unwrap();
    has_begun.blocking_recv().unwrap();
    let drained = bus.shutdown(Duration::from_millis(10));
    assert_eq!(drained.cut_off().collect::<Vec<_>>(), ["endless"]);
    let bus = open(folder.path());
    assert_eq!(
        (handled(&bus, "endless"), consumer(&bus, "endless").lag_events),
        (0, 1),
        "and nothing is lost"
    );
}

#[test]
fn calls_after_the_shutdown_are_refused() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    let mut reader = bus.bus().read("in", None, Position::Earliest).unwrap();
    bus.subscribe("c", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    bus.shutdown(SHUTDOWN);
    assert!(matches!(bus.publish("in", event("b", "k")), Err(PublishError::Closed)));
    assert!(matches!(bus.create_topic("more", TopicConfig::new(1)), Err(AdminError::Closed)));
    assert!(matches!(reader.try_next(), Err(ReadError::Closed)));
    assert!(matches!(bus.redrive("c", vec![1]), Err(AdminError::Closed)));
    assert!(matches!(bus.discard("c", vec![1]), Err(AdminError::Closed)));
    assert!(matches!(bus.bus().consumers(), Err(ReadError::Closed)));
    assert!(bus.pause("c").is_err() && bus.seek("c", None, None, Position::Earliest).is_err());
    assert!(bus.subscribe("d", at_once(), handler_fn(|_, _| Ok(()))).is_err());
    assert!(bus.subscribe_plugin("e", at_once(), guest("idle")).is_err());
    assert!(bus.caught_up("c").is_err() && bus.reload("c").is_err() && bus.forget("c").is_err());
    bus.shutdown(SHUTDOWN);
}

#[test]
fn a_second_bus_on_the_same_directory_is_refused_with_its_path() {
    let folder = TempDir::new().unwrap();
    let bus = open(folder.path());
    topic(&bus, "in");
    let refused = Bus::open(folder.path()).unwrap_err();
    assert!(matches!(refused, BusError::Open(OpenError::InUse { .. })), "{refused:?}");
    let message = refused.to_string();
    assert!(message.contains(&folder.path().display().to_string()), "{message}");
    publish(&bus, "in", "a", "k");
    assert_eq!(ids(&bus, "in"), ["a"], "and the first one goes on");
}

#[test]
fn the_bus_is_used_and_dropped_inside_an_async_runtime() {
    let house = House::new();
    let seen = Handled::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let bus = house.open().bus().clone();
        bus.create_topic("in", TopicConfig::new(2)).await.unwrap();
        bus.subscribe("c", at_once(), noting(&seen)).await.unwrap();
        bus.subscribe_plugin("p", at_once(), guest("idle")).await.unwrap();
        let mut reader = bus.read("in", None, Position::Earliest).unwrap();
        let sent = Event::new("a", "/tests", "Test.v1").build().unwrap();
        bus.publish("in", sent).await.unwrap();
        assert_eq!(reader.next().await.unwrap().event.id(), "a");
        bus.caught_up("c").await.unwrap();
        bus.caught_up("p").await.unwrap();
        drop(reader);
        // The last handle, and no word of farewell.
        drop(bus);
    });
    assert_eq!(taken(&seen), ["a"]);
}

#[test]
fn the_bus_is_shut_down_inside_an_async_runtime() {
    let folder = TempDir::new().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..3 {
        runtime.block_on(async {
            let bus = Bus::open(folder.path()).unwrap();
            bus.create_topic("in", TopicConfig::new(1)).await.unwrap();
            bus.shutdown(SHUTDOWN).await;
        });
    }
}

#[test]
fn a_reader_that_follows_gets_what_is_published_later() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let mut reader = bus.bus().read("in", None, Position::Latest).unwrap();
    let follower = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let next = |_| runtime.block_on(reader.next()).unwrap().event.id().to_owned();
        (0..3).map(next).collect::<Vec<_>>()
    });
    for id in ["a", "b", "c"] {
        publish(&bus, "in", id, "k");
    }
    assert_eq!(follower.join().unwrap(), ["a", "b", "c"]);
}

/// Says that it has begun, and ends when it is told to.
struct Patient {
    began: tokio::sync::mpsc::Sender<()>,
    end: Arc<tokio::sync::Notify>,
}

impl Handler for Patient {
    async fn handle(
        &self,
        _: &tidegate::Delivery,
        _: &mut tidegate::Context,
    ) -> Result<(), tidegate::Failure> {
        self.began.send(()).await.unwrap();
        self.end.notified().await;
        Ok(())
    }
}

#[test]
fn unsubscribing_waits_for_the_delivery_outside_of_any_async_runtime() {
    // With the machine's clock, whose waits need the bus's own runtime.
    let folder = TempDir::new().unwrap();
    let bus = open(folder.path());
    topic(&bus, "in");
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    let end = Arc::new(tokio::sync::Notify::new());
    bus.subscribe("c", at_once(), Patient { began, end: Arc::clone(&end) }).unwrap();
    publish(&bus, "in", "a", "k");
    has_begun.blocking_recv().unwrap();
    let unsubscribing = thread::spawn({
        let bus = bus.clone();
        move || bus.unsubscribe("c")
    });
    while consumer(&bus, "c").kind != ConsumerKind::Detached {
        thread::yield_now();
    }
    end.notify_one();
    unsubscribing.join().unwrap().unwrap();
    assert_eq!(handled(&bus, "c"), 1);
}

#[test]
fn who_waits_for_events_or_for_a_consumer_is_told_of_the_end() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    bus.subscribe("c", at_once().paused(true), handler_fn(|_, _| Ok(()))).unwrap();
    publish(&bus, "in", "a", "k");
    let caught_up = thread::spawn({
        let bus = bus.clone();
        move || bus.caught_up("c")
    });
    let mut reader = bus.bus().read("in", None, Position::Latest).unwrap();
    let next = thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(reader.next())
    });
    bus.shutdown(SHUTDOWN);
    assert!(matches!(caught_up.join().unwrap(), Err(ConsumerError::NotRunning(_))));
    assert!(matches!(next.join().unwrap(), Err(ReadError::Closed)));
}

#[test]
fn a_shutdown_does_not_wait_for_a_publisher_that_nobody_polls() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let large = "x".repeat(900_000);
    let publish = |id: usize| {
        let event = Event::new(id.to_string(), "/tests", "T").text("text/plain", large.clone());
        Box::pin(bus.bus().publish_all(vec![("in", event.build().unwrap())]))
    };
    // More than may wait for the committer: some of them are begun, and none is polled again.
    let mut begun: Vec<_> = (0..60).map(publish).collect();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    for publish in &mut begun {
        let _ = publish.as_mut().poll(&mut context);
    }
    bus.shutdown(SHUTDOWN);
    house.open();
}
