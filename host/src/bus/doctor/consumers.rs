//! Checks of consumers and of what they do.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::evidence::{ConsumerEvidence, Evidence, Lag};
use super::finding::{Finding, Severity, shown, size};
use super::topics::whole;
use crate::bus::ConsumerKind;
use crate::config::{Order, Retention, RetryPolicy, format_duration};
use crate::delivery::{LaneState, LaneStatus};
use crate::limits::{
    DETACHED_HOLDS_RETENTION, DOCTOR_CHAINS_MIN, DOCTOR_FULL_PART, DOCTOR_LAG_MAX, TIMERS_MAX,
};

fn subject(consumer: &ConsumerEvidence) -> String {
    format!("consumer `{}`", consumer.status.name)
}

/// Whether lanes of it are at work in this process.
fn runs(consumer: &ConsumerEvidence) -> bool {
    consumer.status.kind != ConsumerKind::Detached
}

/// A consumer that keeps the order of each key, and whose events belong together across keys.
///
/// That they do doesn't mean that it relies on their order. It is a warning where most of what belongs together, by
/// `correlationid`, is under different keys of the topics that one consumer reads.
pub(super) fn order_across_keys(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let keeps_keys = consumer.config.as_ref().is_none_or(|config| config.order == Order::Key);
        // An aggregate decides on each command by itself, and a saga puts what it is told into its own order.
        let is_indifferent = consumer.is_aggregate || consumer.sagas.seen > 0;
        if !keeps_keys || is_indifferent || consumer.status.lanes.len() < 2 {
            continue;
        }
        let mut keys: HashMap<u64, (usize, HashSet<u64>)> = HashMap::new();
        for topic in consumer.status.topics.iter().filter_map(|name| evidence.topic(name)) {
            for (correlation, key) in &topic.sample.chains {
                let (events, keys) = keys.entry(*correlation).or_default();
                *events += 1;
                keys.insert(*key);
            }
        }
        let chains = keys.values().filter(|(events, _)| *events > 1).count();
        let across = keys.values().filter(|(events, keys)| *events > 1 && keys.len() > 1).count();
        if chains < DOCTOR_CHAINS_MIN || across * 2 <= chains {
            continue;
        }
        findings.push(
            Finding::warning("order-across-keys", subject(consumer))
                .seen(format!(
                    "of {chains} correlations with several recent events in its topics, {across} have them under different keys"
                ))
                .why(
                    "the bus keeps the order of each key alone: if this consumer expects such events in the order in which they \
                     were published, it will get them in another one",
                )
                .remedy(
                    "give events that belong together one `partitionkey`, or make the consumer indifferent to their order; where \
                     it is already, nothing is wrong",
                ),
        );
    }
}

/// A consumer that keeps no order, on a topic that numbers the events of each key.
pub(super) fn order_not_used(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        if consumer.config.as_ref().is_none_or(|config| config.order != Order::None) {
            continue;
        }
        let numbers = |name: &&String| evidence.topic(name).is_some_and(|topic| topic.status.config.sequence);
        let Some(topic) = consumer.status.topics.iter().find(numbers) else { continue };
        findings.push(
            Finding::warning("order-not-used", subject(consumer))
                .seen(format!("it has `order = \"none\"`, and topic `{topic}` numbers the events of each key"))
                .why("a key's later event may be handled before an earlier one that is retried, and its state go back")
                .remedy(format!("`order = \"key\"` in `[consumers.{}]`", consumer.status.name)),
        );
    }
}

/// A lane that has something to do and doesn't come on.
pub(super) fn no_progress(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in evidence.consumers.iter().filter(|consumer| runs(consumer)) {
        let name = &consumer.status.name;
        // Lanes stand for one reason, mostly: one finding for each reason.
        let mut told = HashSet::new();
        for lane in &consumer.status.lanes {
            let Some((severity, why, remedy)) = stands(lane, name) else { continue };
            if !told.insert(why.clone()) {
                continue;
            }
            let lanes = consumer.status.lanes.iter();
            let alike =
                lanes.filter(|lane| stands(lane, name).is_some_and(|(_, other, _)| other == why)).count();
            findings.push(
                Finding::new("no-progress", severity, subject(consumer))
                    .seen(format!(
                        "{alike} of its {} lanes; the first is lane {}, with {} events to come, the oldest since {}, and {} held",
                        consumer.status.lanes.len(),
                        lane.partition,
                        lane.lag_events,
                        format_duration(whole(lane.lag)),
                        lane.held
                    ))
                    .why(why)
                    .remedy(remedy),
            );
        }
    }
}

