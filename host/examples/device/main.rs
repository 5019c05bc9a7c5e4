//! A device that collects readings while it is offline, and forwards them when the network is back: in order for each
//! sensor, and each once.
//!
//! ```text
//! printf '%s\n' '{"sensor": "t1", "n": 1, "value": 21.5}' '{"sensor": "t1", "n": 2, "value": 21.7}' |
//!   cargo run --features relay-http --example device -- --url http://localhost:9000/readings
//! ```
//!
//! - A topic is the queue. A reading is on the disk before the device says that it is kept: `queue.rs`.
//! - A consumer forwards it, and tries again until the endpoint takes it: the library's `HttpRelay`. A reading goes out at
//!   least once, always with the same `Idempotency-Key`, by which the endpoint knows one that it has had.
//! - Nothing is given up on while the network is away, for however long: see `Queue::put_back`.
//!
//! While it runs, `tidegate --dir ./device-data consumers` and the other commands reach its bus.

mod queue;
mod reading;

use std::convert::Infallible;
use std::io::{self, BufRead as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tidegate::config::{HttpRelayConfig, parse_duration};
use tidegate::server::{ControlError, serve_control};
use tidegate::{HttpRelay, RelayError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use queue::{Queue, QueueError};
use reading::Reading;

/// Lines that are read ahead of the disk.
const LINES_AHEAD: usize = 64;

/// Keeps readings from its standard input, and forwards them to an HTTP endpoint when there is a network.
#[derive(Parser)]
#[command(
    name = "device",
    after_help = "\
A reading is a line of JSON, {\"sensor\": \"t1\", \"n\": 17, \"value\": 21.5}, in which `n` is the sensor's own count. The device
answers `kept t1 17` once it is on the disk. A reading that is sent again within a day is kept once, unless 100,000 newer
ones have come between.

At the end of its input the device goes on until all is forwarded. SIGINT and SIGTERM end it at once; what is left is
forwarded at the next start."
)]
struct Arguments {
    /// The data directory; it is made where there is none
    #[arg(long, value_name = "DIR", default_value = "./device-data")]
    dir: PathBuf,
    /// Where readings go: the URL of an HTTP endpoint, http or https
    #[arg(long)]
    url: String,
    /// Remove readings that were forwarded and are older
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = duration)]
    keep: Duration,
    /// The longest pause between two attempts at a reading
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    retry_max: Duration,
    /// How often readings that ran out of attempts are put back to work
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    put_back_every: Duration,
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("it has to be more than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// Why the device can't go on.
#[derive(Debug, thiserror::Error)]
enum DeviceError {
    #[error("--url: {0}")]
    Url(#[from] RelayError),
    #[error(transparent)]
    Queue(#[from] QueueError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("signals can't be received: {0}")]
    Signals(#[source] io::Error),
    #[error("the standard input can't be read: {0}")]
    Input(#[source] io::Error),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), DeviceError> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(DeviceError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DeviceError::Signals)?;
    // Nothing is sent before there is something to send. `https` works as well; headers of your own, such as
    // `Authorization`, come from the environment or from a file: see `HttpRelayConfig`.
    let forward = HttpRelay::new(HttpRelayConfig::new(arguments.url))?;
    let queue = Queue::open(&arguments.dir, arguments.keep, arguments.retry_max, forward).await?;
    let control = serve_control(queue.bus())?;
    let lines = input().map_err(DeviceError::Input)?;

    let outcome = tokio::select! {
        outcome = keep_all(&queue, lines) => outcome,
        never = put_back_for_ever(&queue, arguments.put_back_every) => match never {},
        () = either(&mut interrupt, &mut terminate) => Ok(()),
    };

    control.shutdown().await;
    let left = queue.left();
    queue.close().await;
    outcome?;
    match left.map_err(QueueError::from)? {
        0 => print("closed: all is forwarded"),
        left => print(&format!("closed: {left} to forward, which goes on at the next start")),
    }
    Ok(())
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Keeps what comes, and ends when all of it is forwarded.
async fn keep_all(queue: &Queue, mut lines: mpsc::Receiver<io::Result<String>>) -> Result<(), DeviceError> {
    while let Some(line) = lines.recv().await {
        let line = line.map_err(DeviceError::Input)?;
        if line.trim().is_empty() {
            continue;
        }
        match line.parse::<Reading>() {
            // What can't be kept is told, and its sensor sends it again: the next one may be kept.
            Ok(reading) => match queue.keep(&reading).await {
                Ok(()) => print(&format!("kept {} {}", reading.sensor, reading.n)),
                Err(error) => complain(&format!("not kept {} {}: {error}", reading.sensor, reading.n)),
            },
            Err(error) => complain(&format!("not a reading: {error}")),
        }
    }
    Ok(queue.all_forwarded().await?)
}

/// Puts readings back to work, again and again.
async fn put_back_for_ever(queue: &Queue, every: Duration) -> Infallible {
    let mut times = tokio::time::interval(every);
    loop {
        times.tick().await;
        match queue.put_back().await {
            Ok(0) => {}
            Ok(count) => complain(&format!("{count} put back to work, as they ran out of attempts")),
            Err(error) => complain(&format!("what ran out of attempts can't be put back now: {error}")),
        }
    }
}

/// Prints a line. `println!` would panic where nobody reads it any more; the device keeps and forwards all the same.
fn print(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// Tells what goes wrong, to whoever reads it.
fn complain(line: &str) {
    drop(writeln!(io::stderr(), "{line}"));
}

/// The lines of the standard input, read by a thread of their own: reading blocks.
fn input() -> io::Result<mpsc::Receiver<io::Result<String>>> {
    let (lines, read) = mpsc::channel(LINES_AHEAD);
    std::thread::Builder::new().name("device-input".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines() {
            let failed = line.is_err();
            if lines.blocking_send(line).is_err() || failed {
                return;
            }
        }
    })?;
    Ok(read)
}
