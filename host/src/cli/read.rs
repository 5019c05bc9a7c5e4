//! `tidegate read`: a topic's events, one a line.

use tidegate::Data;
use tidegate::server::{Answer, RecordLine, Request};

use super::access::Access;
use super::arguments::{Global, Read};
use super::error::{CliError, Exit};
use super::output::{Output, moment, one_line};

/// Characters of an event's data that its line shows.
const DATA_CHARS: usize = 120;

/// Characters of why an event can't be lifted.
const FAILURE_CHARS: usize = 1000;

/// Prints a topic's events.
pub fn read(global: &Global, read: &Read, output: &mut Output) -> Result<Exit, CliError> {
    let mut access = Access::open(global)?;
    let mut exit = Exit::Done;
    if read.follow && !access.is_remote() {
        return Err(CliError::Failed(format!(
            "nothing can come while this command has {} open, as nobody runs the bus: start `tidegate run`, then \
             follow",
            global.dir.display()
        )));
    }
    if read.lift && !access.is_remote() {
        return Err(CliError::Failed(format!(
            "there is nothing to lift events with, as nobody runs the bus on {}: upcasters are part of `tidegate run`",
            global.dir.display()
        )));
    }
    let (topic, limit, lift, data) = (read.topic.clone(), read.limit, read.lift, read.data);
    let Read { partition, from, follow, after, .. } = *read;
    let request = match &read.key {
        Some(key) => Request::ReadKey { topic, key: key.clone(), after, limit, lift, data },
        None => Request::Read { topic, partition, from, limit, follow, lift, data },
    };
    access.ask(request, |answer| {
        match answer {
            Answer::Record(record) if output.is_json() => output.json(&record)?,
            Answer::Record(record) if read.key.is_some() => {
                let number = record.event.0.sequence().unwrap_or_default();
                output.line(format_args!("{number}  {}", line(&record)))?;
            }
            Answer::Record(record) => output.line(line(&record))?,
            Answer::Damaged { reason } => {
                exit = Exit::Refused;
                eprintln!("damaged: {reason}");
            }
            Answer::NotLifted { record, failure } => {
                exit = Exit::Refused;
                eprintln!("not lifted: {}: {}", line(&record), one_line(&failure.to_string(), FAILURE_CHARS));
            }
            _ => {}
        }
        // Someone watches, or a pipe wants each event as it comes.
        if read.follow { output.flush() } else { Ok(()) }
    })?;
    access.close();
    Ok(exit)
}

fn line(record: &RecordLine) -> String {
    let event = &record.event.0;
    let data = match event.data() {
        None => String::new(),
        Some(Data::Json(text) | Data::Text(text)) => one_line(text, DATA_CHARS),
        Some(Data::Binary(bytes)) => format!("{} bytes", bytes.len()),
    };
    let line = format!(
        "{}/{}  {}  {}  {}  {}  {data}",
        record.partition,
        record.offset,
        moment(record.appended),
        one_line(event.kind(), DATA_CHARS),
        one_line(event.id(), DATA_CHARS),
        one_line(event.key(), DATA_CHARS),
    );
    line.trim_end().to_owned()
}