/// Why a lane stands, if it does, and what to do.
fn stands(lane: &LaneStatus, consumer: &str) -> Option<(Severity, String, String)> {
    let problem = |why: &str, remedy: String| Some((Severity::Problem, why.to_owned(), remedy));
    match &lane.state {
        LaneState::Stalled { held_max } => problem(
            &format!(
                "{held_max} events are held, or as many timers wait behind held ones, which is as many as may: it takes no \
                 others until retries succeed"
            ),
            format!("mend what fails (`tidegate consumers show {consumer}`), or raise `held_max`"),
        ),
        LaneState::Parked => problem(
            "everything waits behind a dead letter that it parks for",
            format!("`tidegate dlq list {consumer}`, then `redrive` or `discard`"),
        ),
        LaneState::DiskFull { .. } => problem(
            "the disk is full, and it wants to publish",
            "free some space, or shorten a topic's retention".to_owned(),
        ),
        LaneState::Failing { reason } => problem(
            &format!("the storage fails: {}", shown(reason)),
            "look at the disk and at the log; it goes on by itself".to_owned(),
        ),
        LaneState::Paused if lane.lag_events > 0 || lane.held > 0 => Some((
            Severity::Warning,
            "it is paused, and holds retention back meanwhile".to_owned(),
            format!("`tidegate consumers resume {consumer}`"),
        )),
        LaneState::Paused => None,
        _ if lane.lag_events > 0 && lane.lag > DOCTOR_LAG_MAX => problem(
            &format!("its oldest event has waited for more than {}", format_duration(DOCTOR_LAG_MAX)),
            "make its handler faster, or use more partitions; see whether one key has most of the traffic"
                .to_owned(),
        ),
        _ => None,
    }
}

/// A consumer that nobody runs any more.
pub(super) fn detached(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some(since) = consumer.status.detached.filter(|_| !runs(consumer)) else { continue };
        findings.push(
            Finding::warning("detached", subject(consumer))
                .seen(format!("nothing runs it since {since}; it has {} events to come", consumer.status.lag_events))
                .why(format!(
                    "its progress, state and dead letters stay, and it holds retention back for {}; after that, what it hasn't \
                     read may go",
                    format_duration(DETACHED_HOLDS_RETENTION)
                ))
                .remedy(format!(
                    "put it into the configuration again, or `tidegate consumers forget {} --yes`",
                    consumer.status.name
                )),
        );
    }
}

/// A candidate that was refused: an older version runs than somebody thinks.
pub(super) fn refused(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some(why) = &consumer.status.refused else { continue };
        findings.push(
            Finding::problem("refused", subject(consumer))
                .seen(format!("what was to run it was refused: {}", shown(why)))
                .why("the version before goes on, or none does")
                .remedy(format!("mend that, then `tidegate plugins reload {}`", consumer.status.name)),
        );
    }
}

/// Dead letters that wait for somebody.
pub(super) fn dead_letters(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let (name, letters) = (&consumer.status.name, consumer.status.dead_letters);
        if letters == 0 {
            continue;
        }
        findings.push(
            Finding::warning("dead-letters", subject(consumer))
                .seen(format!("{letters} in its dead-letter queue"))
                .why("each is an event whose effects are missing, and they stay until somebody decides")
                .remedy(format!("`tidegate dlq list {name}`, then `redrive` what can succeed now, and `discard` the others")),
        );
    }
}

/// Sagas that wait for an operator.
pub(super) fn stuck_sagas(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some((since, id)) = &consumer.sagas.longest else { continue };
        let name = &consumer.status.name;
        findings.push(
            Finding::problem("stuck-sagas", subject(consumer))
                .seen(format!(
                    "{} of the {} sagas that were looked at are stuck, `{}` since {since}",
                    consumer.sagas.stuck,
                    consumer.sagas.seen,
                    shown(id)
                ))
                .why("each has done a part of its steps, and can't undo it: it stays so until somebody decides")
                .remedy(format!(
                    "`tidegate sagas list {name} --stuck` says why; then `tidegate sagas retry {name} ID`, or `resolve` what was                      undone by other means"
                )),
        );
    }
}

