//! The input, and what has to come of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use tidegate::server::EventJson;
use tidegate::{Event, EventLines};

use super::failed;
use crate::cli::error::CliError;

/// How many events the week has.
pub const EVENTS: usize = 1707;

/// How many events each seismic network has.
pub const NETWORKS: [(&str, u64); 12] = [
    ("ak", 297),
    ("ci", 386),
    ("hv", 46),
    ("mb", 28),
    ("nc", 370),
    ("nm", 5),
    ("nn", 260),
    ("pr", 62),
    ("se", 1),
    ("us", 168),
    ("uu", 33),
    ("uw", 51),
];

/// The least magnitude that the alert plugin's first version alerts for, and its next.
pub const THRESHOLDS: (f64, f64) = (5.0, 4.5);

/// The id of the event that can't be handled.
pub const POISON: &str = "demo-poison";

/// The largest event that the input may have.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// The input.
pub struct Quakes {
    /// In the order of the file.
    pub events: Vec<EventJson>,
    /// The magnitudes, by the event's id.
    pub magnitudes: BTreeMap<String, f64>,
}

impl Quakes {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, CliError> {
        #[derive(Deserialize)]
        struct Data {
            mag: f64,
        }
        let file = File::open(path).map_err(failed(path))?;
        let (mut events, mut magnitudes) = (Vec::new(), BTreeMap::new());
        for (line, event) in EventLines::new(BufReader::new(file), EVENT_BYTES_MAX) {
            let wrong = |error: String| CliError::Failed(format!("{}:{line}: {error}", path.display()));
            let event = event.map_err(|error| wrong(error.to_string()))?;
            let data: Data = event.data_as().map_err(|error| wrong(error.to_string()))?;
            magnitudes.insert(event.id().to_owned(), data.mag);
            events.push(EventJson(Arc::new(event)));
        }
        Ok(Self { events, magnitudes })
    }

    /// The ids of each key, in the order of the file.
    pub fn by_key(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for event in &self.events {
            keys.entry(event.0.key()).or_default().push(event.0.id());
        }
        keys
    }
}

/// An alert that nobody can deliver.
pub fn poison() -> Result<EventJson, CliError> {
    let data =
        r#"{"quake":"demo-poison","place":"nowhere","mag":9.9,"undeliverable":"there is no such recipient"}"#;
    let event = Event::new(POISON, "/tidegate/demo", "QuakeAlert.v1")
        .extension("partitionkey", "us")
        .json_text(data)
        .build()
        .map_err(|error| CliError::Failed(error.to_string()))?;
    Ok(EventJson(Arc::new(event)))
}

/// Whether the notifier's recipient is away for an earthquake at its first two attempts: the plugin's own rule.
pub fn is_away(quake: &str) -> bool {
    let hash =
        quake.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.is_multiple_of(3)
}
