use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use tidegate_plugin::{Consumer, Data, Delivery, Failure, Host, Outgoing, Raw};

use crate::{Fault, hostile::commit};

/// Counts the events of each key, and fails on request.
///
/// Version 1 is `0.1.0` of the plugin, version 2 is `0.2.0`.
#[derive(Default)]
pub struct Counter<const VERSION: u32, const STATE_VERSION: u32>;

/// The counter's settings.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct CounterSettings {
    /// The topic for a [`Count`] of each event; none if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// What goes wrong with events of a type.
    pub faults: BTreeMap<String, Request>,
}

/// What should go wrong, in the settings for an event's type or in an event's data.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default)]
pub struct Request {
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail: Option<Fault>,
    /// The first attempt that goes well; every attempt fails, if missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_attempt: Option<u32>,
    /// The wait that a transient failure asks for, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// What the counter publishes for each event, as type `Count.v1` with the event's key.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Count {
    /// The event's id.
    pub id: String,
    /// The event's key.
    pub key: String,
    /// How many events of the key there were, this one included.
    pub count: u64,
    /// The attempt that went well.
    pub attempt: u32,
    /// The version of the plugin.
    pub version: u32,
}

impl<const VERSION: u32, const STATE_VERSION: u32> Consumer for Counter<VERSION, STATE_VERSION> {
    const NAME: &'static str = "counter";
    const USES_STATE: bool = true;
    const STATE_VERSION: u32 = STATE_VERSION;
    type Data = Raw;

    fn handle(&mut self, delivery: &Delivery, host: &mut dyn Host) -> Result<(), Failure> {
        let settings: CounterSettings = host.settings()?;
        let event = &delivery.event;
        let key = event.key();
        let count = increment(host, &format!("count/{key}"))?;
        increment(host, &format!("version/{VERSION}"))?;
        if let Some(topic) = settings.topic {
            let attempt = delivery.attempt;
            let count = Count { id: event.id.clone(), key: key.to_owned(), count, attempt, version: VERSION };
            host.publish(&topic, Outgoing::new("Count.v1").key(key).json(&count)?)?;
        }

        let request = match settings.faults.get(&event.event_type) {
            Some(request) => *request,
            // Data that says nothing of the kind, or isn't even JSON, asks for nothing.
            None => Request::decode(event.data.clone(), None).unwrap_or_default(),
        };
        match request.fail {
            Some(fault) if request.until_attempt.is_none_or(|until| delivery.attempt < until) => {
                let failure = commit(fault, delivery.attempt, host);
                Err(match request.retry_after_ms {
                    Some(wait) => failure.retry_after(Duration::from_millis(wait)),
                    None => failure,
                })
            }
            _ => Ok(()),
        }
    }
}

fn increment(host: &mut dyn Host, key: &str) -> Result<u64, Failure> {
    let count = host.get_json::<u64>(key)?.unwrap_or_default() + 1;
    host.set_json(key, &count)?;
    Ok(count)
}
