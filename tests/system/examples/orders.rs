//! `orders`: what was answered is there, once, whatever happens to the process.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};
use tidegate::redb::{ReadableTable, TableDefinition};

use super::http::{Answer, ask};
use crate::cli_process::{Directory, Outcome, Running, example};
use crate::house::{SHUTDOWN, all, letters, open};

const ORDERS: TableDefinition<u64, &[u8]> = TableDefinition::new("orders");

/// A service, and where it listens.
struct Service {
    running: Running,
    address: SocketAddr,
}

fn plugins() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/plugins");
    let plugin = folder.join("order_receipts.wasm");
    assert!(plugin.exists(), "{} is not there: `cargo xtask plugins` builds it", plugin.display());
    folder
}

fn command(directory: &Directory) -> Command {
    let mut command = Command::new(example("orders"));
    command.arg("--dir").arg(directory.path().join("data")).arg("--plugins").arg(plugins());
    command.args(["--listen", "127.0.0.1:0"]).stdin(Stdio::null());
    command
}

fn start(directory: &Directory) -> Service {
    let mut running = directory.start_command(command(directory));
    let ready = running.line();
    let address =
        ready.strip_prefix("ready: http://").unwrap_or_else(|| panic!("{ready:?}: {}", directory.log()));
    Service { address: address.parse().unwrap(), running }
}

fn order(customer: &str, quantity: u32) -> String {
    json!({ "customer": customer, "items": [{ "sku": "teapot", "quantity": quantity, "cents": 1250 }] })
        .to_string()
}

fn post(address: SocketAddr, key: &str, body: &str) -> std::io::Result<Answer> {
    let headers = [("Idempotency-Key", key), ("Content-Type", "application/json")];
    ask(address, "POST", "/orders", &headers, body)
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, &[], "").unwrap()
}

