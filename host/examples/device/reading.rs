//! A reading.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use tidegate::{Event, EventError};

/// The longest name of a sensor.
const SENSOR_CHARS_MAX: usize = 64;

/// What a sensor has measured.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Which sensor.
    pub sensor: String,
    /// Its own count, by which a reading that is sent again is known.
    pub n: u64,
    /// What it has measured.
    pub value: f64,
}

impl FromStr for Reading {
    type Err = String;

    fn from_str(line: &str) -> Result<Self, String> {
        let reading: Self = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let chars = reading.sensor.chars().count();
        if !(1..=SENSOR_CHARS_MAX).contains(&chars) || reading.sensor.chars().any(char::is_control) {
            return Err(format!(
                "a sensor's name has 1 to {SENSOR_CHARS_MAX} characters, and no control characters"
            ));
        }
        Ok(reading)
    }
}

impl Reading {
    /// The event: its id is the same whenever the reading is sent again, and its key is the sensor.
    pub fn event(&self) -> Result<Event, EventError> {
        let id = format!("{}/{}", self.sensor, self.n);
        Event::new(id, "/device", "Reading.v1").subject(&self.sensor).json(self).build()
    }
}
