//! What will hurt: checks of the settings, of what consumers do, and of recent events.

#[cfg(feature = "server")]
mod config;
mod consumers;
mod evidence;
mod finding;
mod machine;
mod retries;
#[cfg(test)]
mod tests;
mod topics;

#[cfg(feature = "server")]
pub use config::config_findings;
pub use finding::{DoctorOptions, Finding, Severity};

use super::Bus;
use crate::log::ReadError;
use evidence::Evidence;

/// A check: a function of what was looked at.
type Check = fn(&Evidence, &mut Vec<Finding>);

/// All of them.
const CHECKS: [Check; 23] = [
    topics::unversioned_types,
    topics::large_events,
    topics::hot_partition,
    topics::unchecked_schemas,
    topics::missing_lifts,
    topics::short_dedup_window,
    consumers::order_across_keys,
    consumers::order_not_used,
    consumers::no_progress,
    consumers::detached,
    consumers::refused,
    consumers::dead_letters,
    consumers::stuck_sagas,
    consumers::retention_before_lag,
    consumers::held_near_bound,
    consumers::timers_near_bound,
    retries::attempts_after_age,
    retries::retention_before_retries,
    retries::nothing_to_park,
    machine::disk_nearly_full,
    machine::blobs_nearly_full,
    machine::clock_slewing,
    machine::outboxes,
];

impl Bus {
    /// Looks at the topics, the consumers and some recent events of each topic, and says what will hurt: worst first. It changes
    /// nothing. An answer without findings says that none of these checks found anything, and no more.
    ///
    /// It reads at most some 1,000 of the newest events of each topic and 16,000 sagas of each consumer, and lets go of its thread in
    /// between.
    ///
    /// ```
    /// # let directory = tempfile::tempdir()?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let bus = tidegate::Bus::open(directory.path())?;
    /// # use tidegate::config::TopicConfig;
    /// use tidegate::{DoctorOptions, Event};
    ///
    /// bus.create_topic("orders", TopicConfig::new(1)).await?;
    /// bus.publish("orders", Event::new("order-17", "/shop", "OrderPlaced").build()?).await?;
    /// let findings = bus.doctor(DoctorOptions::default()).await?;
    /// assert_eq!(findings[0].check, "unversioned-types");
    /// println!("{}", findings[0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The log can't be read.
    pub async fn doctor(&self, options: DoctorOptions) -> Result<Vec<Finding>, ReadError> {
        let evidence = evidence::collect(self, options).await?;
        Ok(examine(&evidence))
    }
}

/// What all checks find, worst first.
fn examine(evidence: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in CHECKS {
        check(evidence, &mut findings);
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}
