//! Takes note of alerts in its state, and has the faults of a real recipient: it is away now and then, and some alerts
//! it can't take at all. Which ones is a rule, so that a test can tell what must come of them.
//!
//! - An alert for whose earthquake [`away`] is true fails transiently.
//! - An alert with `"undeliverable": "why"` fails permanently with code `undeliverable`, and one without the data of an
//!   alert with `bad-data`.
//!
//! State, as JSON: `sent/QUAKE` counts how often the alert for an earthquake took effect, and must be 1; `order/KEY`
//! lists the earthquakes of a key in the order in which their alerts took effect.

use serde::Deserialize;
use tidegate_plugin::{Consumer, Delivery, Failure, Host, info};

/// Attempts at which a recipient that is away at first is there.
const BACK_AT_ATTEMPT: u32 = 3;

/// What is read of an alert.
#[derive(Deserialize)]
pub struct Alert {
    quake: String,
    place: String,
    mag: f64,
    undeliverable: Option<String>,
}

/// The consumer.
#[derive(Default)]
pub struct Notifier;

impl Consumer for Notifier {
    const NAME: &'static str = "notifier";
    const EVENT_TYPES: &'static [&'static str] = &["QuakeAlert.v1"];
    const USES_STATE: bool = true;
    type Data = Alert;

    fn handle(&mut self, delivery: &Delivery<Alert>, host: &mut dyn Host) -> Result<(), Failure> {
        let Alert { quake, place, mag, undeliverable } = &delivery.event.data;
        // Noted before it fails, as a careless consumer would: a failed delivery must leave nothing behind.
        let sent_key = format!("sent/{quake}");
        let sent: u32 = host.get_json(&sent_key)?.unwrap_or_default();
        host.set_json(&sent_key, &(sent + 1))?;
        let order_key = format!("order/{}", delivery.event.key());
        let mut order: Vec<String> = host.get_json(&order_key)?.unwrap_or_default();
        order.push(quake.clone());
        host.set_json(&order_key, &order)?;

        if let Some(why) = undeliverable {
            return Err(Failure::permanent("undeliverable", why));
        }
        if away(quake, delivery.attempt) {
            let message = format_args!("nobody took the alert for {quake} at attempt {}", delivery.attempt);
            return Err(Failure::transient("away", message));
        }
        info!(host, "magnitude {mag}: {place}");
        Ok(())
    }
}

/// Whether the recipient is away: for a third of the earthquakes, at the first two attempts.
pub fn away(quake: &str, attempt: u32) -> bool {
    attempt < BACK_AT_ATTEMPT && fnv1a(quake.as_bytes()).is_multiple_of(3)
}

/// FNV-1a with 32 bits, which is short to write down again elsewhere.
fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

tidegate_plugin::export!(Notifier);

#[cfg(test)]
mod tests {
    use tidegate_plugin::{
        Delivery, Outgoing,
        serde_json::{Value, json},
        testing::{FakeHost, delivery},
    };

    use super::{Notifier, away};

    fn alert(data: &Value) -> Delivery {
        delivery(Outgoing::new("QuakeAlert.v1").key("us").json(data).unwrap())
    }

    fn quake(id: &str) -> Delivery {
        alert(&json!({ "quake": id, "place": "Alaska", "mag": 5.5 }))
    }

    #[test]
    fn the_rule_fits_its_description() {
        let quakes: Vec<String> = (0..3000).map(|number| format!("us{number}")).collect();
        let at_first = quakes.iter().filter(|id| away(id, 1)).count();
        assert!((900..1100).contains(&at_first), "{at_first}");
        assert_eq!(quakes.iter().filter(|id| away(id, 2)).count(), at_first);
        assert_eq!(quakes.iter().filter(|id| away(id, 3)).count(), 0);
    }

    #[test]
    fn an_alert_takes_effect_once_whatever_it_takes() {
        let mut host = FakeHost::new::<Notifier>();
        let ids: Vec<String> = (0..20).map(|number| format!("us{number}")).collect();
        assert!(ids.iter().any(|id| away(id, 1)) && ids.iter().any(|id| !away(id, 1)));
        for id in &ids {
            let mut delivery = quake(id);
            while let Err(failure) = host.deliver(&mut Notifier, delivery.clone()) {
                assert!(failure.is_transient(), "{failure}");
                delivery.attempt += 1;
            }
            assert_eq!(host.state_json(format!("sent/{id}")), Some(1));
        }
        assert_eq!(host.state_json("order/us"), Some(ids));
    }

    #[test]
    fn a_poisoned_alert_fails_for_good() {
        let mut host = FakeHost::new::<Notifier>();
        for (data, code) in [
            (
                json!({ "quake": "us1", "place": "Alaska", "mag": 5.5, "undeliverable": "no such person" }),
                "undeliverable",
            ),
            (json!({ "quake": "us1", "place": "Alaska" }), "bad-data"),
        ] {
            let failure = host.deliver(&mut Notifier, alert(&data)).unwrap_err();
            assert!(!failure.is_transient(), "{failure}");
            assert_eq!(failure.reason().code, code);
        }
        assert!(host.state.is_empty());
    }
}
