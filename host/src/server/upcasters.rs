//! Bringing the upcasters of a running bus to what a configuration says.

use super::{Applied, Change, Refused};
use crate::bus::Bus;
use crate::config::Config;

/// Starts, changes and ends upcasters; those in Rust are left alone. Those that go make room before others come.
pub(super) async fn apply(bus: &Bus, config: &Config, applied: &mut Applied) {
    let running = bus.upcaster_configs();
    for name in running.keys().filter(|name| !config.upcasters.contains_key(*name)) {
        let removed = bus.remove_upcaster(name).await.map_err(|error| error.to_string());
        note(applied, name, Change::UpcasterStopped(name.clone()), removed);
    }
    for (name, upcaster) in
        config.upcasters.iter().filter(|(name, config)| running.get(*name) != Some(config))
    {
        let (change, outcome) = if running.contains_key(name) {
            let outcome = bus.reconfigure_upcaster(name, upcaster.clone()).await;
            (Change::UpcasterChanged(name.clone()), outcome)
        } else {
            let outcome = bus.add_upcaster_plugin(name, upcaster.clone()).await;
            (Change::UpcasterStarted(name.clone()), outcome)
        };
        note(applied, name, change, outcome.map_err(|error| error.to_string()));
    }
}

/// The first upcaster of the configuration that isn't there.
pub(super) fn missing<'a>(bus: &Bus, config: &'a Config) -> Option<&'a str> {
    let running = bus.upcaster_configs();
    config.upcasters.keys().map(String::as_str).find(|name| !running.contains_key(*name))
}

fn note(applied: &mut Applied, name: &str, change: Change, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => applied.changes.push(change),
        Err(why) => applied.refused.push(Refused { what: format!("upcaster `{name}`"), why }),
    }
}
