//! `device`: what is kept goes out in order for each sensor, and by its idempotency key once, whatever the network does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::cli_process::{Directory, Outcome, Running, example};

/// What reaches a server, and what it answers.
#[derive(Clone, Default)]
struct Endpoint {
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

impl Endpoint {
    /// Requests that got this answer.
    fn with(&self, status: u16) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|request| request.answered == status).cloned().collect()
    }

    /// Idempotency keys of what was accepted, in the order in which each came first, with the reading.
    fn accepted(&self) -> Vec<(String, Value)> {
        let mut known = BTreeSet::new();
        let accepted = self.with(202).into_iter().filter(|request| known.insert(request.key.clone()));
        accepted.map(|request| (request.key, request.reading)).collect()
    }
}

async fn take(State(endpoint): State<Endpoint>, headers: HeaderMap, body: String) -> StatusCode {
    let answered = endpoint.answers.load(Ordering::SeqCst);
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let reading = serde_json::from_str(&body).unwrap();
    endpoint.asked.lock().unwrap().push(Request { key, reading, answered });
    StatusCode::from_u16(answered).unwrap()
}

/// A real server on a thread of its own. It ends with this.
struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(address: SocketAddr, endpoint: &Endpoint) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let routes = Router::new().route("/readings", post(take)).with_state(endpoint.clone());
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let serve = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            tokio::select! {
                served = axum::serve(listener, routes).into_future() => served.unwrap(),
                _ = stopped => {}
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let thread = thread::spawn(move || runtime.block_on(serve));
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn command(directory: &Directory, address: SocketAddr) -> Command {
    let mut command = Command::new(example("device"));
    command
        .arg("--dir")
        .arg(directory.path().join("data"))
        .args(["--url", &format!("http://{address}/readings")]);
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

/// An address at which nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn readings_arrive_in_order_for_each_sensor_and_each_once() {
    let directory = Directory::new("");
    let (address, endpoint) = (free_address(), Endpoint::default());
    // Nobody listens: readings are kept all the same, and what runs out of attempts is put back to work.
    let mut device = directory.start_command(command(&directory, address));
    feed(&mut device, 1..=10);
    directory.until("what is put back", || directory.log().contains("put back to work"));
    // The endpoint is up, and fails.
    endpoint.answers.store(503, Ordering::SeqCst);
    let server = Server::start(address, &endpoint);
    directory.until("failures", || endpoint.with(503).len() >= 10);
    assert!(endpoint.accepted().is_empty());
    // It accepts, and in the middle of that the device is killed.
    endpoint.answers.store(202, Ordering::SeqCst);
    directory.until("some readings", || endpoint.accepted().len() >= 5);
    device.kill();
    // After the restart the sensors repeat what they are not sure of.
    let mut device = directory.start_command(command(&directory, address));
    feed(&mut device, 8..=20);
    let (code, rest) = device.finish();
    assert_eq!((code, rest.as_str()), (0, "closed: all is forwarded\n"), "{}", directory.log());
    drop(server);

    let mut sensors: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (_, reading) in endpoint.accepted() {
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
    let (address, endpoint) = (free_address(), Endpoint::default());
    let mut device = directory.start_command(command(&directory, address));
    device.write("{\"sensor\": \"t1\"}\noops\n{\"sensor\": \"\", \"n\": 1, \"value\": 1}\n\n");
    feed(&mut device, 1..=1);
    let log = directory.log();
    for words in ["missing field `n`", "expected value", "a sensor's name has 1 to 64 characters"] {
        assert!(log.lines().any(|line| line.starts_with("not a reading: ") && line.contains(words)), "{log}");
    }
    let (code, rest) = device.end();
    assert!(code == 0 && rest.starts_with("closed: 3 to forward"), "{code}: {rest}");

    // What the endpoint refuses for good waits for a person, and its sensor's later readings behind it.
    endpoint.answers.store(400, Ordering::SeqCst);
    let _server = Server::start(address, &endpoint);
    let mut device = directory.start_command(command(&directory, address));
    feed(&mut device, 2..=2);
    let data = directory.path().join("data");
    let letters = || directory.json(&["--dir", data.to_str().unwrap(), "dlq", "list", "forward"]);
    directory.until("the dead letters", || letters().len() == 3);
    assert!(letters().iter().all(|letter| letter["reason"]["code"] == "refused"), "{:?}", letters());
    endpoint.answers.store(202, Ordering::SeqCst);
    directory.done(&["--dir", data.to_str().unwrap(), "dlq", "redrive", "forward", "--all"]);
    assert_eq!(device.finish(), (0, "closed: all is forwarded\n".to_owned()));
    assert_eq!(endpoint.accepted().len(), 6);

    for (url, words) in [("ftp://x", "begin with `http://`"), ("http://", "name a host")] {
        let mut command = Command::new(example("device"));
        command.current_dir(directory.path()).args(["--url", url]);
        let outcome = Outcome::of(command, "");
        assert!(outcome.code == 2 && outcome.err.contains(words), "{outcome:?}");
    }
}