#[test]
fn what_was_answered_is_in_the_table_and_in_the_log_once_with_one_receipt() {
    const CLIENTS: usize = 4;
    const ORDERS_EACH: usize = 25;
    let directory = Directory::new("");
    let service = start(&directory);
    let address = Mutex::new(service.address);
    let answered = AtomicUsize::new(0);
    let placed: Mutex<BTreeMap<String, Value>> = Mutex::default();

    let service = thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, answered, placed, directory) = (&address, &answered, &placed, &directory);
            scope.spawn(move || {
                for number in 0..ORDERS_EACH {
                    let key = format!("{client}-{number}");
                    // What is wrong is refused, with a key that is then free for what is right.
                    if number % 5 == 0 {
                        directory.until("the refusal", || {
                            let refused = post(*address.lock().unwrap(), &key, &order("c", 0));
                            refused.is_ok_and(|refused| refused.status == 422)
                        });
                    }
                    // A client that gets no answer asks again, and so do some that got one.
                    let times = if number % 3 == 0 { 2 } else { 1 };
                    for _ in 0..times {
                        directory.until("the answer", || {
                            let customer = format!("c-{client}");
                            let Ok(answer) = post(*address.lock().unwrap(), &key, &order(&customer, 2))
                            else {
                                return false;
                            };
                            assert_eq!(answer.status, 201, "{answer:?}");
                            let mut placed = placed.lock().unwrap();
                            let first = placed.entry(key.clone()).or_insert_with(|| answer.body.clone());
                            assert_eq!(*first, answer.body, "the same request has the same answer");
                            true
                        });
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Twice in the middle, the process is killed and started again.
        let mut service = service;
        for at in [CLIENTS * ORDERS_EACH / 4, CLIENTS * ORDERS_EACH / 2] {
            directory.until("some orders", || answered.load(Ordering::Relaxed) >= at);
            service.running.kill();
            service = start(&directory);
            *address.lock().unwrap() = service.address;
        }
        service
    });

    let placed = placed.into_inner().unwrap();
    assert_eq!(placed.len(), CLIENTS * ORDERS_EACH);
    for order in placed.values() {
        let path = format!("/orders/{}", order["order"]);
        directory.until("its receipt", || get(service.address, &path).body["status"]["receipts"] == 1);
        assert_eq!(get(service.address, &path).body["order"], *order);
    }
    let (code, rest) = service.running.end();
    assert!(code == 0 && rest.contains("nothing left"), "{code}: {rest}");
    assert_log_agrees(&directory, &placed);
}

/// The table, the topic of orders and the topic of receipts tell the same.
fn assert_log_agrees(directory: &Directory, placed: &BTreeMap<String, Value>) {
    let bus = open(&directory.path().join("data"));
    let events = all(&bus, "orders");
    let ids: BTreeSet<&str> = events.iter().map(|record| record.event.id()).collect();
    assert_eq!(ids.len(), events.len(), "each once");
    assert!(ids.iter().copied().eq(placed.keys().map(String::as_str)), "{ids:?}");
    let numbers: BTreeSet<u64> = placed.values().map(|order| order["order"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=placed.len() as u64), "orders are numbered without gaps");
    {
        let table = bus.bus().snapshot().unwrap().open_table(ORDERS).unwrap().unwrap();
        let rows: Vec<u64> = table.iter().unwrap().map(|row| row.unwrap().0.value()).collect();
        assert!(rows.iter().eq(&numbers), "{rows:?}");
    }
    let receipts: Vec<Value> =
        all(&bus, "receipts").iter().map(|record| record.event.data_as().unwrap()).collect();
    assert_eq!(receipts.len(), placed.len());
    let receipted: BTreeSet<u64> =
        receipts.iter().map(|receipt| receipt["order"].as_u64().unwrap()).collect();
    assert_eq!(receipted, numbers, "one receipt for each order");
    // The plugin counts in its state: a delivery that took effect twice, or by half, would leave a gap.
    let mut issued: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for receipt in &receipts {
        let (partition, number) = receipt["number"].as_str().unwrap().split_once('-').unwrap();
        issued.entry(partition).or_default().push(number.parse().unwrap());
    }
    for (partition, issued) in issued {
        assert!(issued.iter().copied().eq(1..=issued.len() as u64), "partition {partition}: {issued:?}");
    }
    for consumer in ["order-receipts", "order-status"] {
        assert!(letters(&bus, consumer).is_empty(), "{consumer} has dead letters");
    }
    bus.shutdown(SHUTDOWN);
}

#[test]
fn what_is_wrong_is_refused_with_the_place_and_the_remedy() {
    let directory = Directory::new("");
    let service = start(&directory);
    let address = service.address;
    let json = ("Content-Type", "application/json");
    let key = ("Idempotency-Key", "k");
    let right = order("c", 2);
    let many = "x".repeat(200);
    let too_large = order(&"x".repeat(70_000), 1);
    let post = |headers: &[(&str, &str)], body: &str| ask(address, "POST", "/orders", headers, body).unwrap();
    for (headers, body, status, words) in [
        (&[json][..], right.as_str(), 400, "the header Idempotency-Key is missing"),
        (&[("Idempotency-Key", "a b"), json], &right, 400, "none of them a space"),
        (&[("Idempotency-Key", many.as_str()), json], &right, 400, "1 to 100 characters"),
        (&[key], &right, 415, "Content-Type: application/json"),
        (&[key, json], "{oops", 400, "Failed to parse"),
        (&[key, json], r#"{"customer": "c"}"#, 422, "missing field `items`"),
        (&[key, json], r#"{"customer": "c", "items": [], "color": 1}"#, 422, "unknown field `color`"),
        (&[key, json], r#"{"customer": "", "items": []}"#, 422, "customer: 1 to 100 characters"),
        (&[key, json], r#"{"customer": "c", "items": []}"#, 422, "items: an order has 1 to 100 items"),
        (&[key, json], &order("c", 0), 422, "items[0].quantity: 1 to 1000 are allowed, not 0"),
        (&[key, json], &too_large, 413, "length limit exceeded"),
    ] {
        let answer = post(headers, body);
        assert_eq!(answer.status, status, "{words}: {answer:?}");
        assert!(answer.body["error"].as_str().unwrap().contains(words), "{words:?}: {answer:?}");
    }
    let answer = post(&[key, json], &right);
    assert!(answer.status == 201 && answer.head.to_lowercase().contains("location: /orders/1"), "{answer:?}");
    let reused = post(&[key, json], &order("c", 3));
    assert_eq!(reused.status, 422, "{reused:?}");
    assert!(reused.body["error"].as_str().unwrap().contains("another order"), "{reused:?}");
    for (path, words) in
        [("/orders/2", "there is no order 2"), ("/orders/x", "has a number"), ("/", "`POST /orders`")]
    {
        let answer = get(address, path);
        assert!(answer.status == 404 && answer.body["error"].as_str().unwrap().contains(words), "{answer:?}");
    }

    assert_eq!(get(address, "/orders").status, 405);

    // While it runs, it is reached through its control socket, and no other process gets its directory.
    let second = Outcome::of(command(&directory), "");
    assert!(second.code == 1 && second.err.contains("is in use"), "{second:?}");
    let data = directory.path().join("data");
    let orders = directory.json(&["--dir", data.to_str().unwrap(), "read", "orders"]);
    assert_eq!(orders.len(), 1);
    assert_eq!(service.running.end().0, 0);

    let mut command = Command::new(example("orders"));
    command.current_dir(directory.path()).args(["--plugins", "nowhere"]);
    let without = Outcome::of(command, "");
    assert!(without.code == 1 && without.err.contains("`cargo xtask plugins` builds it"), "{without:?}");
}
