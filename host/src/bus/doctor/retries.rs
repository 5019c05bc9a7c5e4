//! Checks of what a consumer's settings come to, together.

use super::consumers::mean_schedule;
use super::evidence::Evidence;
use super::finding::Finding;
use super::topics::whole;
use crate::config::{OnDeadLetter, Order, format_duration};

/// Attempts that are never made, as the delivery is too old before.
pub(super) fn attempts_after_age(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some(retry) = consumer.config.as_ref().map(|config| config.retry) else { continue };
        let schedule = mean_schedule(&retry);
        if schedule <= retry.age {
            continue;
        }
        findings.push(
            Finding::warning("attempts-after-age", format!("consumer `{}`", consumer.status.name))
                .seen(format!(
                    "its {} attempts take {} on average, and it gives up after {}",
                    retry.attempts,
                    format_duration(whole(schedule)),
                    format_duration(retry.age)
                ))
                .why("an event is given up on with attempts left: fewer are made than the settings say")
                .remedy("raise `retry.age`, or lower `retry.attempts` or `retry.max`"),
        );
    }
}

/// Retries that last longer than the events that they are for.
pub(super) fn retention_before_retries(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some(retry) = consumer.config.as_ref().map(|config| config.retry) else { continue };
        // A delivery is tried for no longer than its schedule, nor for longer than its age.
        let lasts = retry.age.min(mean_schedule(&retry));
        for topic in consumer.status.topics.iter().filter_map(|name| evidence.topic(name)) {
            let retention = topic.status.config.retention;
            let Some(age) = retention.age.filter(|age| retention.force && *age < lasts) else { continue };
            findings.push(
                Finding::warning("retention-before-retries", format!("consumer `{}`", consumer.status.name))
                    .seen(format!(
                        "it tries for {}, and topic `{}` removes events after {}, read or not",
                        format_duration(whole(lasts)),
                        topic.status.name,
                        format_duration(age)
                    ))
                    .why("an event that waits for its retry becomes a dead letter before its attempts are made")
                    .remedy("lengthen the topic's retention, don't force it, or shorten the retries"),
            );
        }
    }
}

/// A consumer that is to park keys, and keeps no order.
pub(super) fn nothing_to_park(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for consumer in &evidence.consumers {
        let Some(config) = &consumer.config else { continue };
        if config.order != Order::None || config.on_dead_letter != OnDeadLetter::Park {
            continue;
        }
        findings.push(
            Finding::warning("nothing-to-park", format!("consumer `{}`", consumer.status.name))
                .seen("it has `order = \"none\"` and `on_dead_letter = \"park\"`".to_owned())
                .why("without an order nothing waits behind a dead letter: it goes on, as if the second were not set")
                .remedy("`order = \"key\"`, or `on_dead_letter = \"continue\"`"),
        );
    }
}
