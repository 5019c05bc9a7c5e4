//! The end of a bus: in good order, within its deadline, and told.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{ConsumerConfig, RetryPolicy, TopicConfig};
use tidegate::{
    AdminError, Blocking, Bus, BusError, Clock, ConsumerError, ConsumerKind, Delivery, Drained, Event,
    Failure, Handler, LaneState, OpenError, Position, PublishError, Published, ReadError, StorageEnd,
    handler_fn,
};

use crate::cli_process::Directory;
use crate::house::{House, SHUTDOWN, at_once, consumer, event, handled, ids, letters, open, publish, topic};

/// A deadline that no test comes to: the clock that it is measured by stands still.
const NEVER: Duration = Duration::from_hours(24);

type Answer = Result<Vec<Published>, PublishError>;

/// A publisher that is polled by hand: one that waits, and may be left alone.
struct Begun<'a> {
    future: Pin<Box<dyn Future<Output = Answer> + 'a>>,
    answer: Option<Answer>,
}

impl<'a> Begun<'a> {
    /// Goes as far as it can.
    fn publish(bus: &'a Blocking, id: &str, data_bytes: usize) -> Self {
        let event = Event::new(id, "/tests", "T").text("text/plain", "x".repeat(data_bytes)).build().unwrap();
        let mut begun = Self { future: Box::pin(bus.bus().publish_all(vec![("in", event)])), answer: None };
        begun.look();
        begun
    }

    /// The answer, as soon as it is there.
    fn look(&mut self) -> Option<&Answer> {
        if self.answer.is_none()
            && let Poll::Ready(answer) = self.future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        {
            self.answer = Some(answer);
        }
        self.answer.as_ref()
    }

    fn is_refused(&mut self) -> bool {
        matches!(self.look(), Some(Err(PublishError::Closed)))
    }

    fn is_written(&mut self) -> bool {
        matches!(self.look(), Some(Ok(_)))
    }
}

/// Says that it has begun, and never ends.
struct Endless(tokio::sync::mpsc::Sender<()>);

impl Handler for Endless {
    async fn handle(&self, _: &Delivery, _: &mut tidegate::Context) -> Result<(), Failure> {
        self.0.send(()).await.unwrap();
        std::future::pending().await
    }
}

/// Starts a consumer whose only delivery never ends.
fn endless(bus: &Blocking) {
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    bus.subscribe("endless", at_once(), Endless(began)).unwrap();
    publish(bus, "in", "endless", "k");
    has_begun.blocking_recv().unwrap();
}

fn shutting_down(bus: &Blocking, deadline: Duration) -> thread::JoinHandle<Drained> {
    let bus = bus.clone();
    thread::spawn(move || bus.shutdown(deadline))
}

/// Whether the bus refuses calls as closed, found out by one that would change nothing.
fn is_closed(bus: &Blocking) -> bool {
    let mut call = std::pin::pin!(bus.bus().redrive("nobody", Vec::new()));
    let answer = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    matches!(answer, Poll::Ready(Err(AdminError::Closed)))
}

#[test]
fn what_was_left_is_told_for_each_consumer_that_has_something() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let retry = RetryPolicy::default().backoff(Duration::from_hours(1), Duration::from_hours(2));
    let later = ConsumerConfig::new(["in"]).retry(retry);
    bus.subscribe("finished", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    bus.subscribe("holding", later, handler_fn(|_, _| Err(Failure::transient("busy", "later")))).unwrap();
    bus.subscribe("refusing", at_once(), handler_fn(|_, _| Err(Failure::permanent("no", "never")))).unwrap();
    bus.subscribe("resting", at_once().paused(true), handler_fn(|_, _| Ok(()))).unwrap();
    for id in ["a", "b", "c"] {
        publish(&bus, "in", id, "k");
    }
    bus.caught_up("finished").unwrap();
    bus.caught_up("refusing").unwrap();
    house.settles(|| consumer(&bus, "holding").held == 3 && letters(&bus, "refusing").len() == 3);
    house.settles(|| consumer(&bus, "resting").lanes[0].state == LaneState::Paused);
    let drained = bus.shutdown(SHUTDOWN);
    let told: Vec<String> = drained.consumers.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["holding: 3 held", "refusing: 3 dead letters", "resting: 3 events to come"]);
    let resting = &drained.consumers[2];
    assert_eq!((resting.lag_events, resting.held, resting.dead_letters), (3, 0, Some(0)));
    assert_eq!((drained.refused, &drained.storage), (0, &StorageEnd::Closed));
    assert!(!drained.is_complete() && drained.cut_off().next().is_none());

    let bus = house.open();
    for name in ["finished", "holding", "refusing", "resting"] {
        assert_eq!(consumer(&bus, name).kind, ConsumerKind::Detached);
    }
    assert!(bus.shutdown(SHUTDOWN).is_complete(), "what doesn't run here is not this bus's to finish");
}