/// Retention that is shorter than what a consumer is behind.
pub(super) fn retention_before_lag(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        for (name, lag) in &consumer.lags {
            let Some(topic) = evidence.topic(name) else { continue };
            let retention = topic.status.config.retention;
            let Some(bound) = exceeded(retention, *lag) else { continue };
            let (severity, why, remedy) = if retention.force {
                let why = "retention is forced: what the consumer hasn't read is removed, and becomes one dead letter without the events";
                (
                    Severity::Problem,
                    why,
                    format!("have it catch up now, or lengthen the retention in `[topics.{name}]`"),
                )
            } else {
                let why = "retention waits for it, so the topic grows beyond what it is to take of the disk";
                (
                    Severity::Warning,
                    why,
                    format!("have it catch up; `tidegate consumers show {}`", consumer.status.name),
                )
            };
            findings.push(
                Finding::new("retention-before-lag", severity, subject(consumer))
                    .seen(format!(
                        "in topic `{name}`, which keeps {bound}, it is {} events behind, of {} and about {}",
                        lag.events,
                        format_duration(whole(lag.age)),
                        size(lag.bytes)
                    ))
                    .why(why)
                    .remedy(remedy),
            );
        }
    }
}

/// The bound of a retention that a lag has come to. One that is forced is told of at half of it, while there is time.
fn exceeded(retention: Retention, lag: Lag) -> Option<String> {
    let part = if retention.force { 2 } else { 1 };
    if let Some(age) = retention.age.filter(|age| lag.age >= *age / part) {
        return Some(format_duration(age));
    }
    let bytes = retention.bytes.filter(|bytes| lag.bytes >= *bytes / u64::from(part))?;
    Some(size(bytes))
}

/// A lane that holds nearly as many events as it may.
pub(super) fn held_near_bound(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some(config) = &consumer.config else { continue };
        let fullest = consumer.status.lanes.iter().max_by_key(|lane| lane.held);
        let Some(lane) = fullest.filter(|lane| is_nearly(lane.held as u64, config.held_max as u64)) else {
            continue;
        };
        findings.push(
            Finding::warning("held-near-bound", subject(consumer))
                .seen(format!(
                    "lane {} holds {} events of the {} that it may",
                    lane.partition, lane.held, config.held_max
                ))
                .why("at the bound it takes no new events, of any key")
                .remedy(format!(
                    "mend what fails (`tidegate consumers show {}`), or raise `held_max`",
                    consumer.status.name
                )),
        );
    }
}

/// A lane that has set nearly as many timers as it may.
pub(super) fn timers_near_bound(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let fullest = consumer.status.lanes.iter().max_by_key(|lane| lane.timers);
        let Some(lane) = fullest.filter(|lane| is_nearly(lane.timers, TIMERS_MAX)) else { continue };
        findings.push(
            Finding::warning("timers-near-bound", subject(consumer))
                .seen(format!("lane {} has {} timers set, of {TIMERS_MAX}", lane.partition, lane.timers))
                .why("at the bound a delivery that sets another one fails")
                .remedy("cancel timers that are not needed any more, set them later, or use more partitions"),
        );
    }
}

/// Whether a bound is nearly reached.
pub(super) fn is_nearly(count: u64, max: u64) -> bool {
    u128::from(count) * u128::from(DOCTOR_FULL_PART.1) >= u128::from(max) * u128::from(DOCTOR_FULL_PART.0)
}

/// The time that it takes until all attempts are made, on average: each wait is drawn from zero to its bound.
pub(super) fn mean_schedule(config: &RetryPolicy) -> Duration {
    let mut bound = config.base;
    let mut sum = Duration::ZERO;
    for _ in 1..config.attempts {
        sum = sum.saturating_add(bound / 2);
        bound = bound.saturating_mul(2).min(config.max);
    }
    sum
}
