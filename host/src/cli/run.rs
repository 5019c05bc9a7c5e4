//! `tidegate run`: the bus with its consumers, until a signal ends it.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tidegate::config::Config;
use tidegate::server::{Applied, apply_schemas, serve_control, watch};
use tidegate::{Bus, BusError, Clock, ConsumerKind, Drained, OpenError, Options, SystemClock};
use tracing_subscriber::EnvFilter;

use super::access::{config_file, served_by};
use super::arguments::{Global, Run};
use super::error::{CliError, Exit};
use super::signals;

/// How long to wait for a short command that has the directory open.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two tries meanwhile.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Runs the bus.
pub fn run(global: &Global, run: &Run) -> Result<Exit, CliError> {
    let filter = EnvFilter::try_new(&run.log)
        .map_err(|error| CliError::Usage(format!("--log {}: {error}", run.log)))?;
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi).init();
    let file = config_file(global);
    let config = Config::from_file(&file)?;
    let signal = signals::first()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("a runtime can't be started: {error}")))?;
    runtime.block_on(async {
        let bus = open(global, &config).await?;
        let schemas = apply_schemas(&bus, &config).await;
        if !schemas.refused.is_empty() {
            bus.shutdown(Duration::ZERO).await;
            let reasons: Vec<_> = schemas.refused.iter().map(ToString::to_string).collect();
            return Err(CliError::Failed(reasons.join("\n")));
        }
        tell(&schemas);
        let control = serve_control(&bus)?;
        let (applied, watcher) = watch(&bus, file, config).await;
        tell(&applied);
        announce(&bus, &applied)?;
        // An error means that nobody listens for signals any more: it is time to end as well.
        drop(signal.await);
        tracing::info!("ending: consumers finish their deliveries; a second signal ends at once");
        watcher.shutdown().await;
        control.shutdown().await;
        farewell(&bus.shutdown(run.grace).await);
        Ok(Exit::Done)
    })
}

/// Opens the bus; waits a little where a short command has it open.
async fn open(global: &Global, config: &Config) -> Result<Bus, CliError> {
    let clock = SystemClock::new();
    let end = clock.now().after(PATIENCE);
    loop {
        match Bus::open_with(Options::new(&global.dir).config(config.bus.clone())) {
            Ok(bus) => return Ok(bus),
            Err(BusError::Open(OpenError::InUse { .. })) if clock.now() < end => {
                if let Some(running) = served_by(&global.dir) {
                    return Err(running);
                }
                clock.sleep_until(clock.now().after(TRY_EVERY)).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn tell(applied: &Applied) {
    for change in &applied.changes {
        tracing::info!("{change}");
    }
    for refused in &applied.refused {
        tracing::error!("{refused}");
    }
}

/// What was left, for people: a line for each consumer with something, and one for the bus.
fn farewell(drained: &Drained) {
    for left in &drained.consumers {
        say(&format!("left: {left}"));
    }
    let refused = match drained.refused {
        0 => String::new(),
        calls => format!(", {calls} waiting calls refused"),
    };
    say(&format!("ended: {}{refused}", drained.storage));
}

/// Whoever started it may not read what it prints.
fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}").and_then(|()| io::stdout().flush()));
}

/// One line for people, and for programs that wait until the bus is there.
fn announce(bus: &Bus, applied: &Applied) -> Result<(), CliError> {
    let consumers = bus.consumers().map_err(|error| CliError::Failed(error.to_string()))?;
    let running = consumers.iter().filter(|consumer| consumer.kind != ConsumerKind::Detached).count();
    let refused = match applied.refused.len() {
        0 => String::new(),
        count => format!(", {count} refused: see the log"),
    };
    let line = format!(
        "ready: {} with {} topics and {running} consumers{refused}",
        bus.directory().display(),
        bus.topics().len()
    );
    say(&line);
    Ok(())
}
