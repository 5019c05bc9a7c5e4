//! `tidegate publish`: events from a file, from standard input, or one from options.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tidegate::server::{Answer, ClientError, EventJson, Request};
use tidegate::{Event, EventLines, PublishError, Random, SystemRandom};

use super::access::{self, Access};
use super::arguments::{Global, Publish};
use super::error::{CliError, Exit};
use super::output::Output;
use super::topics;

/// Events that go into one commit, unless all do: few enough that a slow disk shows progress.
const BATCH_EVENTS: usize = 1000;

/// Bytes after which a commit is not filled further.
const BATCH_BYTES: usize = 1 << 20;

/// Most events of one commit, as the bus has it: with `--atomic` or `--expect` all that is read is kept until the end of the
/// input, which may never come.
const COMMIT_EVENTS_MAX: usize = 64 << 10;

/// Most bytes of one commit of several events, as the bus has it.
const COMMIT_BYTES_MAX: usize = 8 << 20;

/// The largest event of a topic with a claim check, as the bus has it.
const EVENT_BYTES_CEILING: usize = 64 << 20;

/// What became of the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Summary {
    published: u64,
    duplicates: u64,
    refused: u64,
    /// The number of the last of them within its key, where a number was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

/// Publishes events.
pub fn publish(global: &Global, publish: &Publish, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    create_declared(global, &mut access, &publish.topic)?;
    let publisher = Publisher {
        access: &mut access,
        topic: &publish.topic,
        atomic: publish.atomic || publish.expect.is_some(),
        expected: publish.expect,
        batch: Vec::new(),
        bytes: 0,
        summary: Summary::default(),
        source: None,
        bar: ProgressBar::hidden(),
    };
    let summary = match &publish.kind {
        Some(kind) => publisher.single(&single(publish, kind)?)?,
        None => publisher.lines(publish.file.as_deref())?,
    };
    access.close();
    if output.is_json() {
        output.json(&summary)?;
    } else {
        let number = summary.number.map(|number| format!("; the last has number {number}"));
        output.line(format_args!(
            "{} published, {} duplicates dropped, {} refused{}",
            summary.published,
            summary.duplicates,
            summary.refused,
            number.unwrap_or_default(),
        ))?;
    }
    Ok(if summary.refused == 0 { Exit::Done } else { Exit::Refused })
}

/// Creates the topic where the configuration declares it and nobody has run the bus yet.
fn create_declared(global: &Global, access: &mut Access, topic: &str) -> Result<(), CliError> {
    let Access::Local(bus) = access else { return Ok(()) };
    if bus.topics().iter().any(|status| status.name == topic) {
        return Ok(());
    }
    match access::config(global)?.topics.remove(topic) {
        Some(config) => access.tell(Request::CreateTopic { name: topic.to_owned(), config }),
        None => Err(CliError::Failed(format!(
            "there is no topic `{topic}`: `tidegate topics create {topic}` creates it"
        ))),
    }
}

/// An id for an event that has none: a new UUID.
pub fn new_id() -> String {
    let (high, low) = (SystemRandom.next_u64(), SystemRandom.next_u64());
    let bits = (u128::from(high) << 64 | u128::from(low)).to_be_bytes();
    uuid::Builder::from_random_bytes(bits).into_uuid().to_string()
}

fn single(publish: &Publish, kind: &str) -> Result<Event, CliError> {
    let id = publish.id.clone().unwrap_or_else(new_id);
    let mut event = Event::new(id, publish.source.clone(), kind);
    if let Some(subject) = &publish.subject {
        event = event.subject(subject);
    }
    if let Some(key) = &publish.key {
        event = event.extension("partitionkey", key.as_str());
    }
    let file = publish.data_file.as_deref().map(|path| {
        std::fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })
    });
    if let Some(data) = file.transpose()?.or_else(|| publish.data.clone()) {
        event = event.json_text(data);
    }
    event.build().map_err(|error| CliError::Failed(error.to_string()))
}

struct Publisher<'a> {
    access: &'a mut Access,
    topic: &'a str,
    atomic: bool,
    expected: Option<u64>,
    /// With the line that each stands on.
    batch: Vec<(u64, EventJson)>,
    bytes: usize,
    summary: Summary,
    /// What the lines are of, where there are any.
    source: Option<String>,
    bar: ProgressBar,
}

