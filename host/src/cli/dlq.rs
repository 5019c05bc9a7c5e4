//! `tidegate dlq`: dead letters.

use std::time::Duration;

use tidegate::server::{Answer, Letter, Request};

use super::access::Access;
use super::arguments::{DlqCommand, Filter, Global, Settle};
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line, short};
use super::table::{Table, row};

/// Characters of a failure's message in a list.
const MESSAGE_CHARS: usize = 80;

/// Letters that one request settles: as many as one commit takes.
const SETTLED_AT_ONCE: usize = 1000;

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
        DlqCommand::Show { consumer, id } => show(&mut access, &consumer, id, output)?,
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
        table.push(row![
            letter.id,
            moment(letter.at),
            one_line(&name(letter), MESSAGE_CHARS),
            letter.attempts.len(),
            letter.reason.kind,
            one_line(&letter.reason.code, MESSAGE_CHARS),
            one_line(&letter.reason.message, MESSAGE_CHARS),
        ]);
        Ok(())
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

fn show(access: &mut Access, consumer: &str, id: u64, output: &mut Output) -> Result<(), CliError> {
    let letter =
        access.one(
            Request::DeadLetter { consumer: consumer.to_owned(), letter: id },
            |answer| match answer {
                Answer::Letter(letter) => Some(letter),
                _ => None,
            },
        )?;
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
    let mut ids = settle.ids.clone();
    if ids.is_empty() {
        letters(access, &settle.consumer, 0, usize::MAX, &settle.filter, |letter| {
            // What has no event can't be redriven, and shall not hold up the others.
            if fate == Fate::Discard || letter.event.is_some() {
                ids.push(letter.id);
            }
            Ok(())
        })?;
    }
    if !settle.dry_run {
        for some in ids.chunks(SETTLED_AT_ONCE) {
            let (consumer, letters) = (settle.consumer.clone(), some.to_vec());
            access.tell(match fate {
                Fate::Redrive => Request::Redrive { consumer, letters },
                Fate::Discard => Request::Discard { consumer, letters },
            })?;
        }
    }
    let does = match (fate, settle.dry_run) {
        (Fate::Redrive, false) => "redriven",
        (Fate::Redrive, true) => "to redrive",
        (Fate::Discard, false) => "discarded",
        (Fate::Discard, true) => "to discard",
    };
    if output.is_json() {
        return output.json(
            &serde_json::json!({ "consumer": settle.consumer, "letters": ids, "dry_run": settle.dry_run }),
        );
    }
    match ids.as_slice() {
        [] => output.line("no dead letters that fit"),
        [id] => output.line(format_args!("dead letter {id} {does}")),
        ids => output.line(format_args!("{} dead letters {does}", ids.len())),
    }
}
