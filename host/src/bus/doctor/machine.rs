//! Checks of what the bus stands on: the disk, the clock, and the databases of outboxes.

use super::consumers::is_nearly;
use super::evidence::Evidence;
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use super::finding::shown;
use super::finding::{Finding, size};
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use super::topics::whole;
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::config::format_duration;
use crate::limits::DOCTOR_FREE_FLOORS;
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::limits::DOCTOR_OUTBOX_AGE_MAX;
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
use crate::outbox::{OutboxState, OutboxStatus};

/// A disk on which publishing ends soon.
pub(super) fn disk_nearly_full(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let min = evidence.free_bytes_min;
    let Some(free) = evidence.free_bytes.filter(|free| *free < min.saturating_mul(DOCTOR_FREE_FLOORS)) else {
        return;
    };
    let finding = if free < min {
        Finding::problem("disk-nearly-full", "the disk".to_owned())
            .why("nothing can be published below `free_bytes_min`")
    } else {
        Finding::warning("disk-nearly-full", "the disk".to_owned())
            .why("below `free_bytes_min` nothing can be published")
    };
    findings.push(
        finding
            .seen(format!("it has {} free, and publishing leaves {}", size(free), size(min)))
            .remedy("free some space, or shorten a topic's retention: the database uses what it frees again"),
    );
}

/// A blob store in which large data soon finds no room.
pub(super) fn blobs_nearly_full(evidence: &Evidence, findings: &mut Vec<Finding>) {
    let Some(blobs) = evidence.blobs.filter(|blobs| is_nearly(blobs.bytes, blobs.bytes_max)) else { return };
    // A store that may have nothing is full of it.
    if blobs.bytes == 0 {
        return;
    }
    findings.push(
        Finding::warning("blobs-nearly-full", "the blob store".to_owned())
            .seen(format!(
                "it has {} in {} blobs, of the {} that it may have",
                size(blobs.bytes),
                blobs.blobs,
                size(blobs.bytes_max)
            ))
            .why("at the bound, events with large data are refused, and lanes that publish one wait")
            .remedy(
                "shorten the retention by age of topics with a claim check, discard dead letters that nobody needs, or raise \
                 `blobs_bytes_max`; `tidegate blobs` lists what there is",
            ),
    );
}

/// A clock that is on its way to the machine's.
pub(super) fn clock_slewing(evidence: &Evidence, findings: &mut Vec<Finding>) {
    if !evidence.is_slewing {
        return;
    }
    findings.push(
        Finding::warning("clock-slewing", "the clock".to_owned())
            .seen("the machine's clock has jumped, and the bus's follows it a tenth faster or slower".to_owned())
            .why("retention by age waits meanwhile, timers and retries come by the bus's clock, and latencies show it")
            .remedy("wait; if it happens again, see why the machine's clock jumps (NTP, suspended virtual machines)"),
    );
}

/// Outboxes that don't get rid of their rows.
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
pub(super) fn outboxes(evidence: &Evidence, findings: &mut Vec<Finding>) {
    for outbox in &evidence.outboxes {
        let (name, subject) = (&outbox.name, format!("outbox `{}`", outbox.name));
        if matches!(outbox.state, OutboxState::Away | OutboxState::Refused) {
            findings.push(
                Finding::problem("outbox-stands", subject.clone())
                    .seen(outbox.trouble.as_deref().map_or_else(|| "it can't publish".to_owned(), shown))
                    .why("nothing that the application commits there becomes an event")
                    .remedy(match outbox.state {
                        OutboxState::Refused => {
                            format!("see `tidegate outbox status {name}` and docs/outbox.md")
                        }
                        _ => "see that its database can be reached; the relay goes on by itself".to_owned(),
                    }),
            );
        }
        findings.extend(backlog(outbox, &subject));
    }
}

/// An outbox with rows that wait or failed.
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
fn backlog(outbox: &OutboxStatus, subject: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(backlog) = outbox.backlog else { return findings };
    if backlog.oldest > DOCTOR_OUTBOX_AGE_MAX {
        findings.push(
            Finding::warning("outbox-behind", subject.to_owned())
                .seen(format!(
                    "{} rows wait, the oldest since {}",
                    backlog.waiting,
                    format_duration(whole(backlog.oldest))
                ))
                .why("consumers hear late of what the application has done")
                .remedy(format!("see `tidegate outbox status {}` for what keeps it", outbox.name)),
        );
    }
    if backlog.failed > 0 {
        findings.push(
            Finding::warning("outbox-failed-rows", subject.to_owned())
                .seen(format!("{} rows were set aside", backlog.failed))
                .why("each is an event that nobody will get until somebody decides")
                .remedy(format!(
                    "`tidegate outbox status {0}` says why; then `tidegate outbox retry {0}`",
                    outbox.name
                )),
        );
    }
    findings
}

/// Without outboxes there are none to look at.
#[cfg(not(any(feature = "outbox-sqlite", feature = "outbox-postgres")))]
pub(super) fn outboxes(_: &Evidence, _: &mut Vec<Finding>) {}
