//! Keeps statistics of earthquakes for each seismic network.
//!
//! State: `network/NAME` holds [`Stats`] as JSON, where `NAME` is the event's `partitionkey`.

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Delivery, Failure, Host};

/// What is read of an earthquake.
#[derive(Deserialize)]
pub struct Quake {
    mag: f64,
}

/// What is known of a network.
#[derive(Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Stats {
    /// Events so far.
    pub count: u64,
    /// The largest magnitude so far. Magnitudes of small earthquakes are negative.
    pub mag_max: Option<f64>,
    /// The latest time of an update.
    pub updated: Option<String>,
}

/// The consumer.
#[derive(Default)]
pub struct QuakeStats;

impl Consumer for QuakeStats {
    const NAME: &'static str = "quake-stats";
    const EVENT_TYPES: &'static [&'static str] = &["gov.usgs.quake.v1"];
    const USES_STATE: bool = true;
    type Data = Quake;

    fn handle(&mut self, delivery: &Delivery<Quake>, host: &mut dyn Host) -> Result<(), Failure> {
        let event = &delivery.event;
        let key = format!("network/{}", event.key());
        let mut stats: Stats = host.get_json(&key)?.unwrap_or_default();
        stats.count += 1;
        stats.mag_max = Some(stats.mag_max.map_or(event.data.mag, |mag_max| mag_max.max(event.data.mag)));
        // All in one format and in UTC, so that their order as text is their order in time.
        stats.updated = stats.updated.max(event.time.clone());
        host.set_json(&key, &stats)?;
        Ok(())
    }
}

tidegate_plugin::export!(QuakeStats);

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{FakeHost, delivery_of_json};

    use super::{QuakeStats, Stats};

    #[test]
    fn a_week_counts_every_network() {
        let mut host = FakeHost::new::<QuakeStats>();
        for line in include_str!("../../data/quakes.jsonl").lines() {
            host.deliver(&mut QuakeStats, delivery_of_json(line)).unwrap();
        }
        let counts = [
            ("ci", 386),
            ("nc", 370),
            ("ak", 297),
            ("nn", 260),
            ("us", 168),
            ("pr", 62),
            ("uw", 51),
            ("hv", 46),
            ("uu", 33),
            ("mb", 28),
            ("nm", 5),
            ("se", 1),
        ];
        assert_eq!(host.state.len(), counts.len());
        for (network, count) in counts {
            let stats: Stats = host.state_json(format!("network/{network}")).unwrap();
            assert_eq!(stats.count, count, "{network}");
        }
    }

    #[test]
    fn the_largest_magnitude_and_the_latest_update_are_kept() {
        let mut host = FakeHost::new::<QuakeStats>();
        for (id, mag, second) in [("a", -0.8, 3), ("b", -0.5, 9), ("c", -0.7, 5)] {
            let quake = format!(
                r#"{{"specversion": "1.0", "id": "{id}", "source": "/q", "type": "gov.usgs.quake.v1",
                    "time": "2018-01-31T02:18:0{second}.000Z", "partitionkey": "ak", "data": {{"mag": {mag}}}}}"#,
            );
            host.deliver(&mut QuakeStats, delivery_of_json(&quake)).unwrap();
        }
        let expected =
            Stats { count: 3, mag_max: Some(-0.5), updated: Some("2018-01-31T02:18:09.000Z".to_owned()) };
        assert_eq!(host.state_json("network/ak"), Some(expected));
    }

    #[test]
    fn other_events_change_nothing() {
        let mut host = FakeHost::new::<QuakeStats>();
        let other =
            r#"{"specversion": "1.0", "id": "1", "source": "/q", "type": "Greeting.v1", "data": "hello"}"#;
        host.deliver(&mut QuakeStats, delivery_of_json(other)).unwrap();
        assert!(host.state.is_empty());
    }
}
