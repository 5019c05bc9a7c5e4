//! What parent and child share: a directory, and a pipe.

use std::fmt;
use std::fs;
use std::io::{self, Stdout, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// What a child tells first, once all that it works on is open.
pub const READY: &str = "ready";

/// The directory of a run. It stays the same over all kills.
pub struct Place {
    directory: PathBuf,
}

impl Place {
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data directory of the bus.
    pub fn bus(&self) -> PathBuf {
        self.directory.join("bus")
    }

    /// Leaves for the next child what it is to do first.
    pub fn set_again(&self, lines: &[String]) -> Result<()> {
        let file = self.again_file();
        fs::write(&file, lines.join("\n")).with_context(|| format!("can't write {}", file.display()))
    }

    /// What this child is to do first.
    pub fn again(&self) -> Result<Vec<String>> {
        let file = self.again_file();
        let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn again_file(&self) -> PathBuf {
        self.directory.join("again")
    }
}

/// A child's way to tell its parent what was acknowledged. What is told is told: it survives the child.
pub struct Told(Mutex<Stdout>);

impl Told {
    pub fn new() -> Self {
        Self(Mutex::new(io::stdout()))
    }

    /// Tells a line. The whole line goes into the pipe in one call, or the parent sees that its end is missing.
    pub fn tell(&self, line: impl fmt::Display) -> Result<()> {
        let line = format!("{line}\n");
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.write_all(line.as_bytes()).and_then(|()| out.flush()).context("the parent is gone")
    }
}
