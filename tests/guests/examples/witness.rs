//! Publishes all that it was told with a delivery.
//!
//! Settings: `{"topic": "out"}`, and whatever else a test wants to see again.

use std::hint::black_box;

use serde::Deserialize;
use tidegate_guests::Testimony;
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Raw};

#[derive(Deserialize)]
struct Settings {
    topic: String,
}

#[derive(Default)]
struct Witness {
    handled: u64,
}

impl Consumer for Witness {
    const NAME: &'static str = "witness";
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let Settings { topic } = host.settings()?;
        self.handled += 1;
        let testimony = Testimony {
            id: delivery.event.id.clone(),
            topic: delivery.topic.clone(),
            partition: delivery.partition,
            offset: delivery.offset,
            appended: delivery.appended.as_micros(),
            attempt: delivery.attempt,
            first_attempt: delivery.first_attempt.as_micros(),
            redriven: delivery.redriven,
            now: host.now().as_micros(),
            consumer: host.consumer(),
            version: host.version(),
            settings: host.settings_json(),
            random: [host.random(32), host.random(32)],
            nan: nan(host.random_u64()).to_bits(),
            handled: self.handled,
        };
        host.publish(&topic, Outgoing::new("Witness.v1").key(delivery.event.key()).json(&testimony)?)?;
        Ok(())
    }
}

/// Arithmetic on a NaN with a payload of its own: the payload of the result is the processor's choice.
fn nan(payload: u64) -> f64 {
    let nan = f64::from_bits(payload | 0xfff8_0000_0000_0000);
    black_box(black_box(nan) * black_box(-1.5)) + black_box(0.0 / black_box(0.0))
}

tidegate_plugin::export!(Witness);
