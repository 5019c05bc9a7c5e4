//! Resources that run out: each has a defined answer, and the bus works on when the cause is gone.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;
use tidegate::config::{BusConfig, ConsumerConfig, Retention, RetryPolicy, TopicConfig};
use tidegate::server::{Answer, Client, Request};
use tidegate::testing::{JumpingClock, SeededRandom};
use tidegate::{
    AdminError, Blocking, Bus, Clock, Event, Failure, LaneState, Options, PublishError, handler_fn,
};

use crate::cli_process::Directory;
use crate::house::{
    House, SHUTDOWN, START, at_once, caught_up, consumer, event, event_with, handled, ids, letters, publish,
    topic,
};

const HOUR: Duration = Duration::from_hours(1);

/// Publishes events of half a mebibyte until one is refused. Says which were acknowledged, and which was not.
fn fill(bus: &Blocking) -> (Vec<String>, String, PublishError) {
    let json = format!("\"{}\"", "x".repeat(512 << 10));
    let mut acknowledged = Vec::new();
    for number in 0..1000 {
        let id = format!("{number}");
        match bus.publish("in", event_with(&id, "k", &json)) {
            Ok(_) => acknowledged.push(id),
            Err(error) => return (acknowledged, id, error),
        }
    }
    panic!("the disk doesn't fill up");
}

/// Publishes an event again until the storage is open.
fn publish_again(bus: &Blocking, id: &str) {
    loop {
        match bus.publish("in", event(id, "k")) {
            Err(PublishError::Reopening | PublishError::InDoubt(_)) => std::thread::yield_now(),
            answer => {
                answer.unwrap();
                return;
            }
        }
    }
}

#[test]
fn a_disk_that_is_full_in_mid_commit_puts_one_event_in_doubt_and_the_bus_works_on_once_it_has_room() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let note = handler_fn(move |delivery, context| {
        noted.lock().unwrap().push(delivery.event.id().to_owned());
        Ok(context.set(delivery.event.id().as_bytes(), b"seen")?)
    });
    bus.subscribe("c", at_once(), note).unwrap();
    house.disk.set_room(Some(24 << 20));
    let (mut acknowledged, doubtful, error) = fill(&bus);
    assert!(matches!(error, PublishError::InDoubt(_)), "{error}");
    assert!(!acknowledged.is_empty(), "some were there before");
    assert!(error.to_string().contains("Publish the same"), "it says what to do: {error}");

    house.disk.set_room(None);
    publish_again(&bus, &doubtful);
    publish_again(&bus, "new");
    acknowledged.extend([doubtful, "new".to_owned()]);
    assert_eq!(ids(&bus, "in"), acknowledged, "each of them once, in their order");
    house.until(|| handled(&bus, "c") == acknowledged.len() as u64);
    let state = bus.bus().state("c", 0).unwrap();
    assert!(acknowledged.iter().all(|id| state.get(id.as_bytes()).unwrap().is_some()));
}

/// A small file system in memory. It goes with this.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Nothing where this process may not mount one.
    fn new(bytes: u64) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(folder.path());
        match mount.output() {
            Ok(output) if output.status.success() => Some(Self(folder)),
            refused => {
                eprintln!("left out: a disk that is really full, since none can be mounted: {refused:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.0.path()).output());
    }
}

#[test]
fn a_disk_that_is_really_full_is_answered_the_same() {
    let Some(disk) = SmallDisk::new(48 << 20) else { return };
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; 12 << 20]).unwrap();
    let mut config = BusConfig::default();
    config.free_bytes_min = 0;
    let bus = Bus::open_with(Options::new(disk.path().join("data")).config(config)).unwrap().blocking();
    topic(&bus, "in");
    let (mut acknowledged, doubtful, error) = fill(&bus);
    assert!(matches!(error, PublishError::InDoubt(_)), "{error}");
    fs::remove_file(filler).unwrap();
    publish_again(&bus, &doubtful);
    acknowledged.push(doubtful);
    assert_eq!(ids(&bus, "in"), acknowledged);
    assert!(bus.shutdown(SHUTDOWN).is_complete());
}

#[test]
fn below_its_floor_of_free_space_the_bus_refuses_events_before_it_writes_and_takes_them_again() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    publish(&bus, "in", "a", "k");
    house.disk.set_free_bytes(Some(1 << 20));
    let refused = bus.publish("in", event("b", "k")).unwrap_err();
    assert!(matches!(refused, PublishError::DiskFull { .. }), "{refused}");
    bus.subscribe("c", at_once(), handler_fn(|_, _| Ok(()))).unwrap_err();
    assert_eq!(ids(&bus, "in"), ["a"], "reading goes on");
    house.disk.set_free_bytes(None);
    publish(&bus, "in", "b", "k");
    assert_eq!(ids(&bus, "in"), ["a", "b"]);
}

