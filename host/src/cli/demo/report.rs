//! The table at the end.

use super::Done;
use super::checks::Check;
use super::readback::ReadBack;
use crate::cli::table::{Table, row};

/// Prints what was done, what each consumer did, and the checks.
pub fn print(done: &Done, found: &ReadBack, checks: &[Check]) {
    println!("published             {}", done.acknowledged - done.duplicates);
    println!("duplicates dropped    {}", done.duplicates);
    println!("restarts after a kill {}", done.restarts);
    println!();
    let mut consumers = Table::new([
        "CONSUMER",
        "VERSION",
        ">HANDLED",
        ">RETRIES",
        ">DEAD LETTERS",
        ">RELOADS",
        ">LAG",
        ">HELD",
    ]);
    for (name, consumer) in &found.consumers {
        consumers.push(row![
            name,
            consumer.version.version,
            consumer.counts.handled,
            consumer.counts.retries,
            consumer.dead_letters,
            consumer.reloads,
            consumer.lag_events,
            consumer.held,
        ]);
    }
    consumers.lines().iter().for_each(|line| println!("{line}"));
    println!();
    for (consumer, letter) in &found.letters {
        let event = letter.event.as_ref().map_or("an event that is gone", |event| event.0.id());
        println!("dead letter {} of {consumer}: {event}, {}", letter.id, letter.reason);
    }
    println!();
    let mut table = Table::new(["CHECK", "", "FOUND"]);
    for check in checks {
        let (mark, found) = match &check.outcome {
            Ok(found) => ("ok", found),
            Err(found) => ("OFF", found),
        };
        table.push(row![check.claim, mark, found]);
    }
    table.lines().iter().for_each(|line| println!("{line}"));
}
