//! `tidegate dlq`: dead letters.

use std::time::Duration;

use tidegate::server::{Answer, ClientError, Letter, Request};

use super::access::Access;
use super::arguments::{DlqCommand, Filter, Global, Settle};
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line, short};
use super::table::{Table, row};

/// Characters of a failure's message in a list.
const MESSAGE_CHARS: usize = 80;

/// Letters that one request settles: as many as one commit takes.
const SETTLED_AT_ONCE: usize = 1000;

/// Bytes of events after which a request settles no more: as many as one commit takes.
const SETTLED_BYTES_AT_ONCE: usize = 8 << 20;

/// The pause before a consumer that had to work off redriven events is asked to take more.
const WAIT: Duration = Duration::from_millis(100);

/// Pauses after which a consumer that takes no more is left alone: it may be paused, or wait for retries.
const WAITS_MAX: u32 = 300;

/// What becomes of letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Redrive,
    Discard,
}

/// Lists or shows dead letters, or settles some.
pub fn dlq(global: &Global, command: DlqCommand, output: &mut Output) -> Result<Exit, CliError> {
    if let DlqCommand::Discard { settle, yes: false } = &command
        && !settle.dry_run
    {
        return Err(CliError::Usage(format!(
            "discarding removes dead letters of consumer `{}` for good: say `--yes`, or `--dry-run` to see which",
            settle.consumer
        )));
    }
    let mut access = Access::open(global)?;
    match command {
        DlqCommand::List { consumer, after, limit, filter } => {
            list(&mut access, &consumer, after, limit, &filter, output)?;
        }
        DlqCommand::Show { consumer, id, data } => show(&mut access, &consumer, id, data, output)?,
        DlqCommand::Redrive(settle) => settle_all(&mut access, &settle, Fate::Redrive, output)?,
        DlqCommand::Discard { settle, .. } => settle_all(&mut access, &settle, Fate::Discard, output)?,
    }
    access.close();
    Ok(Exit::Done)
}

/// The letters behind `after` that fit, at most `limit`.
fn letters(
    access: &mut Access,
    consumer: &str,
    after: u64,
    limit: usize,
    filters: &[Filter],
    mut take: impl FnMut(&Letter) -> Result<(), CliError>,
) -> Result<(), CliError> {
    // Letters that don't fit don't count.
    let asked = if filters.is_empty() { limit } else { usize::MAX };
    let request = Request::DeadLetters { consumer: consumer.to_owned(), after, limit: asked };
    let mut left = limit;
    access.ask(request, |answer| match answer {
        Answer::Letter(letter) if left > 0 && filters.iter().all(|filter| fits(filter, &letter)) => {
            left -= 1;
            take(&letter)
        }
        _ => Ok(()),
    })
}

fn fits(filter: &Filter, letter: &Letter) -> bool {
    let event = letter.event.as_ref().map(|event| &event.0);
    match filter {
        Filter::Code(code) => letter.reason.code == *code,
        Filter::Type(kind) => event.is_some_and(|event| event.kind() == kind),
        Filter::Key(key) => event.is_some_and(|event| event.key() == key),
    }
}

fn list(
    access: &mut Access,
    consumer: &str,
    after: u64,
    limit: usize,
    filters: &[Filter],
    output: &mut Output,
) -> Result<(), CliError> {
    let mut table = Table::new([">ID", "AT", "EVENT", ">ATTEMPTS", "KIND", "CODE", "MESSAGE"]);
    letters(access, consumer, after, limit, filters, |letter| {
        if output.is_json() {
            return output.json(letter);
        }
        let cells = row![
            letter.id,
            moment(letter.at),
            one_line(&name(letter), MESSAGE_CHARS),
            letter.attempts.len(),
            letter.reason.kind,
            one_line(&letter.reason.code, MESSAGE_CHARS),
            one_line(&letter.reason.message, MESSAGE_CHARS),
        ];
        table.push_through(cells, output)
    })?;
    if output.is_json() { Ok(()) } else { table.print(output, "no dead letters") }
}

/// The event's id, or its place where it has no event.
fn name(letter: &Letter) -> String {
    match &letter.event {
        Some(event) => event.0.id().to_owned(),
        None => format!("{}/{}/{}", letter.topic, letter.partition, letter.offset),
    }
}

