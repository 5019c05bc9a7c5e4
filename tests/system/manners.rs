//! What a library owes the program that it lives in.

use std::error::Error as _;
use std::process::Command;

use tidegate::config::{ConfigError, ConfigFileError, NameError, SecretError, UnitError};
use tidegate::server::{Client, ClientError, ControlError, ControlServer, Refusal, Watcher};
use tidegate::{
    AdminError, Blocking, Bus, BusError, ConsumerError, DataError, Drained, EmitError, Event, EventError,
    HttpRelay, JsonError, LineError, LoadError, NatsRelay, OpenError, Options, PublishError, ReadError,
    Reader, RelayError, RuntimeError, Snapshot, StateError, StateUnavailable, StateView, StorageFault,
    TimestampError, TransactionError,
};

use crate::house::{House, SHUTDOWN, event, ids, topic};

/// Compiles for what may be shared by threads, and outlives who made it.
fn shared<T: Send + Sync + 'static>() {}

/// Compiles for what may go to another thread.
fn sent<T: Send + 'static>() {}

/// Compiles for what can be the cause of another error, on any thread.
fn error<T: std::error::Error + Send + Sync + 'static>() {}

/// Compiles for futures that an executor with many threads runs.
fn spawned<T: Send>(_: &T) {}

#[test]
fn handles_go_to_any_thread_and_are_cheap_to_clone() {
    shared::<Bus>();
    shared::<Blocking>();
    shared::<Event>();
    shared::<Drained>();
    shared::<HttpRelay>();
    shared::<NatsRelay>();
    shared::<ControlServer>();
    shared::<Snapshot>();
    sent::<Options>();
    sent::<Reader>();
    sent::<StateView>();
    sent::<Client>();
    sent::<Watcher>();
    assert_eq!(size_of::<Bus>(), size_of::<usize>(), "a clone is a counted reference");

    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    spawned(&bus.bus().publish("in", event("a", "k")));
    spawned(&bus.bus().caught_up("nobody"));
    spawned(&bus.bus().shutdown(SHUTDOWN));
    let clones: Vec<_> = (0..1000).map(|_| bus.bus().clone()).collect();
    clones[999].blocking().publish("in", event("a", "k")).unwrap();
    drop(clones);
    assert_eq!(ids(&bus, "in"), ["a"], "the others are the same bus, which goes on");
}

#[test]
fn errors_are_sent_across_threads_and_are_causes_of_others() {
    error::<AdminError>();
    error::<RelayError>();
    error::<SecretError>();
    error::<BusError>();
    error::<ClientError>();
    error::<ConfigError>();
    error::<ConfigFileError>();
    error::<ConsumerError>();
    error::<ControlError>();
    error::<DataError>();
    error::<EmitError>();
    error::<EventError>();
    error::<JsonError>();
    error::<LineError>();
    error::<LoadError>();
    error::<NameError>();
    error::<OpenError>();
    error::<PublishError>();
    error::<ReadError>();
    error::<Refusal>();
    error::<RuntimeError>();
    error::<RelayError>();
    error::<SecretError>();
    error::<StateError>();
    error::<StateUnavailable>();
    error::<StorageFault>();
    error::<TimestampError>();
    error::<TransactionError<std::io::Error>>();
    error::<UnitError>();
}

#[test]
fn an_error_says_where_it_comes_from() {
    let house = House::new();
    let bus = house.open();
    topic(&bus, "in");
    house.disk.fail_syncs(true);
    let failed: Box<dyn std::error::Error> = bus.publish("in", event("a", "k")).unwrap_err().into();
    let fault = failed.source().and_then(|cause| cause.downcast_ref::<StorageFault>());
    let disk = fault.and_then(|fault| fault.source()).map(ToString::to_string).unwrap_or_default();
    assert!(disk.contains("fails to sync"), "{failed:?}");
}

#[test]
fn without_features_the_library_comes_without_what_the_binary_needs() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .args(["tree", "--package", "tidegate", "--edges", "normal", "--no-default-features"])
        .args(["--prefix", "none", "--format", "{p}", "--locked", "--offline"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let packages: Vec<&str> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(packages.contains(&"tidegate") && packages.contains(&"tokio"), "{packages:?}");
    let unwanted = [
        "async-nats",
        "hyper-rustls",
        "native-tls",
        "axum",
        "clap",
        "http",
        "hyper",
        "hyper-util",
        "indicatif",
        "notify",
        "rusqlite",
        "rustls",
        "signal-hook",
        "tokio-postgres",
        "toml",
        "tracing-subscriber",
    ];
    let found: Vec<_> = packages.iter().filter(|package| unwanted.contains(package)).collect();
    assert!(found.is_empty(), "an embedder doesn't pay for these: {found:?}");
}
