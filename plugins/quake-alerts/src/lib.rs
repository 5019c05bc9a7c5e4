//! Publishes a `QuakeAlert.v1` to the topic `alerts` for every strong earthquake.
//!
//! Settings: `{"threshold": 5.0}`, the least magnitude that is worth an alert. Without one, version 0.1.0 takes 5.0 and
//! version 0.2.0 (the feature `v2`) takes 4.5.

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing};

#[cfg(not(feature = "v2"))]
const THRESHOLD: f64 = 5.0;
#[cfg(feature = "v2")]
const THRESHOLD: f64 = 4.5;

/// The consumer's settings.
#[derive(Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The least magnitude that is worth an alert.
    pub threshold: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threshold: THRESHOLD }
    }
}

/// What is read of an earthquake.
#[derive(Deserialize)]
pub struct Quake {
    place: String,
    mag: f64,
}

/// What an alert says.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
pub struct Alert {
    /// The id of the earthquake's event.
    pub quake: String,
    /// Where it was.
    pub place: String,
    /// Its magnitude.
    pub mag: f64,
    /// The threshold that it reached.
    pub threshold: f64,
}

/// The consumer.
#[derive(Default)]
pub struct QuakeAlerts;

impl Consumer for QuakeAlerts {
    const NAME: &'static str = "quake-alerts";
    const EVENT_TYPES: &'static [&'static str] = &["gov.usgs.quake.v1"];
    const PUBLISHES: &'static [&'static str] = &["alerts"];
    type Data = Quake;

    fn handle(&mut self, delivery: &Delivery<Quake>, host: &mut dyn Host) -> Result<(), Failure> {
        let event = &delivery.event;
        let Settings { threshold } = host.settings()?;
        let Quake { place, mag } = &event.data;
        if *mag < threshold {
            return Ok(());
        }
        let alert = Alert { quake: event.id.clone(), place: place.clone(), mag: *mag, threshold };
        host.publish(
            "alerts",
            Outgoing::new("QuakeAlert.v1").subject(&event.id).key(event.key()).json(&alert)?,
        )?;
        Ok(())
    }
}

#[cfg(not(feature = "v2"))]
tidegate_plugin::export!(QuakeAlerts);
#[cfg(feature = "v2")]
tidegate_plugin::export!(QuakeAlerts, version = "0.2.0");

#[cfg(test)]
mod tests {
    use tidegate_plugin::testing::{FakeHost, delivery_of_json};

    use super::{Alert, QuakeAlerts, Settings, THRESHOLD};

    fn week(mut host: FakeHost) -> FakeHost {
        for line in include_str!("../../data/quakes.jsonl").lines() {
            host.deliver(&mut QuakeAlerts, delivery_of_json(line)).unwrap();
        }
        host
    }

    #[test]
    fn a_week_has_its_known_number_of_alerts() {
        assert_eq!(
            week(FakeHost::new::<QuakeAlerts>().with_settings(&Settings { threshold: 5.0 })).published.len(),
            39
        );
        assert_eq!(
            week(FakeHost::new::<QuakeAlerts>().with_settings(&Settings { threshold: 4.5 })).published.len(),
            85
        );
    }

    #[test]
    fn without_a_setting_the_version_decides() {
        let expected = if THRESHOLD < 5.0 { 85 } else { 39 };
        assert_eq!(week(FakeHost::new::<QuakeAlerts>()).published.len(), expected);
    }

    #[test]
    fn an_alert_says_what_and_keeps_the_key() {
        let mut host = FakeHost::new::<QuakeAlerts>();
        let quake = r#"{"specversion": "1.0", "id": "us1", "source": "/q", "type": "gov.usgs.quake.v1",
            "partitionkey": "us", "data": {"place": "Raoul Island", "mag": 6.1}}"#;
        host.deliver(&mut QuakeAlerts, delivery_of_json(quake)).unwrap();

        let [published] = &host.published[..] else { panic!("{:?}", host.published) };
        assert_eq!(published.topic, "alerts");
        assert_eq!(published.event.event_type, "QuakeAlert.v1");
        assert_eq!(published.event.subject.as_deref(), Some("us1"));
        assert_eq!(published.event.extensions, [("partitionkey".to_owned(), "us".into())]);
        let (quake, place) = ("us1".to_owned(), "Raoul Island".to_owned());
        assert_eq!(published.json::<Alert>(), Alert { quake, place, mag: 6.1, threshold: THRESHOLD });
    }

    #[test]
    fn a_misspelt_setting_is_found() {
        let mut host = FakeHost::new::<QuakeAlerts>()
            .with_settings(&[("treshold", 4.0)].into_iter().collect::<std::collections::BTreeMap<_, _>>());
        let quake = include_str!("../../data/quakes.jsonl").lines().next().unwrap();
        let failure = host.deliver(&mut QuakeAlerts, delivery_of_json(quake)).unwrap_err();
        assert_eq!(failure.reason().code, "bad-settings");
        assert!(failure.reason().message.contains("treshold"), "{failure}");
    }
}