/// Waits in the delivery of one event until it is told to go on.
struct Waiting {
    id: &'static str,
    began: tokio::sync::mpsc::Sender<()>,
    go_on: Arc<tokio::sync::Notify>,
}

impl Handler for Waiting {
    async fn handle(&self, delivery: &Delivery, _: &mut tidegate::Context) -> Result<(), Failure> {
        if delivery.event.id() == self.id {
            self.began.send(()).await.unwrap();
            self.go_on.notified().await;
        }
        Ok(())
    }
}

#[test]
fn events_handled_up_to_the_end_are_not_told_as_left() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    for n in 0..50 {
        publish(&bus, "in", &n.to_string(), "k");
    }
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    let go_on = Arc::new(tokio::sync::Notify::new());
    bus.subscribe("c", at_once(), Waiting { id: "9", began, go_on: Arc::clone(&go_on) }).unwrap();
    has_begun.blocking_recv().unwrap();
    let ending = shutting_down(&bus, NEVER);
    // From when it is taken out on, the lane is told to end.
    house.settles(|| consumer(&bus, "c").kind == ConsumerKind::Detached);
    go_on.notify_one();
    let drained = ending.join().unwrap();
    let left: u64 = drained.consumers.iter().map(|left| left.lag_events).sum();
    assert_eq!((handled(&house.open(), "c") + left, drained.cut_off().count()), (50, 0), "{drained}");
}

#[test]
fn what_was_admitted_is_written_and_calls_that_wait_for_room_are_refused_and_counted() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    house.disk.hold_syncs(true);
    // More than may wait for the committer, which waits for the disk.
    let mut begun: Vec<_> = (0..60).map(|n| Begun::publish(&bus, &n.to_string(), 900_000)).collect();
    assert!(begun.iter_mut().all(|begun| begun.look().is_none()));
    // One that gave up before isn't waiting any more.
    drop(Begun::publish(&bus, "given-up", 900_000));
    let ending = shutting_down(&bus, NEVER);
    let last = RefCell::new(begun.pop().unwrap());
    house.settles(|| last.borrow_mut().is_refused());
    house.disk.hold_syncs(false);
    let drained = ending.join().unwrap();
    assert_eq!(drained.storage, StorageEnd::Closed);
    let refused = 1 + begun.iter_mut().map(Begun::is_refused).filter(|is_so| *is_so).count();
    let written = begun.iter_mut().map(Begun::is_written).filter(|is_so| *is_so).count();
    assert_eq!((written + refused, drained.refused), (60, refused as u64));
    assert!(written > 0 && refused > 1);
    assert!(drained.to_string().contains(&format!("{refused} waiting calls refused")), "{drained}");
    assert_eq!(ids(&house.open(), "in").len(), written);
}