/// Files that a process may have open: some more than the bus has by itself, and fewer than connections would take.
const FILES_MAX: u32 = 48;

#[test]
fn a_process_without_file_descriptors_goes_on_with_who_is_connected_and_serves_others_once_it_has_some() {
    let directory = Directory::new("[topics.in]\npartitions = 1\n");
    let running = directory.serve_with_files(FILES_MAX);
    let mut client = Client::connect(directory.path()).unwrap();
    let crowd: Vec<UnixStream> =
        (0..FILES_MAX).map(|_| UnixStream::connect(directory.path().join("control.sock")).unwrap()).collect();
    directory.until("the lack of descriptors", || directory.log().contains("could not be accepted"));
    for id in ["a", "b"] {
        let line = crate::cli_process::line(id, "k", "null");
        let event = Event::from_json(line, 1 << 20).unwrap();
        let request = Request::Publish {
            topic: "in".to_owned(),
            events: vec![tidegate::server::EventJson(Arc::new(event))],
            expected: None,
        };
        let answers: Vec<_> = client.ask(&request).unwrap().collect::<Result<_, _>>().unwrap();
        assert!(
            matches!(&answers[..], [Answer::Published(published)] if published.len() == 1),
            "{answers:?}"
        );
    }
    drop(crowd);
    assert_eq!(directory.json(&["read", "in"]).len(), 2, "somebody new is served");
    let (code, rest) = running.end();
    assert_eq!(code, 0, "{rest}");
    // A look each tenth of a second, and no more: it doesn't keep a thread busy.
    let warnings = directory.log().matches("could not be accepted").count();
    assert!(warnings < 1000, "{warnings} warnings");
}

#[test]
fn a_bus_that_finds_no_file_descriptor_when_it_is_opened_says_so_and_opens_when_there_is_one() {
    let directory = Directory::new("[topics.in]\npartitions = 1\n");
    drop(directory.serve().end());
    let mut command = Command::new("sh");
    let tidegate = crate::cli_process::binary();
    command
        .arg("-c")
        .arg("ulimit -n 4 && exec \"$0\" topics")
        .arg(tidegate)
        .env("TIDEGATE_DIR", directory.path());
    let outcome = crate::cli_process::Outcome::of(command, "");
    assert_ne!(outcome.code, 0);
    assert!(outcome.err.starts_with("error: ") && outcome.err.contains("open files"), "{outcome:?}");
    assert_eq!(directory.json(&["topics"]).len(), 1);
}

/// A bus on a clock whose wall clock jumps.
fn open_on(clock: &Arc<JumpingClock>, house: &House) -> Blocking {
    let options = Options::new(house.folder.path())
        .clock(Arc::clone(clock) as Arc<dyn Clock>)
        .random(Arc::new(SeededRandom::new(7)))
        .medium(house.disk.clone());
    Bus::open_with(options).unwrap().blocking()
}

fn trimmed(bus: &Blocking) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(bus.bus().trim()).unwrap().events
}

#[test]
fn when_the_wall_clock_jumps_by_hours_retention_pauses_retries_are_made_and_nothing_is_doubled() {
    let six_hours = i64::try_from(6 * HOUR.as_micros()).unwrap();
    for jump in [six_hours, -six_hours] {
        let house = House::new();
        let clock = Arc::new(JumpingClock::new(START));
        let bus = open_on(&clock, &house);
        bus.create_topic("in", TopicConfig::new(1).retention(Retention::keep_for(HOUR))).unwrap();
        let flaky = handler_fn(|delivery, _| match delivery.attempt {
            1 => Err(Failure::transient("busy", "at first")),
            _ => Ok(()),
        });
        let retry = RetryPolicy::default().backoff(Duration::from_secs(10), Duration::from_secs(10));
        publish(&bus, "in", "a", "k");
        let before = bus.bus().clock().now();
        bus.subscribe("c", ConsumerConfig::new(["in"]).retry(retry), flaky).unwrap();
        house.settles(|| consumer(&bus, "c").held == 1);

        clock.jump(jump);
        assert!(bus.bus().clock().now() >= before, "the bus's clock doesn't go back");
        clock.advance(Duration::from_secs(20));
        house.settles(|| handled(&bus, "c") == 1);
        let passed = bus.bus().clock().now().since(before);
        assert!(passed >= Duration::from_secs(17) && passed <= Duration::from_secs(23), "{passed:?}");
        assert!(bus.publish("in", event("a", "k")).unwrap().duplicate, "the window is as it was");
        assert_eq!(trimmed(&bus), 0, "ages mean nothing yet");
        // A restart in between takes over where the clock was.
        bus.shutdown(SHUTDOWN);
        let bus = open_on(&clock, &house);
        assert!(bus.publish("in", event("a", "k")).unwrap().duplicate);
        assert_eq!(trimmed(&bus), 0);

        // Time passes until the clock has caught up; then age means what it says.
        for _ in 0..80 {
            clock.advance(HOUR);
        }
        assert!(!bus.bus().clock().is_slewing());
        house.settles(|| trimmed(&bus) == 1 || ids(&bus, "in").is_empty());
    }
}

