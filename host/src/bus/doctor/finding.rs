//! What a check has found.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::config::ConsumerConfig;
use crate::limits::DOCTOR_TEXT_CHARS;

/// What a check knows beside the bus.
///
/// ```
/// use tidegate::DoctorOptions;
/// use tidegate::config::ConsumerConfig;
///
/// let options = DoctorOptions::default().consumer("billing", ConsumerConfig::new(["orders"]).held_max(100));
/// assert_eq!(options.consumers["billing"].held_max, 100);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DoctorOptions {
    /// The settings of consumers that don't run in this process, by name: the bus doesn't keep them. Of those that run, it
    /// knows them.
    pub consumers: BTreeMap<String, ConsumerConfig>,
}

impl DoctorOptions {
    /// Adds the settings of a consumer.
    #[must_use]
    pub fn consumer(mut self, name: impl Into<String>, config: ConsumerConfig) -> Self {
        self.consumers.insert(name.into(), config);
        self
    }
}

/// How much a finding hurts.
///
/// ```
/// assert!(tidegate::Severity::Problem > tidegate::Severity::Warning);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Severity {
    /// It will hurt, some day or under load.
    Warning,
    /// It hurts now, or something is lost soon.
    Problem,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// What a check has found: see [`Bus::doctor`](crate::Bus::doctor). Displayed, it is some lines for people.
///
/// ```
/// # let directory = tempfile::tempdir()?;
/// # let bus = tidegate::Bus::open(directory.path())?.blocking();
/// use tidegate::{DoctorOptions, Severity};
///
/// let findings = bus.doctor(DoctorOptions::default())?;
/// let problems = findings.iter().filter(|finding| finding.severity == Severity::Problem);
/// for finding in problems {
///     println!("{}: {}", finding.subject, finding.remedy);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The check's name: it stays the same.
    pub check: String,
    /// How much it hurts.
    pub severity: Severity,
    /// What it is about: a topic, a consumer, an outbox, the disk.
    pub subject: String,
    /// What was looked at, and what was seen.
    pub seen: String,
    /// Why that hurts.
    pub why: String,
    /// What to do: a command or a setting.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(check: &str, severity: Severity, subject: String) -> Self {
        Self {
            check: check.to_owned(),
            severity,
            subject,
            seen: String::new(),
            why: String::new(),
            remedy: String::new(),
        }
    }

    pub(super) fn warning(check: &str, subject: String) -> Self {
        Self::new(check, Severity::Warning, subject)
    }

    pub(super) fn problem(check: &str, subject: String) -> Self {
        Self::new(check, Severity::Problem, subject)
    }

    pub(super) fn seen(mut self, seen: String) -> Self {
        self.seen = seen;
        self
    }

    pub(super) fn why(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}: {}", self.severity, self.check, self.subject)?;
        writeln!(f, "  seen: {}", self.seen)?;
        writeln!(f, "  why:  {}", self.why)?;
        write!(f, "  do:   {}", self.remedy)
    }
}

/// A text from outside, on one line and cut where it is long.
pub(super) fn shown(text: &str) -> String {
    let mut line = String::new();
    for (at, c) in text.chars().enumerate() {
        if at == DOCTOR_TEXT_CHARS {
            line.push('…');
            break;
        }
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// A size for people, to a tenth of its unit.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    let unit = (bytes.ilog2() as usize / 10).min(UNITS.len());
    let (whole, rest) = (bytes >> (10 * unit), bytes & ((1 << (10 * unit)) - 1));
    let tenths = (u128::from(rest) * 10) >> (10 * unit);
    format!("{whole}.{tenths} {}", UNITS[unit - 1])
}
