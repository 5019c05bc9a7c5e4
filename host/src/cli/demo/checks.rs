//! Whether what came out is what had to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use serde::Deserialize;
use tidegate::server::RecordLine;

use super::quakes::{EVENTS, NETWORKS, POISON, Quakes, THRESHOLDS, is_away};
use super::readback::ReadBack;

/// One check.
#[derive(Debug)]
pub struct Check {
    /// What has to be so.
    pub claim: &'static str,
    /// What is so, or what is off.
    pub outcome: Result<String, String>,
}

/// What the publisher was told.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// Events that were acknowledged, duplicates included.
    pub acknowledged: u64,
    /// Of those, duplicates.
    pub duplicates: u64,
}

/// An alert's data.
#[derive(Deserialize)]
struct Alert {
    quake: String,
    threshold: f64,
}

/// Checks everything.
pub fn check(quakes: &Quakes, sent: &Sent, found: &ReadBack) -> Vec<Check> {
    let alerts = alerts(found);
    let check = |claim, outcome| Check { claim, outcome };
    vec![
        check("the input is the known week", equal(&quakes.events.len(), &EVENTS, "events")),
        check("no event lost, none stored twice", same_ids(quakes, &found.quakes)),
        check("what was published again was dropped", duplicates(sent)),
        check("order kept for each key in the log", log_order(quakes, &found.quakes)),
        check("each event counted once, by network", networks(found)),
        check("one alert for each strong earthquake", strong(quakes, &alerts)),
        check("a lane never goes back to the old version", versions(&alerts)),
        check("each alert took effect once", effects(&alerts, found)),
        check("order kept for each key over retries", effect_order(&alerts, found)),
        check("each failure was retried", retries(&alerts, found)),
        check("the poisoned alert is the only dead letter", poison(found)),
        check("the reload and the kill happened", reloads(found)),
    ]
}

fn equal<T: PartialEq + Debug>(found: &T, expected: &T, what: &str) -> Result<String, String> {
    if found == expected {
        Ok(format!("{found:?} {what}"))
    } else {
        Err(format!("{found:?} {what}, not {expected:?}"))
    }
}

fn ids(records: &[RecordLine]) -> impl Iterator<Item = &str> {
    records.iter().map(|record| record.event.0.id())
}

fn same_ids(quakes: &Quakes, records: &[RecordLine]) -> Result<String, String> {
    let stored: BTreeSet<&str> = ids(records).collect();
    let lost: Vec<&str> =
        quakes.magnitudes.keys().map(String::as_str).filter(|id| !stored.contains(id)).collect();
    if !lost.is_empty() {
        return Err(format!("{} are lost, such as {}", lost.len(), lost[0]));
    }
    if stored.len() != records.len() {
        return Err(format!("{} are stored twice", records.len() - stored.len()));
    }
    equal(&records.len(), &EVENTS, "events stored")
}

fn duplicates(sent: &Sent) -> Result<String, String> {
    let first = sent.acknowledged - sent.duplicates;
    equal(&first, &(EVENTS as u64), "new")?;
    equal(&sent.duplicates, &(EVENTS as u64), "dropped")
}

fn by_key<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, id) in pairs {
        keys.entry(key).or_default().push(id);
    }
    keys
}

fn log_order(quakes: &Quakes, records: &[RecordLine]) -> Result<String, String> {
    let stored = by_key(records.iter().map(|record| (record.event.0.key(), record.event.0.id())));
    for (key, expected) in quakes.by_key() {
        if stored.get(key) != Some(&expected) {
            return Err(format!("the events of key {key} are not in their order"));
        }
    }
    Ok(format!("{} keys", stored.len()))
}

fn networks(found: &ReadBack) -> Result<String, String> {
    for (network, expected) in NETWORKS {
        let count = found.networks.get(network).copied().unwrap_or(0);
        equal(&count, &expected, &format!("of network {network}"))?;
    }
    equal(&found.networks.len(), &NETWORKS.len(), "networks, each with its known count")
}

