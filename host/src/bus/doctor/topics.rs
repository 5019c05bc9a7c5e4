//! Checks of topics and of their recent events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::evidence::{ConsumerEvidence, Evidence, TopicEvidence};
use super::finding::{Finding, shown, size};
use crate::config::{SchemaPolicy, format_duration};
use crate::limits::{
    DOCTOR_DEDUP_TIME_MIN, DOCTOR_EVENT_BYTES, DOCTOR_HOT_PARTITIONS_MIN, DOCTOR_NAMES_MAX,
    DOCTOR_TRAFFIC_EVENTS,
};
use crate::schema::split;

fn subject(topic: &TopicEvidence) -> String {
    format!("topic `{}`", topic.status.name)
}

/// Some names for people, and how many more there are.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{}`", shown(name))).collect();
    let more = names.len().saturating_sub(DOCTOR_NAMES_MAX);
    let some = names[..names.len() - more].join(", ");
    if more == 0 { some } else { format!("{some} and {more} more") }
}

/// Types without a version.
pub(super) fn unversioned_types(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for topic in &evidence.topics {
        let kinds: Vec<&str> =
            topic.sample.subjects().filter(|(_, subject)| subject.is_none()).map(|(kind, _)| kind).collect();
        // Where schemas are required, none comes any more: these are older ones.
        if kinds.is_empty() || topic.status.config.schemas == SchemaPolicy::Required {
            continue;
        }
        let events = topic.sample.events;
        findings.push(
            Finding::warning("unversioned-types", subject(topic))
                .seen(format!("of its newest {events} events some have type {}", listed(kinds.into_iter())))
                .why(
                    "when the data changes, no consumer can tell old events from new ones, and no schema can be registered \
                     for the type",
                )
                .remedy("have producers write a version, as in `OrderPlaced.v1`; see docs/patterns/schemas.md"),
        );
    }
}

/// Events that are too large for a log.
pub(super) fn large_events(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for topic in &evidence.topics {
        let Some((partition, offset, bytes)) = topic.sample.largest else { continue };
        let (large, events) = (topic.sample.large, topic.sample.events);
        findings.push(
            Finding::warning("large-events", subject(topic))
                .seen(format!(
                    "{large} of its newest {events} events have more than {}; the largest, at {partition}/{offset}, has {}",
                    size(DOCTOR_EVENT_BYTES as u64),
                    size(bytes as u64)
                ))
                .why(
                    "each is written twice, is read by every consumer and waits in its memory, and other systems need not \
                     take events over 64 KiB",
                )
                .remedy(
                    "give the topic a claim check (`claim_check_over = \"64KiB\"`): large data is then kept beside the log, \
                     named by the attribute `dataref`, and comes back on delivery; see docs/patterns/claim-check.md",
                ),
        );
    }
}

/// A partition that gets most of the traffic.
pub(super) fn hot_partition(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for topic in &evidence.topics {
        let traffic = &topic.traffic;
        let all: u64 = traffic.events.iter().sum();
        let hottest = (0_u32..).zip(&traffic.events).max_by_key(|(_, events)| **events);
        let Some((partition, &events)) = hottest else { continue };
        if traffic.events.len() < DOCTOR_HOT_PARTITIONS_MIN
            || all < DOCTOR_TRAFFIC_EVENTS
            || events <= all / 2
        {
            continue;
        }
        let key = topic.sample.busiest_key.as_ref().map_or_else(String::new, |(key, count)| {
            let of = topic.sample.busiest;
            format!("; of the newest {of} there, {count} have key `{}`", shown(key))
        });
        findings.push(
            Finding::warning("hot-partition", subject(topic))
                .seen(format!(
                    "partition {partition} got {events} of {all} events in {}{key}",
                    format_duration(whole(traffic.time))
                ))
                .why("a partition is worked on by one lane of each consumer: the others stand idle while this one lags")
                .remedy(
                    "choose a finer `partitionkey` (the order instead of the shop), or none where no order is needed; more \
                     partitions don't help one key",
                ),
        );
    }
}

