//! What large data costs with a claim check.

use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use tidegate::config::{ConsumerConfig, TopicConfig};
use tidegate::{Event, handler_fn};

use super::bus::{Measured, work_off};
use super::publish::noise;
use crate::peers::PlainFiles;
use crate::row::{Goal, Rounds, Row};
use crate::scale::Scale;
use crate::time::{rate, timed};

/// Bytes of an event's data: more than the claim check leaves in the log, and less than the log refuses.
const BYTES: usize = 256 << 10;
/// From which size on data is checked in.
const OVER: usize = 64 << 10;
/// Events of a rate of groups for each large one here, so that a run writes as many bytes.
const SMALLER: usize = 1000;
/// The topic with a claim check, and the one without.
const TOPICS: [&str; 2] = ["aside", "single"];

/// Large events, published one after the other and then delivered: with a claim check beside a file for each, and beside a
/// log that has the data itself.
pub fn claim_check(scale: &Scale) -> Result<Vec<Row>> {
    let (mut files, mut published, mut delivered) = (Rounds::default(), Rounds::default(), Rounds::default());
    let data = noise(BYTES);
    let count = scale.group_events.div_ceil(SMALLER);
    for round in 0..scale.rounds {
        let measured = Measured::new()?;
        measured.bus.create_topic(TOPICS[0], TopicConfig::new(1).claim_check_over(OVER))?;
        for topic in TOPICS {
            let config = ConsumerConfig::new([topic]).paused(true);
            measured.bus.subscribe(topic, config, handler_fn(|_, _| Ok(())))?;
        }
        let publish = |topic, numbers| publish(&measured, topic, &data, numbers);
        published.push_in_turn(round, || publish(TOPICS[0], 0..count), || publish(TOPICS[1], 0..count))?;
        let work_off = |topic| work_off(&measured.bus, topic, count);
        delivered.push_in_turn(round, || work_off(TOPICS[0]), || work_off(TOPICS[1]))?;
        // Nobody reads beside it, as nobody reads the files. Of other data, as the same would be written once.
        measured.bus.pause(TOPICS[0])?;
        files.push_in_turn(round, || publish(TOPICS[0], count..2 * count), || write(&data, count))?;
    }
    let in_log = "the same, kept in the log";
    Ok(vec![
        files.row("claim-check-publish", "events/s", "a synced file for each", Goal::AtLeast(0.4)),
        published.row("claim-check-publish-log", "events/s", in_log, Goal::AtLeast(0.8)),
        delivered.row("claim-check-deliver", "events/s", in_log, Goal::AtLeast(0.3)),
    ])
}

/// The data of one event: no other has the same.
fn numbered(data: &[u8], number: usize) -> Vec<u8> {
    let number = number.to_le_bytes();
    [&number, &data[number.len()..]].concat()
}

/// Publishes events, and waits for each. Returns the rate.
fn publish(measured: &Measured, topic: &str, data: &[u8], numbers: Range<usize>) -> Result<f64> {
    let (count, mut spent) = (numbers.len(), Duration::ZERO);
    for number in numbers {
        let event = Event::new(format!("scan-{number}"), "/benches/scanner", "Scanned.v1");
        let event = event.binary("image/png", numbered(data, number)).build()?;
        let (outcome, took) = timed(|| measured.bus.publish(topic, event));
        outcome?;
        spent += took;
    }
    Ok(rate(count, spent))
}

/// Writes the data of events to files. Returns the rate.
fn write(data: &[u8], count: usize) -> Result<f64> {
    let (files, mut spent) = (PlainFiles::new()?, Duration::ZERO);
    for number in 0..count {
        let data = numbered(data, number);
        let (outcome, took) = timed(|| files.write(&number.to_string(), &data));
        outcome?;
        spent += took;
    }
    Ok(rate(count, spent))
}
