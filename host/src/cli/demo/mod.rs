//! `tidegate demo`: the main job on real input, in a process that is reloaded and killed meanwhile, and a check of what
//! came out.

mod checks;
mod child;
mod quakes;
mod readback;
mod report;
mod stage;

use std::path::{Path, PathBuf};

use tidegate::server::{Client, EventJson, Request};

use super::arguments::Demo;
use super::error::{CliError, Exit};
use checks::check;
use child::{Child, Patience};
use quakes::Quakes;
use readback::ReadBack;
use stage::Stage;

/// Events that one request publishes: small enough that the reload and the kill come in the middle of work.
const BATCH_EVENTS: usize = 50;

/// What the demo has done, as against what the bus says of it.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    sent: u64,
    acknowledged: u64,
    duplicates: u64,
    restarts: u64,
}

/// Plays it, and checks it.
pub fn demo(demo: &Demo) -> Result<Exit, CliError> {
    let quakes = Quakes::read(&demo.data)?;
    let stage = Stage::set(&demo.plugins, demo.keep.as_deref())?;
    let patience = Patience::new();
    println!(
        "playing {} events of {} on {}",
        quakes.events.len(),
        demo.data.display(),
        stage.directory.display()
    );
    let (done, found) = play(&stage, &quakes, &patience)?;
    let checks = check(&quakes, &done.into(), &found);
    println!();
    report::print(&done, &found, &checks);
    let off = checks.iter().filter(|check| check.outcome.is_err()).count();
    if off == 0 {
        stage.strike()?;
        return Ok(Exit::Done);
    }
    eprintln!(
        "error: {off} of {} checks are off; the data directory is kept: {}",
        checks.len(),
        stage.directory.display()
    );
    Ok(Exit::Refused)
}

impl From<Done> for checks::Sent {
    fn from(done: Done) -> Self {
        Self { acknowledged: done.acknowledged, duplicates: done.duplicates }
    }
}

fn play(stage: &Stage, quakes: &Quakes, patience: &Patience) -> Result<(Done, ReadBack), CliError> {
    let mut done = Done::default();
    let (mut child, mut client) = Child::start(stage, patience)?;
    println!("the bus runs: process {}", child.id());

    let batches: Vec<&[EventJson]> = quakes.events.chunks(BATCH_EVENTS).collect();
    let (reload_at, kill_at) = (batches.len() / 3, batches.len() * 2 / 3);
    for (number, batch) in batches.iter().enumerate() {
        publish(&mut client, "quakes", batch, &mut done)?;
        if number == reload_at {
            stage.replace_alerts()?;
            println!(
                "the alert plugin's file holds another version, after {} events",
                (number + 1) * BATCH_EVENTS
            );
        }
        if number == kill_at {
            // The reload is to be there before the kill, which else might come first and hide it.
            let reloads = || reloads(&mut client, "alerts");
            patience.until("the alert plugin to be reloaded", reloads)?;
            publish(&mut client, "quakes", batch, &mut done)?;
            child.kill()?;
            println!("the process is killed, after {} events", (number + 1) * BATCH_EVENTS);
            (child, client) = Child::start(stage, patience)?;
            done.restarts += 1;
            println!("the bus runs again: process {}", child.id());
        } else {
            // What a producer does that has no acknowledgement: all of it again.
            publish(&mut client, "quakes", batch, &mut done)?;
        }
    }
    let mut aside = Done::default();
    publish(&mut client, "alerts", &[quakes::poison()?], &mut aside)?;

    patience
        .until("all consumers to be done", || readback::is_done(&mut client, quakes.events.len() as u64))?;
    let found = ReadBack::read(&mut client)?;
    drop(client);
    child.stop(patience)?;
    Ok((done, found))
}

fn publish(client: &mut Client, topic: &str, events: &[EventJson], done: &mut Done) -> Result<(), CliError> {
    let request = Request::Publish { topic: topic.to_owned(), events: events.to_vec(), expected: None };
    let published = readback::one(client, &request, |answer| match answer {
        tidegate::server::Answer::Published(published) => Some(published),
        _ => None,
    })?;
    done.sent += events.len() as u64;
    done.acknowledged += published.len() as u64;
    done.duplicates += published.iter().filter(|published| published.duplicate).count() as u64;
    Ok(())
}

fn reloads(client: &mut Client, consumer: &str) -> Result<Option<()>, CliError> {
    let consumers = readback::consumers(client)?;
    let reloaded = consumers.iter().any(|status| status.name == consumer && status.reloads > 0);
    Ok(reloaded.then_some(()))
}

/// A path with what went wrong there.
fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path: PathBuf = path.to_owned();
    move |source| CliError::File { path, source }
}
