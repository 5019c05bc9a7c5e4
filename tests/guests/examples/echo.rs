//! Publishes each event as it came, with its attributes and its data, under an id and a source of its own.
//!
//! Settings: `{"topic": "out"}`.

use serde::Deserialize;
use tidegate_plugin::{Consumer, Delivery, Failure, Host, Outgoing, Raw};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    topic: String,
}

#[derive(Default)]
struct Echo;

impl Consumer for Echo {
    const NAME: &'static str = "echo";
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let Settings { topic } = host.settings()?;
        let event = delivery.event.clone();
        let echo = Outgoing {
            id: None,
            source: None,
            event_type: event.event_type,
            subject: event.subject,
            time: event.time,
            datacontenttype: event.datacontenttype,
            dataschema: event.dataschema,
            extensions: event.extensions,
            data: event.data,
        };
        host.publish(&topic, echo)?;
        Ok(())
    }
}

tidegate_plugin::export!(Echo);