fn show(
    access: &mut Access,
    consumer: &str,
    id: u64,
    data: bool,
    output: &mut Output,
) -> Result<(), CliError> {
    let request = Request::DeadLetter { consumer: consumer.to_owned(), letter: id, data };
    let letter = access.one(request, |answer| match answer {
        Answer::Letter(letter) => Some(letter),
        _ => None,
    })?;
    if output.is_json() {
        return output.json(&letter);
    }
    output.line(format_args!(
        "dead letter {id} of consumer {consumer}, given up on at {}",
        moment(letter.at)
    ))?;
    let offsets = if letter.offset == letter.offset_last {
        letter.offset.to_string()
    } else {
        format!("{} to {}", letter.offset, letter.offset_last)
    };
    output.line(format_args!(
        "from topic {}, partition {}, offset {offsets}, accepted at {}{}",
        letter.topic,
        letter.partition,
        moment(letter.appended),
        if letter.redriven { ", redriven before" } else { "" }
    ))?;
    output.line(format_args!(
        "by {} {} {}",
        letter.version.name, letter.version.version, letter.version.hash
    ))?;
    output.line(format_args!("because of {}", letter.reason))?;
    for (number, attempt) in (1..).zip(&letter.attempts) {
        let after = attempt.at.since(letter.first_attempt);
        let after =
            if after == Duration::ZERO { String::new() } else { format!(" (after {})", short(after)) };
        output.line(format_args!(
            "attempt {number} at {}{after}: {}",
            moment(attempt.at),
            attempt.failure
        ))?;
    }
    if let Some(backtrace) = &letter.reason.backtrace {
        output.line("backtrace:")?;
        output.line(backtrace.trim_end())?;
    }
    match &letter.event {
        Some(event) => output.line(event.0.to_json()),
        None => output.line("the event is not there any more"),
    }
}

fn settle_all(access: &mut Access, settle: &Settle, fate: Fate, output: &mut Output) -> Result<(), CliError> {
    let mut settled = 0;
    let outcome = if settle.ids.is_empty() {
        settle_fitting(access, settle, fate, output, &mut settled)
    } else {
        settle.ids.chunks(SETTLED_AT_ONCE).try_for_each(|ids| {
            settle_some(access, settle, fate, ids, output)?;
            settled += ids.len();
            Ok(())
        })
    };
    let does = match (fate, settle.dry_run) {
        (Fate::Redrive, false) => "redriven",
        (Fate::Redrive, true) => "to redrive",
        (Fate::Discard, false) => "discarded",
        (Fate::Discard, true) => "to discard",
    };
    if output.is_json() {
        if settled == 0 && outcome.is_ok() {
            say_settled(settle, &[], output)?;
        }
        return outcome;
    }
    match settled {
        0 if outcome.is_err() => {}
        0 => output.line("no dead letters that fit")?,
        1 => match settle.ids.as_slice() {
            [id] => output.line(format_args!("dead letter {id} {does}"))?,
            _ => output.line(format_args!("1 dead letter {does}"))?,
        },
        settled => output.line(format_args!("{settled} dead letters {does}"))?,
    }
    outcome
}

/// Settles the letters that fit, some at a time, so that a queue of any length takes no more memory. Those that come
/// while it works are left: a redriven event may fail again at once.
fn settle_fitting(
    access: &mut Access,
    settle: &Settle,
    fate: Fate,
    output: &mut Output,
    settled: &mut usize,
) -> Result<(), CliError> {
    let mut last = 0;
    letters(access, &settle.consumer, 0, usize::MAX, &[], |letter| {
        last = letter.id;
        Ok(())
    })?;
    let mut after = 0;
    while after < last {
        let mut ids = Vec::new();
        let (mut bytes, mut came_to, mut is_full) = (0, after, false);
        letters(access, &settle.consumer, after, SETTLED_AT_ONCE, &[], |letter| {
            let size = letter.event.as_ref().map_or(0, |event| event.0.size());
            is_full |= letter.id > last || (bytes + size > SETTLED_BYTES_AT_ONCE && bytes > 0);
            if is_full {
                return Ok(());
            }
            came_to = letter.id;
            // What has no event can't be redriven, and shall not hold up the others.
            let can_be = fate == Fate::Discard || letter.event.is_some();
            if can_be && settle.filter.iter().all(|filter| fits(filter, letter)) {
                bytes += size;
                ids.push(letter.id);
            }
            Ok(())
        })?;
        if came_to == after {
            break;
        }
        after = came_to;
        if !ids.is_empty() {
            settle_some(access, settle, fate, &ids, output)?;
            *settled += ids.len();
        }
    }
    Ok(())
}

/// Settles letters in one commit. Where the consumer has to work others off first, and can, it is waited for.
fn settle_some(
    access: &mut Access,
    settle: &Settle,
    fate: Fate,
    ids: &[u64],
    output: &mut Output,
) -> Result<(), CliError> {
    if settle.dry_run {
        return say_settled(settle, ids, output);
    }
    let mut tries = 0;
    loop {
        let (consumer, letters) = (settle.consumer.clone(), ids.to_vec());
        let told = access.tell(match fate {
            Fate::Redrive => Request::Redrive { consumer, letters },
            Fate::Discard => Request::Discard { consumer, letters },
        });
        match told {
            Err(CliError::Client(ClientError::Refused(refusal)))
                if refusal.is_busy && access.is_remote() && tries < WAITS_MAX =>
            {
                tries += 1;
                // Nobody unparks this thread: it is a pause, which may end early and do no harm.
                std::thread::park_timeout(WAIT);
            }
            Ok(()) => return say_settled(settle, ids, output),
            Err(error) => return Err(error),
        }
    }
}

/// A line of JSON for each commit.
fn say_settled(settle: &Settle, ids: &[u64], output: &mut Output) -> Result<(), CliError> {
    if !output.is_json() {
        return Ok(());
    }
    output
        .json(&serde_json::json!({ "consumer": settle.consumer, "letters": ids, "dry_run": settle.dry_run }))
}
