//! `device`: what is kept goes out in order for each sensor, and by its idempotency key once, whatever the network does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::cli_process::{Directory, Outcome, Running, example};
use crate::endpoint::{Answer, Endpoint, Port};

/// What reaches the endpoint, and what it answers.
#[derive(Clone, Default)]
struct Desk {
    answers: Arc<AtomicU16>,
    asked: Arc<Mutex<Vec<Request>>>,
}

/// A request.
#[derive(Clone)]
struct Request {
    key: String,
    reading: Value,
    answered: u16,
}

impl Desk {
    /// From now on, it answers so.
    fn answer(&self, status: u16) {
        self.answers.store(status, Ordering::SeqCst);
    }

    /// A real server at this port.
    fn open(&self, port: Port) -> Endpoint {
        let desk = self.clone();
        Endpoint::start_at(port, move |received| {
            let answered = desk.answers.load(Ordering::SeqCst);
            let key = received.header("idempotency-key").unwrap().to_owned();
            let reading = serde_json::from_slice(&received.body).unwrap();
            desk.asked.lock().unwrap().push(Request { key, reading, answered });
            Answer::Status(answered)
        })
    }

    /// Requests that got this answer.
    fn with(&self, status: u16) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|request| request.answered == status).cloned().collect()
    }

    /// The readings that were accepted, each once by its idempotency key, in the order in which they came first.
    fn accepted(&self) -> Vec<Value> {
        let mut known = BTreeSet::new();
        let accepted = self.with(202).into_iter().filter(|request| known.insert(request.key.clone()));
        accepted.map(|request| request.reading).collect()
    }
}

fn command(directory: &Directory, port: u16) -> Command {
    let mut command = Command::new(example("device"));
    command.arg("--dir").arg(directory.path().join("data"));
    command.args(["--url", &format!("http://127.0.0.1:{port}/readings")]);
    command.args(["--retry-max", "5ms", "--put-back-every", "50ms"]).stdin(Stdio::piped());
    command
}

/// Hands readings of three sensors to a device, and waits until all are kept.
fn feed(device: &mut Running, numbers: std::ops::RangeInclusive<u64>) {
    for n in numbers {
        for sensor in ["t1", "t2", "t3"] {
            device.write(&format!("{{\"sensor\": \"{sensor}\", \"n\": {n}, \"value\": {n}.5}}\n"));
            assert_eq!(device.line(), format!("kept {sensor} {n}"));
        }
    }
}

#[test]
fn readings_arrive_in_order_for_each_sensor_and_each_once() {
    let directory = Directory::new("");
    let (reserved, desk) = (Port::new(), Desk::default());
    let port = reserved.number();
    // Nobody listens: readings are kept all the same, and what runs out of attempts is put back to work.
    let mut device = directory.start_command(command(&directory, port));
    feed(&mut device, 1..=10);
    directory.until("what is put back", || directory.log().contains("put back to work"));
    // The endpoint is up, and fails.
    desk.answer(503);
    let _endpoint = desk.open(reserved);
    directory.until("failures", || desk.with(503).len() >= 10);
    assert!(desk.accepted().is_empty());
    // It accepts, and in the middle of that the device is killed.
    desk.answer(202);
    directory.until("some readings", || desk.accepted().len() >= 5);
    device.kill();
    // After the restart the sensors repeat what they are not sure of.
    let mut device = directory.start_command(command(&directory, port));
    feed(&mut device, 8..=20);
    directory.until("all readings", || desk.accepted().len() == 60);
    let (code, rest) = device.finish();
    assert_eq!((code, rest.as_str()), (0, "closed: all is forwarded\n"), "{}", directory.log());

    let mut sensors: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for reading in desk.accepted() {
        let n = reading["n"].as_u64().unwrap();
        sensors.entry(reading["sensor"].as_str().unwrap().to_owned()).or_default().push(n);
    }
    assert_eq!(sensors.len(), 3);
    for (sensor, numbers) in sensors {
        assert!(numbers.iter().copied().eq(1..=20), "{sensor}: {numbers:?}");
    }
}

#[test]
fn what_cannot_be_kept_or_sent_is_told() {
    let directory = Directory::new("");
    let (reserved, desk) = (Port::new(), Desk::default());
    let port = reserved.number();
    let mut device = directory.start_command(command(&directory, port));
    device.write("{\"sensor\": \"t1\"}\noops\n{\"sensor\": \"\", \"n\": 1, \"value\": 1}\n\n");
    feed(&mut device, 1..=1);
    let log = directory.log();
    for words in ["missing field `n`", "expected value", "a sensor's name has 1 to 64 characters"] {
        assert!(log.lines().any(|line| line.starts_with("not a reading: ") && line.contains(words)), "{log}");
    }
    let (code, rest) = device.end();
    assert!(code == 0 && rest.starts_with("closed: 3 to forward"), "{code}: {rest}");

    // What the endpoint refuses for good waits for a person, and its sensor's later readings behind it.
    desk.answer(400);
    let _endpoint = desk.open(reserved);
    let mut device = directory.start_command(command(&directory, port));
    feed(&mut device, 2..=2);
    let data = directory.path().join("data");
    let letters = || directory.json(&["--dir", data.to_str().unwrap(), "dlq", "list", "forward"]);
    let refused = || letters().iter().filter(|letter| letter["reason"]["kind"] == "permanent").count();
    directory.until("the dead letters", || refused() == 3);
    desk.answer(202);
    directory.done(&["--dir", data.to_str().unwrap(), "dlq", "redrive", "forward", "--all"]);
    directory.until("all readings", || desk.accepted().len() == 6);
    assert_eq!(device.finish(), (0, "closed: all is forwarded\n".to_owned()));

    for (url, words) in [("ftp://x", "http"), ("http://", "url")] {
        let mut command = Command::new(example("device"));
        command.current_dir(directory.path()).args(["--url", url]);
        let outcome = Outcome::of(command, "");
        assert!(outcome.code == 1 && outcome.err.starts_with("error: --url: "), "{outcome:?}");
        assert!(outcome.err.contains(words) && outcome.err.lines().count() == 1, "{outcome:?}");
    }
}

#[test]
fn it_keeps_and_forwards_where_nobody_reads_what_it_says() {
    let directory = Directory::new("");
    let (reserved, desk) = (Port::new(), Desk::default());
    let mut command = command(&directory, reserved.number());
    desk.answer(202);
    let _endpoint = desk.open(reserved);
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let mut device = command.stdout(closed()).stderr(closed()).spawn().unwrap();
    let readings = (1..=5).map(|n| format!("{{\"sensor\": \"t1\", \"n\": {n}, \"value\": 1}}\noops\n"));
    let input = readings.collect::<String>();
    device.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    assert_eq!(device.wait().unwrap().code(), Some(0));
    assert_eq!(desk.accepted().len(), 5);
}