#[test]
fn a_lane_at_its_bound_of_held_events_stops_alone_and_goes_on_when_its_retries_succeed() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let far = RetryPolicy::default().backoff(HOUR, HOUR);
    let stuck = handler_fn(|delivery, _| match (delivery.event.id(), delivery.attempt) {
        ("bad-0", 1) => Err(Failure::transient("busy", "at first")),
        _ => Ok(()),
    });
    bus.subscribe("stuck", ConsumerConfig::new(["in"]).held_max(3).retry(far), stuck).unwrap();
    bus.subscribe("well", at_once(), handler_fn(|_, _| Ok(()))).unwrap();
    for number in 0..5 {
        publish(&bus, "in", &format!("bad-{number}"), "bad");
    }
    publish(&bus, "in", "good", "good");
    house.settles(|| consumer(&bus, "stuck").lanes[0].state == LaneState::Stalled { held_max: 3 });
    caught_up(&bus, "well");
    assert_eq!((consumer(&bus, "stuck").held, handled(&bus, "stuck")), (3, 0), "no more than it may hold");
    let due = consumer(&bus, "stuck").lanes[0].next_retry.unwrap();
    house.clock.advance_to(due);
    house.until(|| handled(&bus, "stuck") == 6);
    assert_eq!((consumer(&bus, "stuck").held, letters(&bus, "stuck").len()), (0, 0));
}

/// As many redriven events as a lane may have, and some more.
const MANY_LETTERS: usize = 10_500;

#[test]
fn redriving_more_letters_than_a_lane_has_room_for_waits_until_it_has_worked_some_off() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let handler =
        handler_fn(
            |delivery, _| {
                if delivery.redriven { Ok(()) } else { Err(Failure::permanent("bad", "at first")) }
            },
        );
    bus.subscribe("c", at_once(), handler).unwrap();
    let events: Vec<_> = (0..MANY_LETTERS).map(|number| ("in", event(&format!("{number}"), "k"))).collect();
    bus.publish_all(events).unwrap();
    caught_up(&bus, "c");
    bus.pause("c").unwrap();

    let (mut after, mut redriven, mut pages) = (0, 0, 0);
    let refused = loop {
        let page: Vec<u64> =
            bus.bus().dead_letters("c", after, usize::MAX).unwrap().iter().map(|letter| letter.id).collect();
        assert!(page.len() <= 1000, "a page of any queue has an end");
        pages += 1;
        after = *page.last().unwrap();
        match bus.redrive("c", page.clone()) {
            Ok(()) => redriven += page.len(),
            Err(refused) => break refused,
        }
    };
    assert_eq!((redriven, pages), (10_000, 11));
    assert!(matches!(refused, AdminError::RedrivenWait { waiting: 10_000, .. }), "{refused}");
    assert!(refused.to_string().contains("when it has"), "it says what to do: {refused}");
    assert_eq!(consumer(&bus, "c").dead_letters, 500, "nothing was changed");
    bus.resume("c").unwrap();
    house.until(|| handled(&bus, "c") == 10_000);
    let rest = letters(&bus, "c").iter().map(|letter| letter.id).collect();
    bus.redrive("c", rest).unwrap();
    house.until(|| handled(&bus, "c") == MANY_LETTERS as u64);
    assert_eq!(consumer(&bus, "c").dead_letters, 0);
}

#[test]
fn a_consumer_far_behind_costs_no_memory_for_what_it_has_not_come_to() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let released = Mutex::new(released);
    let slow = handler_fn(move |_, _| {
        // Until the test lets go.
        released.lock().unwrap().recv().unwrap_err();
        Ok(())
    });
    bus.subscribe("slow", at_once(), slow).unwrap();
    let json = format!("\"{}\"", "x".repeat(10_000));
    for batch in 0..20 {
        let events = (0..100).map(|number| ("in", event_with(&format!("{batch}-{number}"), "k", &json)));
        bus.publish_all(events.collect()).unwrap();
    }
    let status = consumer(&bus, "slow");
    assert_eq!(
        (status.lag_events, status.held),
        (2000, 0),
        "all of it is in the log, and publishers don't wait"
    );
    drop(release);
    caught_up(&bus, "slow");
    assert_eq!(handled(&bus, "slow"), 2000);
}
