//! What a command prints.

use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use serde::Serialize;
use tidegate::Timestamp;

use super::error::CliError;

/// Standard output: lines for people, or JSON.
pub struct Output {
    out: BufWriter<Stdout>,
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self { out: BufWriter::new(io::stdout()), json }
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a line.
    pub fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        writeln!(self.out, "{line}").map_err(failed)
    }

    /// Prints a value as JSON on one line. An event's data may have line breaks between its values: each becomes a space.
    pub fn json(&mut self, value: &impl Serialize) -> Result<(), CliError> {
        let mut line = serde_json::to_vec(value).map_err(|error| failed(error.into()))?;
        // Within a JSON string a line break is always escaped.
        line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        line.push(b'\n');
        self.out.write_all(&line).map_err(failed)
    }

    /// Shows what was printed: for output that someone waits for.
    pub fn flush(&mut self) -> Result<(), CliError> {
        self.out.flush().map_err(failed)
    }

    /// Shows what was printed, at the end.
    pub fn finish(mut self) -> Result<(), CliError> {
        self.flush()
    }
}

fn failed(error: io::Error) -> CliError {
    if error.kind() == io::ErrorKind::BrokenPipe { CliError::OutputClosed } else { CliError::Output(error) }
}

/// A duration for people: its two largest units, `0s` where there is none.
pub fn short(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    if duration < Duration::from_secs(1) {
        return if duration.is_zero() {
            "0s".to_owned()
        } else {
            format!("{}ms", duration.as_millis().max(1))
        };
    }
    let mut seconds = duration.as_secs();
    let mut parts = Vec::new();
    for (size, unit) in UNITS {
        if seconds >= size && parts.len() < 2 {
            parts.push(format!("{}{unit}", seconds / size));
            seconds %= size;
        }
    }
    parts.join(" ")
}

/// A size for people, in units of 1024.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // The largest unit that it fills, and tenths of it in whole numbers.
    let unit = (bytes.ilog2() as usize / 10).min(UNITS.len());
    let (whole, rest) = (bytes >> (10 * unit), bytes & ((1 << (10 * unit)) - 1));
    let tenths = (u128::from(rest) * 10) >> (10 * unit);
    format!("{whole}.{tenths} {}", UNITS[unit - 1])
}

/// A moment for people: to the second.
pub fn moment(timestamp: Timestamp) -> String {
    let whole = Timestamp(timestamp.0.div_euclid(1_000_000) * 1_000_000);
    whole.to_string()
}

/// A text of others on one line, without what could move a terminal's cursor, and cut where it is long.
pub fn one_line(text: &str, chars_max: usize) -> String {
    let mut line = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == chars_max {
            line.push('…');
            break;
        }
        if c.is_control() {
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_show_their_two_largest_units() {
        for (millis, text) in
            [(0, "0s"), (7, "7ms"), (1000, "1s"), (61_000, "1m 1s"), (3_600_000, "1h"), (90_061_000, "1d 1h")]
        {
            assert_eq!(short(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn sizes_show_one_decimal() {
        for (bytes, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB")] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn what_others_wrote_stays_on_its_line() {
        assert_eq!(one_line("a\nb\u{1b}[2J", 100), "a\\nb\\u{1b}[2J");
        assert_eq!(one_line("äöü", 2), "äö…");
    }
}