#[test]
fn a_flood_of_publishers_is_ended_and_what_was_acknowledged_is_there() {
    let folder = TempDir::new().unwrap();
    let bus = open(folder.path());
    topic(&bus, "in");
    bus.subscribe("c", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let bus = bus.clone();
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                for n in 0.. {
                    let id = format!("{publisher}-{n}");
                    match bus.publish("in", event(&id, "k")) {
                        Ok(_) => acknowledged.push(id),
                        Err(PublishError::Closed) => break,
                        Err(other) => panic!("{other}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    while ids(&bus, "in").len() < 100 {
        thread::yield_now();
    }
    let drained = bus.shutdown(SHUTDOWN);
    assert_eq!(drained.storage, StorageEnd::Closed);
    let acknowledged: Vec<_> = publishers.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let bus = open(folder.path());
    let durable: std::collections::BTreeSet<_> = ids(&bus, "in").into_iter().collect();
    assert!(acknowledged.len() >= 100 && acknowledged.iter().all(|id| durable.contains(id)));
    assert_eq!(durable.len(), acknowledged.len(), "and nothing that was refused");
}

#[test]
fn a_deadline_of_zero_cuts_consumers_off_and_still_writes_what_was_admitted() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    endless(&bus);
    house.disk.hold_syncs(true);
    let mut begun: Vec<_> = (0..3).map(|n| Begun::publish(&bus, &n.to_string(), 0)).collect();
    let ending = shutting_down(&bus, Duration::ZERO);
    house.settles(|| is_closed(&bus));
    house.disk.hold_syncs(false);
    let drained = ending.join().unwrap();
    assert_eq!(drained.cut_off().collect::<Vec<_>>(), ["endless"]);
    assert_eq!(drained.consumers[0].to_string(), "endless: cut off in a delivery, 4 events to come");
    assert_eq!(drained.storage, StorageEnd::Closed);
    assert!(begun.iter_mut().all(Begun::is_written));
    assert_eq!(ids(&house.open(), "in").len(), 4);
}

#[test]
fn a_disk_that_hangs_is_told_of_and_another_call_waits_for_it_again() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    house.disk.hold_syncs(true);
    let mut begun = Begun::publish(&bus, "a", 0);
    house.settles(|| house.disk.held_syncs() > 0);
    let ending = shutting_down(&bus, Duration::from_secs(5));
    house.until(|| ending.is_finished());
    let drained = ending.join().unwrap();
    assert_eq!(drained.storage, StorageEnd::Pending);
    assert!(!drained.is_complete() && drained.to_string().contains("hasn't answered"), "{drained}");
    assert!(matches!(house.try_open(), Err(BusError::Open(OpenError::InUse { .. }))));
    let again = shutting_down(&bus, NEVER);
    house.disk.hold_syncs(false);
    assert_eq!(again.join().unwrap().storage, StorageEnd::Closed);
    assert!(begun.is_written(), "it was written after all");
    assert_eq!(ids(&house.open(), "in"), ["a"]);
}

#[test]
fn a_storage_that_fails_is_told_of_and_does_not_hold_the_end_up() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    bus.subscribe("c", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    bus.caught_up("c").unwrap();
    house.disk.fail_syncs(true);
    assert!(matches!(bus.publish("in", event("b", "k")), Err(PublishError::InDoubt(_))));
    let drained = bus.shutdown(NEVER);
    assert!(matches!(drained.storage, StorageEnd::Failed { .. }), "{drained:?}");
    assert!(matches!(bus.publish("in", event("c", "k")), Err(PublishError::Closed)));
    house.disk.fail_syncs(false);
    assert_eq!(ids(&house.open(), "in")[0], "a");
}

#[test]
fn a_second_call_waits_for_the_same_end_and_may_bring_it_forward() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    endless(&bus);
    let first = shutting_down(&bus, NEVER);
    let early = shutting_down(&bus, NEVER);
    let second = bus.shutdown(Duration::ZERO);
    assert_eq!(second.cut_off().collect::<Vec<_>>(), ["endless"]);
    assert_eq!(first.join().unwrap(), second);
    assert_eq!(early.join().unwrap(), second);
    assert_eq!(bus.shutdown(Duration::ZERO), second, "long after, too");
    house.open();
}

#[test]
fn a_handler_that_blocks_its_thread_does_not_hold_the_end_up() {
    let folder = TempDir::new().unwrap();
    let bus = open(folder.path());
    // One lane for each thread of the bus, and more.
    bus.create_topic("in", TopicConfig::new(8)).unwrap();
    let (began, has_begun) = mpsc::sync_channel(8);
    let (release, released) = mpsc::sync_channel::<()>(8);
    let released = Mutex::new(released);
    let blocking = handler_fn(move |_, _| {
        began.send(()).unwrap();
        // Until the sender is gone, which is an answer as well.
        let _ = released.lock().unwrap_or_else(PoisonError::into_inner).recv();
        Ok(())
    });
    bus.subscribe("blocking", at_once(), blocking).unwrap();
    for n in 0..64 {
        publish(&bus, "in", &n.to_string(), &n.to_string());
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(4);
    for _ in 0..threads {
        has_begun.recv().unwrap();
    }
    let drained = bus.shutdown(Duration::from_millis(10));
    assert_eq!(drained.cut_off().collect::<Vec<_>>(), ["blocking"]);
    assert_eq!((drained.consumers[0].lag_events, &drained.storage), (64, &StorageEnd::Closed));
    let again = open(folder.path());
    drop(release);
    assert_eq!(handled(&again, "blocking"), 0, "what was cut off takes no effect");
}

#[test]
fn a_delivery_may_use_the_bus_up_to_the_end_and_nothing_new_is_begun() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    topic(&bus, "out");
    let (began, mut has_begun) = tokio::sync::mpsc::channel(1);
    let go_on = Arc::new(tokio::sync::Notify::new());
    let handler = Publishing { began, go_on: Arc::clone(&go_on), bus: bus.bus().clone() };
    bus.subscribe("publishing", at_once(), handler).unwrap();
    publish(&bus, "in", "a", "k");
    has_begun.blocking_recv().unwrap();
    let ending = shutting_down(&bus, NEVER);
    // The consumers that run are taken out first.
    house.settles(|| consumer(&bus, "publishing").kind == ConsumerKind::Detached);
    let late = bus.subscribe("late", at_once(), handler_fn(|_, _| Ok(())));
    assert!(matches!(late, Err(ConsumerError::Admin(AdminError::Closed))), "{late:?}");
    go_on.notify_one();
    assert!(ending.join().unwrap().is_complete());
    let bus = house.open();
    assert_eq!((handled(&bus, "publishing"), ids(&bus, "out")), (1, vec!["from-a".to_owned()]));
}