/// The alerts of the plugin, with their key and partition, in the order of the log.
fn alerts(found: &ReadBack) -> Vec<(String, u32, Alert)> {
    let alerts = found.alerts.iter().filter(|record| record.event.0.id() != POISON);
    alerts
        .filter_map(|record| {
            let event = &record.event.0;
            Some((event.key().to_owned(), record.partition, event.data_as().ok()?))
        })
        .collect()
}

fn strong(quakes: &Quakes, alerts: &[(String, u32, Alert)]) -> Result<String, String> {
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, _, alert) in alerts {
        *counts.entry(alert.quake.as_str()).or_default() += 1;
    }
    let (first, next) = THRESHOLDS;
    for (quake, magnitude) in &quakes.magnitudes {
        let count = counts.get(quake.as_str()).copied().unwrap_or(0);
        // In between it depends on which version had the event.
        let allowed = match *magnitude {
            magnitude if magnitude >= first => 1..=1,
            magnitude if magnitude >= next => 0..=1,
            _ => 0..=0,
        };
        if !allowed.contains(&count) {
            return Err(format!("{quake} of magnitude {magnitude} has {count} alerts"));
        }
    }
    let lower = alerts.iter().filter(|(_, _, alert)| alert.threshold < first).count();
    Ok(format!("{} alerts, {lower} of them by the new version", alerts.len()))
}

fn versions(alerts: &[(String, u32, Alert)]) -> Result<String, String> {
    let mut switched: BTreeSet<u32> = BTreeSet::new();
    for (_, partition, alert) in alerts {
        if alert.threshold < THRESHOLDS.0 {
            switched.insert(*partition);
        } else if switched.contains(partition) {
            return Err(format!(
                "on partition {partition} the old version alerted for {} after the new one",
                alert.quake
            ));
        }
    }
    if switched.is_empty() {
        return Err("the new version has not alerted at all".to_owned());
    }
    Ok(format!("new version on {} lanes with alerts", switched.len()))
}

fn effects(alerts: &[(String, u32, Alert)], found: &ReadBack) -> Result<String, String> {
    for (_, _, alert) in alerts {
        let count = found.sent.get(&alert.quake).copied().unwrap_or(0);
        equal(&count, &1, &format!("effects of the alert for {}", alert.quake))?;
    }
    equal(&found.sent.len(), &alerts.len(), "alerts, each with one effect")
}

fn effect_order(alerts: &[(String, u32, Alert)], found: &ReadBack) -> Result<String, String> {
    let logged = by_key(alerts.iter().map(|(key, _, alert)| (key.as_str(), alert.quake.as_str())));
    for (key, expected) in &logged {
        let handled: Vec<&str> = found.order.get(*key).into_iter().flatten().map(String::as_str).collect();
        if handled != *expected {
            return Err(format!(
                "the alerts of key {key} took effect in another order than they were published"
            ));
        }
    }
    equal(&found.order.len(), &logged.len(), "keys")
}

fn retries(alerts: &[(String, u32, Alert)], found: &ReadBack) -> Result<String, String> {
    let away = alerts.iter().filter(|(_, _, alert)| is_away(&alert.quake)).count() as u64;
    let retries = found.consumers.get("notifier").map_or(0, |notifier| notifier.counts.retries);
    equal(&retries, &(2 * away), "retries, two for each of the recipient's absences")
}

fn poison(found: &ReadBack) -> Result<String, String> {
    match found.letters.as_slice() {
        [(consumer, letter)] => {
            let id = letter.event.as_ref().map_or("", |event| event.0.id());
            if consumer == "notifier" && id == POISON && letter.reason.code == "undeliverable" {
                Ok(format!("{consumer}: {}", letter.reason))
            } else {
                Err(format!("{consumer} gave up on {id}: {}", letter.reason))
            }
        }
        letters => Err(format!("{} dead letters", letters.len())),
    }
}

fn reloads(found: &ReadBack) -> Result<String, String> {
    let reloads = found.consumers.get("alerts").map_or(0, |alerts| alerts.reloads);
    equal(&reloads, &1, "reload of the alert plugin, over a kill")
}