impl Publisher<'_> {
    fn single(mut self, event: &Event) -> Result<Summary, CliError> {
        self.batch.push((0, EventJson(Arc::new(event.clone()))));
        self.send()?;
        Ok(self.summary)
    }

    /// Publishes what stands on the lines of a file. A wrong line is told and left out, or keeps all from going in.
    fn lines(mut self, file: Option<&Path>) -> Result<Summary, CliError> {
        let (reader, bar) = open(file)?;
        self.bar = bar;
        self.source = Some(file.map_or_else(|| "-".to_owned(), |file| file.display().to_string()));
        for (line, event) in EventLines::new(reader, self.event_bytes_max()?) {
            match event {
                // Once a line was wrong, nothing goes in: the rest is read for what else is wrong.
                Ok(_) if self.atomic && self.summary.refused > 0 => {}
                Ok(event) => {
                    // A request with others beside it might be more than the socket takes.
                    if event.size() >= BATCH_BYTES && !self.atomic {
                        self.send()?;
                    }
                    self.bytes += event.size();
                    self.batch.push((line, EventJson(Arc::new(event))));
                    if self.atomic {
                        self.fits_one_commit().inspect_err(|_| self.bar.finish_and_clear())?;
                    }
                    let full = self.batch.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES;
                    if full && !self.atomic {
                        self.send()?;
                    }
                }
                Err(error) => {
                    if self.atomic {
                        self.batch.clear();
                    }
                    self.refused(line, &with_cause(&error));
                }
            }
        }
        self.bar.finish_and_clear();
        if self.atomic && self.summary.refused > 0 {
            let option = if self.expected.is_some() { "--expect" } else { "--atomic" };
            eprintln!("nothing is published, as {option} was asked for and a line is wrong");
        } else {
            self.send()?;
        }
        Ok(self.summary)
    }

    /// The largest event that the topic takes.
    fn event_bytes_max(&mut self) -> Result<usize, CliError> {
        let topics = topics::all(self.access)?;
        let has_claim_check =
            topics.iter().any(|status| status.name == self.topic && status.config.claim_check_over.is_some());
        Ok(if has_claim_check { EVENT_BYTES_CEILING } else { self.access.event_bytes_max() })
    }

    /// Refuses what the bus would refuse, before more of it is in memory.
    fn fits_one_commit(&self) -> Result<(), CliError> {
        let (events, bytes) = (self.batch.len(), self.bytes);
        let (what, max) = if events > COMMIT_EVENTS_MAX {
            (format!("{events} events"), COMMIT_EVENTS_MAX)
        } else if events > 1 && bytes > COMMIT_BYTES_MAX {
            (format!("{bytes} bytes"), COMMIT_BYTES_MAX)
        } else {
            return Ok(());
        };
        Err(CliError::Failed(PublishError::TooMany { what, max }.to_string()))
    }

    fn send(&mut self) -> Result<(), CliError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        self.bytes = 0;
        self.send_all(&batch)
    }

    /// Publishes lines, in as many commits as it takes to leave out those that are wrong.
    fn send_all(&mut self, lines: &[(u64, EventJson)]) -> Result<(), CliError> {
        let outcome = self.commit(lines.iter().map(|(_, event)| event.clone()).collect());
        match outcome {
            Err(error) if !self.atomic && self.source.is_some() && is_of_event(&error) => match lines {
                [(line, _)] => self.refused(*line, &error.to_string()),
                lines => {
                    let (first, second) = lines.split_at(lines.len() / 2);
                    self.send_all(first)?;
                    self.send_all(second)?;
                }
            },
            outcome => outcome.map_err(|error| self.so_far(error))?,
        }
        Ok(())
    }

    /// Tells what is wrong with a line.
    fn refused(&mut self, line: u64, why: &str) {
        self.summary.refused += 1;
        let source = self.source.as_deref().unwrap_or_default();
        self.bar.suspend(|| eprintln!("{source}:{line}: {why}"));
    }

    /// Publishes events in one commit.
    fn commit(&mut self, events: Vec<EventJson>) -> Result<(), CliError> {
        let request = Request::Publish { topic: self.topic.to_owned(), events, expected: self.expected };
        let published = self.access.one(request, |answer| match answer {
            Answer::Published(published) => Some(published),
            _ => None,
        });
        let published = published?;
        let duplicates = published.iter().filter(|published| published.duplicate).count() as u64;
        self.summary.duplicates += duplicates;
        self.summary.number = self.expected.and(published.last()).and_then(|published| published.sequence);
        self.summary.published += published.len() as u64 - duplicates;
        Ok(())
    }

    /// What is on the disk already when something goes wrong half-way.
    fn so_far(&self, error: CliError) -> CliError {
        let done = self.summary.published + self.summary.duplicates;
        match error {
            CliError::Client(error @ (ClientError::Refused(_) | ClientError::Broken(_))) if done > 0 => {
                CliError::Failed(format!(
                    "{error}. The first {done} events are published; publishing the whole file again is safe, as those are \
                     dropped then"
                ))
            }
            error => error,
        }
    }
}

/// Whether it is an event that is wrong, and not something else.
fn is_of_event(error: &CliError) -> bool {
    matches!(error, CliError::Client(ClientError::Refused(refusal)) if refusal.is_of_event)
}

/// The input, with a bar where a person waits for a file.
fn open(file: Option<&Path>) -> Result<(Box<dyn BufRead>, ProgressBar), CliError> {
    let path = match file {
        Some(path) if path != Path::new("-") => path,
        _ => return Ok((Box::new(BufReader::new(io::stdin())), ProgressBar::hidden())),
    };
    let failed = |source| CliError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let bar = if io::stderr().is_terminal() && metadata.is_file() {
        let bar = ProgressBar::with_draw_target(Some(metadata.len()), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes}  {eta}");
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    } else {
        ProgressBar::hidden()
    };
    let counted = Counted { file, bar: bar.clone() };
    Ok((Box::new(BufReader::with_capacity(64 << 10, counted)), bar))
}

/// A file that moves its bar.
struct Counted {
    file: File,
    bar: ProgressBar,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.bar.inc(read as u64);
        Ok(read)
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    if let Some(cause) = error.source() {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