/// Publishes by the bus itself, beside its context, when it is told to.
struct Publishing {
    began: tokio::sync::mpsc::Sender<()>,
    go_on: Arc<tokio::sync::Notify>,
    bus: Bus,
}

impl Handler for Publishing {
    async fn handle(&self, delivery: &Delivery, _: &mut tidegate::Context) -> Result<(), Failure> {
        self.began.send(()).await.unwrap();
        self.go_on.notified().await;
        let event = event(&format!("from-{}", delivery.event.id()), "k");
        self.bus.publish("out", event).await.map_err(|error| Failure::transient("bus", error.to_string()))?;
        Ok(())
    }
}

#[test]
fn the_directory_is_free_at_once_for_another_process_whatever_handles_are_left() {
    let directory = Directory::new("[topics.in]\npartitions = 1\n");
    let bus = open(directory.path());
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    bus.subscribe("c", at_once(), handler_fn(|_, context| Ok(context.set(b"k", b"v")?))).unwrap();
    bus.caught_up("c").unwrap();
    let mut reader = bus.bus().read("in", None, Position::Earliest).unwrap();
    let state = bus.bus().state("c", 0).unwrap();
    // One that reads all the time holds the file at each moment of it.
    let busy = thread::spawn({
        let bus = bus.clone();
        move || while !matches!(bus.bus().state("c", 0), Err(ReadError::Closed)) {}
    });
    assert!(bus.shutdown(SHUTDOWN).is_complete());
    assert_eq!(directory.json(&["read", "in"]).len(), 1);
    open(directory.path()).shutdown(SHUTDOWN);
    busy.join().unwrap();
    assert!(matches!(reader.try_next(), Err(ReadError::Closed)));
    // It may have what it was asked for in memory.
    drop(state.get(b"k"));
}

#[test]
fn a_bus_that_is_dropped_without_a_shutdown_writes_what_was_admitted_and_lets_go_of_the_directory() {
    let folder = TempDir::new().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    {
        let bus = open(folder.path());
        topic(&bus, "in");
        publish(&bus, "in", "a", "k");
        endless(&bus);
        let reader = bus.bus().read("in", None, Position::Earliest).unwrap();
        drop(bus);
        let in_use = Bus::open(folder.path());
        assert!(matches!(in_use, Err(BusError::Open(OpenError::InUse { .. }))), "a reader is a handle, too");
        drop(reader);
    }
    // Nobody has waited for the end, so it comes soon and not at once.
    let bus = loop {
        match Bus::open(folder.path()) {
            Ok(bus) => break bus.blocking(),
            Err(BusError::Open(OpenError::InUse { .. })) => thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    };
    let noting = handler_fn({
        let seen = Arc::clone(&seen);
        move |delivery, _| {
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(delivery.event.id().to_owned());
            Ok(())
        }
    });
    bus.subscribe("endless", at_once(), noting).unwrap();
    bus.caught_up("endless").unwrap();
    assert_eq!(*seen.lock().unwrap(), ["a", "endless"], "what was cut off is delivered again");
    assert!(bus.shutdown(SHUTDOWN).is_complete());
}

#[test]
fn the_end_goes_on_when_nobody_waits_for_it() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let mut ending = Box::pin(bus.bus().shutdown(NEVER));
    assert!(ending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    drop(ending);
    house.settles(|| is_closed(&bus));
    house.settles(|| house.try_open().is_ok());
    assert!(house.clock.now() == crate::house::START);
}
