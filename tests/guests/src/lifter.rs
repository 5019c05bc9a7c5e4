use serde::{Deserialize, Serialize};
use tidegate_plugin::serde_json::{Map, Value, from_value};
use tidegate_plugin::{Event, Lifted, Lifts, Raw, Refusal, Settings, Upcaster};

use crate::Fault;
use crate::hostile::strike;

/// Lifts the data of events, which are JSON objects: it adds to their list `lifted` what it is lifted to and the version of the
/// plugin, such as `Test.v2 by 1`, and does what their `fault` says.
pub struct Lifter<const VERSION: u32>;

/// Its settings.
#[derive(Debug, Deserialize, Serialize)]
pub struct LifterSettings {
    /// What it lifts, from and to: `Test.v1` to `Test.v2` where nothing is said.
    #[serde(default = "first")]
    pub steps: Vec<(String, String)>,
}

fn first() -> Vec<(String, String)> {
    vec![("Test.v1".to_owned(), "Test.v2".to_owned())]
}

impl<const VERSION: u32> Upcaster for Lifter<VERSION> {
    const NAME: &'static str = "lifter";

    fn lifts(settings: &Settings) -> Result<Lifts, Refusal> {
        let LifterSettings { steps } = settings.read()?;
        let mut lifts = Lifts::new();
        for (from, to) in steps {
            let by = format!("{to} by {VERSION}");
            lifts = lifts.lift(from, to, move |event: Event<Map<String, Value>>| lift(event, &by));
        }
        Ok(lifts)
    }
}

fn lift(event: Event<Map<String, Value>>, by: &str) -> Result<Lifted, Refusal> {
    let mut data = event.data;
    match data.get("fault").cloned().map(from_value).transpose()? {
        None => {}
        Some(Fault::Transient | Fault::Permanent) => return Err(Refusal::new("told-to", "told to refuse")),
        Some(fault) => strike(fault),
    }
    if data.contains_key("nonsense") {
        let datacontenttype = Some("no media type".to_owned());
        return Ok(Lifted { datacontenttype, dataschema: None, data: Raw::Text("nonsense".to_owned()) });
    }
    if let Value::Array(lifted) = data.entry("lifted").or_insert_with(|| Value::Array(Vec::new())) {
        lifted.push(by.into());
    }
    Ok(Lifted::json(&data)?)
}
