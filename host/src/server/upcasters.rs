//! Bringing the upcasters of a running bus to what a configuration says.

use std::collections::BTreeMap;

use super::{Applied, Change, Refused};
use crate::bus::Bus;
use crate::config::{Config, UpcasterConfig};

/// Starts, changes and ends upcasters, all in one step; those in Rust are left alone.
pub(super) async fn apply(bus: &Bus, config: &Config, applied: &mut Applied) {
    let running = bus.upcaster_configs();
    let gone = running.keys().map(String::as_str).filter(|name| !config.upcasters.contains_key(*name));
    let gone: Vec<_> = gone.collect();
    let differs = |(name, config): &(&String, &UpcasterConfig)| running.get(*name) != Some(*config);
    let wanted = config.upcasters.iter().filter(differs).map(|(name, config)| (name.as_str(), config));
    let wanted: BTreeMap<_, _> = wanted.collect();
    if gone.is_empty() && wanted.is_empty() {
        return;
    }
    let outcomes = match bus.change_upcasters(&gone, &wanted).await {
        Ok(outcomes) => outcomes,
        Err(error) => {
            applied.refused.push(Refused { what: "upcasters".to_owned(), why: error.to_string() });
            return;
        }
    };
    for (name, outcome) in outcomes {
        let (what, name) = (format!("upcaster `{name}`"), name.to_owned());
        match outcome {
            Err(error) => applied.refused.push(Refused { what, why: error.to_string() }),
            Ok(()) if !wanted.contains_key(&*name) => applied.changes.push(Change::UpcasterStopped(name)),
            Ok(()) if running.contains_key(&name) => applied.changes.push(Change::UpcasterChanged(name)),
            Ok(()) => applied.changes.push(Change::UpcasterStarted(name)),
        }
    }
}

/// The first upcaster of the configuration that isn't there.
pub(super) fn missing<'a>(bus: &Bus, config: &'a Config) -> Option<&'a str> {
    let running = bus.upcaster_configs();
    config.upcasters.keys().map(String::as_str).find(|name| !running.contains_key(*name))
}