/// Schemas that nobody holds events against.
pub(super) fn unchecked_schemas(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for topic in &evidence.topics {
        if topic.status.config.schemas == SchemaPolicy::Required {
            continue;
        }
        let has_schema = |subject: &str| evidence.subjects.iter().any(|known| known == subject);
        let kinds: Vec<&str> = topic
            .sample
            .subjects()
            .filter(|(_, subject)| subject.is_some_and(has_schema))
            .map(|(kind, _)| kind)
            .collect();
        if kinds.is_empty() {
            continue;
        }
        findings.push(
            Finding::warning("unchecked-schemas", subject(topic))
                .seen(format!(
                    "it doesn't require schemas, and has events of {}, which has one",
                    listed(kinds.into_iter())
                ))
                .why("data that breaks the schema is accepted, and consumers find out")
                .remedy(format!(
                    "`schemas = \"required\"` in `[topics.{}]`, once all its types have schemas",
                    topic.status.name
                )),
        );
    }
}

/// Events of an older version that nothing lifts, beside those of a later one.
pub(super) fn missing_lifts(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for topic in &evidence.topics {
        let is_read = |consumer: &ConsumerEvidence| consumer.status.topics.contains(&topic.status.name);
        if !evidence.consumers.iter().any(is_read) {
            continue;
        }
        let kinds: BTreeSet<&str> =
            topic.sample.kinds.keys().chain(&topic.sample.oldest_kinds).map(String::as_str).collect();
        let mut latest: BTreeMap<&str, u32> = BTreeMap::new();
        for (subject, version) in kinds.iter().filter_map(|kind| split(kind)) {
            let latest = latest.entry(subject).or_default();
            *latest = version.max(*latest);
        }
        let is_old = |kind: &&str| {
            let version = split(kind).map(|(subject, version)| (version, latest.get(subject)));
            version.is_some_and(|(version, latest)| latest.is_some_and(|latest| version < *latest))
        };
        let old: Vec<&str> =
            kinds.iter().copied().filter(is_old).filter(|kind| !evidence.lifted.contains(*kind)).collect();
        if old.is_empty() {
            continue;
        }
        findings.push(
            Finding::warning("missing-lift", subject(topic))
                .seen(format!(
                    "it has events of {} beside later versions, and no upcaster lifts them",
                    listed(old.into_iter())
                ))
                .why("each consumer has to know all versions, and one that begins at the start, or is moved there, meets them")
                .remedy("an upcaster to the latest version, see docs/patterns/upcasters.md; where all consumers know both, nothing is wrong"),
        );
    }
}

/// A deduplication window that traffic fills long before its time.
///
/// Retries of a *consumer* need no window: what a delivery publishes is one transaction with its progress, so that no retry,
/// however late, publishes twice. Nor does an outbox's relay, whose position is committed with its events. The window is for
/// producers that publish again because they got no answer.
pub(super) fn short_dedup_window(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for topic in &evidence.topics {
        let dedup = topic.status.config.dedup;
        let events: u64 = topic.traffic.events.iter().sum();
        if events < DOCTOR_TRAFFIC_EVENTS || dedup.age < DOCTOR_DEDUP_TIME_MIN || dedup.count == 0 {
            continue;
        }
        let micros = topic.traffic.time.as_micros() * u128::from(dedup.count) / u128::from(events);
        let window = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        if window >= DOCTOR_DEDUP_TIME_MIN {
            continue;
        }
        findings.push(
            Finding::warning("short-dedup-window", subject(topic))
                .seen(format!(
                    "its window is to remember {}, and at {events} events in {} its {} identities are those of {}",
                    format_duration(dedup.age),
                    format_duration(whole(topic.traffic.time)),
                    dedup.count,
                    format_duration(whole(window))
                ))
                .why("a producer that publishes again later than that, because it got no answer, publishes twice")
                .remedy(format!("raise `dedup = {{ count = … }}` in `[topics.{}]`", topic.status.name)),
        );
    }
}

/// To the second, for people; what is shorter stays.
pub(super) fn whole(duration: Duration) -> Duration {
    if duration < Duration::from_secs(1) { duration } else { Duration::from_secs(duration.as_secs()) }
}
