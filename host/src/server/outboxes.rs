//! Bringing the outboxes of a running bus to what a configuration says.

use super::Applied;
use crate::bus::Bus;
use crate::config::Config;

/// Starts, changes and ends outboxes.
#[cfg(any(feature = "outbox-sqlite", feature = "outbox-postgres"))]
pub(super) async fn apply(bus: &Bus, config: &Config, applied: &mut Applied) {
    use super::{Change, Refused};

    let running = bus.outbox_configs();
    let differs = |name: &str| running.get(name) != config.outboxes.get(name);
    for name in running.keys().filter(|name| differs(name)) {
        // One that has ended meanwhile is where it should be.
        drop(bus.stop_outbox(name).await);
        if !config.outboxes.contains_key(name) {
            applied.changes.push(Change::OutboxStopped(name.clone()));
        }
    }
    for (name, outbox) in config.outboxes.iter().filter(|(name, _)| differs(name)) {
        match bus.start_outbox(name, outbox.clone()) {
            Ok(()) if running.contains_key(name) => applied.changes.push(Change::OutboxChanged(name.clone())),
            Ok(()) => applied.changes.push(Change::OutboxStarted(name.clone())),
            Err(error) => {
                applied.refused.push(Refused { what: format!("outbox `{name}`"), why: error.to_string() });
            }
        }
    }
}

/// Refuses all, as this build knows no outbox.
#[cfg(not(any(feature = "outbox-sqlite", feature = "outbox-postgres")))]
#[expect(clippy::unused_async, reason = "called as where outboxes are known")]
pub(super) async fn apply(_: &Bus, config: &Config, applied: &mut Applied) {
    use super::Refused;

    for (name, outbox) in &config.outboxes {
        if let Some(unsupported) = outbox.database.unsupported() {
            applied.refused.push(Refused { what: format!("outbox `{name}`"), why: unsupported.to_string() });
        }
    }
}
